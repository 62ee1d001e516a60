"""選択肢の文字の確率 (--by-text): lm-evaluation-harness の acc と acc_norm と比べられる。"""

import dataclasses

import pytest
import torch
from conftest import DEMO, FAST, quiz_of, read, step
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from solving_helpers import converted_demo, load_solver, random_model, solver_of, uneven_questions

from quiz.prompt import likely_text


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return converted_demo(tmp_path_factory.mktemp("by-text"))


@pytest.mark.parametrize("shots", [0, 2])
@pytest.mark.parametrize("name", ["demo", "llama"])
def test_agrees_with_lm_eval(name, shots, llama, work):
    """トークン列も、対数確率も、同じ文字列を渡した lm-evaluation-harness と同じ。"""
    base = DEMO / "model" if name == "demo" else llama
    examples = quiz_of(work / "train-5-inst.json", shots)
    questions = quiz_of(work / "quiz.json", 6)
    solver = load_solver(base, None, FAST, questions, examples)
    assert solver.why_plain is None

    # 例と問題を、そのまま書いたもの
    before = ""
    for example in examples:
        before += f"質問: {example.text}\n答え: {example.choices[example.label]}\n\n"
    lm = HFLM(pretrained=solver.model, tokenizer=solver.tokenizer, batch_size=4)
    for i, (question, output) in enumerate(zip(questions, solver.answer(range(6)))):
        context = f"{before}質問: {question.text}\n答え: "
        pairs = [(context, choice) for choice in question.choices]
        for pair, ours in zip(pairs, solver.by_text.choices[i]):
            assert lm._encode_pair(*pair) == (solver.by_text.prompts[i], ours)
        requests = [Instance("loglikelihood", {}, pair, 0) for pair in pairs]
        theirs = [score for score, _ in lm.loglikelihood(requests, disable_tqdm=True)]
        assert output.text_log_probs == pytest.approx(theirs, abs=1e-4)
        normed = [score / len(choice) for score, choice in zip(theirs, question.choices)]
        assert likely_text(output.text_log_probs, question.choices) == normed.index(max(normed))


@torch.inference_mode()
def test_one_question_and_choices_of_one_token(tmp_path):
    """1 問だけでも、選択肢の数が違っても、まとめた計算は定義と同じ。"""
    questions = uneven_questions(tmp_path, 5)
    # デモのトークナイザでは、デモの選択肢はどれも同じ長さ
    for i, choices in ((1, ("1", "2")), (3, ("クリオネ", "クリオネではないものの名前", "1"))):
        questions[i] = dataclasses.replace(questions[i], choices=choices, label=0)
    solver = solver_of(random_model("gpt_neox"), questions, examples=[])
    plain = [solver.by_text.plainly(i) for i in range(5)]
    for indices in ([1], [3, 1, 0], range(5)):
        for i, sums in zip(indices, solver.by_text.together(indices)):
            assert sums == pytest.approx(plain[i], abs=1e-4)
    assert [len(sums) for sums in plain] == [5, 2, 5, 3, 5]
    assert len(set(map(len, solver.by_text.choices[3]))) > 1


def test_result_of_by_text(work, tmp_path):
    """結果に 1 問ずつ残り、終わりの行に正解率が出る。付けない実行では、置き換えない。"""
    output = tmp_path / "r.json"
    options = "--base", "--max-questions", "6", "-o", output
    step("run_quiz", *options, cwd=work)
    assert not any("text_log_probs" in record for record in read(output))
    shown = step("run_quiz", *options, "--by-text", "--name", "山田", cwd=work).stdout
    *records, summary = read(output)
    assert summary["by_text"] is True and summary["name"] == "山田"
    assert summary["shots"] == 0 and summary["shots_text"] == ""
    right = 0
    for question, record in zip(quiz_of(work / "quiz.json"), records):
        rates = [t / len(c) for t, c in zip(record["text_log_probs"], question.choices)]
        assert max(rates) < 0
        right += rates.index(max(rates)) == question.label
    assert f"選択肢の文字での正解率 {right / 6:.3f}" in shown
    error = step("run_quiz", *options, cwd=work, status=1).stderr
    assert "by_text: True → False" in error
