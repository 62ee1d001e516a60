"""手順1と手順2: 変換した文字列、選択肢の選び方、漏れの検査、エラー。"""

import json
import random

import pytest
from conftest import DEMO, ROOT, quiz_of, read, run, step, step_error, write_rows

from quiz.questions.choices import draw_choices

BOB = {"qid": "bob", "question": "格闘家ボブ・サップの出身国はどこでしょう?", "answer_entity": "アメリカ合衆国",
       "answer_candidates": ["アメリカ合衆国", "オレゴン州", "イギリス", "コロラド州", "ミシガン州"]}
CLIONE = {"qid": "clione", "answer_entity": "クリオネ",
          "question": "和名をハダカカメガイといい、実は巻き貝の一種とされている、その姿から「流氷の天使」と呼ばれる動物は何でしょう?",
          "answer_candidates": ["クリオネ", "ミズダコ", "オオイカリナマコ", "イソギンチャクモエビ", "アカシマシラヒゲエビ"]}


def seed_giving(tmp_path, script, row, order):
    """選択肢が order の順に並ぶ種を探して変換し、その 1 件を返す。"""
    seed = next(s for s in range(2000) if draw_choices(row, None, s)[0] == order)
    write_rows(tmp_path / "in.json", row)
    step(script, "in.json", "-o", "out.json", "--seed", seed, cwd=tmp_path)
    return read(tmp_path / "out.json")


def test_golden_train(tmp_path):
    """チュートリアルの学習の例と 1 文字違わない。"""
    records = seed_giving(tmp_path, "convert_train", BOB, ["オレゴン州", "イギリス", "アメリカ合衆国", "コロラド州", "ミシガン州"])
    assert records == [{
        "instruction": "以下の問題について、0, 1, 2, 3, 4の選択肢から選んで答えてください。\n\n"
                       "問題: 格闘家ボブ・サップの出身国はどこでしょう? \n選択肢\n\n"
                       "0: オレゴン州\n1: イギリス\n2: アメリカ合衆国\n3: コロラド州\n4: ミシガン州\n\n\n### 回答:\n",
        "output": "2: アメリカ合衆国"}]


def test_golden_eval(tmp_path):
    """チュートリアルの評価の例と 1 文字違わない。"""
    records = seed_giving(tmp_path, "convert_eval", CLIONE,
                          ["ミズダコ", "オオイカリナマコ", "クリオネ", "イソギンチャクモエビ", "アカシマシラヒゲエビ"])
    assert records == [{
        "instruction": "以下の問題について、0, 1, 2, 3, 4から選んで答えてください。\n問題: 和名をハダカカメガイといい、"
                       "実は巻き貝の一種とされている、その姿から「流氷の天使」と呼ばれる動物は何でしょう?\n",
        "input": "0: ミズダコ\n1: オオイカリナマコ\n2: クリオネ\n3: イソギンチャクモエビ\n4: アカシマシラヒゲエビ\n\n\n",
        "output": "2: クリオネ", "qid": "clione"}]


def test_eval_prompt_is_train_prompt(tmp_path):
    """同じ行を学習用と評価用に変換すると、モデルに渡す文字列は同じになる。"""
    step("convert_train", DEMO / "dev1_questions.json", "-o", "train.json", cwd=tmp_path)
    step("convert_eval", DEMO / "dev1_questions.json", "-o", "quiz.json", cwd=tmp_path)
    train, quiz = read(tmp_path / "train.json"), read(tmp_path / "quiz.json")
    assert [(r["instruction"], r["output"]) for r in train] == [(q.prompt, q.answer) for q in quiz_of(tmp_path / "quiz.json")]
    assert [q.prompt for q in quiz_of(tmp_path / "train.json", 3)] == [r["instruction"] for r in train[:3]]
    assert {r["genre"] for r in quiz} == {"芸能", "学問", "雑学", "アニメ", "スポーツ"}


