"""打ち間違いと壊れた入力: どれも日本語の 1 行で、何が、どこで、次に何をするかを言い、終了コード 1 で、何も変えない。"""

import gzip
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
LINES = [json.dumps(row, ensure_ascii=False) for row in ROWS]
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


def source(content):
    """source.json を content (文字列、bytes、行のリスト) にする。"""
    raw = content if isinstance(content, bytes) else ("\n".join(content) if isinstance(content, list) else content).encode()
    return lambda work: (work / "source.json").write_bytes(raw)


def change(**changes):
    """2 行目の問題を変える。値が ... なら、その項目を消す。"""
    row = {key: value for key, value in (ROWS[1] | changes).items() if value is not ...}
    return source([LINES[0], json.dumps(row, ensure_ascii=False), LINES[2]])


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


TRAIN, EVAL, SCORE = ["convert_train", "source.json"], ["convert_eval", "source.json"], ["analysis"]
STEP4, GET = "python run_quiz.py", "data/README.md"
SLIPS = {
    # 手順1と手順2の入力
    "no file": (remove("source.json"), TRAIN, ["source.json", "そこにありません", GET]),
    "default file missing": (keep, ["convert_train"], ["data/train_questions.json", "そこにありません", GET]),
    "dev file missing": (keep, ["convert_eval"], ["data/dev1_questions.json", GET]),
    "folder as input": (keep, ["convert_train", "folder"], ["folder", "フォルダです"]),
    "empty": (source(""), TRAIN, ["source.json:1", "空です"]),
    "only blanks": (source("\n \n"), EVAL, ["source.json:1", "空です"]),
    "html": (source("<!DOCTYPE html>\n<p>404"), TRAIN, ["HTML", GET]),
    "xml error of the server": (source('<?xml version="1.0"?><Error>'), EVAL, ["HTML", GET]),
    "cp932": (source("\n".join(LINES).replace("×", "x").encode("cp932", "replace")), TRAIN, ["source.json:1", "CP932", "iconv"]),
    "utf-16": (source("\n".join(LINES).encode("utf-16")), TRAIN, ["UTF-16"]),
    "utf-16 be": (source(b"\xfe\xff" + "\n".join(LINES).encode("utf-16-be")), EVAL, ["UTF-16"]),
    "gzip": (source(gzip.compress("\n".join(LINES).encode())), TRAIN, ["gzip", "gunzip"]),
    "excel": (source(b"PK\x03\x04\x14\x00\xff\xfe"), TRAIN, ["Excel"]),
    "not utf-8 nor cp932": (source("\n".join(LINES).encode() + b"\x81\xff\xff"), TRAIN, ["source.json:3", "UTF-8"]),
    "cut in a character": (source("\n".join(LINES).encode()[:-1].rsplit(b"\xe3", 1)[0] + b"\xe3\x81"), TRAIN, ["途中で切れています", GET]),
    "cut in a string": (source("\n".join(LINES)[:-30]), EVAL, ["source.json:3", "途中で切れています"]),
    "cut in an array": (source("[\n" + ",\n".join(LINES)), TRAIN, ["source.json:4", "途中で切れています"]),
    "plain text": (source("こんにちは"), TRAIN, ["source.json:1", "JSON として読めません"]),
    "csv": (source("問題,正解\nA,B\n"), TRAIN, ["source.json:1", "誤答1 の列がありません", "docs/own_questions.md"]),
    "csv without a header": (source("首都は?,東京,大阪\n"), TRAIN, ["source.json:1", "JSON として読めません", "docs/own_questions.md"]),
    "no comma": (source([LINES[0], LINES[1].replace(", ", " ", 1)]), TRAIN, ["source.json:2", ", か閉じ括弧"]),
    "no colon": (source([LINES[0], LINES[1].replace(": ", " ", 1)]), TRAIN, ["source.json:2", ": がありません"]),
    "single quotes": (source([str(ROWS[0])]), TRAIN, ["source.json:1", '" で囲んだ名前']),
    "newline in a string": (
        source([LINES[0], LINES[1].replace("でしょう?", "で\nしょう?", 1)]), TRAIN, ["source.json:2", '" が閉じていません']),
    "numbers": (source("[1, 2]"), TRAIN, ["source.json:1", "{...}"]),
    "a string": (source('"あ"'), TRAIN, ["source.json:1", "{...}"]),
    "deep nesting in a record": (source('{"question": ' + "[" * 200000), EVAL, ["source.json:1"]),
    "huge number": (source(f'{{"question": {"9" * 5000}}}'), TRAIN, ["source.json:1"]),
    "lone surrogate": (
        source([LINES[0], LINES[1].replace("でしょう", "\\ud800でしょう")]), TRAIN, ["source.json:2", "JSON として読めません"]),
    "no question": (change(question=...), TRAIN, ["source.json:2", "question がありません"]),
    "no answer": (change(answer_entity=...), EVAL, ["source.json:2", "answer_entity がありません"]),
    "no candidates": (change(answer_candidates=...), TRAIN, ["source.json:2", "answer_candidates がありません"]),
    "numeric answer": (change(answer_entity=1603), TRAIN, ["source.json:2", "answer_entity", "1603", "囲みます"]),
    "null answer": (change(answer_entity=None), EVAL, ["source.json:2", "answer_entity", "None"]),
    "empty question": (change(question=""), TRAIN, ["source.json:2", "question"]),
    "blank answer": (change(answer_entity="　"), TRAIN, ["source.json:2", "answer_entity"]),
    "list as a question": (change(question=["あ"]), TRAIN, ["source.json:2", "question"]),
    "candidates in one string": (change(answer_candidates="あ、い、う"), TRAIN, ["source.json:2", "answer_candidates", "配列"]),
    "a number among the candidates": (change(answer_candidates=["あ", 3]), TRAIN, ["source.json:2", "answer_candidates"]),
    "an empty candidate": (change(answer_candidates=["あ", ""]), TRAIN, ["source.json:2", "answer_candidates"]),
    "one candidate in every row": (
        source([json.dumps(r | {"answer_candidates": [r["answer_entity"]]}) for r in ROWS]), TRAIN, ["候補が足りない"]),
    "too many choices": (keep, [*TRAIN, "--num-choices", "10", "--max-questions", "0"], ["--max-questions"]),
    # ほかの手順のファイル
    "quiz.json to step 1": (keep, ["convert_train", "quiz.json"], ["手順1か手順2で変換した問題", "data/train_questions.json"]),
    "train file to step 2": (keep, ["convert_eval", "train-5-inst.json"], ["手順1か手順2で変換した問題"]),
    "result to step 1": (keep, ["convert_train", "result.json"], ["手順4の結果"]),
    "yaml to step 1": (keep, ["convert_train", "qlora-opencalm.yml"], ["qlora-opencalm.yml:1", "JSON"]),
    "source to step 5": (keep, [*SCORE, "source.json"], ["変換する前の問題", STEP4]),
    "quiz.json to step 5": (keep, [*SCORE, "quiz.json"], ["手順1か手順2で変換した問題", STEP4]),
    "yaml to step 5": (keep, [*SCORE, "qlora-opencalm.yml"], ["qlora-opencalm.yml:1", STEP4]),
    "source as the training file of step 2": (keep, [*EVAL, "--train", "result.json"], ["手順4の結果", "python convert_train.py"]),
    # 出力
    "output is the source": (keep, [*TRAIN, "-o", "source.json"], ["source.json は、この手順で", "-o"]),
    "output is the yaml": (keep, [*TRAIN, "-o", "qlora-opencalm.yml"], ["書き換えません"]),
    "eval over the training file": (keep, [*EVAL, "-o", "train-5-inst.json"], ["書き換えません"]),
    "train over quiz.json": (keep, [*TRAIN, "-o", "quiz.json"], ["書き換えません"]),
    "train over a result": (keep, [*TRAIN, "-o", "result.json"], ["書き換えません"]),
    "output is a folder": (keep, [*TRAIN, "-o", "folder"], ["folder"]),
    "output in a file": (keep, [*TRAIN, "-o", "quiz.json/x.json"], ["quiz.json/x.json", "フォルダ"]),
    "output in no folder": (keep, [*EVAL, "-o", "nowhere/x.json"], ["nowhere/x.json", "そこにありません"]),
    # 手順5
    "no result": (rename("result.json", "old.json"), SCORE, ["result*.json", STEP4]),
    "named result missing": (keep, [*SCORE, "resutl.json"], ["resutl.json がありません", "ここにあるもの: result.json"]),
    "a log to step 5": (keep, [*SCORE, "old.log", "no.json"], ["no.json がありません"]),
    "read-only output": (lambda work: (work / "train-5-inst.json").chmod(0o444), TRAIN, ["train-5-inst.json は書き込めない", "chmod"]),
    "quiz.json as the training file": (
        yaml("path: train-5-inst.json", "path: quiz.json"), ["quiz.training.preflight", "qlora-opencalm.yml"], ["評価用"]),
    "result is cut": (lambda w: (w / "result.json").write_bytes((w / "result.json").read_bytes()[:-60]), SCORE, ["切れて", STEP4]),
    "result is empty": (result(""), SCORE, ["result.json:1", "空です", STEP4]),
    "result has no record": (result('[{"elapsed_time": 1}]'), SCORE, ["result.json", STEP4]),
    "hit is a word": (lambda work: solved(work / "result.json", [1, 0], hit="yes"), SCORE, ["result.json:1", "hit", STEP4]),
    "figure over the result": (keep, [*SCORE, "--plot", "result.json"], ["--plot result.json", ".png"]),
    "page over the yaml": (keep, [*SCORE, "--html", "qlora-opencalm.yml"], ["--html", ".html"]),
    # 引数
    "unknown option": (keep, [*TRAIN, "--nun-choices", "4"], ["--nun-choices", "引数はありません", "-h"]),
    "no value": (keep, [*TRAIN, "-o"], ["-o", "値がありません"]),
    "seed is a word": (keep, [*TRAIN, "--seed", "x"], ["--seed", "整数"]),
    "choices out of range": (keep, [*TRAIN, "--num-choices", "11"], ["--num-choices", "2 以上 10 以下"]),
    "two files": (keep, [*TRAIN, "quiz.json"], ["quiz.json:2", "手順1か手順2で変換した問題"]),
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


ACCEPTED = {
    "bom": "\ufeff" + "\n".join(LINES), "crlf": "\r\n".join(LINES) + "\r\n", "blank lines": "\n\n".join(LINES) + "\n\n\n",
    "array": "[" + ",".join(LINES) + "]", "trailing comma": "[\n" + ",\n".join(LINES) + ",\n]", "commas between lines": ",\n".join(LINES),
    "one record over many lines": "\n".join(json.dumps(row, indent=2) for row in ROWS), "no newline at the end": "\n".join(LINES),
    "escapes": "\n".join(json.dumps(row) for row in ROWS)}


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name, good, tmp_path):
    """読んでよい形は、同じ問題として読む。"""
    (tmp_path / "source.json").write_bytes(ACCEPTED[name].encode())
    step(*EVAL, cwd=tmp_path)
    assert read(tmp_path / "quiz.json") == read(good / "quiz.json")


