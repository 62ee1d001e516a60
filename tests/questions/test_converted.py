"""変換したファイルの読み書きと、評価のために形を変えること。"""

import json

import pytest
from conftest import DEMO, read, step

from quiz.prompt import Question, eval_record
from quiz.questions.converted import (
    CONVERTED,
    SOURCE,
    blank,
    kind_of,
    questions_digest,
    read_quiz,
    rotate,
    spread_out,
    write_converted,
)

QUESTIONS = [
    Question("1?", ("あ", "い", "う"), 1, {"qid": "a"}),
    Question("2?", ("か", "き"), 0, {"qid": "b"}),
]


def test_training_format_is_used_as_it_is(tmp_path):
    """input のない学習用の書式の記録は、そのまま問う。"""
    step("convert_train", DEMO / "train_questions.json", cwd=tmp_path)
    path = tmp_path / "train-5-inst.json"
    assert [q.prompt for q in read_quiz([path], 3)] == [r["instruction"] for r in read(path)[:3]]


def test_tutorial_quiz(tmp_path):
    """チュートリアルの quiz.json (instruction, input, output だけ) を読む。"""
    question = Question("動物は何でしょう?", ("ミズダコ", "クリオネ"), 1)
    (tmp_path / "quiz.json").write_text(json.dumps([eval_record(question)]))
    assert read_quiz([tmp_path / "quiz.json"]) == [question]


def test_several_files_and_a_limit(tmp_path):
    """いくつものファイルを続けて読み、max_questions で止める。書いたものが読み戻せる。"""
    for name, question in zip(("a.json", "b.json"), QUESTIONS):
        write_converted(tmp_path / name, [eval_record(question) | question.extra])
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    assert read_quiz(paths) == QUESTIONS and read_quiz(paths, 1) == QUESTIONS[:1]


def test_command_that_makes_a_missing_quiz_is_quoted(tmp_path, monkeypatch):
    """空白のある名前を言うコマンドは、そのまま貼り付けられる。"""
    monkeypatch.chdir(tmp_path)
    expected = "python convert_eval.py .* 元の問題 -o 'my quiz.json'"
    with pytest.raises(SystemExit, match=expected):
        read_quiz(["my quiz.json"])


@pytest.mark.parametrize(
    "record, kind",
    [
        ({"answer_entity": "あ"}, SOURCE),
        ({"instruction": "", "hit": True}, "手順4の結果"),
        ({"instruction": "", "output": ""}, CONVERTED),
        ({"x": 1}, None),
    ],
)
def test_kind_of(record, kind):
    assert kind_of(record) == kind


TRAINING = [{"instruction": q.prompt, "output": q.answer} for q in QUESTIONS]
EVALUATION = [eval_record(q) for q in QUESTIONS]


@pytest.mark.parametrize(
    "before, records",
    [
        (TRAINING, EVALUATION),
        (EVALUATION, TRAINING),
        ([EVALUATION[0] | {"hit": True}], EVALUATION),
        ([{"answer_entity": "あ"}], TRAINING),
        ([], TRAINING),
        ({}, TRAINING),
        ([1], TRAINING),
    ],
)
def test_files_of_others_are_not_replaced(before, records, tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(before), encoding="utf-8")
    with pytest.raises(SystemExit, match="書き換えません"):
        write_converted(path, records)
    assert read(path) == before


@pytest.mark.parametrize("records", [TRAINING, EVALUATION])
def test_file_of_the_same_step_is_replaced(records, tmp_path):
    write_converted(tmp_path / "x.json", records[:1])
    write_converted(tmp_path / "x.json", records)
    assert read(tmp_path / "x.json") == records


def test_every_choice_comes_to_every_label():
    rotated = rotate(QUESTIONS)
    first = [("あ", "い", "う"), ("い", "う", "あ"), ("う", "あ", "い")]
    assert [q.choices for q in rotated[:3]] == first and len(rotated) == 5
    assert [q.label for q in rotated] == [1, 0, 2, 0, 1]
    assert all(q.choices[q.label] in "いか" for q in rotated)
    assert [q.extra["rotation"] for q in rotated] == [0, 1, 2, 0, 1]


def test_blank():
    assert "問題:  \n" in blank(QUESTIONS)[0].prompt
    assert blank(QUESTIONS)[0].choices == QUESTIONS[0].choices


def test_spread_out():
    assert spread_out(list(range(10)), 4) == [0, 2, 5, 7]
    assert spread_out([1, 2], 4) == [1, 2]


def test_digest_is_that_of_the_former_version():
    """途中の結果を続けられるように、印は前の版 (8cbe62f) と同じ。"""
    assert questions_digest(QUESTIONS) == "3b44d6d6d1961c91"
    assert questions_digest(QUESTIONS[::-1]) != "3b44d6d6d1961c91"


@pytest.mark.parametrize("answer, twin", [("い", "い"), ("AB", "ＡＢ")])
def test_two_right_answers_are_refused(answer, twin, tmp_path):
    """手で直した quiz.json の、正解と同じ選択肢。誤答が 2 つ同じ問題は、公開のものにもある。"""
    path = tmp_path / "quiz.json"
    good = eval_record(Question("1?", ("う", answer, "う"), 1))
    path.write_text(json.dumps([good]))
    assert len(read_quiz([path])) == 1
    bad = eval_record(Question("2?", ("あ", answer, twin), 1))
    path.write_text(f"{json.dumps(good)}\n{json.dumps(bad)}")
    with pytest.raises(SystemExit, match="quiz.json:2: 正解と同じ選択肢があります"):
        read_quiz([path])


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_choice_is_refused(empty, tmp_path):
    """手で直した quiz.json の空の選択肢。1 文字あたりの確率 (--by-text) が決まらない。"""
    path = tmp_path / "quiz.json"
    path.write_text(json.dumps([eval_record(Question("1?", ("あ", empty, "う"), 0))]))
    with pytest.raises(SystemExit, match="quiz.json:1: 空の選択肢があります"):
        read_quiz([path])
