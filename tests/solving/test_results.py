"""quiz.json、result.json、result.log: 形、名前、書き間違い。"""

import json
import shutil
from types import SimpleNamespace

import pytest
from conftest import edit_yaml, read, step_error

from quiz.prompt import Question, eval_record
from quiz.questions.converted import read_quiz
from quiz.solving.results import check_output, default_path, mark, write_results


def test_result_files(demo):
    """result.json は決めた形で、result.log は同じ内容の文章。"""
    *records, summary = read(demo / "result.json")
    quiz = read(demo / "quiz.json")
    assert [r["correct_answer"] for r in records] == [q["output"] for q in quiz]
    assert [r["qid"] for r in records] == [q["qid"] for q in quiz] and [r["ID"] for r in records] == list(range(len(quiz)))
    for r in records:
        assert {"instruction", "input", "prompt", "output", "out_str", "hit", "genre", "seconds"} <= r.keys()
        assert r["prompt"].endswith("### 回答:\n") and len(r["choice_probs"]) == 5 and 0 <= sum(r["choice_probs"]) <= 1.001
        assert r["hit"] == (r["out_str"] == r["correct_answer"][0])
        assert "\n" not in r["output"] and "問題" not in r["output"]
    assert summary["model"] == "./data/demo/model" and summary["adapter"] == "./demo-qlora-out" and summary["load_in_4bit"]
    assert summary["elapsed_time"] == pytest.approx(sum(r["seconds"] for r in records), rel=0.01)
    log = (demo / "result.log").read_text(encoding="utf-8")
    assert log.count("正解: ") == len(records) and f"({sum(r['hit'] for r in records)}/{len(records)})" in log
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


@pytest.mark.parametrize("quiz, options, name", [
    (["quiz.json"], {}, "result.json"), (["quiz.json"], {"base": True}, "result-base.json"), (["quiz-dev2.json"], {}, "result-dev2.json"),
    (["x/quiz-dev2.json"], {"base": True}, "result-base-dev2.json"), (["mine.json"], {"model": "./try1-out/"}, "result-try1-out-mine.json"),
    (["quiz.json"], {"model": "a/b"}, "result-b.json"), (["quiz.json", "quiz-dev2.json"], {}, "result-quiz+quiz-dev2.json"),
    (["quiz.json"], {"rotations": True}, "result-rotations.json"),
    (["quiz-dev2.json"], {"base": True, "blank_question": True}, "result-base-blank-dev2.json")])
def test_default_names_do_not_collide(quiz, options, name):
    given = SimpleNamespace(quiz=quiz, **({"base": False, "model": None, "rotations": False, "blank_question": False} | options))
    assert str(default_path(given)) == name


def test_result_is_replaced_only_by_as_much(tmp_path):
    """前の結果を置き換えるのは、同じモデルで、その問題をすべて解く実行だけ。ほかは、何が失われるかを言って断る。"""
    questions = [Question(f"問い{i}?", ("あ", "い"), 1) for i in range(3)]
    answers = [{"ID": i, **mark(q, "1: い", [0.1, 0.9]), "seconds": 0.1} for i, q in enumerate(questions)]
    path = tmp_path / "result.json"
    check_output(path, questions, "m", "out")
    write_results(path, questions, answers, {"model": "m", "adapter": "out"}, ["quiz.json"])
    check_output(path, questions, "m", "out")
    check_output(path, [*questions, Question("もう 1 問?", ("あ", "い"), 0)], "m", "out")
    for given, model, adapter, why in ((questions[:2], "m", "out", "解かない 1 問"), (questions, "m", None, "別のモデルの結果"),
                                       (questions, "n", "out", "別のモデルの結果"),
                                       ([Question(q.text, q.choices[::-1], 0) for q in questions], "m", "out", "解かない 3 問")):
        with pytest.raises(SystemExit, match=why):
            check_output(path, given, model, adapter)
    (tmp_path / "memo.log").write_text("大事なメモ")
    for name, why in (("memo.json", "memo.log は手順4の記録ではない"), ("result", "終わりが .json ではありません")):
        with pytest.raises(SystemExit, match=why):
            check_output(tmp_path / name, questions, "m", "out")


@pytest.mark.parametrize("output, log", [
    ("result.json", "result.log"), ("res-V0.1.json", "res-V0.1.log"), ("res-V0.2.json", "res-V0.2.log"),
    ("r[1].json", "r[1].log")])
def test_log_has_a_name_of_its_own(output, log, tmp_path):
    """result.log の名前は結果の名前から決まり、ほかの結果とも、結果そのものとも重ならない。"""
    question = Question("動物は何でしょう?", ("ミズダコ", "クリオネ"), 1)
    answer = {"ID": 0, **mark(question, "1: クリオネ", [0.1, 0.9]), "seconds": 0.1}
    write_results(tmp_path / output, [question], [answer], {}, ["quiz.json"])
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([output, log])
    assert read(tmp_path / output)[0]["hit"] and "(1/1)" in (tmp_path / log).read_text(encoding="utf-8")


def test_full_width_answer(tmp_path):
    question = Question("動物は何でしょう?", ("ミズダコ", "イカ", "クリオネ"), 2)
    marked = mark(question, "２：クリオネ", [0.1, 0.2, 0.7])
    assert marked == {"output": "２：クリオネ", "out_str": "2", "hit": True, "choice_probs": [0.1, 0.2, 0.7]}
    assert mark(question, "10:05: 2: x", [0, 0, 1])["out_str"] == mark(question, "-1: x", [0, 0, 1])["out_str"] == ""


@pytest.fixture
def work(llama, llama_run, tmp_path):
    """YAML と quiz.json だけがある作業フォルダ とアダプタ。"""
    edit_yaml(tmp_path / "qlora-opencalm.yml", llama, "./out")
    shutil.copy(llama_run / "quiz.json", tmp_path)
    shutil.copytree(llama_run / "llama-qlora-out", tmp_path / "out")
    (tmp_path / "result.json").write_text("前の結果")
    return tmp_path


def broken_quiz(edit):
    def change(work):
        records = read(work / "quiz.json")
        edit(records[1])
        (work / "quiz.json").write_text(json.dumps(records, ensure_ascii=False, indent=2), encoding="utf-8")
    return change


ERRORS = {
    "no quiz": (lambda work: (work / "quiz.json").unlink(), "python convert_eval.py"),
    "empty quiz": (lambda work: (work / "quiz.json").write_text("[]"), "quiz.json"),
    "no output": (broken_quiz(lambda r: r.pop("output")), "quiz.json:9"),
    "output is no answer": (broken_quiz(lambda r: r.update(output="クリオネ")), "quiz.json:9"),
    "label out of range": (broken_quiz(lambda r: r.update(output="7: クリオネ")), "quiz.json:9"),
    "another format": (broken_quiz(lambda r: r.update(instruction="答えてください")), "quiz.json:9"),
    "no input": (broken_quiz(lambda r: r.pop("input")), "quiz.json:9"),
    "input is a list": (broken_quiz(lambda r: r.update(input=["0: あ"])), "quiz.json:9"),
    "instruction is a number": (broken_quiz(lambda r: r.update(instruction=3)), "quiz.json:9"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(work, name):
    change, where = ERRORS[name]
    change(work)
    assert where in step_error("run_quiz", cwd=work)
    assert (work / "result.json").read_text() == "前の結果" and not (work / "result.log").exists()
