"""解き方: 定義 (1 問ずつ) と速い方法が同じ答えになること、まとめ方、メモリ不足、まとめて解けないモデル。"""

import dataclasses
import math

import pytest
import torch
from conftest import CONFIG, DEMO, FAST, quiz_of, read, step
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from quiz.adapter import read_config
from quiz.model import encode_prompts, load_model, load_tokenizer
from quiz.solving.batched import Solver
from quiz.solving.fast_way import FastWay
from quiz.solving.one_by_one import MAX_NEW_TOKENS


def test_greedy_is_what_generate_gives(demo, monkeypatch):
    """回答は、transformers の generate を 1 問ずつ貪欲法で動かしたものと同じ。確率も 1 問ずつの計算と同じ。"""
    monkeypatch.chdir(demo)
    config = read_config(CONFIG)
    tokenizer = load_tokenizer("./data/demo/model", config)
    for adapter, result in (("demo-qlora-out", "result.json"), (None, "result-base.json")):
        model = load_model("./data/demo/model", adapter, config, "cpu")
        for r in read(result)[:15]:
            ids = tokenizer(r["prompt"], return_tensors="pt")
            with torch.inference_mode():
                out = model.generate(**ids, max_new_tokens=MAX_NEW_TOKENS, do_sample=False, eos_token_id=0, pad_token_id=1)
                probs = model(**ids).logits[0, -1].float().softmax(-1)
            text = tokenizer.decode(out[0, ids["input_ids"].shape[1]:], skip_special_tokens=True)
            assert r["output"] == text.lstrip().partition("\n")[0].strip()
            expected = [probs[tokenizer(str(k))["input_ids"][0]].item() for k in range(5)]
            assert r["choice_probs"] == pytest.approx(expected, abs=1e-4)


def make_solver(base, adapter, config, questions):
    tokenizer, model = load_tokenizer(base, config), load_model(base, adapter, config, "cpu")
    return Solver(model, tokenizer, questions, encode_prompts(tokenizer, base, [q.prompt for q in questions]))


def check_against_harness(work, config_name, base, adapter):
    """番号の確率の対数が、lm-evaluation-harness の対数尤度と選択肢ごとに一致することを確かめる。"""
    from lm_eval.models.huggingface import HFLM

    questions = quiz_of(work / "quiz.json", 12)
    solver = make_solver(base, adapter, read_config(work / config_name), questions)
    ours = [math.log(p) for _, probs in solver.answer(range(12)) for p in probs]
    lm = HFLM(pretrained=solver.model, tokenizer=solver.tokenizer, batch_size=4)
    requests = [((q.prompt, str(k)), solver.prompts[i], solver.labels.tokens[k]) for i, q in enumerate(questions) for k in range(5)]
    assert ours == pytest.approx([score for score, _ in lm._loglikelihood_tokens(requests, disable_tqdm=True)], abs=2e-3)
    return solver


def test_likelihood_agrees_with_lm_eval(demo):
    """byte-level のトークナイザ (番号は 1 トークン) で、番号の確率が lm-evaluation-harness と一致する。"""
    solver = check_against_harness(demo, CONFIG, DEMO / "model", demo / "demo-qlora-out")
    assert {len(s) for s in solver.labels.tokens} == {1} and not solver.labels.lead and len(solver.fast.prefix) > 10


def test_likelihood_agrees_with_lm_eval_llama(llama, llama_run):
    """SentencePiece 風 (▁ と番号) のトークナイザでも一致する。"""
    solver = check_against_harness(llama_run, "qlora-opencalm.yml", llama, llama_run / "llama-qlora-out")
    assert {len(s) for s in solver.labels.tokens} == {2} and len(solver.labels.lead) == 1


# --- どんなモデルでも、定義と同じ答えになる

SMALL = {"vocab_size": 8500, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 1024}
MODELS = {  # model_type と設定、まとめて解けるか
    "gpt_neox": ({}, True), "llama": ({}, True), "qwen3": ({"head_dim": 16}, True),
    "bloom": ({"vocab_size": 8500, "hidden_size": 64, "n_layer": 2, "n_head": 4}, True),
    "mistral": ({"sliding_window": 128}, False),  # 問題が、離れた位置を見ない幅より長い
    "mpt": ({"vocab_size": 8500, "d_model": 64, "n_layers": 2, "n_heads": 4, "max_seq_len": 1024}, False),  # 列の数で位置を測る
    "lfm2": ({"layer_types": ["conv", "full_attention"]}, False),
    "mamba": ({"vocab_size": 8500, "hidden_size": 64, "num_hidden_layers": 2, "state_size": 8}, False)}


def random_model(kind, seed):
    """重みの大きい乱数のモデル (小さいと、位置を誤っても答えが変わらない)。"""
    changes, _ = MODELS[kind]
    torch.manual_seed(seed)
    config = AutoConfig.for_model(kind, **({} if "vocab_size" in changes else SMALL), **changes)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() > 1:
                p.normal_(0, 0.15)
    model.generation_config = GenerationConfig()
    return model


