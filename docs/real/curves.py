"""手順3の training.json から、学習の設定、損失、エポックごとの番号の確率での正解率を表にする。

    python docs/real/curves.py docs/real/training/*.json
"""

import json
import sys
from pathlib import Path

print("| 学習 | 問題 | 1 更新の問題 | 学習率 | 更新 | 損失 | 正解率 (学習前と、1 エポックごと) |")
print("| --- | --- | --- | --- | --- | --- | --- |")
for path in sys.argv[1:]:
    training = json.loads(Path(path).read_text(encoding="utf-8"))
    settings = training["settings"]
    batch = settings["micro_batch_size"] * settings["gradient_accumulation_steps"]
    losses = f"{training['first_loss']:.3f} → {training['last_loss']:.3f}"
    curve = " ".join(f"{point['accuracy']:.3f}" for point in training["curve"])
    cells = [Path(path).stem, training["questions"], batch, settings["learning_rate"]]
    cells += [f"{training['steps_done']}/{training['steps_planned']}", losses, curve]
    print("|", " | ".join(map(str, cells)), "|")
