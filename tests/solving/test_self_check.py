"""手順3が終わりに測った値と、手順4の値を比べる。"""

import json
import shutil

import pytest
from conftest import edit_yaml, quiz_of, read, step

from quiz.prompt import Question
from quiz.questions.converted import questions_digest, spread_out
from quiz.solving.results import Answer
from quiz.solving.self_check import difference_from_training, measured_by_training

QUESTIONS = [Question(f"問い{i}?", ("い", "ろ", "は"), i % 3) for i in range(300)]
ASKED = spread_out(QUESTIONS, 200)
CPU = {"model": "m", "adapter": "out", "dtype": "torch.float32", "hardware": "CPU 2 cores"}
CPU["shots"] = 0
GPU = CPU | {"dtype": "torch.bfloat16", "hardware": "NVIDIA H100"}


def answers(wrong=0, probability=0.9):
    """正解の番号の確率が probability である答え。手順3も解く問題のうち、wrong 問だけ外れる。"""
    missed = [question.text for question in ASKED[:wrong]]
    made = []
    for i, question in enumerate(QUESTIONS):
        probs = [(1 - probability) / 2] * 3
        probs[question.label] = probability
        if question.text in missed:
            probs = probs[1:] + probs[:1]
        made.append(Answer(i, "0: い", "0", False, probs, 0.1))
    return made


def record(**changes):
    before = {"questions": questions_digest(ASKED), "n": 200, "accuracy": 1.0}
    before |= {"probability": 0.9, "dtype": "torch.float32"}
    return before | changes


@pytest.mark.parametrize(
    "given, run, before, silent",
    [
        (answers(), CPU, record(), True),
        (answers(probability=0.9005), CPU, record(), True),
        (answers(probability=0.902), CPU, record(), False),
        (answers(wrong=2, probability=0.9), CPU, record(probability=0.8915), True),
        (answers(wrong=2, probability=0.9), CPU, record(), False),
        # 確率が同じ値なら、どれが最も高いとされるかは問わない
        (answers(), CPU, record(accuracy=0.5), True),
        # 半精度や GPU では、大まかに
        (answers(probability=0.902), GPU, record(dtype="torch.bfloat16"), True),
        (answers(probability=0.93), GPU, record(dtype="torch.bfloat16"), False),
        (answers(probability=0.902), CPU | {"hardware": "NVIDIA H100"}, record(), True),
        # 別の問題、別の精度、記録がないときは、比べられない
        (answers(probability=0.5), CPU, record(questions="0" * 16), True),
        (answers(probability=0.5), GPU, record(), True),
        (answers(probability=0.5), CPU, None, True),
    ],
)
def test_difference(given, run, before, silent):
    text = difference_from_training(before, QUESTIONS, given, run)
    assert (text is None) == silent, text


def test_few_questions_may_differ_more():
    """bf16 では、3 問の平均は 1 問の違いで動く。200 問なら、同じ差は別のモデル。"""
    few = QUESTIONS[:3]
    before = record(questions=questions_digest(few), n=3, dtype="torch.bfloat16")
    given = answers(probability=0.8)
    assert difference_from_training(before, few, given[:3], GPU) is None
    assert difference_from_training(record(dtype="torch.bfloat16"), QUESTIONS, given, GPU)


def test_message_names_the_model_and_both_numbers():
    text = difference_from_training(record(), QUESTIONS, answers(probability=0.2), CPU)
    for part in ("m + out", "200 問", "0.9000", "0.2000", "手順3", "YAML"):
        assert part in text
    assert "\n" not in text


def test_run_quiz_says_when_it_is_another_model(llama, llama_run, tmp_path):
    """training.json の値と同じなら何も言わず、違えば 注意 を 1 行で言う。"""
    edit_yaml(tmp_path / "qlora-opencalm.yml", llama, "./out")
    shutil.copy(llama_run / "quiz.json", tmp_path)
    shutil.copy(llama_run / "train-5-inst.json", tmp_path)
    shutil.copytree(llama_run / "llama-qlora-out", tmp_path / "out")
    step("run_quiz", "--max-questions", "8", cwd=tmp_path)
    *records, summary = read(tmp_path / "result.json")
    questions = quiz_of(tmp_path / "quiz.json", 8)
    asked = zip(questions, records)
    right = {"questions": questions_digest(questions), "n": 8, "dtype": summary["dtype"]}
    right["probability"] = sum(r["choice_probs"][q.label] for q, r in asked) / 8

    path = tmp_path / "out/training.json"
    report = read(path)
    for changes, times in (({}, 0), ({"probability": right["probability"] + 0.002}, 1)):
        path.write_text(json.dumps(report | {"self_check": right | changes}))
        shown = step("run_quiz", "--max-questions", "8", cwd=tmp_path)
        assert shown.stderr.count("同じ状態ではありません") == times
        assert shown.stderr.count("注意: ") == times
    assert measured_by_training(tmp_path / "out")["n"] == 8


def test_no_record_no_check(llama_run, tmp_path):
    """アダプタがないか、前の版の記録で値がなければ、比べない。"""
    report = read(llama_run / "llama-qlora-out/training.json")
    report.pop("self_check", None)
    (tmp_path / "training.json").write_text(json.dumps(report))
    assert measured_by_training(tmp_path) is None and measured_by_training(None) is None