@pytest.fixture(scope="session")
def questions(llama_run):
    """長さの大きく違う 24 問。"""
    plain = quiz_of(llama_run / "quiz.json", 24)
    return [dataclasses.replace(q, text=q.text + "これは長い前置きです。" * (i % 7)) for i, q in enumerate(plain)]


@pytest.mark.parametrize("kind", MODELS)
def test_every_architecture_gives_the_plain_answers(kind, questions, llama_run):
    """まとめて解ける構造でも解けない構造でも、全問の回答は answer_plainly と同じで、解けないなら理由がある。"""
    tokenizer = load_tokenizer(DEMO / "model", FAST)
    prompts = tokenizer([q.prompt for q in questions])["input_ids"]
    solver = Solver(random_model(kind, 0), tokenizer, questions, prompts)
    assert (solver.why_plain is None) == MODELS[kind][1], solver.why_plain
    for batch in solver.batches(range(24), budget=1500):
        for i, (text, probs) in zip(batch, solver.answer(batch)):
            expected, expected_probs = solver.answer_one(i)  # answer_plainly の答え
            assert text == expected and probs == pytest.approx(expected_probs, abs=1e-4) and len(probs) == 5


def test_quiz_with_a_model_that_cannot_be_batched(llama, llama_run, tmp_path):
    """まとめて解けないモデルは、そう言ってから 1 問ずつ解く。"""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((llama / name).read_bytes())
    config = AutoConfig.for_model("lfm2", **{**SMALL, "vocab_size": 2500}, layer_types=["conv", "full_attention"])
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    result = step("run_quiz", "--model", tmp_path, "--max-questions", "3", "-o", tmp_path / "r.json", cwd=llama_run)
    assert "1 問ずつ解きます" in result.stderr and len(read(tmp_path / "r.json")) == 4


def test_fourth_choice_and_fifth(llama, llama_run):
    """4 択と 5 択が混じっていても、確率は選択肢の数だけ。"""
    questions = quiz_of(llama_run / "quiz.json", 4)
    four = dataclasses.replace(questions[1], choices=questions[1].choices[:4], label=0)
    solver = make_solver(llama, None, FAST, [questions[0], four, *questions[2:]])
    assert [len(probs) for _, probs in solver.answer([0, 1, 2, 3])] == [5, 4, 5, 5]


# --- まとめ方とメモリ

@pytest.fixture(scope="session")
def solver(llama, questions):
    return make_solver(llama, None, FAST, questions)


def test_batches_fill_the_budget(solver):
    """長さ × 問題数が上限を超えず、すべての問題がちょうど 1 度ずつ入る。上限より長い 1 問も解く。"""
    lengths = [len(p) + len(solver.labels.lead) for p in solver.prompts]
    for budget, rows in ((min(lengths) * 4, None), (10**6, 5), (10, None)):
        batches = solver.batches(range(24), budget, rows)
        assert sorted(i for b in batches for i in b) == list(range(24))
        assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= budget for b in batches)
        assert max(map(len, batches)) == (rows or 3 if budget > 10 else 1)
    assert solver.batches([3, 7], None) in ([[3, 7]], [[7, 3]])


@pytest.mark.parametrize("error", [
    RuntimeError("CUDA error: out of memory"), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")])
def test_batch_that_does_not_fit_is_cut_in_two(error, solver, monkeypatch):
    """メモリに入らないまとまりは、入るまで二つに分けて解く。順も答えも変わらない。"""
    whole, original = solver.answer(range(24)), FastWay.answer

    def small(self, prompts, lines):
        if len(prompts) > 5:
            raise error
        return original(self, prompts, lines)

    monkeypatch.setattr(FastWay, "answer", small)
    cut = solver.answer(range(24))
    assert [text for text, _ in cut] == [text for text, _ in whole]
    assert [p for _, probs in cut for p in probs] == pytest.approx([p for _, probs in whole for p in probs], abs=1e-4)
    monkeypatch.setattr(FastWay, "answer", lambda *args: (_ for _ in ()).throw(error))
    with pytest.raises(SystemExit, match="1 問ずつでもメモリが足りません"):
        solver.answer(range(2))
    monkeypatch.setattr(FastWay, "answer", lambda *args: (_ for _ in ()).throw(RuntimeError("別の間違い")))
    with pytest.raises(RuntimeError, match="別の間違い"):
        solver.answer(range(2))


def test_question_longer_than_the_model_sees(llama, questions):
    """モデルの扱える長さに収まらない問題があれば、解く前に言う。離れた位置を見ない幅 (sliding_window) は、長さの上限ではない。"""
    model = load_model(llama, None, {}, "cpu")
    model.config.max_position_embeddings, model.config.sliding_window = 100, 1
    tokenizer = load_tokenizer(llama, FAST)
    with pytest.raises(SystemExit, match="100 トークンに収まりません"):
        Solver(model, tokenizer, questions, tokenizer([q.prompt for q in questions])["input_ids"])
    model.config.max_position_embeddings = 1024
    Solver(model, tokenizer, questions[:2], tokenizer([q.prompt for q in questions[:2]])["input_ids"])
