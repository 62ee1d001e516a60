"""result.json と result.log: 形、名前、置き換え。番号の読み取り。"""

import json
from types import SimpleNamespace

import pytest
from conftest import read, step

from quiz.prompt import Question, eval_record, read_label
from quiz.questions.converted import read_quiz
from quiz.solving.results import (
    Answer,
    check_output,
    default_path,
    describe_model,
    rounded,
    summary_lines,
    write_results,
)


def test_result_files(demo):
    """result.json は決めた形で、result.log は同じ内容の文章。"""
    *records, summary = read(demo / "result.json")
    quiz = read(demo / "quiz.json")
    assert [r["correct_answer"] for r in records] == [q["output"] for q in quiz]
    assert [r["qid"] for r in records] == [q["qid"] for q in quiz]
    assert [r["ID"] for r in records] == list(range(len(quiz)))
    for r in records:
        assert {"instruction", "input", "prompt", "output", "out_str"} <= r.keys()
        assert {"hit", "genre", "seconds"} <= r.keys()
        assert r["prompt"].endswith("### 回答:\n")
        assert len(r["choice_probs"]) == 5 and 0 <= sum(r["choice_probs"]) <= 1.001
        assert r["hit"] == (r["out_str"] == r["correct_answer"][0])
        assert "\n" not in r["output"] and "問題" not in r["output"]
    assert summary["model"] == "./data/demo/model" and summary["load_in_4bit"]
    assert summary["adapter"] == "./demo-qlora-out"
    assert summary["elapsed_time"] == pytest.approx(sum(r["seconds"] for r in records), rel=0.01)
    log = (demo / "result.log").read_text(encoding="utf-8")
    assert log.count("正解: ") == len(records)
    assert f"({sum(r['hit'] for r in records)}/{len(records)})" in log
    assert not list(demo.glob("result*.part*")) and not list(demo.glob("*.tmp"))


def test_training_format_is_used_as_it_is(demo):
    """input のない学習用の書式の記録は、そのまま問う。"""
    path = demo / "train-5-inst.json"
    assert [q.prompt for q in read_quiz([path], 3)] == [r["instruction"] for r in read(path)[:3]]


def test_tutorial_quiz(tmp_path):
    """チュートリアルの quiz.json (instruction, input, output だけ) を読む。"""
    question = Question("動物は何でしょう?", ("ミズダコ", "クリオネ"), 1)
    (tmp_path / "quiz.json").write_text(json.dumps([eval_record(question)]))
    assert read_quiz([tmp_path / "quiz.json"]) == [question]


@pytest.mark.parametrize(
    "quiz, options, name",
    [
        (["quiz.json"], {}, "result.json"),
        (["quiz.json"], {"base": True}, "result-base.json"),
        (["quiz-dev2.json"], {}, "result-dev2.json"),
        (["x/quiz-dev2.json"], {"base": True}, "result-base-dev2.json"),
        (["mine.json"], {"model": "./try1-out/"}, "result-try1-out-mine.json"),
        (["quiz.json"], {"model": "a/b"}, "result-b.json"),
        (["quiz.json", "quiz-dev2.json"], {}, "result-quiz+quiz-dev2.json"),
        (["quiz.json"], {"rotations": True}, "result-rotations.json"),
        (["quiz-dev2.json"], {"base": True, "shots": 4}, "result-base-shots4-dev2.json"),
        (["quiz-dev2.json"], {"base": True, "blank_question": True}, "result-base-blank-dev2.json"),
    ],
)
def test_default_names_do_not_collide(quiz, options, name):
    nothing = {"base": False, "model": None, "rotations": False, "blank_question": False}
    nothing["shots"] = 0
    assert str(default_path(SimpleNamespace(quiz=quiz, **(nothing | options)))) == name


def test_result_is_replaced_only_by_as_much(tmp_path):
    """前の結果を置き換えるのは、同じモデルで、その問題をすべて解く実行だけ。ほかは、
    何が失われるかを言って断る。"""
    questions = [Question(f"問い{i}?", ("あ", "い"), 1) for i in range(3)]
    answers = [Answer(i, "1: い", "1", True, [0.1, 0.9], 0.1) for i in range(3)]
    path = tmp_path / "result.json"
    check_output(path, questions, "m", "out")
    write_results(path, questions, answers, {"model": "m", "adapter": "out"}, ["quiz.json"])
    check_output(path, questions, "m", "out")
    check_output(path, [*questions, Question("もう 1 問?", ("あ", "い"), 0)], "m", "out")
    turned = [Question(q.text, q.choices[::-1], 0) for q in questions]
    for given, model, adapter, why in (
        (questions[:2], "m", "out", "解かない 1 問"),
        (questions, "m", None, "別の条件で解いた結果です .adapter: out → None"),
        (questions, "n", "out", "別の条件で解いた結果です .model: m → n"),
        (turned, "m", "out", "解かない 3 問"),
    ):
        with pytest.raises(SystemExit, match=why):
            check_output(path, given, model, adapter)
    (tmp_path / "memo.log").write_text("大事なメモ")
    for name, why in (
        ("memo.json", "memo.log は手順4の記録ではない"),
        ("result", "終わりが .json ではありません"),
    ):
        with pytest.raises(SystemExit, match=why):
            check_output(tmp_path / name, questions, "m", "out")