def test_choices_do_not_depend_on_other_rows(tmp_path):
    """1 行を除いても、ほかの行の選択肢は変わらない。種を変えると変わる。"""
    lines = (DEMO / "dev1_questions.json").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "all.json").write_text("".join(lines), encoding="utf-8")
    (tmp_path / "less.json").write_text("".join(lines[:3] + lines[4:]), encoding="utf-8")
    for source, *rest in (("all.json",), ("less.json",), ("all.json", "--seed", "1", "-o", "seed1.json")):
        step("convert_eval", source, "-o", f"out-{source}", *rest, cwd=tmp_path)
    whole = read(tmp_path / "out-all.json")
    assert read(tmp_path / "out-less.json") == whole[:3] + whole[4:]
    assert sum(a["input"] != b["input"] for a, b in zip(whole, read(tmp_path / "seed1.json"))) > len(whole) * 0.9


def test_answer_positions_and_distractors(tmp_path):
    """正解の位置は偏らず、誤答は候補から選ばれて重ならない。"""
    out = step("convert_train", DEMO / "train_questions.json", cwd=tmp_path).stdout
    records = read(tmp_path / "train-5-inst.json")
    rows = [json.loads(line) for line in (DEMO / "train_questions.json").read_text(encoding="utf-8").splitlines()]
    counts = [sum(r["output"].startswith(f"{k}:") for r in records) for k in range(5)]
    assert sum(counts) == len(rows) == len(records) and min(counts) > len(rows) / 5 * 0.7
    assert "  ".join(f"{k}: {n}" for k, n in enumerate(counts)) in out
    for row, record in zip(rows, records):
        choices = [line.partition(": ")[2] for line in record["instruction"].split("選択肢\n\n")[1].split("\n")[:5]]
        assert len(set(choices)) == 5 and set(choices) <= set(row["answer_candidates"])
        assert choices[int(record["output"][0])] == row["answer_entity"] == record["output"][3:]


def test_skipped_rows_and_number_of_choices(tmp_path):
    """使えない行は理由とともに数える。候補が 4 つなら 4 択、指定より少なければ飛ばす。"""
    four = {"qid": "4", "question": "四択?", "answer_entity": "い", "answer_candidates": ["あ", "い", "う", "え"]}
    rows = [BOB, {**BOB, "qid": "again"}, four, {**four, "qid": "x", "question": "正解がない?", "answer_entity": "お"},
            {**four, "qid": "y", "question": "一つだけ?", "answer_candidates": ["い"]},
            {**four, "qid": "z", "question": "穴_うめ_?", "answer_candidates": ["い", "ろ", "は", "に"]}]
    write_rows(tmp_path / "in.json", *rows)
    out = step("convert_train", "in.json", "-o", "out.json", cwd=tmp_path).stdout
    assert "読んだ 6 問 / 書く 3 問 / 飛ばした 3 問, 問題が重複 1 (2 行), 正解が候補にない 1 (4 行), 候補が足りない 1 (5 行)" in out
    records = read(tmp_path / "out.json")
    assert records[1]["instruction"].startswith("以下の問題について、0, 1, 2, 3の選択肢から")
    assert "問題: 穴うめ? \n" in records[2]["instruction"]
    step("convert_train", "in.json", "-o", "out.json", "--num-choices", "5", cwd=tmp_path)
    assert len(read(tmp_path / "out.json")) == 1
    step("convert_train", "in.json", "-o", "out.json", "--num-choices", "3", "--max-questions", "1", cwd=tmp_path)
    assert [r["instruction"].count("\n") for r in read(tmp_path / "out.json")] == [11]


def test_json_array_and_bom(tmp_path):
    """配列でも、BOM が付いていても読める。"""
    (tmp_path / "in.json").write_text("\ufeff" + json.dumps([BOB, CLIONE], ensure_ascii=False, indent=1), encoding="utf-8")
    step("convert_eval", "in.json", "-o", "out.json", cwd=tmp_path)
    assert len(read(tmp_path / "out.json")) == 2


def test_leak_is_reported(tmp_path):
    """学習用ファイルにもある問題の数を知らせる。全角と半角の違いは問わず、ファイルの名前は選べる。調べられなければ、そう言う。"""
    write_rows(tmp_path / "train_questions.json", BOB | {"question": BOB["question"].replace("?", "？")})
    write_rows(tmp_path / "dev.json", BOB, CLIONE)
    assert "train-5-inst.json がないので" in step("convert_eval", "dev.json", cwd=tmp_path).stderr
    step("convert_train", "train_questions.json", cwd=tmp_path)
    assert "1 問は train-5-inst.json にもあります" in step("convert_eval", "dev.json", cwd=tmp_path).stderr
    (tmp_path / "train-5-inst.json").rename(tmp_path / "mine.json")
    assert "1 問は mine.json にもあります" in step("convert_eval", "dev.json", "--train", "mine.json", cwd=tmp_path).stderr
    write_rows(tmp_path / "dev.json", CLIONE)
    assert not step("convert_eval", "dev.json", "--train", "mine.json", cwd=tmp_path).stderr


