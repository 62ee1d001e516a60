"""README を手で打つ: コードブロックのコマンドを、上から順に、新しいフォルダで。Hub は 127.0.0.1 の代わりのもの。"""

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

# data/demo/run.sh と tests/run.sh そのものと、.venv を作る 2 行は、このテストを動かしたコマンドがしている。
DONE = "bash ", "python3.11 -m venv", "pip install"
OPEN_CALM = {"cyberagent/open-calm-small": DEMO / "model"}


def blocks(path, language="bash"):
    """path の、language のコードブロックの行。"""
    found = re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), re.S)
    return [line for block in found for line in block.splitlines()]


@pytest.fixture
def clone(tmp_path):
    """リポジトリの写し。.venv は、テストを動かしているもの。"""
    copy = tmp_path / "repo"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "out", "*cache*", "*-out", "result*.json", "last_run*"))
    for path in (*copy.glob("quiz*.json"), *copy.glob("train-*.json")):
        path.unlink()
    (copy / ".venv").symlink_to(BIN.parent)
    return copy


def cut(source, target, n):
    target.write_text("".join((DEMO / source).read_text(encoding="utf-8").splitlines(keepends=True)[:n]), encoding="utf-8")


def test_readme_typed(demo, clone):
    """上から順に打つと最後まで通り、デモの問題の点数は data/demo/run.sh と同じになる。"""
    for name, n in (("train", 70), ("dev1", 12), ("dev2", 12)):  # クイズ王のファイルの代わり
        cut(f"{name}_questions.json", clone / f"data/{name}_questions.json", n)
    # 学習は 2 度しない: 置いておいたアダプタを、手順3が「済んでいます」と言うのは、設定も問題もモデルも同じときだけである。
    shutil.copytree(demo / "demo-qlora-out", clone / "demo-qlora-out")
    lines = [line for line in blocks(ROOT / "README.md") if not line.startswith(DONE)]
    assert sum(line.startswith(("python ", "accelerate ")) for line in lines) >= 12
    ours = "PYTHONPATH", "HF_HUB_OFFLINE", "AXOLOTL_DO_NOT_TRACK"  # conftest.py が決めたもの
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    with hub(OPEN_CALM) as (url, asked):
        names = {"HF_ENDPOINT": url, "HF_HOME": str(clone / "hf"), "PATH": environment["PATH"].replace(f"{BIN}:", "")}
        (clone / "typed.sh").write_text("set -ex\n" + "\n".join(lines), encoding="utf-8")
        shown = run("env", "-i", *(f"{k}={v}" for k, v in (environment | names).items()), "bash", "typed.sh", cwd=clone)
    assert "/cyberagent/open-calm-small/resolve/main/model.safetensors" in asked
    assert "学習しました: 70 問" in shown.stdout and "demo-qlora-out の学習は済んでいます" in shown.stdout
    assert {"result.json", "result-dev2.json", "result-base.json", "figure.png", "page.html"} <= {p.name for p in clone.iterdir()}
    ours, theirs = read(clone / "result-demo.json")[:-1], read(demo / "result.json")[:-1]
    assert [(r["output"], r["hit"]) for r in ours] == [(r["output"], r["hit"]) for r in theirs]


def test_demo_yaml_differs_only_where_it_says():
    """data/demo/qlora-demo.yml は、先頭の 6 行のほかは qlora-opencalm.yml と同じ。"""
    ours, theirs = (yaml.safe_load((ROOT / name).read_text(encoding="utf-8")) for name in (CONFIG, "qlora-opencalm.yml"))
    assert list(ours)[:6] == [key for key in ours if ours[key] != theirs[key]] and ours.keys() == theirs.keys()


def test_links_and_files_in_the_documents():
    """文書の中のリンクの先がある。"""
    for document in (ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("data/**/README.md")):
        if "out" in document.parts:
            continue
        text = document.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)]+)\)", text):
            path, _, anchor = target.partition("#")
            linked = document.parent / path if path else document
            assert path.startswith("http") or linked.exists(), (document, target)
            heads = re.findall(r"^#+ (.*)", linked.read_text(encoding="utf-8"), re.M) if anchor else []
            assert not anchor or anchor in [re.sub(r"[^\w-]", "", h.lower().replace(" ", "-")) for h in heads], (document, target)
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


def ask(work, url, status):
    """学習前のモデルに 2 問を解かせ、stderr の最後の行を返す。"""
    names = {"HF_HOME": work / "hf", "HF_HUB_ETAG_TIMEOUT": 1, "HF_HUB_DOWNLOAD_TIMEOUT": 1}
    command = [sys.executable, ROOT / "run_quiz.py", "--base", "--max-questions", "2"]
    names = [f"{k}={v}" for k, v in (names | {"HF_ENDPOINT": url}).items()]
    shown = run("env", "-u", "HF_HUB_OFFLINE", *names, *command, cwd=work, status=status)
    if status:
        assert shown.stderr.startswith("エラー: ") and shown.stderr.count("\n") == 1 and not list(work.glob("result*")), shown.stderr
    return shown.stderr


@pytest.fixture
def hub_work(tmp_path):
    shutil.copy(ROOT / "qlora-opencalm.yml", tmp_path)
    cut("dev1_questions.json", tmp_path / "dev.json", 2)
    run(sys.executable, ROOT / "convert_eval.py", "dev.json", cwd=tmp_path)
    return tmp_path


def test_hub_that_fails(hub_work):
    """Hub が断っても、答えなくても、途中で切れても 1 行で、次に打てば取得できる。取得した後は、Hub がなくても動く。"""
    for fault, what in (("401", "承認が要ります"), ("slow", "Hub から取得できません"), ("cut", "Hub から取得できません")):
        with hub(OPEN_CALM, fault) as (url, _):
            assert what in ask(hub_work, url, 1), fault
    assert "Hub から取得できません" in ask(hub_work, "http://127.0.0.1:9", 1)
    with hub(OPEN_CALM) as (url, _):
        ask(hub_work, url, 0)
    ask(hub_work, "http://127.0.0.1:9", 0)
    assert len(read(hub_work / "result-base.json")) == 3


def test_hub_with_bin_weights_only(hub_work):
    """open-calm のように重みが .bin しかないモデル (古い名前の embed_out も) を、プログラムを実行しない読み方で読む。"""
    old = shutil.copytree(DEMO / "model", hub_work / "old")
    weights = load_file(old / "model.safetensors")
    weights["embed_out.weight"] = weights["gpt_neox.embed_in.weight"].clone()
    torch.save(weights, old / "pytorch_model.bin")
    (old / "model.safetensors").unlink()
    with hub({"cyberagent/open-calm-small": old}) as (url, asked):
        ask(hub_work, url, 0)
    assert any(path.endswith("pytorch_model.bin") for path in asked)
