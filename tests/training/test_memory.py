"""メモリの見積もりと、モデルの表。"""

import csv
import re

import pytest
from conftest import ROOT, run
from transformers import AutoConfig, AutoModelForCausalLM

from quiz.model import load_model
from quiz.training import memory


def test_weight_memory_is_what_loading_takes(llama):
    """重みの見積もりは、bitsandbytes が実際に作るテンソルの大きさと合う。"""
    yaml = {"load_in_4bit": True, "lora_r": 0, "micro_batch_size": 0}
    needs = memory.estimate(AutoConfig.from_pretrained(llama), yaml, 0, 0, "cpu")
    model = load_model(llama, None, {"load_in_4bit": True}, "cpu")
    size = 0
    for p in model.parameters():
        size += p.numel() * p.element_size()
        if state := getattr(p, "quant_state", None):
            size += state.absmax.numel() + state.state2.absmax.numel() * 4
    for gib in (needs.fast, needs.small):
        taken = (gib - memory.CPU_OVERHEAD) * memory.GIB
        assert taken == pytest.approx(size, rel=0.01)
    whole = AutoModelForCausalLM.from_pretrained(llama)
    assert needs.parameters == sum(p.numel() for p in whole.parameters())


def test_table_has_every_model(tmp_path):
    """表の初めの 25 行は、公開の表の 25 モデル。

    docs/models.md の 2 つの表は、このコマンドの出力そのもの。
    """
    out = run("python", ROOT / "tests/models_table.py", cwd=tmp_path).stdout
    ladder, whole = out.strip().split("\n\n")
    names = re.findall(r"^\| (\S+) \| \S+/", whole, re.M)
    with open(ROOT / "data/published_scores.csv", encoding="utf-8", newline="") as f:
        published = {row["model"] for row in csv.DictReader(f)}
    assert published == set(names[:25]) and len(names) == len(set(names)) > 25
    # 授業のための段には、確かめたモデルだけを載せる
    assert 6 <= len(ladder.splitlines()) - 2 <= 8 and "使えません" not in ladder
    document = (ROOT / "docs/models.md").read_text(encoding="utf-8")
    assert ladder in document and whole in document