def test_candidates_equal_but_for_width():
    """全角と半角だけが違う候補は、1 つの選択肢。正解の表記は answer_entity のもの。"""
    row = {"qid": "1", "question": "?", "answer_entity": "ＡＢＣ", "answer_candidates": ["ABC", "DEF", "ＤＥＦ", "GHI", "G H I", "JKL"]}
    choices, label = draw_choices(row, None, 0)
    assert sorted(choices) == ["DEF", "GHI", "JKL", "ＡＢＣ"] and choices[label] == "ＡＢＣ"


GOOD = json.dumps(BOB, ensure_ascii=False)
BAD_FILES = {
    "missing": (None, "bad.json"),
    "empty": (b"", "bad.json:1"),
    "html": (b"<!DOCTYPE html>\n<html>404</html>", "bad.json:1"),
    "shift_jis": ("\n".join([GOOD.replace("?", "")] * 2).encode("cp932"), "bad.json:1"),
    "broken line": (f"{GOOD}\n{GOOD[:40]}\n{GOOD}\n".encode(), "bad.json:2"),
    "cut array": (f"[\n{GOOD},\n".encode(), "bad.json:3"),
    "no answer_entity": (f"{GOOD}\n\n{GOOD.replace('answer_entity', 'x')}\n".encode(), "bad.json:3"),
    "no candidates": (GOOD.replace("answer_candidates", "x").encode(), "bad.json:1"),
    "not an object": (b"[1, 2]", "bad.json:1"),
    "nothing usable": (GOOD.replace('"answer_entity": "アメリカ合衆国"', '"answer_entity": "x"').encode(), "bad.json"),
}


@pytest.mark.parametrize("script", ["convert_train", "convert_eval"])
@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_input(tmp_path, script, name):
    """どの間違いでも、ファイルと行を示す 1 行で終わり、前の出力は変わらない。"""
    content, where = BAD_FILES[name]
    if content is not None:
        (tmp_path / "bad.json").write_bytes(content)
    (tmp_path / "out.json").write_text("前の出力", encoding="utf-8")
    assert where in step_error(script, "bad.json", "-o", "out.json", cwd=tmp_path)
    assert (tmp_path / "out.json").read_text(encoding="utf-8") == "前の出力"
    assert not list(tmp_path.glob("*.tmp"))


def test_unwritable_output(tmp_path):
    write_rows(tmp_path / "in.json", BOB)
    assert "nowhere/out.json" in step_error("convert_train", "in.json", "-o", "nowhere/out.json", cwd=tmp_path)


def test_13000_rows(tmp_path):
    """13,000 行を 300 MB 以内のメモリで変換する。"""
    rng = random.Random(0)
    write_rows(tmp_path / "in.json", *(
        {"qid": f"q{i}", "question": "問題" * 30 + str(i), "answer_entity": "c0",
         "answer_candidates": [f"c{k}" + "".join(rng.choices("あいうえお漢字", k=8)) if k else "c0" for k in range(20)]}
        for i in range(13000)))
    command = ("import re, runpy, sys; sys.argv[1:] = ['in.json']; "
               f"runpy.run_path({str(ROOT / 'convert_train.py')!r}, run_name='__main__'); "
               "print(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1])")
    assert int(run("python", "-c", command, cwd=tmp_path).stdout.split()[-1]) < 300 * 1024
    assert len(read(tmp_path / "train-5-inst.json")) == 13000


@pytest.mark.parametrize("script", ["convert_train.py", "convert_eval.py", "run_quiz.py", "analysis.py"])
def test_typed_command_ends_in_one_line(script, tmp_path):
    """コマンドとして打っても、間違いは stderr の日本語 1 行と終了コード 1。traceback は出ない。"""
    error = run("python", ROOT / script, cwd=tmp_path, status=1).stderr
    assert error.startswith("エラー: ") and error.count("\n") == 1
