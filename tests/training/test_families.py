"""いろいろな構造のモデルを、手順3で学習し、手順4で問う。学習の終わりの値と、手順4の値が同じになる。

FAMILIES=all pytest tests/training/test_families.py    # 時間のかかるものも
"""

import json
import os
import shutil

import pytest
import torch
from conftest import DEMO, edit_yaml, read, step, step_error, train
from solving_helpers import SMALL
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
)

MOE = {"num_experts_per_tok": 2, "head_dim": 16}
FAMILIES = {
    "gemma3_text": {"head_dim": 16},
    "gemma2": {"head_dim": 16, "attn_logit_softcapping": 5.0, "query_pre_attn_scalar": 16},
    "qwen3_moe": {**MOE, "num_experts": 4, "moe_intermediate_size": 32, "decoder_sparse_step": 1},
    "mixtral": {**MOE, "num_local_experts": 4},
    "qwen3_5_text": {
        "head_dim": 16,
        "layer_types": ["linear_attention", "full_attention"],
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
    },
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "phi3": {"pad_token_id": 1},
    "olmo2": {},
    "smollm3": {},
    "granite": {},
}
IN_SUITE = ("gemma3_text", "gemma2", "qwen3_moe")
chosen = list(FAMILIES) if os.environ.get("FAMILIES") else IN_SUITE


def give_tokenizer(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DEMO / "model" / name, folder)


def make_model(folder, kind, settings):
    """重みが乱数の、小さなモデル。"""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**SMALL, **settings}))
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() > 1:
                p.normal_(0, 0.1)
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


@pytest.fixture
def work(llama_run, tmp_path):
    for name in ("train-5-inst.json", "quiz.json"):
        shutil.copy(llama_run / name, tmp_path)
    edit_yaml(tmp_path / "qlora-opencalm.yml", "./base", "./out")
    return tmp_path


@pytest.mark.parametrize("kind", chosen)
def test_trained_model_is_the_one_asked(kind, work):
    """学習の終わりに自分に問うた値が、手順4の値になる。アダプタに、埋め込みは入らない。"""
    make_model(work / "base", kind, FAMILIES[kind])
    if kind == "gemma3_text":
        add_token(work / "base")
    options = ["--max_steps", "3", "--micro_batch_size", "4", "--gradient_accumulation_steps", "1"]
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
    assert (work / "out/adapter_model.safetensors").stat().st_size < (
        work / "base/model.safetensors"
    ).stat().st_size


def test_image_model_is_refused(work):
    """画像も読むモデルでは、アダプタが画像の部分にも付くので、学習しない。"""
    text = {**SMALL, "head_dim": 16}
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    Gemma3ForConditionalGeneration(config).save_pretrained(work / "base")
    give_tokenizer(work / "base")
    assert "画像も読むモデル" in step_error(
        "quiz.training.preflight", "qlora-opencalm.yml", cwd=work
    )
