"""学習できる形に直したモデル: Qwen 第 1 世代、SentencePiece だけの Llama、構造を替えた通し。"""

import json
import re
import shutil
import unicodedata
from unittest import mock

import httpx
import pytest
import tiktoken
import torch
from conftest import (
    DEMO,
    FAST,
    SHAPE,
    change_json,
    check_parity,
    edit_yaml,
    qwen_v1_weights,
    read,
    solve,
    step,
    step_error,
)
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sentencepiece import SentencePieceProcessor
from tiktoken.load import load_tiktoken_bpe
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu
from transformers import AutoModelForCausalLM

from quiz import prepare_model as prepare
from quiz.files import read_records
from quiz.model import load_tokenizer


@pytest.mark.parametrize("name", ["mistral", "qwen"])
def test_swap_base_model(name, llama_run, tmp_path, request):
    """YAML の 2 行だけを替えて、別の構造のモデルを学習し、解かせる。

    作業フォルダは、Llama で学習したもの。
    """
    base = request.getfixturevalue(name)
    work = shutil.copytree(llama_run, tmp_path / name)
    # 学習用ファイルも作り直す: 前のトークン列ではなく、新しいファイルで学習する
    # (check_parity が確かめる)。
    step("convert_train", DEMO / "train_questions.json", "--max-questions", "20", cwd=work)
    solve(work, base, name)
    assert len(check_parity(work, base)) == 20
    with safe_open(work / f"{name}-qlora-out/adapter_model.safetensors", "pt") as f:
        kinds = {k.split(".lora_")[0].rpartition(".")[2] for k in f.keys()}
    assert kinds == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    *records, summary = read(work / "result.json")
    assert (
        summary["model"] == str(base)
        and summary["adapter"] == f"./{name}-qlora-out"
        and len(records) == 6
    )
    assert all(0 < sum(r["choice_probs"]) <= 1.001 for r in records)


def qwen_v1_logits(w, ids):
    """Qwen 第 1 世代の計算を、その論文と公開のコードの式のとおりに書いたもの。

    ids (T,) → logits (T, V)。
    """
    hidden, heads = SHAPE["hidden_size"], SHAPE["num_attention_heads"]
    size = hidden // heads
    angles = torch.outer(
        torch.arange(len(ids)).float(), 10000 ** (-torch.arange(0, size, 2).float() / size)
    )
    cos, sin = (torch.cat([f(angles), f(angles)], dim=-1) for f in (torch.cos, torch.sin))

    def rotate(x):
        first, second = x.chunk(2, dim=-1)
        return x * cos + torch.cat([-second, first], dim=-1) * sin

    x = w["transformer.wte.weight"][ids]
    for i in range(SHAPE["num_hidden_layers"]):
        p = {k.removeprefix(f"transformer.h.{i}."): v for k, v in w.items()}
        h = rms_norm(x, (hidden,), p["ln_1.weight"], 1e-6)
        q, k, v = (
            (h @ p["attn.c_attn.weight"].T + p["attn.c_attn.bias"]).view(len(ids), 3, heads, size)
        ).permute(1, 2, 0, 3)
        h = (
            scaled_dot_product_attention(rotate(q), rotate(k), v, is_causal=True)
            .transpose(0, 1)
            .reshape(len(ids), hidden)
        )
        x = x + h @ p["attn.c_proj.weight"].T
        h = rms_norm(x, (hidden,), p["ln_2.weight"], 1e-6)
        x = (
            x
            + (h @ p["mlp.w1.weight"].T * silu(h @ p["mlp.w2.weight"].T)) @ p["mlp.c_proj.weight"].T
        )
    return rms_norm(x, (hidden,), w["transformer.ln_f.weight"], 1e-6) @ w["lm_head.weight"].T


def test_qwen_v1_computes_the_same(qwen):
    """Qwen2 の形に直したモデルの logits は、Qwen 第 1 世代の式の値と同じ。"""
    ids = torch.randint(0, 8000, (200,), generator=torch.Generator().manual_seed(1))
    model = AutoModelForCausalLM.from_pretrained(qwen, dtype=torch.float32)
    with torch.inference_mode():
        ours, expected = model(ids[None]).logits[0], qwen_v1_logits(qwen_v1_weights(), ids)
    assert expected.std() > 0.5
    torch.testing.assert_close(ours, expected, atol=2e-4, rtol=1e-4)


def test_qwen_v1_tokens(qwen_v1, qwen):
    """tokenizer.json のトークン列は、qwen.tiktoken を tiktoken で読んだものと同じ。"""
    ranks = load_tiktoken_bpe(str(qwen_v1 / "qwen.tiktoken"))
    original = tiktoken.Encoding(
        "qwen",
        pat_str=prepare.PATTERN,
        mergeable_ranks=ranks,
        special_tokens={s: len(ranks) + i for i, s in enumerate(prepare.SPECIAL)},
    )
    tokenizer = load_tokenizer(qwen, FAST)
    texts = [r["question"] for _, r in read_records(DEMO / "dev1_questions.json", "")]
    for text in [*texts, "か\u3099 ガ 12３\r\n\n  x's <|endoftext|>"]:
        assert tokenizer(text)["input_ids"] == original.encode(
            unicodedata.normalize("NFC", text), allowed_special="all"
        )
    assert tokenizer.eos_token_id == len(ranks)


def test_sentencepiece_tokens(llama_source, llama):
    """tokenizer.model から作った tokenizer.json は、BOS と SentencePiece そのものの結果を出す。"""
    original = SentencePieceProcessor(model_file=str(llama_source / "tokenizer.model"))
    tokenizer = load_tokenizer(llama, FAST)
    assert tokenizer.pad_token == tokenizer.eos_token == "</s>"
    for _, r in read_records(DEMO / "dev1_questions.json", ""):
        assert tokenizer(r["question"])["input_ids"] == [
            original.bos_id(),
            *original.encode(r["question"]),
        ]


def drop_weight(folder):
    """重みの 1 つが欠けたモデルにする。"""
    path = folder / "model-00001-of-00002.safetensors"
    save_file({k: v for k, v in load_file(path).items() if "ln_1" not in k}, path)


def test_prepare_without_network(tmp_path, monkeypatch):
    """Hub につながらなければ 1 行で終わり、何も残さない。

    設定だけがあって、重みが取れないときも。
    """
    assert "some/model: 取得できません" in step_error(
        "quiz.prepare_model", "some/model", "out", cwd=tmp_path
    )
    monkeypatch.setattr(prepare, "why_prepare", lambda base: "直す")
    for error in (httpx.ConnectError("refused"), httpx.ReadTimeout("slow")):
        monkeypatch.setattr("huggingface_hub.list_repo_files", mock.Mock(side_effect=error))
        assert "some/model: 取得できません" in step_error(
            "quiz.prepare_model", "some/model", "out", cwd=tmp_path
        )
    assert not list(tmp_path.iterdir())


def test_prepare_errors(qwen_v1, llama, tmp_path):
    assert "直すところはありません" in step_error("quiz.prepare_model", llama, "out", cwd=tmp_path)
    for change, where in (
        (lambda f: (f / "qwen.tiktoken").unlink(), "qwen.tiktoken そこにありません"),
        (lambda f: change_json(f / "config.json", no_bias=False), "no_bias: False"),
        (drop_weight, "weight がありません"),
    ):
        source = shutil.copytree(qwen_v1, tmp_path / "source", dirs_exist_ok=True)
        change(source)
        assert where in step_error("quiz.prepare_model", source, "out", cwd=tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source"]
