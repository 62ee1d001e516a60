"""学生の打つコマンドに共通のこと: 書き方、止め方、読む相手、ライブラリのない Python。"""

import json
import os
import sys
from pathlib import Path

import pytest
from conftest import DEMO, ROOT, read, run, step, write_rows
from samples import solved

LINES = (DEMO / "dev1_questions.json").read_text(encoding="utf-8").splitlines()[:3]
ROWS = [json.loads(line) for line in LINES]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """手順1と、手順4の結果のある作業フォルダ。"""
    work = tmp_path_factory.mktemp("good")
    write_rows(work / "source.json", *ROWS)
    step("convert_train", "source.json", cwd=work)
    solved(work / "result.json", [1, 0, 1])
    return work


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
    error = run(
        "env", "-i", f"PATH={os.environ['PATH']}", python, ROOT / script, cwd=tmp_path, status=1
    ).stderr
    assert (
        error.startswith("エラー: ")
        and error.count("\n") == 1
        and "source .venv/bin/activate" in error
    )


@pytest.mark.parametrize("script", ["run_quiz.py", "analysis.py"])
def test_typed_command_ends_in_one_line(script, tmp_path):
    """コマンドとして打っても、間違いは stderr の日本語 1 行と終了コード 1。traceback は出ない。"""
    error = run("python", ROOT / script, cwd=tmp_path, status=1).stderr
    assert error.startswith("エラー: ") and error.count("\n") == 1
