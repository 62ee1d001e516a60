"""手順2: チュートリアルの例と同じ文字列、学習と同じプロンプト、学習した問題との重なり。"""

import json

import pytest
from conftest import DEMO, quiz_of, read, step, write_rows

from quiz.questions.choices import draw_questions
from quiz.questions.formats import from_quiz_king

CLIONE = {"qid": "clione", "answer_entity": "クリオネ",
          "question": "和名をハダカカメガイといい、実は巻き貝の一種とされている、その姿から"
                      "「流氷の天使」と呼ばれる動物は何でしょう?",
          "answer_candidates": ["クリオネ", "ミズダコ", "オオイカリナマコ", "イソギンチャクモエビ",
                                "アカシマシラヒゲエビ"]}
BOB = {"qid": "bob", "question": "格闘家ボブ・サップの出身国はどこでしょう?",
       "answer_entity": "アメリカ合衆国", "answer_candidates": ["アメリカ合衆国", "イギリス"]}


def test_golden_eval(tmp_path):
    """チュートリアルの評価の例と 1 文字違わない。"""
    order = ["ミズダコ", "オオイカリナマコ", "クリオネ", "イソギンチャクモエビ",
             "アカシマシラヒゲエビ"]
    rows = [from_quiz_king("", CLIONE)]
    seed = next(s for s in range(2000)
                if draw_questions(rows, None, s, None).questions[0].choices == tuple(order))
    write_rows(tmp_path / "in.json", CLIONE)
    step("convert_eval", "in.json", "-o", "out.json", "--seed", seed, cwd=tmp_path)
    assert read(tmp_path / "out.json") == [{
        "instruction": "以下の問題について、0, 1, 2, 3, 4から選んで答えてください。\n"
                       "問題: 和名をハダカカメガイといい、実は巻き貝の一種とされている、その姿から"
                       "「流氷の天使」と呼ばれる動物は何でしょう?\n",
        "input": "0: ミズダコ\n1: オオイカリナマコ\n2: クリオネ\n3: イソギンチャクモエビ\n"
                 "4: アカシマシラヒゲエビ\n\n\n",
        "output": "2: クリオネ", "qid": "clione"}]


def test_eval_prompt_is_train_prompt(tmp_path):
    """同じ行を学習用と評価用に変換すると、モデルに渡す文字列は同じになる。"""
    source = DEMO / "dev1_questions.json"
    step("convert_train", source, "-o", "train.json", cwd=tmp_path)
    step("convert_eval", source, "-o", "quiz.json", cwd=tmp_path)
    train = [(r["instruction"], r["output"]) for r in read(tmp_path / "train.json")]
    assert train == [(q.prompt, q.answer) for q in quiz_of(tmp_path / "quiz.json")]
    read_back = [q.prompt for q in quiz_of(tmp_path / "train.json", 3)]
    assert read_back == [prompt for prompt, _ in train[:3]]
    genres = {r["genre"] for r in read(tmp_path / "quiz.json")}
    assert genres == {"芸能", "学問", "雑学", "アニメ", "スポーツ"}


def test_json_array_and_bom(tmp_path):
    """配列でも、BOM が付いていても読める。"""
    text = "\ufeff" + json.dumps([BOB, CLIONE], ensure_ascii=False, indent=1)
    (tmp_path / "in.json").write_text(text, encoding="utf-8")
    step("convert_eval", "in.json", "-o", "out.json", cwd=tmp_path)
    assert len(read(tmp_path / "out.json")) == 2


def test_leak_is_reported(tmp_path):
    """学習用ファイルにもある問題の数を知らせる。全角と半角の違いは問わず、ファイルの名前は選べる。

    調べられなければ、そう言う。
    """
    full_width = BOB["question"].replace("?", "？")
    write_rows(tmp_path / "train_questions.json", BOB | {"question": full_width})
    write_rows(tmp_path / "dev.json", BOB, CLIONE)
    missing = step("convert_eval", "dev.json", cwd=tmp_path).stderr
    assert "train-5-inst.json がないので" in missing
    step("convert_train", "train_questions.json", cwd=tmp_path)
    found = step("convert_eval", "dev.json", cwd=tmp_path).stderr
    assert "1 問は train-5-inst.json にもあります" in found
    (tmp_path / "train-5-inst.json").rename(tmp_path / "mine.json")
    mine = ("convert_eval", "dev.json", "--train", "mine.json")
    assert "1 問は mine.json にもあります" in step(*mine, cwd=tmp_path).stderr
    write_rows(tmp_path / "dev.json", CLIONE)
    assert "注意" not in step(*mine, cwd=tmp_path).stderr


@pytest.mark.parametrize("trained, asked", [
    ("2³ は?", "23 は?"), ("else if は?", "ELSEIFは?"), ("㈱ は?", "(株)は?")])
def test_nearly_the_same_question_is_said_to_be_nearly(trained, asked, tmp_path):
    """上付き文字や空白だけが違う問題も、学習した問題に数え、ほぼ同じものも数えたと言う。"""
    write_rows(tmp_path / "train.json", BOB | {"question": trained})
    write_rows(tmp_path / "dev.json", BOB | {"question": asked})
    step("convert_train", "train.json", cwd=tmp_path)
    found = step("convert_eval", "dev.json", cwd=tmp_path).stderr
    assert "1 問は train-5-inst.json にもあります (ほぼ同じ問題文も数えます)" in found


def test_next_command_is_fixed(tmp_path):
    """隣に YAML がいくつあっても、学生の打つ次のコマンドは 1 つ。"""
    write_rows(tmp_path / "dev.json", BOB)
    for name in ("qlora-a.yml", "qlora-b.yml"):
        (tmp_path / name).write_text("base_model: x\n")
    out = step("convert_eval", "dev.json", cwd=tmp_path).stdout
    following = "次は: accelerate launch -m axolotl.cli.train qlora-opencalm.yml\n"
    assert out.endswith(f"quiz.json に書きました。{following}")
