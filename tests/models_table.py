"""docs/models.md の 2 つの表を作る: 授業のための段と、data/models.csv のすべてのモデル。

    python tests/models_table.py

学習に要る GPU のメモリ (GiB) は、この YAML で、256 トークンの行が 16 問並ぶときの見積もり。
"""

import csv
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from quiz.adapter import read_config  # noqa: E402
from quiz.model import quiet  # noqa: E402
from quiz.training.memory import estimate  # noqa: E402

# 表で仮定する 1 行のトークン数 (デモの最長は 113) と、そのうち回答の分
ROW = 256
ANSWER = 32
# GPU のメモリ (GB) と、そのうち学習に使える割合 (ほかは CUDA と、見積もりの外れの分)
CARDS = 8, 16, 24, 40, 80
ROOM = 0.9
# data/models.csv の列のうち、モデルの形。空なら、その構造の既定の値
SHAPE = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
    "head_dim",
    "tie_word_embeddings",
)
LADDER = {
    "GPU": "card",
    "base_model": "hub",
    "パラメータ": "parameters",
    "学習": "fast",
    "節約すると": "small",
    "CPU では": "cpu",
    "ライセンス": "licence",
    "承認": "gated",
    "ほかに要るもの": "needs",
    "どんなモデルか": "ladder",
}
ALL = {
    "名前": "name",
    "base_model": "hub",
    "構造": "model_type",
    "種類": "kind",
    "パラメータ": "parameters",
    "学習": "fast",
    "節約すると": "small",
    "ライセンス": "licence",
    "承認": "gated",
    "ほかに要るもの": "needs",
    "確かめた範囲": "checked",
}
# 形が確かでなければ、形から求めたものも確かでない
FROM_SHAPE = {"parameters", "fast", "small", "cpu", "card"}


@cache
def needs_of(model_type, shape, device):
    """そのモデルの学習に要るもの。shape は (名前, 値) のタプル。同じ形は 1 度だけ求める。"""
    from transformers import AutoConfig

    model_config = AutoConfig.for_model(model_type, **dict(shape))
    return estimate(model_config, read_config(ROOT / "qlora-opencalm.yml"), ROW, ANSWER, device)


def value_of(text):
    """CSV の値。数か True か False。"""
    return int(text) if text.isdigit() else text == "True"


def with_estimates(row):
    """row (CSV の 1 行) に、見積もりを文字にしたものを足す。形が分からなければ — にする。"""
    shape = tuple((name, value_of(row[name])) for name in SHAPE if row[name])
    if not shape:
        return row | dict.fromkeys(FROM_SHAPE, "—")
    needs = needs_of(row["model_type"], shape, "cuda")
    card = next(size for size in CARDS if needs.small < ROOM * size)
    estimates = {
        "size": needs.parameters,
        "parameters": f"{needs.parameters / 1e9:.2f} B",
        "fast": f"{needs.fast:.1f}",
        "small": f"{needs.small:.1f}",
        "card": f"{card} GB から",
    }
    if row["ladder"]:
        estimates["cpu"] = f"{needs_of(row['model_type'], shape, 'cpu').small:.1f}"
    return row | estimates


def marked(row, key):
    """row の key の文字。資料で確かめていなければ ? を付ける。"""
    unverified = row["unverified"].split()
    doubted = key in unverified or ("shape" in unverified and key in FROM_SHAPE)
    answers = {"yes": "要る", "no": "要らない"}
    text = answers.get(row[key], row[key]) if key == "gated" else row[key]
    return f"{text} ?".strip() if doubted and text != "—" else text


def table(columns, rows):
    """rows の Markdown の表。columns は、見出しから CSV の列の名前への dict。"""
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for row in rows:
        cells = [marked(row, key) for key in columns.values()]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    quiet(".")
    with open(ROOT / "data/models.csv", encoding="utf-8", newline="") as f:
        rows = [with_estimates(row) for row in csv.DictReader(f)]
    ladder = [row for row in rows if row["ladder"]]
    ladder.sort(key=lambda row: row["size"])
    print(table(LADDER, ladder), table(ALL, rows), sep="\n\n")


if __name__ == "__main__":
    main()
