"""手順1と手順2の、打ち間違いと壊れた入力。

どれも日本語の 1 行で、何が、どこで、次に何をするかを言い、終了コード 1 で、何も変えない。
"""

import gzip
import json
import shutil

import pytest
from conftest import DEMO, ROOT, run, step, step_error, write_rows
from samples import solved

ROWS = []
for line in (DEMO / "dev1_questions.json").read_text(encoding="utf-8").splitlines()[:3]:
    ROWS.append(json.loads(line))
LINES = [json.dumps(row, ensure_ascii=False) for row in ROWS]
TEXT = "\n".join(LINES)
YAML = (ROOT / "qlora-opencalm.yml").read_text(encoding="utf-8")
JCQA = {"q_id": 7, "question": "電車が止まる所は?", "label": 0}
JCQA |= {f"choice{k}": text for k, text in enumerate("駅港空山川")}

TRAIN, EVAL = ["convert_train"], ["convert_eval"]
SOURCE, QUIZ, RESULT = ("変換する前の問題", "手順1か手順2で変換した問題", "手順4の結果")
GET, OWN = "data/README.md", "docs/own_questions.md"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """どの手順のファイルもそろった作業フォルダ。"""
    work = tmp_path_factory.mktemp("good")
    write_rows(work / "source.json", *ROWS)
    step("convert_train", "source.json", cwd=work)
    step("convert_eval", "source.json", cwd=work)
    solved(work / "result.json", [1, 0, 1])
    (work / "qlora-opencalm.yml").write_text(YAML, encoding="utf-8")
    (work / "folder").mkdir()
    return work


def second(row=None, **changes):
    """2 行目を、row (なければ元の行) を変えたものにした 3 行。値が ... なら、その項目を消す。"""
    changed = {k: v for k, v in ((row or ROWS[1]) | changes).items() if v is not ...}
    return "\n".join([LINES[0], json.dumps(changed, ensure_ascii=False), LINES[2]])


def jcqa(**changes):
    return second(JCQA, **changes)


def replaced(old, new):
    """2 行目の文字を置き換えた 3 行。"""
    return "\n".join([LINES[0], LINES[1].replace(old, new, 1), LINES[2]])


HEADER = "問題,正解,誤答1,誤答2,誤答3,分野\n"
MOUNTAIN = "山は?,富士山,北岳,槍,立山,\n"
RIVER = "川は?,信濃川,利根川,石狩川,天塩川,\n"
CUT = HEADER + MOUNTAIN + RIVER[:-1]
MIXED = (HEADER + MOUNTAIN).encode() + RIVER.encode("cp932")
ENGLISH = "question,answer,wrong1,wrong2,wrong3,genre\n"

