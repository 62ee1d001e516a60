"""手順4の、打ち間違いと壊れた入力の表。

どれも日本語の 1 行で、何が、どこで、次に何をするかを言い、終了コード 1 で、何も変えない。
"""

import json
import shutil

import pytest
from conftest import DEMO, ROOT, read, step, step_error, write_rows
from samples import solved

YAML = (ROOT / "qlora-opencalm.yml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """手順4のファイルがそろった作業フォルダ。"""
    work = tmp_path_factory.mktemp("good")
    lines = (DEMO / "dev1_questions.json").read_text(encoding="utf-8").splitlines()
    write_rows(work / "source.json", *map(json.loads, lines[:3]))
    step("convert_eval", "source.json", cwd=work)
    solved(work / "result.json", [1, 0, 1])
    (work / "qlora-opencalm.yml").write_text(YAML, encoding="utf-8")
    (work / "open-small-qlora-out").mkdir()
    (work / "folder").mkdir()
    (work / "memo.log").write_text("大事なメモ")
    return work


def keep(work):
    pass


def remove(name):
    return lambda work: (work / name).unlink()


def text(name, content):
    return lambda work: (work / name).write_text(content, encoding="utf-8")


def yaml(old, new, encoding="utf-8"):
    raw = YAML.replace(old, new).encode(encoding, "replace")
    return lambda work: (work / "qlora-opencalm.yml").write_bytes(raw)


def cut(work):
    raw = (work / "quiz.json").read_bytes()
    (work / "quiz.json").write_bytes(raw[:-40])


def quiz(**changes):
    """quiz.json の 2 件目を変える。値が ... なら、その項目を消す。"""

    def setup(work):
        records = read(work / "quiz.json")
        changed = records[1] | changes
        records[1] = {key: value for key, value in changed.items() if value is not ...}
        lines = json.dumps(records, ensure_ascii=False, indent=2)
        (work / "quiz.json").write_text(lines, encoding="utf-8")

    return setup


BASE = ["--base"]
EVAL, SECOND = "python convert_eval.py", "quiz.json:9:"  # 2 件目の始まる行
OLD_RUN = '{"elapsed_time": 1, "model": "cyberagent/open-calm-small", "adapter": null}'
OLD_RESULT = f'[{{"ID": 0}}, {OLD_RUN}]'

BAD_INPUTS = {  # 名前: 用意、引数、1 行に入っているべきもの
    # 問題
    "no quiz": (remove("quiz.json"), BASE, ["quiz.json", "そこにありません", EVAL]),
    "quiz-dev2 missing": (keep, [*BASE, "--quiz", "quiz-dev2.json"], ["-o quiz-dev2.json"]),
    "quiz is empty": (text("quiz.json", "[]"), BASE, ["quiz.json", "1 問もありません"]),
    "quiz is cut": (cut, BASE, ["quiz.json:", "切れて"]),
    "source as the quiz": (
        keep,
        [*BASE, "--quiz", "source.json"],
        ["source.json:1", "変換する前の問題", EVAL],
    ),
    "result as the quiz": (keep, [*BASE, "--quiz", "result.json"], ["手順4の結果", EVAL]),
    "yaml as the quiz": (keep, [*BASE, "--quiz", "qlora-opencalm.yml"], ["qlora-opencalm.yml:1"]),
    "no output": (quiz(output=...), BASE, [SECOND, "output", EVAL]),
    "output is no answer": (quiz(output="クリオネ"), BASE, [SECOND, "クリオネ"]),
    "label out of range": (quiz(output="9: あ"), BASE, [SECOND, "9: あ"]),
    "output is a list": (quiz(output=["0: あ"]), BASE, [SECOND]),
    "no input": (quiz(input=...), BASE, [SECOND, "書式"]),
    "input is a list": (quiz(input=["0: あ"]), BASE, [SECOND]),
    "input is a number": (quiz(input=3), BASE, [SECOND]),
    "no instruction": (quiz(instruction=...), BASE, [SECOND, "instruction"]),
    "instruction is null": (quiz(instruction=None), BASE, [SECOND]),
    "instruction is a number": (quiz(instruction=3), BASE, [SECOND]),
    "another format": (quiz(instruction="答えてください"), BASE, [SECOND, "書式"]),
    # YAML とモデル
    "no yaml": (remove("qlora-opencalm.yml"), [], ["qlora-opencalm.yml", "そこにありません"]),
    "quiz.json as the yaml": (keep, ["--config", "quiz.json"], ["base_model"]),
    "yaml in cp932": (yaml("", "", "cp932"), [], ["qlora-opencalm.yml:", "CP932"]),
    "tab in the yaml": (yaml("  - path", "\t- path"), [], ["qlora-opencalm.yml:", "字下げ"]),
    "no colon in the yaml": (yaml("output_dir: ", "output_dir "), [], ["qlora-opencalm.yml:"]),
    "base_model misspelt": (yaml("base_model:", "basemodel:"), [], ["base_model"]),
    "base_model folder misspelt": (
        yaml("cyberagent/open-calm-small ", "./modle "),
        BASE,
        ["./modle", "そのフォルダはありません"],
    ),
    "no training yet": (keep, [], ["open-small-qlora-out", "accelerate launch", "--base"]),
    "broken record of the training": (
        text("open-small-qlora-out/training.json", "{"),
        [],
        ["training.json"],
    ),
    "a folder that is not there": (keep, ["--model", "./nowhere"], ["--model ./nowhere"]),
    "base and model": (keep, [*BASE, "--model", "folder"], ["--base と --model"]),
    # 例
    "no file of examples": (keep, [*BASE, "--shots", "4"], ["train-5-inst.json", "手順1"]),
    "no examples in the yaml": (yaml("datasets:", "data:"), [*BASE, "--shots", "4"], ["datasets"]),
    "examples are the quiz": (
        yaml("train-5-inst.json", "quiz.json"),
        [*BASE, "--shots", "4"],
        ["例に使えるのは 0 問"],
    ),
    # 出力
    "result over quiz.json": (
        keep,
        [*BASE, "-o", "quiz.json"],
        ["quiz.json は手順4の結果ではない", "-o"],
    ),
    "result over another model's": (keep, [*BASE, "-o", "result.json"], ["model: calm → ", "-o"]),
    "result over other questions": (
        text("r.json", OLD_RESULT),
        [*BASE, "-o", "r.json"],
        ["今度は解かない 1 問", "-o"],
    ),
    "result is a folder": (keep, [*BASE, "-o", "folder"], ["-o folder", ".json"]),
    "result in no folder": (keep, [*BASE, "-o", "nowhere/r.json"], ["nowhere/r.json"]),
    "result without json": (keep, [*BASE, "-o", "result-x"], [".json"]),
    "log of something else": (keep, [*BASE, "-o", "memo.json"], ["memo.log", "手順4の記録では"]),
    # 引数
    "no questions": (keep, ["--max-questions", "0"], ["--max-questions", "1 以上"]),
    "batch is a word": (keep, ["--batch-size", "x"], ["--batch-size", "整数"]),
    "unknown option": (keep, ["--rotation-s"], ["--rotation-s", "引数はありません", "-h"]),
}


def state(work):
    return {p: p.read_bytes() if p.is_file() else None for p in work.rglob("*")}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input(name, good, tmp_path):
    setup, options, expected = BAD_INPUTS[name]
    work = shutil.copytree(good, tmp_path / "work")
    setup(work)
    before = state(work)
    error = step_error("run_quiz", *options, cwd=work)
    assert all(part in error for part in expected), error
    assert not [word for word in ("Traceback", "Errno", "No such") if word in error]
    assert len(error) < 400
    assert state(work) == before
