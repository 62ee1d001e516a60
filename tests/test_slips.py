"""手順3から5の打ち間違いと壊れた入力 (手順1と手順2のものは tests/questions/test_bad_inputs.py)。

どれも日本語の 1 行で、何が、どこで、次に何をするかを言い、終了コード 1 で、何も変えない。
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import DEMO, ROOT, read, run, step, step_error, write_rows
from samples import solved

ROWS = [json.loads(line) for line in (DEMO / "dev1_questions.json").read_text(encoding="utf-8").splitlines()[:3]]
YAML = (ROOT / "qlora-opencalm.yml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """どの手順のファイルもそろった作業フォルダ。"""
    work = tmp_path_factory.mktemp("good")
    write_rows(work / "source.json", *ROWS)
    step("convert_train", "source.json", cwd=work)
    step("convert_eval", "source.json", cwd=work)
    solved(work / "result.json", [1, 0, 1])
    (work / "qlora-opencalm.yml").write_text(YAML, encoding="utf-8")
    (work / "open-small-qlora-out").mkdir()
    (work / "folder").mkdir()
    return work


def quiz(edit):
    """quiz.json の 2 件目を edit で変える。"""
    def setup(work):
        records = read(work / "quiz.json")
        edit(records[1])
        (work / "quiz.json").write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")
    return setup


def yaml(old, new, encoding="utf-8"):
    return lambda work: (work / "qlora-opencalm.yml").write_bytes(YAML.replace(old, new).encode(encoding, "replace"))


def rename(old, new):
    return lambda work: (work / old).rename(work / new)


def remove(name):
    return lambda work: (work / name).unlink()


def result(text):
    return lambda work: (work / "result.json").write_text(text, encoding="utf-8")


def keep(work):
    pass


QUIZ, SCORE = ["run_quiz"], ["analysis"]
STEP3, STEP4 = "accelerate launch", "python run_quiz.py"
SLIPS = {
    # ほかの手順のファイル
    "source to step 4": (keep, [*QUIZ, "--base", "--quiz", "source.json"], ["変換する前の問題", "python convert_eval.py"]),
    "result to step 4": (keep, [*QUIZ, "--base", "--quiz", "result.json"], ["手順4の結果", "python convert_eval.py"]),
    "yaml to step 4": (keep, [*QUIZ, "--base", "--quiz", "qlora-opencalm.yml"], ["qlora-opencalm.yml:1"]),
    "quiz.json as the yaml": (keep, [*QUIZ, "--config", "quiz.json"], ["base_model"]),
    "source to step 5": (keep, [*SCORE, "source.json"], ["変換する前の問題", STEP4]),
    "quiz.json to step 5": (keep, [*SCORE, "quiz.json"], ["手順1か手順2で変換した問題", STEP4]),
    "yaml to step 5": (keep, [*SCORE, "qlora-opencalm.yml"], ["qlora-opencalm.yml:1", STEP4]),
    # 出力
    "result over quiz.json": (keep, [*QUIZ, "--base", "-o", "quiz.json"], ["quiz.json は手順4の結果ではない", "-o"]),
    "result over another model's": (keep, [*QUIZ, "--base", "-o", "result.json"], ["別のモデルの結果", "-o"]),
    "result is a folder": (keep, [*QUIZ, "--base", "-o", "folder"], ["-o folder", ".json"]),
    "result in no folder": (keep, [*QUIZ, "--base", "-o", "nowhere/r.json"], ["nowhere/r.json"]),
    # 手順4
    "no quiz": (remove("quiz.json"), [*QUIZ, "--base"], ["quiz.json", "そこにありません", "python convert_eval.py"]),
    "no yaml": (remove("qlora-opencalm.yml"), QUIZ, ["qlora-opencalm.yml", "そこにありません"]),
    "no training yet": (keep, QUIZ, ["open-small-qlora-out", STEP3, "--base"]),
    "yaml in cp932": (yaml("", "", "cp932"), QUIZ, ["qlora-opencalm.yml:", "CP932"]),
    "tab in the yaml": (yaml("  - path", "\t- path"), QUIZ, ["qlora-opencalm.yml:", "字下げ"]),
    "no colon in the yaml": (yaml("output_dir: ", "output_dir "), QUIZ, ["qlora-opencalm.yml:"]),
    "base_model misspelt": (yaml("base_model:", "basemodel:"), QUIZ, ["base_model"]),
    "quiz is empty": (lambda work: (work / "quiz.json").write_text("[]"), [*QUIZ, "--base"], ["quiz.json", "1 問もありません"]),
    "quiz is cut": (lambda work: (work / "quiz.json").write_bytes((work / "quiz.json").read_bytes()[:-40]), [*QUIZ, "--base"], ["切れて"]),
    "quiz without output": (quiz(lambda r: r.pop("output")), [*QUIZ, "--base"], ["quiz.json:", "output", "python convert_eval.py"]),
    "quiz with another answer": (quiz(lambda r: r.update(output="9: あ")), [*QUIZ, "--base"], ["quiz.json:", "9: あ"]),
    "input is a list": (quiz(lambda r: r.update(input=["0: あ"])), [*QUIZ, "--base"], ["quiz.json:"]),
    "input is a number": (quiz(lambda r: r.update(input=3)), [*QUIZ, "--base"], ["quiz.json:"]),
    "instruction is null": (quiz(lambda r: r.update(instruction=None)), [*QUIZ, "--base"], ["quiz.json:"]),
    "output is a list": (quiz(lambda r: r.update(output=["0: あ"])), [*QUIZ, "--base"], ["quiz.json:"]),
    "format edited by hand": (quiz(lambda r: r.update(instruction=r["instruction"] + "!")), [*QUIZ, "--base"], ["書式"]),
    "broken record of the training": (lambda work: (work / "open-small-qlora-out/training.json").write_text("{"), QUIZ, ["training.json"]),
    # 手順5
    "no result": (rename("result.json", "old.json"), SCORE, ["result*.json", STEP4]),
    "named result missing": (keep, [*SCORE, "resutl.json"], ["resutl.json がありません", "ここにあるもの: result.json"]),
    "a log to step 5": (keep, [*SCORE, "old.log", "no.json"], ["no.json がありません"]),
    "a folder that is not there": (keep, [*QUIZ, "--model", "./nowhere"], ["--model ./nowhere"]),
    "base and model": (keep, [*QUIZ, "--base", "--model", "folder"], ["--base と --model"]),
    "base_model folder misspelt": (
        yaml("cyberagent/open-calm-small ", "./modle "), [*QUIZ, "--base"], ["./modle", "そのフォルダはありません"]),
    "quiz-dev2 missing": (keep, [*QUIZ, "--base", "--quiz", "quiz-dev2.json"], ["quiz-dev2.json", "-o quiz-dev2.json"]),
    "quiz.json as the training file": (
        yaml("path: train-5-inst.json", "path: quiz.json"), ["quiz.training.preflight", "qlora-opencalm.yml"], ["評価用"]),
    "result without json": (keep, [*QUIZ, "--base", "-o", "result-x"], [".json"]),
    "result is cut": (lambda w: (w / "result.json").write_bytes((w / "result.json").read_bytes()[:-60]), SCORE, ["切れて", STEP4]),
    "result is empty": (result(""), SCORE, ["result.json:1", "空です", STEP4]),
    "result has no record": (result('[{"elapsed_time": 1}]'), SCORE, ["result.json", STEP4]),
    "hit is a word": (lambda work: solved(work / "result.json", [1, 0], hit="yes"), SCORE, ["result.json:1", "hit", STEP4]),
    "figure over the result": (keep, [*SCORE, "--plot", "result.json"], ["--plot result.json", ".png"]),
    "page over the yaml": (keep, [*SCORE, "--html", "qlora-opencalm.yml"], ["--html", ".html"]),
    # 引数
    "no questions": (keep, [*QUIZ, "--max-questions", "0"], ["--max-questions", "1 以上"]),
    "prepare without a name": (keep, ["quiz.prepare_model", "model"], ["output がありません"]),
    "prepare into no folder": (keep, ["quiz.prepare_model", "open-small-qlora-out", "nowhere/model"], ["nowhere/model"]),
    "prepare over a folder": (keep, ["quiz.prepare_model", "open-small-qlora-out", "folder"], ["folder"]),
    "prepare what is no model": (keep, ["quiz.prepare_model", "open-small-qlora-out", "new"], ["open-small-qlora-out"]),
    "check without a yaml": (keep, ["quiz.training.preflight", "q.yml"], ["q.yml", "そこにありません"]),
    "check a cp932 yaml": (yaml("", "", "cp932"), ["quiz.training.preflight", "qlora-opencalm.yml"], ["qlora-opencalm.yml:", "CP932"]),
}


def state(work):
    return {p.relative_to(work): p.read_bytes() if p.is_file() else None for p in work.rglob("*")}


@pytest.mark.parametrize("name", SLIPS)
def test_slip(name, good, tmp_path):
    setup, command, expected = SLIPS[name]
    work = shutil.copytree(good, tmp_path / "work")
    setup(work)
    before = state(work)
    error = step_error(*command, cwd=work)
    assert all(text in error for text in expected), error
    assert not [line for line in ("Traceback", "Errno", "No such") if line in error] and len(error) < 400
    assert state(work) == before


def test_links_are_followed(good, tmp_path):
    """出力がシンボリックリンクなら、リンクの先を書き、リンクは残る。"""
    (tmp_path / "real.json").symlink_to(tmp_path / "kept.json")
    step("convert_train", good / "source.json", "-o", "real.json", cwd=tmp_path)
    step("convert_train", good / "source.json", "-o", "real.json", cwd=tmp_path)
    assert (tmp_path / "real.json").is_symlink() and len(read(tmp_path / "kept.json")) == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="tmpfs を作れるのは root だけ")
def test_full_disk_and_read_only(good, tmp_path):
    """ディスクが満杯でも、書き込めなくても 1 行で、前のファイルは残り、書きかけは残らない。"""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mount できない")
    try:
        shutil.copy(good / "train-5-inst.json", disk)
        (disk / "filler").write_bytes(b"x" * (56 * 1024))
        before = state(disk)
        target = disk / "train-5-inst.json"
        assert "空き容量がありません" in step_error("convert_train", DEMO / "train_questions.json", "-o", target, cwd=tmp_path)
        assert state(disk) == before
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        assert "書き込めない場所です" in step_error("convert_train", DEMO / "train_questions.json", "-o", target, cwd=tmp_path)
        assert state(disk) == before
    finally:
        subprocess.run(["umount", disk], check=True)


def test_reader_that_leaves(good, tmp_path):
    """| head で先に閉じられても、traceback を出さず、ファイルは書き終える。"""
    command = f"{sys.executable} -u {ROOT}/convert_train.py {good}/source.json | true"
    assert not run("bash", "-o", "pipefail", "-c", command, cwd=tmp_path).stderr
    assert len(read(tmp_path / "train-5-inst.json")) == 3
    (good / "many.json").write_bytes((good / "result.json").read_bytes())
    command = f"{sys.executable} {ROOT}/analysis.py {'many.json ' * 3000} | head -n 1"
    shown = run("bash", "-o", "pipefail", "-c", command, cwd=good)
    assert shown.stdout.count("\n") == 1 and not shown.stderr


@pytest.mark.parametrize("script", ["convert_train.py", "run_quiz.py", "analysis.py"])
def test_without_activate(script, tmp_path):
    """.venv の Python でなければ、そう言う。"""
    python = Path(sys.executable).resolve()  # ライブラリの入っていない、元の Python
    error = run("env", "-i", f"PATH={os.environ['PATH']}", python, ROOT / script, cwd=tmp_path, status=1).stderr
    assert error.startswith("エラー: ") and error.count("\n") == 1 and "source .venv/bin/activate" in error


@pytest.mark.parametrize("script", ["run_quiz.py", "analysis.py"])
def test_typed_command_ends_in_one_line(script, tmp_path):
    """コマンドとして打っても、間違いは stderr の日本語 1 行と終了コード 1。traceback は出ない。"""
    error = run("python", ROOT / script, cwd=tmp_path, status=1).stderr
    assert error.startswith("エラー: ") and error.count("\n") == 1