@pytest.mark.parametrize(
    "output, log",
    [
        ("result.json", "result.log"),
        ("res-V0.1.json", "res-V0.1.log"),
        ("res-V0.2.json", "res-V0.2.log"),
        ("r[1].json", "r[1].log"),
    ],
)
def test_log_has_a_name_of_its_own(output, log, tmp_path):
    """result.log の名前は結果の名前から決まり、ほかの結果とも、結果そのものとも重ならない。"""
    question = Question("動物は何でしょう?", ("ミズダコ", "クリオネ"), 1)
    answer = Answer(0, "1: クリオネ", "1", True, [0.1, 0.9], 0.1)
    write_results(tmp_path / output, [question], [answer], {}, ["quiz.json"])
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([output, log])
    assert read(tmp_path / output)[0]["hit"]
    assert "(1/1)" in (tmp_path / log).read_text(encoding="utf-8")


def test_full_width_answer(tmp_path):
    choices = "ミズダコ", "イカ", "クリオネ"
    assert read_label("２：クリオネ", choices) == "2"
    assert read_label("10:05: 2: x", choices) == read_label("-1: x", choices) == ""


RATIOS = "2:3", "1:6", "1:3", "1:1"


@pytest.mark.parametrize(
    "answer, choices, label",
    [
        ("1:3", RATIOS, ""),
        ("2:3", RATIOS, ""),
        ("2: 1:3", RATIOS, "2"),
        ("2:1:3", RATIOS, "2"),
        ("3:00", ("2:30", "3:00", "3:30"), ""),
        ("1: 3:00", ("2:30", "3:00", "3:30"), "1"),
        ("1", ("3", "1"), ""),
        ("1: 1", ("3", "1"), "1"),
        ("2:3", (), "2"),
    ],
)
def test_answer_that_is_a_choice_is_no_label(answer, choices, label):
    """番号を付けずに選択肢の文字だけを答えたら、番号とは読まない。"""
    assert read_label(answer, choices) == label


def test_bare_choice_is_no_hit(llama, llama_run, tmp_path, monkeypatch):
    """選択肢「2:3」とだけ答えるモデルは、2 番と答えたことにはならない (run_quiz.py を通して)。"""
    from quiz.solving.batched import Solver

    question = Question("2 つの濃度の比は?", RATIOS, 2)
    (tmp_path / "quiz.json").write_text(json.dumps([eval_record(question)]))
    original = Solver.answer

    def answer(self, indices):
        return [output._replace(text="2:3") for output in original(self, indices)]

    monkeypatch.setattr(Solver, "answer", answer)
    options = "--quiz", tmp_path / "quiz.json", "-o", tmp_path / "r.json"
    step("run_quiz", *options, cwd=llama_run)
    record = read(tmp_path / "r.json")[0]
    assert (record["output"], record["out_str"], record["hit"]) == ("2:3", "", False)


def test_line_of_result_says_whom_it_asked(llama_run, tmp_path):
    """終わりの表示は、モデル、アダプタ、その学習を見分けるものを言う。"""
    options = "--max-questions", "2", "-o", tmp_path / "r.json"
    shown = step("run_quiz", *options, cwd=llama_run).stdout
    assert "./llama-qlora-out (seed 42、200 問、" in shown and " エポック、2 ステップ)" in shown
    options = "--base", "--max-questions", "2", "-o", tmp_path / "base.json"
    assert " (アダプタなし)" in step("run_quiz", *options, cwd=llama_run).stdout
    run = {"model": "m", "adapter": "./out", "training": None}
    assert describe_model(run) == "m + ./out (学習の記録なし)"


def test_summary_and_digits():
    questions = [Question(f"問い{i}?", ("あ", "い"), i % 2) for i in range(4)]
    given = (
        ("0: あ", "0", [0.9, 0.1]),
        ("0: あ", "0", [0.4, 0.6]),
        ("?", "", [0.2, 0.8]),
        ("1: い", "1", [0.3, 0.7]),
    )
    answers = [
        Answer(i, text, label, label == str(i % 2), probs, 0.25)
        for i, (text, label, probs) in enumerate(given)
    ]
    run = {"model": "m", "adapter": None, "training": None}
    assert summary_lines("r.json", questions, answers, run) == (
        "r.json: 正解率 0.500 (2/4)  読み取れない回答 1  番号の確率での正解率 0.750  1.0 秒\n"
        "  解いたモデル: m (アダプタなし)"
    )
    assert rounded([0.123456789, 1e-12]) == [0.123457, 1e-12]
