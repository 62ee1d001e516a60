"""docs/models.md の表を作る: data/models.csv のモデルと、この YAML
で学習するときのメモリの見積もり (GiB)。

python tests/models_table.py
"""

import csv
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from quiz.adapter import read_config  # noqa: E402
from quiz.model import quiet  # noqa: E402
from quiz.training.memory import estimate  # noqa: E402

# 表で仮定する 1 行のトークン数 (デモの最長は 113) と、そのうち回答の分
ROW = 256
ANSWER = 32
COLUMNS = (
    "名前",
    "base_model",
    "構造",
    "種類",
    "パラメータ",
    "ライセンス",
    "学習",
    "節約すると",
    "ほかに要るもの",
    "確かめた範囲",
)


def table():
    """data/models.csv の表を Markdown にする。"""
    quiet(".")
    from transformers import AutoConfig

    lines, yaml = (
        [f"| {' | '.join(COLUMNS)} |", "| --- " * len(COLUMNS) + "|"],
        read_config(ROOT / "qlora-opencalm.yml"),
    )
    for row in csv.DictReader((ROOT / "data/models.csv").read_text(encoding="utf-8").splitlines()):
        shape = {k: int(v) for k, v in row.items() if v.isdigit()}
        model_config = AutoConfig.for_model(row["model_type"], **shape)
        needs = estimate(model_config, yaml, ROW, ANSWER)
        values = [
            row["name"],
            row["hub"],
            row["model_type"],
            row["kind"],
            f"{needs.parameters / 1e9:.2f} B",
            row["licence"],
            f"{needs.fast:.1f}",
            f"{needs.small:.1f}",
        ]
        lines.append(f"| {' | '.join([*values, row['needs'], row['checked']])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
