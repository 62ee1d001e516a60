"""速い方法を使うかどうか: どの枝が失敗しても、違う答えを出しても、1 問ずつ解く。"""

from types import SimpleNamespace

import pytest
import torch
from solving_helpers import check_plain_answers, random_model, solver_of, uneven_questions

from quiz.solving import fast_way_check
from quiz.solving.fast_way import FastWay


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    return uneven_questions(tmp_path_factory.mktemp("quiz"), 6)


@pytest.fixture(scope="module")
def model():
    return random_model("llama")


@pytest.mark.parametrize(
    "kind, changes",
    [
        ("mistral", {}),
        ("gemma3_text", {"layer_types": ["sliding_attention", "full_attention"], "head_dim": 16}),
    ],
)
@pytest.mark.parametrize("margin, fast", [(20, False), (40, True)])
def test_window_just_above_the_longest_prompt(kind, changes, margin, fast, questions):
    """離れた位置を見ない幅が、最も長いプロンプトより少しだけ長ければ、回答の途中で幅を超える。"""
    longest = max(map(len, solver_of(random_model("llama"), questions).prompts))
    model = random_model(kind, sliding_window=longest + margin, **changes)
    solver = solver_of(model, questions)
    assert (solver.why_plain is None) == fast
    check_plain_answers(solver)


@pytest.mark.parametrize("branch", ["read", "predict", "go_on"])
def test_branch_that_fails(branch, model, questions, monkeypatch):
    """速い方法のどこで例外が起きても、traceback でなく、1 問ずつ解く。"""

    def fail(*args):
        raise NotImplementedError("このキャッシュにはない")

    monkeypatch.setattr(FastWay, branch, fail)
    solver = solver_of(model, questions)
    assert "まとめて解けない (NotImplementedError)" in solver.why_plain
    check_plain_answers(solver)


@pytest.mark.parametrize("branch", ["read", "predict", "go_on"])
def test_branch_that_gives_another_answer(branch, model, questions, monkeypatch):
    """速い方法のどこで答えが変わっても、1 問ずつ解く。"""
    original = getattr(FastWay, branch)

    def change(self, *args):
        result = original(self, *args)
        if branch == "read":
            return result._replace(logits=result.logits * 1.01)
        if branch == "predict":
            result[0][7] += 1
            return result
        return (result + 1) % 8000

    monkeypatch.setattr(FastWay, branch, change)
    solver = solver_of(model, questions)
    assert "答えが変わる" in solver.why_plain
    check_plain_answers(solver)


def test_pair_that_does_not_fit(model, questions, monkeypatch):
    """2 問では足りないメモリでも、1 問ずつ、速い方法で解く。"""
    original = model.forward

    def forward(input_ids, **options):
        if len(input_ids) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return original(input_ids=input_ids, **options)

    monkeypatch.setattr(model, "forward", forward)
    solver = solver_of(model, questions)
    assert solver.why_plain is None
    check_plain_answers(solver)


@pytest.mark.parametrize(
    "device, dtype, difference, allowed",
    [
        ("cpu", torch.float32, 2e-4, False),
        ("cpu", torch.float32, 4e-6, True),
        ("cuda", torch.float32, 0.008, True),  # TF32 で測った差
        ("cuda", torch.float32, 0.2, False),
        ("cuda", torch.bfloat16, 0.23, True),  # bf16 で測った差
        ("cpu", torch.bfloat16, 0.4, False),
    ],
)
def test_tolerance(device, dtype, difference, allowed):
    """正確さを求めるのは CPU の fp32 だけ。TF32、半精度の順に大きく許す。"""
    model = SimpleNamespace(device=torch.device(device), dtype=dtype)
    times, plus, most = fast_way_check.tolerance_of(model)
    assert (difference <= min(times * 0.5 + plus, most)) == allowed
