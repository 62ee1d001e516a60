"""手順3の点検と、モデルを直すコマンドの、打ち間違いと壊れた入力。

どれも日本語の 1 行で、何が、どこで、次に何をするかを言い、終了コード 1 で、何も変えない。
YAML の中の間違いは test_yaml_check.py と test_preflight.py にある。
"""

import json
import shutil

import pytest
from conftest import DEMO, ROOT, step, step_error, write_rows

SOURCE = (DEMO / "dev1_questions.json").read_text(encoding="utf-8").splitlines()[:3]
YAML = (ROOT / "qlora-opencalm.yml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """手順1と手順2を終えた作業フォルダ。"""
    work = tmp_path_factory.mktemp("good")
    write_rows(work / "source.json", *map(json.loads, SOURCE))
    step("convert_train", "source.json", cwd=work)
    step("convert_eval", "source.json", cwd=work)
    (work / "qlora-opencalm.yml").write_text(YAML, encoding="utf-8")
    (work / "open-small-qlora-out").mkdir()
    (work / "folder").mkdir()
    return work


def yaml(old, new, encoding="utf-8"):
    text = YAML.replace(old, new).encode(encoding, "replace")
    return lambda work: (work / "qlora-opencalm.yml").write_bytes(text)


def keep(work):
    pass


CHECK = ["quiz.training.preflight", "qlora-opencalm.yml"]
PREPARE = ["quiz.prepare_model", "open-small-qlora-out"]
BAD = {
    "prepare without a name": (keep, ["quiz.prepare_model", "model"], ["output がありません"]),
    "prepare into no folder": (keep, [*PREPARE, "nowhere/model"], ["nowhere/model"]),
    "prepare over a folder": (keep, [*PREPARE, "folder"], ["folder"]),
    "prepare what is no model": (keep, [*PREPARE, "new"], ["open-small-qlora-out"]),
    "check without a yaml": (
        keep,
        ["quiz.training.preflight", "q.yml"],
        ["q.yml", "そこにありません"],
    ),
    "cp932": (yaml("", "", "cp932"), CHECK, ["qlora-opencalm.yml:", "CP932"]),
    "the training file is quiz.json": (
        yaml("path: train-5-inst.json", "path: quiz.json"),
        CHECK,
        ["評価用"],
    ),
    "a wide blank before a key": (
        yaml("lora_r: 64", "\u3000lora_r: 64"),
        CHECK,
        ["qlora-opencalm.yml"],
    ),
    "a wide colon": (yaml("seed: 42", "seed： 42"), CHECK, ["qlora-opencalm.yml:"]),
    "a blank at the beginning": (yaml("seed: 42", " seed: 42"), CHECK, ["qlora-opencalm.yml:"]),
}


def state(work):
    return {p.relative_to(work): p.read_bytes() if p.is_file() else None for p in work.rglob("*")}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_of_step_3(name, good, tmp_path):
    setup, command, expected = BAD[name]
    work = shutil.copytree(good, tmp_path / "work")
    setup(work)
    before = state(work)
    error = step_error(*command, cwd=work)
    assert all(text in error for text in expected), error
    assert not [word for word in ("Traceback", "Errno", "No such") if word in error]
    assert len(error) < 400 and state(work) == before
