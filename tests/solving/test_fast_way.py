"""速い方法: どんなモデルでも、下書きが当たっても外れても、定義と同じ答えになる。"""

import dataclasses

import pytest
import torch
from conftest import DEMO, FAST, read, step
from solving_helpers import (
    SMALL,
    check_plain_answers,
    model_that_answers,
    random_model,
    solver_of,
    uneven_questions,
)
from transformers import AutoConfig, AutoModelForCausalLM

from quiz.model import load_tokenizer
from quiz.solving.fast_way import FastWay

MIXED = {"layer_types": ["sliding_attention", "full_attention"], "head_dim": 16}
OWN = {"vocab_size": 8500, "hidden_size": 64}
MODELS = {  # 名前: model_type、設定、まとめて解けるか
    "gpt_neox": ("gpt_neox", {}, True),
    "llama": ("llama", {}, True),
    "qwen3": ("qwen3", {"head_dim": 16}, True),
    "bloom": ("bloom", {**OWN, "n_layer": 2, "n_head": 4}, True),
    "gemma2": ("gemma2", {**MIXED, "sliding_window": 512}, True),
    "gemma3": ("gemma3_text", {**MIXED, "sliding_window": 512}, True),
    # 問題が、離れた位置を見ない幅より長い
    "gemma3 with a window": ("gemma3_text", {**MIXED, "sliding_window": 128}, False),
    "mistral": ("mistral", {"sliding_window": 128}, False),
    # 列の数で位置を測る
    "mpt": (
        "mpt",
        {"vocab_size": 8500, "d_model": 64, "n_layers": 2, "n_heads": 4, "max_seq_len": 1024},
        False,
    ),
    "lfm2": ("lfm2", {"layer_types": ["conv", "full_attention"]}, False),
    "mamba": ("mamba", {**OWN, "num_hidden_layers": 2, "state_size": 8}, False),
}


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    return uneven_questions(tmp_path_factory.mktemp("quiz"))


@pytest.mark.parametrize("name", MODELS)
def test_every_architecture_gives_the_plain_answers(name, questions):
    """まとめて解ける構造でも解けない構造でも、全問の回答は定義と同じで、解けないなら理由がある。"""
    kind, changes, batched = MODELS[name]
    model = random_model(kind, **changes)
    solver = solver_of(model, questions)
    assert (solver.why_plain is None) == batched, solver.why_plain
    check_plain_answers(solver)
    # 選択肢の文字の確率も
    check_plain_answers(solver_of(model, questions[:3], examples=questions[3:4]))


def with_choice(question, label, text):
    """question の label 番の選択肢を text に替えたもの。"""
    choices = list(question.choices)
    choices[label] = text
    return dataclasses.replace(question, choices=tuple(choices))


def test_drafts_right_wrong_and_both(questions, monkeypatch):
    """下書きがすべて当たる、すべて外れる、半分だけ当たる: どれも定義と同じ。"""
    tokenizer = load_tokenizer(DEMO / "model", FAST)
    model = model_that_answers(tokenizer, "2: クリオネ")
    right = [with_choice(q, 2, "クリオネ") for q in questions]
    wrong = [with_choice(q, 2, "クリオネではない") for q in questions]
    generated = []
    original = FastWay.go_on

    def go_on(self, rows, read):
        generated.append(len(rows))
        return original(self, rows, read)

    monkeypatch.setattr(FastWay, "go_on", go_on)
    for asked, n in ((right, 0), (wrong, 12), (right[:6] + wrong[6:12], 6)):
        solver = solver_of(model, asked[:12], tokenizer)
        assert solver.why_plain is None
        generated.clear()
        outputs = solver.answer(range(12))
        assert sum(generated) == n
        assert [output.text for output in outputs] == ["2: クリオネ"] * 12
        check_plain_answers(solver)


def test_line_that_ends_with_a_newline(questions, monkeypatch):
    """終わりの印の代わりに改行して次の行に進むモデルでも、下書きの当たった問題は作り直さない。"""
    tokenizer = load_tokenizer(DEMO / "model", FAST)
    (newline,) = tokenizer("\n")["input_ids"]
    model = model_that_answers(tokenizer, "2: クリオネ", newline)
    asked = [with_choice(q, 2, "クリオネ") for q in questions[:4]]
    solver = solver_of(model, asked, tokenizer)
    assert solver.why_plain is None

    def never(*args):
        raise AssertionError("作り直した")

    monkeypatch.setattr(FastWay, "go_on", never)
    assert [output.text for output in solver.answer(range(4))] == ["2: クリオネ"] * 4
    assert solver.why_plain is None


@torch.inference_mode()
def test_nothing_in_common(questions):
    """プロンプトに共通の先頭がなくても解ける。"""
    solver = solver_of(random_model("llama"), questions[:6])
    prompts = [[100 + i, *prompt] for i, prompt in enumerate(solver.prompts)]
    alone = FastWay(solver.model, solver.tokenizer, solver.labels, prompts)
    assert alone.prefix == []
    together = alone.answer(prompts, [q.lines for q in questions[:6]])
    for prompt, question, output in zip(prompts, questions, together):
        single = FastWay(solver.model, solver.tokenizer, solver.labels, [prompt])
        assert single.answer([prompt], [question.lines])[0].text == output.text


def test_quiz_with_a_model_that_cannot_be_batched(llama, llama_run, tmp_path):
    """まとめて解けないモデルは、そう言ってから 1 問ずつ解く。"""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((llama / name).read_bytes())
    shape = {**SMALL, "vocab_size": 2500, "layer_types": ["conv", "full_attention"]}
    config = AutoConfig.for_model("lfm2", **shape)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    options = ("--model", tmp_path, "--max-questions", "3", "-o", tmp_path / "r.json")
    result = step("run_quiz", *options, cwd=llama_run)
    assert result.stderr.count("1 問ずつ解きます") == 1 and len(read(tmp_path / "r.json")) == 4