# 名前: (ファイル名, 中身, 1 行のエラーにあるはずの文字)。手順1がそれを読むと終わる
INPUTS = {
    # ファイルそのもの
    "no file": ("a.json", None, ["a.json", "そこにありません", "今いるフォルダは", GET]),
    "empty": ("a.json", "", ["a.json:1", "空です"]),
    "html": ("a.json", "<!DOCTYPE html>\n<p>404", ["a.json:1", "HTML", GET]),
    "cp932": (
        "a.json",
        TEXT.replace("×", "x").encode("cp932", "replace"),
        ["a.json:1", "CP932", "iconv"],
    ),
    "utf-16": ("a.json", TEXT.encode("utf-16"), ["UTF-16"]),
    "gzip": ("a.json", gzip.compress(TEXT.encode()), ["gzip", "gunzip"]),
    "excel": ("a.json", b"PK\x03\x04\x14\x00\xff\xfe", ["Excel"]),
    "not utf-8 nor cp932": ("a.json", TEXT.encode() + b"\x81\xff\xff", ["a.json:3", "UTF-8"]),
    "cut in a character": (
        "a.json",
        TEXT.encode()[:-1].rsplit(b"\xe3", 1)[0] + b"\xe3\x81",
        ["途中で切れています", GET],
    ),
    "cut in a string": ("a.json", TEXT[:-30], ["a.json:3", "途中で切れています"]),
    "cut in an array": ("a.json", "[\n" + ",\n".join(LINES), ["a.json:4", "途中で切れています"]),
    "cut after a row of an array": ("a.json", f"[\n{LINES[0]},\n", ["a.json:3"]),
    "plain text": ("a.json", "こんにちは", ["a.json:1", "JSON でも", OWN]),
    "csv without a header": ("a.json", "首都は?,東京,大阪\n", ["a.json:1", "1 行目に見出し", OWN]),
    "no comma": ("a.json", replaced(", ", " "), ["a.json:2", ", か閉じ括弧"]),
    "single quotes": ("a.json", str(ROWS[0]), ["a.json:1", '" で囲んだ名前']),
    "newline in a string": (
        "a.json",
        replaced("でしょう?", "で\nしょう?"),
        ["a.json:2", '" が閉じていません'],
    ),
    "numbers": ("a.json", "[1, 2]", ["a.json:1", "{...}"]),
    "deep nesting in a record": ("a.json", '{"question": ' + "[" * 200000, ["a.json:1"]),
    "huge number": ("a.json", f'{{"question": {"9" * 5000}}}', ["a.json:1"]),
    "lone surrogate": (
        "a.json",
        replaced("でしょう", "\\ud800でしょう"),
        ["a.json:2", "JSON として読めません"],
    ),
    "yaml": ("a.yml", YAML, ["a.yml:1", "JSON"]),
    # クイズ王の問題
    "no answer": ("a.json", "\n" + second(answer_entity=...), ["a.json:3", "answer_entity", GET]),
    "no candidates": (
        "a.json",
        second(answer_candidates=...),
        ["a.json:2", "answer_candidates がありません"],
    ),
    "numeric answer": (
        "a.json",
        second(answer_entity=1603),
        ["a.json:2", "answer_entity", "1603", "囲みます"],
    ),
    "null answer": ("a.json", second(answer_entity=None), ["a.json:2", "answer_entity", "None"]),
    "empty question": ("a.json", second(question=""), ["a.json:2", "question"]),
    "blank answer": ("a.json", second(answer_entity="　"), ["a.json:2", "answer_entity"]),
    "candidates in one string": (
        "a.json",
        second(answer_candidates="あ、い、う"),
        ["a.json:2", "answer_candidates", "配列"],
    ),
    "a number among the candidates": (
        "a.json",
        second(answer_candidates=["あ", 3]),
        ["a.json:2", "answer_candidates"],
    ),
    "one candidate in every row": (
        "a.json",
        "\n".join(json.dumps(r | {"answer_candidates": [r["answer_entity"]]}) for r in ROWS),
        ["候補が足りない"],
    ),
    "nothing usable": (
        "a.json",
        "\n".join(json.dumps(r | {"answer_entity": "x"}) for r in ROWS),
        ["a.json", "1 問もありません", "正解が候補にない 3"],
    ),
    # JCommonsenseQA
    "label too large": ("a.json", jcqa(label=5), ["a.json:2", "label", "0 から 4", OWN]),
    "label below zero": ("a.json", jcqa(label=-1), ["a.json:2", "label"]),
    "label is null": ("a.json", jcqa(label=None), ["a.json:2", "label"]),
    "label is true": ("a.json", jcqa(label=True), ["a.json:2", "label"]),
    "label is 1.0": ("a.json", jcqa(label=1.0), ["a.json:2", "label"]),
    "choice4 is null": ("a.json", jcqa(choice4=None), ["a.json:2", "choice4", "None"]),
    "choice2 is missing": ("a.json", jcqa(choice2=...), ["a.json:2", "choice2 に", "None"]),
    "choice0 is missing": ("a.json", jcqa(choice0=...), ["a.json:2", "choice0 に", "None"]),
    "twelve choices": (
        "a.json",
        json.dumps({f"choice{k}": f"駅{k}" for k in range(12)} | {"question": "?", "label": 3}),
        ["選択肢が 10 個より多い", "--num-choices"],
    ),
    "one choice": ("a.json", '{"question": "?", "choice0": "駅", "label": 0}', ["候補が足りない"]),
    # 表計算: 見出し
    "no answer column": (
        "a.csv",
        "問題,誤答1\nあ?,い\n",
        ["a.csv:1", "見出しには", "今は 問題、誤答1", OWN],
    ),
    "no wrong column": ("a.csv", "問題,正解\nあ?,い\n", ["a.csv:1", "誤答の列が要ります"]),
    "csv named json": ("a.json", "問題,正解\nA,B\n", ["a.json:1", "誤答の列が要ります", OWN]),
    "numbered choices": (
        "a.csv",
        "問題,選択肢1,選択肢2,選択肢3,選択肢4,正解\nあ?,い,う,え,お,2\n",
        ["a.csv:1", "誤答の列が要ります", "正解は番号ではなく文字で", OWN],
    ),
    "the same column twice": (
        "a.csv",
        "問題,問題,正解,誤答1\nあ?,い?,う,え\n",
        ["a.csv:1", "1 つずつ"],
    ),
    "two names of one column": (
        "a.csv",
        "問題,正解,答え,誤答1\nあ?,い,う,え\n",
        ["a.csv:1", "1 つずつ"],
    ),
    "no header": ("a.csv", "あ?,い,う,え,お\n", ["a.csv:1", "1 行目に見出し"]),
    "no header in cp932": (
        "a.csv",
        "山は?,富士山,北岳\n".encode("cp932"),
        ["a.csv:1", "1 行目に見出し"],
    ),
    "header only": ("a.csv", HEADER, ["a.csv", "1 問もありません"]),
    "merged header": (
        "a.csv",
        "問題,正解,誤答,,,\n山は?,富士山,北岳,槍,立山,白山\n",
        ["a.csv:2", "見出しのない列に「槍」", "誤答2"],
    ),
    "merged header of pandas": (
        "a.csv",
        "問題,正解,誤答,Unnamed: 3\n山は?,富士山,北岳,\n川は?,信濃川,利根川,石狩川\n",
        ["a.csv:3", "見出しのない列に「石狩川」"],
    ),
    "two header lines": (
        "a.csv",
        f"{HEADER}{ENGLISH}あ?,い,う,え,お,\n",
        ["a.csv:2", "見出しの行が 2 つ"],
    ),
    "two files with marks": (
        "a.csv",
        f"\ufeff{HEADER}あ?,い,う,え,お,\n\ufeff{HEADER}か?,き,く,け,こ,\n",
        ["a.csv:3", "見出しの行が 2 つ"],
    ),
    "two files with quotes and marks": (
        "a.csv",
        '\ufeff"問題","正解","誤答1"\nあ?,い,う\n\ufeff"問題","正解","誤答1"\nか?,き,く\n',
        ["a.csv:3", "見出しの行が 2 つ"],
    ),
    "two files of another order": (
        "a.csv",
        f"{HEADER}あ?,い,う,え,お,\n分野,問題,正解,誤答1,誤答2,誤答3\n地理,か?,き,く,け,こ\n",
        ["a.csv:3", "見出しの行が 2 つ"],
    ),
    "two files, the question below the genre": (
        "a.csv",
        "問題,正解,誤答1,分野\nあ?,い,う,え\n正解,誤答1,分野,問題\nか,き,く,け?\n",
        ["a.csv:3", "見出しの行が 2 つ"],
    ),
    # 表計算: 文字コード
    "cut csv": ("a.csv", CUT.encode()[:-3], ["a.csv:3", "途中で切れている"]),
    "cut csv named txt": ("a.txt", CUT.encode()[:-3], ["a.txt:3", "途中で切れている"]),
    "cut csv in cp932": ("a.csv", CUT.encode("cp932")[:-2], ["a.csv:3", "途中で切れている"]),
    "two encodings": ("a.csv", MIXED, ["a.csv:3", "文字コードの違う行"]),
    "broken header": (
        "a.csv",
        b"\x81\xff\xff," + HEADER.encode() + MOUNTAIN.encode(),
        ["a.csv:1", "途中で切れているか"],
    ),
    "two encodings, cp932 first": (
        "a.csv",
        HEADER.encode("cp932") + MIXED.split(b"\n", 1)[1],
        ["a.csv:2", "文字コードの違う行"],
    ),
    "cut csv below an english header": (
        "a.csv",
        (ENGLISH + MOUNTAIN + RIVER).encode()[:-3],
        ["a.csv:3"],
    ),
    "utf-16 csv in english": ("a.csv", (ENGLISH + "a?,b,c,d\n").encode("utf-16"), ["UTF-16"]),
    "excel named csv": ("a.csv", b"PK\x03\x04\x14\x00\x06\xff\xfe", ["a.csv", "Excel"]),
    "excel under its own name": (
        "a.xlsx",
        b"PK\x03\x04\x14\x00\x06\xff\xfe",
        ["a.xlsx", "Excel", "CSV UTF-8"],
    ),
    # 表計算: 行
    "empty question cell": (
        "a.csv",
        HEADER + "あ?,い,う,え,お,\n,い,う,え,お,\n",
        ["a.csv:3", "「問題」の列が空"],
    ),
    "empty answer cell": ("a.csv", HEADER + "あ?,,う,え,お,\n", ["a.csv:2", "「正解」の列が空"]),
    "short row": ("a.csv", HEADER + "あ?\n", ["a.csv:2", "「正解」の列が空"]),
    "a date": ("a.csv", HEADER + "サッカーの結果は?,2024/3/1,2-0,1-1,0-0,\n", ["a.csv:2", "日付"]),
    "a date in english": (
        "a.csv",
        HEADER + "結果は?,2-0,1-Mar,1-1,13-1,\n",
        ["a.csv:2", "1-Mar", "日付"],
    ),
    "a fraction": (
        "a.csv",
        HEADER + "半分は?,1月2日,13/24,21/40,0/1,\n",
        ["a.csv:2", "1月2日", "日付"],
    ),
    "an error of the sheet": (
        "a.csv",
        HEADER + "あ?,#REF!,う,え,お,\n",
        ["a.csv:2", "「#REF!」", "エラー"],
    ),
    "an error of LibreOffice": (
        "a.csv",
        HEADER + "あ?,い,う,Err:502,お,\n",
        ["a.csv:2", "「Err:502」"],
    ),
    "a narrow cell": ("a.csv", HEADER + "あ?,い,####,え,お,\n", ["a.csv:2", "「####」"]),
    "an error as a question": ("a.csv", HEADER + "#N/A,い,う,え,お,\n", ["a.csv:2", "「#N/A」"]),
    "a comma without quotes": (
        "a.csv",
        HEADER + "あ, い, うのうち?,い,う,え,お,分野\n",
        ["a.csv:2", "見出しのない列に「お」", '" で囲み'],
    ),
    "a quote left open": (
        "a.csv",
        HEADER + 'あ?,"い,う,え,お,\nか?,き,く,け,こ,\n',
        ["a.csv", '"'],
    ),
    "no wrong answers": ("a.csv", HEADER + "あ?,い,,,,\n", ["1 問もありません", "候補が足りない"]),
}
# 名前: (打つもの, 1 行のエラーにあるはずの文字)。作業フォルダは good の写し
COMMANDS = {
    "default file missing": (TRAIN, ["data/train_questions.json", "そこにありません", GET]),
    "dev file missing": (EVAL, ["data/dev1_questions.json", "そこにありません", GET]),
    "folder as input": ([*TRAIN, "folder"], ["folder", "フォルダです"]),
    # ほかの手順のファイル
    "quiz.json to step 1": ([*TRAIN, "quiz.json"], [QUIZ, "data/train_questions.json"]),
    "train file to step 2": ([*EVAL, "train-5-inst.json"], [QUIZ]),
    "result to step 1": ([*TRAIN, "result.json"], [RESULT]),
    "yaml to step 1": ([*TRAIN, "qlora-opencalm.yml"], ["qlora-opencalm.yml:1", "JSON"]),
    "result as the training file of step 2": (
        [*EVAL, "source.json", "--train", "result.json"],
        [RESULT, "python convert_train.py"],
    ),
    "source as the training file of step 2": (
        [*EVAL, "source.json", "--train", "source.json"],
        [SOURCE, "python convert_train.py"],
    ),
    "two files": ([*TRAIN, "source.json", "quiz.json"], ["quiz.json:2", QUIZ]),
    # 出力
    "output is the source": (
        [*TRAIN, "source.json", "-o", "source.json"],
        ["source.json は、この手順で", "-o"],
    ),
    "output is the yaml": ([*TRAIN, "source.json", "-o", "qlora-opencalm.yml"], ["書き換えません"]),
    "eval over the training file": (
        [*EVAL, "source.json", "-o", "train-5-inst.json"],
        ["書き換えません"],
    ),
    "train over quiz.json": ([*TRAIN, "source.json", "-o", "quiz.json"], ["書き換えません"]),
    "eval over a result": ([*EVAL, "source.json", "-o", "result.json"], ["書き換えません"]),
    "output is a folder": ([*TRAIN, "source.json", "-o", "folder"], ["folder"]),
    "output in a file": (
        [*TRAIN, "source.json", "-o", "quiz.json/x.json"],
        ["quiz.json/x.json", "フォルダ"],
    ),
    "output in no folder": (
        [*EVAL, "source.json", "-o", "nowhere/x.json"],
        ["nowhere/x.json", "そこにありません"],
    ),
    # 引数
    "too many choices": (
        [*TRAIN, "source.json", "--num-choices", "10", "--max-questions", "0"],
        ["--max-questions"],
    ),
    "unknown option": ([*TRAIN, "--nun-choices", "4"], ["--nun-choices", "引数はありません", "-h"]),
    "no value": ([*TRAIN, "source.json", "-o"], ["-o", "値がありません"]),
    "seed is a word": ([*TRAIN, "source.json", "--seed", "x"], ["--seed", "整数"]),
    "choices out of range": (
        [*TRAIN, "source.json", "--num-choices", "11"],
        ["--num-choices", "2 以上 10 以下"],
    ),
}


