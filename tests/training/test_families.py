"""いろいろな構造のモデルを、手順3から5まで通す。学習の終わりの値と、手順4の値が同じになる。

FAMILIES=all pytest tests/training/test_families.py    # 時間のかかるものも
"""

import json
import os

import pytest
import torch
from conftest import DEMO, edit_yaml, make_sentencepiece, prepared, read, step, train
from solving_helpers import (
    HEAD,
    HYBRID,
    SMALL,
    WRAPPERS,
    enlarge_weights,
    give_tokenizer,
    make_wrapper,
)
from transformers import AutoConfig, AutoModelForCausalLM

EXPERTS = {**HEAD, "num_experts_per_tok": 2, "num_experts": 4, "moe_intermediate_size": 32}
FAMILIES = {
    "gemma2": {**HEAD, "attn_logit_softcapping": 5.0, "query_pre_attn_scalar": 16},
    "qwen3_next": {**HYBRID, **EXPERTS, "shared_expert_intermediate_size": 32},
    "qwen3_moe": {**EXPERTS, "decoder_sparse_step": 1},
    "mixtral": {**HEAD, "num_experts_per_tok": 2, "num_local_experts": 4},
    "gpt_oss": {**HEAD, "num_experts_per_tok": 2, "num_local_experts": 4},
    "gemma3_text": HEAD,
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "phi3": {"pad_token_id": 1},
    "qwen3": HEAD,
    "olmo2": {},
    "smollm3": {"pad_token_id": 1},
    "granite": {},
}
# 注意の値を抑えるモデルとトークナイザの違うもの、画像も読むモデル、混成
IN_SUITE = ("gemma2", "gemma3", "qwen3_next")
chosen = [*FAMILIES, *WRAPPERS] if os.environ.get("FAMILIES") else IN_SUITE


def make_text_model(folder, kind):
    """重みが乱数の、小さなモデル。"""
    torch.manual_seed(0)
    settings = {**SMALL, **FAMILIES[kind]}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings))
    enlarge_weights(model)
    model.save_pretrained(folder)
    give_tokenizer(folder)


def add_token(folder):
    """語彙に 1 つ、埋め込みにはないトークンを足す (gemma-3 の <image_soft_token>)。"""
    path = folder / "tokenizer.json"
    saved = read(path)
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    saved["added_tokens"].append(
        {"id": SMALL["vocab_size"], "content": "<image_soft_token>", "special": True, **flags}
    )
    path.write_text(json.dumps(saved, ensure_ascii=False), encoding="utf-8")


def make_model(work, kind):
    """kind のモデルを作る。そのままでは学習できないものは直し、そのフォルダを返す。"""
    base = work / "base"
    if kind in WRAPPERS:
        return prepared(make_wrapper(base, kind), work)
    make_text_model(base, kind)
    if kind == "gemma2":
        # Unigram、BOS なし、初めの空白なし (sarashina2.2)
        (base / "tokenizer.json").unlink()
        make_sentencepiece(base, bos=False, model_type="unigram", add_dummy_prefix=False)
        return prepared(base, work)
    return base


@pytest.fixture
def work(tmp_path):
    questions = DEMO / "train_questions.json", "--max-questions", "40"
    step("convert_train", *questions, cwd=tmp_path)
    step("convert_eval", DEMO / "dev1_questions.json", "--max-questions", "40", cwd=tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", chosen)
def test_trained_model_is_the_one_asked(kind, work):
    """学習の終わりに自分に問うた値が、手順4の値になる。アダプタに、埋め込みは入らない。"""
    base = make_model(work, kind)
    if kind == "gemma3":
        add_token(base)
    edit_yaml(work / "qlora-opencalm.yml", base, "./out")
    options = ["--max_steps", "3", "--micro_batch_size", "4", "--gradient_accumulation_steps", "1"]
    if kind == "gpt_oss":
        options += ["--attn_implementation", "eager"]
    out = train(work, *options, "--learning_rate", "0.005").stdout
    assert ("attn_implementation を eager に" in out) == (kind == "gemma2")
    told = step("run_quiz", cwd=work)
    assert "同じ状態ではありません" not in told.stderr
    *records, _ = read(work / "result.json")
    check = read(work / "out/training.json")["self_check"]
    assert check["n"] == len(records) and check["dtype"] == "torch.float32"
    labels = [int(r["correct_answer"][0]) for r in records]
    right = [r["choice_probs"][label] for r, label in zip(records, labels)]
    likely = [max(r["choice_probs"]) == p for r, p in zip(records, right)]
    assert sum(right) / len(right) == pytest.approx(check["probability"], rel=1e-3)
    assert sum(likely) / len(likely) == pytest.approx(check["accuracy"], abs=1.5 / len(records))
    adapter, weights = work / "out/adapter_model.safetensors", base / "model.safetensors"
    assert adapter.stat().st_size < weights.stat().st_size
    assert "result.json" in step("analysis", cwd=work).stdout
