"""README を手で打つ: コードブロックのコマンドを、上から順に、新しいフォルダで。

Hub は、127.0.0.1 の代わりのもの。
"""

import os
import re
import shutil
import sys

import pytest
import torch
import yaml
from conftest import BIN, CONFIG, DEMO, ROOT, read, run
from hub import hub
from safetensors.torch import load_file

# 2 つの run.sh と、.venv を作る 2 行は、このテストを動かしたコマンドがしている。
DONE = "bash ", "python3.11 -m venv", "pip install"
# 「デモの問題で練習する」の、最初のコマンド
PRACTICE = "python convert_train.py data/demo/train_questions.json"
OPEN_CALM = {"cyberagent/open-calm-small": DEMO / "model"}


def blocks(path, language="bash"):
    """path の、language のコードブロックの行。"""
    found = re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), re.S)
    return [line for block in found for line in block.splitlines()]


def cut(source, target, n):
    """デモの source の初めの n 行を、target に書く。"""
    lines = (DEMO / source).read_text(encoding="utf-8").splitlines(keepends=True)
    target.write_text("".join(lines[:n]), encoding="utf-8")


def type_in(folder, lines, url):
    """lines を、folder で、手順を打つ人の環境で、上から順に打つ。途中で失敗すれば止まる。"""
    script = folder / "typed.sh"
    script.write_text("set -ex\n" + "\n".join(lines), encoding="utf-8")
    # conftest.py が決めたものは、手順を打つ人の環境にはない
    set_by_us = ("PYTHONPATH", "HF_HUB_OFFLINE", "AXOLOTL_DO_NOT_TRACK")
    environment = {name: value for name, value in os.environ.items() if name not in set_by_us}
    environment["PATH"] = environment["PATH"].replace(f"{BIN}:", "")
    environment |= {"HF_ENDPOINT": url, "HF_HOME": str(folder / "hf")}
    names = [f"{name}={value}" for name, value in environment.items()]
    return run("env", "-i", *names, "bash", script.name, cwd=folder).stdout


def test_readme_typed(clone):
    """上から順に打つと、最後まで通る。"""
    # クイズ王のファイルの代わり
    for name, n in (("train", 70), ("dev1", 12), ("dev2", 12)):
        cut(f"{name}_questions.json", clone / f"data/{name}_questions.json", n)
    # 最後の「デモの問題で練習する」は、同じコマンドのノートブック (test_notebook.py) が実行する
    lines = [line for line in blocks(ROOT / "README.md") if not line.startswith(DONE)]
    lines = lines[: lines.index(PRACTICE)]
    assert sum(line.startswith(("python ", "accelerate ")) for line in lines) >= 11
    with hub(OPEN_CALM) as (url, asked):
        shown = type_in(clone, lines, url)
    assert "/cyberagent/open-calm-small/resolve/main/model.safetensors" in asked
    assert "学習しました: 70 問" in shown
    written = {path.name for path in clone.iterdir()}
    assert {"result.json", "result-dev2.json", "result-base.json"} <= written
    assert {"figure.png", "page.html"} <= written


def test_demo_yaml_differs_only_where_it_says():
    """data/demo/qlora-demo.yml は、先頭の 5 行のほかは qlora-opencalm.yml と同じ。"""
    ours = yaml.safe_load((ROOT / CONFIG).read_text(encoding="utf-8"))
    theirs = yaml.safe_load((ROOT / "qlora-opencalm.yml").read_text(encoding="utf-8"))
    assert ours.keys() == theirs.keys()
    assert list(ours)[:5] == [key for key in ours if ours[key] != theirs[key]]


def ask(work, url, status):
    """学習前のモデルに 2 問を解かせ、stderr を返す。"""
    names = [
        f"HF_ENDPOINT={url}",
        f"HF_HOME={work / 'hf'}",
        "HF_HUB_ETAG_TIMEOUT=1",
        "HF_HUB_DOWNLOAD_TIMEOUT=1",
    ]
    command = [sys.executable, ROOT / "run_quiz.py", "--base", "--max-questions", "2"]
    shown = run("env", "-u", "HF_HUB_OFFLINE", *names, *command, cwd=work, status=status)
    if status:
        assert shown.stderr.startswith("エラー: ")
        assert shown.stderr.count("\n") == 1, shown.stderr
        assert not list(work.glob("result*"))
    return shown.stderr


@pytest.fixture
def hub_work(tmp_path):
    shutil.copy(ROOT / "qlora-opencalm.yml", tmp_path)
    cut("dev1_questions.json", tmp_path / "dev.json", 2)
    run(sys.executable, ROOT / "convert_eval.py", "dev.json", cwd=tmp_path)
    return tmp_path


def test_hub_that_fails(hub_work):
    """Hub がどう失敗しても 1 行で、次に打てば取得できる。取得した後は、Hub がなくても動く。"""
    lost = "Hub から取得できません"
    for fault, what in (("401", "承認が要ります"), ("slow", lost), ("cut", lost)):
        with hub(OPEN_CALM, fault) as (url, _):
            assert what in ask(hub_work, url, 1), fault
    assert lost in ask(hub_work, "http://127.0.0.1:9", 1)
    with hub(OPEN_CALM) as (url, _):
        ask(hub_work, url, 0)
    ask(hub_work, "http://127.0.0.1:9", 0)
    assert len(read(hub_work / "result-base.json")) == 3


def test_hub_with_bin_weights_only(hub_work):
    """重みが .bin しかないモデル (open-calm のように、古い名前の embed_out も) を読む。"""
    old = shutil.copytree(DEMO / "model", hub_work / "old")
    weights = load_file(old / "model.safetensors")
    weights["embed_out.weight"] = weights["gpt_neox.embed_in.weight"].clone()
    torch.save(weights, old / "pytorch_model.bin")
    (old / "model.safetensors").unlink()
    with hub({"cyberagent/open-calm-small": old}) as (url, asked):
        ask(hub_work, url, 0)
    assert any(path.endswith("pytorch_model.bin") for path in asked)