def state(work):
    return {p.relative_to(work): p.read_bytes() if p.is_file() else None for p in work.rglob("*")}


def ends_in_one_line(command, expected, work):
    """command が expected を言う 1 行で終わり、何も変えないことを確かめる。"""
    before = state(work)
    error = step_error(*command, cwd=work)
    assert all(text in error for text in expected), error
    assert not [word for word in ("Traceback", "Errno", "No such") if word in error], error
    assert len(error) < 400
    assert state(work) == before


@pytest.mark.parametrize("name", INPUTS)
def test_bad_input(name, tmp_path, script="convert_train"):
    file, content, expected = INPUTS[name]
    if content is not None:
        raw = content if isinstance(content, bytes) else content.encode()
        (tmp_path / file).write_bytes(raw)
    (tmp_path / "out.json").write_text("前の出力", encoding="utf-8")
    ends_in_one_line([script, file, "-o", "out.json"], expected, tmp_path)


@pytest.mark.parametrize("name", ["no file", "cut in a string", "nothing usable", "two encodings"])
def test_bad_input_of_step_2(name, tmp_path):
    """手順2も、同じものを読む。"""
    test_bad_input(name, tmp_path, "convert_eval")


@pytest.mark.parametrize("name", COMMANDS)
def test_bad_command(name, good, tmp_path):
    command, expected = COMMANDS[name]
    ends_in_one_line(command, expected, shutil.copytree(good, tmp_path / "work"))


def test_read_only_output(good, tmp_path):
    work = shutil.copytree(good, tmp_path / "work")
    (work / "train-5-inst.json").chmod(0o444)
    expected = ["train-5-inst.json は書き込めない", "chmod"]
    ends_in_one_line([*TRAIN, "source.json"], expected, work)


@pytest.mark.parametrize("script", ["convert_train.py", "convert_eval.py"])
def test_typed_command_ends_in_one_line(script, tmp_path):
    """コマンドとして打っても、間違いは stderr の日本語 1 行と終了コード 1。traceback は出ない。"""
    error = run("python", ROOT / script, cwd=tmp_path, status=1).stderr
    assert error.startswith("エラー: ") and error.count("\n") == 1


def test_unreadable_name(tmp_path):
    """長すぎる名前も 1 行で。"""
    assert "読めません" in step_error("convert_train", "あ" * 300, cwd=tmp_path)