@pytest.mark.parametrize("changes, reason", [
    ({"question": "ベル\x07を鳴らすと?"}, "制御文字がある"), ({"answer_candidates": ["あ"], "answer_entity": "あ"}, "候補が足りない"),
    ({"answer_entity": "候補にない"}, "正解が候補にない")])
def test_row_that_cannot_be_used_is_counted(changes, reason, tmp_path):
    change(**changes)(tmp_path)
    assert f"読んだ 3 問 / 書く 2 問 / 飛ばした 1 問, {reason} 1 (2 行)" in step(*TRAIN, cwd=tmp_path).stdout


@pytest.mark.parametrize("question, candidates", [
    ("選択肢\n\n0: あ", ["い\nう", "1: え", "### 回答:", "お"]), ("長い" * 50000, ["a", "b"]), ("多い", [f"候補{i}" for i in range(30000)]),
    ("右から左\u202e", ["\u200f", "あ\u2066", "い"]), ("{question} {0}", ["{choices}", "%s", "\\n"]),
    ("絵文字👨‍👩‍👧", ["𠮷", "か\u3099", "が"])])
def test_odd_questions_come_through(question, candidates, tmp_path):
    """改行、番号や書式に似た文字、長い問題、多い候補、向きの変わる文字でも、学習用と評価用に同じ問題として通る。"""
    row = {"qid": "q", "question": question, "answer_entity": candidates[0], "answer_candidates": candidates}
    write_rows(tmp_path / "source.json", row)
    step(*TRAIN, cwd=tmp_path)
    step(*EVAL, cwd=tmp_path)
    (train,), (evaluation,) = read(tmp_path / "train-5-inst.json"), read(tmp_path / "quiz.json")
    assert train["output"] == evaluation["output"] == f"{train['output'][0]}: {' '.join(candidates[0].split())}"
    assert evaluation["input"].rstrip("\n") in train["instruction"]


def test_duplicate_qids_are_separate_questions(tmp_path):
    write_rows(tmp_path / "source.json", *({**row, "qid": "same"} for row in ROWS))
    step(*EVAL, cwd=tmp_path)
    assert len(read(tmp_path / "quiz.json")) == 3


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
