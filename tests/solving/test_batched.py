"""まとめ方、メモリ不足、途中の間違い、数でない確率。"""

import dataclasses

import pytest
import torch
from conftest import FAST, quiz_of, step_error
from safetensors.torch import load_file, save_file
from solving_helpers import (
    check_plain_answers,
    load_solver,
    random_model,
    solver_of,
    uneven_questions,
)

from quiz.model import load_model, load_tokenizer
from quiz.solving.batched import Solver
from quiz.solving.fast_way import FastWay


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    return uneven_questions(tmp_path_factory.mktemp("quiz"))


@pytest.fixture(scope="module")
def solver(llama, questions):
    return load_solver(llama, None, FAST, questions)


def test_fourth_choice_and_fifth(llama, questions):
    """4 択と 5 択が混じっていても、確率は選択肢の数だけ。"""
    four = dataclasses.replace(questions[1], choices=questions[1].choices[:4], label=0)
    solver = load_solver(llama, None, FAST, [questions[0], four, *questions[2:4]])
    assert [len(probs) for _, probs, _ in solver.answer([0, 1, 2, 3])] == [5, 4, 5, 5]


def test_batches_fill_the_budget(solver):
    """長さ × 問題数が上限を超えず、すべての問題が 1 度ずつ入る。上限より長い 1 問も解く。"""
    lengths = [len(p) + len(solver.labels.lead) for p in solver.prompts]
    for budget, rows in ((min(lengths) * 4, None), (10**6, 5), (10, None)):
        batches = solver.batches(range(24), budget, rows)
        assert sorted(i for b in batches for i in b) == list(range(24))
        for b in batches:
            assert len(b) == 1 or len(b) * max(lengths[i] for i in b) <= budget
        assert max(map(len, batches)) == (rows or 3 if budget > 10 else 1)
    assert solver.batches([3, 7], None) in ([[3, 7]], [[7, 3]])


ALLOC_CPU = "[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate memory"
CUBLAS = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: out of memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError(CUBLAS),
        MemoryError(),
        RuntimeError(f"{ALLOC_CPU}: you tried to allocate 9 bytes"),
    ],
)
def test_batch_that_does_not_fit_is_cut_in_two(error, solver, monkeypatch):
    """メモリに入らないまとまりは、入るまで二つに分けて解く。順も答えも変わらない。"""
    whole = solver.answer(range(24))
    original = FastWay.answer

    def small(self, prompts, lines):
        if len(prompts) > 5:
            raise error
        return original(self, prompts, lines)

    def never(*args):
        raise error

    monkeypatch.setattr(FastWay, "answer", small)
    cut = solver.answer(range(24))
    assert [output.text for output in cut] == [output.text for output in whole]
    for ours, theirs in zip(cut, whole):
        assert ours.label_probs == pytest.approx(theirs.label_probs, abs=1e-4)
    monkeypatch.setattr(FastWay, "answer", never)
    with pytest.raises(SystemExit, match="1 問ずつでもメモリが足りません"):
        solver.answer(range(2))
    assert solver.why_plain is None


def test_error_in_the_middle(questions, monkeypatch, capsys):
    """解いている途中で速い方法に例外が起きたら、1 度だけそう言って、そこから 1 問ずつ解く。"""
    solver = solver_of(random_model("llama"), questions[:8])
    assert solver.why_plain is None

    def fail(*args):
        raise IndexError("幅を超えた")

    monkeypatch.setattr(FastWay, "answer", fail)
    check_plain_answers(solver, budget=300)
    error = capsys.readouterr().err
    assert error.count("注意: ") == error.count("1 問ずつ解きます") == 1 and "IndexError" in error


def test_error_in_the_plain_way_is_not_hidden(questions, monkeypatch):
    """1 問ずつでも起きる例外は、隠さない。"""
    solver = solver_of(random_model("llama"), questions[:2])

    def fail(*args, **options):
        raise RuntimeError("別の間違い")

    monkeypatch.setattr(solver.model, "forward", fail)
    with pytest.raises(RuntimeError, match="別の間違い"):
        solver.answer(range(2))


def test_question_longer_than_the_model_sees(llama, questions):
    """モデルの扱える長さに収まらない問題は、解く前に言う。sliding_window は上限ではない。"""
    model = load_model(llama, None, {}, "cpu")
    model.config.max_position_embeddings = 100
    model.config.sliding_window = 1
    tokenizer = load_tokenizer(llama, FAST)
    prompts = tokenizer([q.prompt for q in questions])["input_ids"]
    with pytest.raises(SystemExit, match="100 トークンに収まりません"):
        Solver(model, tokenizer, questions, prompts)
    model.config.max_position_embeddings = 1024
    Solver(model, tokenizer, questions[:2], prompts[:2])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_probabilities_that_are_no_numbers(value, llama, llama_run, tmp_path):
    """重みに NaN や無限大のあるモデルは、どのモデルかを 1 行で言って終わり、結果を書かない。"""
    base = tmp_path / "broken"
    base.mkdir()
    for path in llama.iterdir():
        (base / path.name).write_bytes(path.read_bytes())
    weights = load_file(base / "model.safetensors")
    next(w for name, w in weights.items() if "down_proj" in name)[0, 0] = value
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    options = ("--model", base, "--max-questions", "4", "-o", tmp_path / "r.json")
    error = step_error("run_quiz", *options, cwd=llama_run)
    assert str(base) in error and "NaN" in error
    assert not [p for p in tmp_path.iterdir() if p.name.startswith("r.")]


def test_probabilities_that_stop_being_numbers(questions, monkeypatch):
    """初めに確かめた問題ではなく、途中の問題だけで NaN になっても止まる。"""
    solver = solver_of(random_model("llama"), questions[:8])
    original = FastWay.answer

    def spoil(self, prompts, lines):
        outputs = original(self, prompts, lines)
        outputs[-1].label_probs[1] = float("nan")
        return outputs

    monkeypatch.setattr(FastWay, "answer", spoil)
    with pytest.raises(SystemExit, match="その模型 が計算した確率は数ではありません"):
        solver.answer(range(8))


def test_quiz_of_one_question(llama_run, llama):
    """1 問だけでも、最も短い問題と最も長い問題として比べて解く。"""
    solver = load_solver(llama, None, FAST, quiz_of(llama_run / "quiz.json", 1))
    assert solver.why_plain is None
    check_plain_answers(solver)
