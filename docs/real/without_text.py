"""手順4の結果から、問題と選択肢の文字を除いた写しを作る (問題集の文をここに置かないため)。

    python docs/real/without_text.py result.json docs/real/2000-42.json

選択肢は、長さが同じで、選択肢ごとに違う文字の列 (aaa、bb など) に替える。
だから、写しからも、analysis.py は同じ数を出す (1 文字あたりの対数確率も、順を変えた結果も)。
"""

import json
import string
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from quiz.files import write  # noqa: E402
from quiz.prompt import read_choice  # noqa: E402

# そのまま残す項目
KEPT = "ID", "qid", "out_str", "hit", "rotation"


def without_text(record):
    """結果の 1 件の、文字を除いた写し。"""
    # {もとの「番号: 選択肢」: 替えた行}。順を変えて見せても、同じ選択肢は同じ文字にする
    shown = [line for line in record["input"].split("\n") if line]
    choices = sorted(map(read_choice, shown))
    letters = {c: string.ascii_lowercase[i] * len(c) for i, c in enumerate(choices)}
    lines = {line: f"{i}: {letters[read_choice(line)]}" for i, line in enumerate(shown)}
    # 番号と違う選択肢の文字を書いた回答は、その文字のまま。どの選択肢でもない文字は ? にする
    text = letters.get(read_choice(record["output"]), "?")
    output = f"{record['out_str']}: {text}" if record["out_str"] else "?"
    made = {key: record[key] for key in KEPT if key in record}
    made |= {
        "prompt": str(record["qid"]),
        "input": "\n".join(lines.values()),
        "correct_answer": lines[record["correct_answer"]],
        "output": output,
        "choice_probs": [float(f"{p:.4g}") for p in record["choice_probs"]],
    }
    if "text_log_probs" in record:
        made["text_log_probs"] = [round(p, 3) for p in record["text_log_probs"]]
    return made


def main():
    source, target = sys.argv[1:]
    *records, summary = json.loads(Path(source).read_text(encoding="utf-8"))
    summary.pop("shots_text", None)
    rows = [*map(without_text, records), summary]
    # 1 行に 1 問
    text = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    write(target, [f"[\n{text}\n]\n"])


if __name__ == "__main__":
    main()
