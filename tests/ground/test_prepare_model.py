"""学習できる形に直したモデル: Qwen 第 1 世代、画像も読むモデル、SentencePiece だけのモデル。"""

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
    make_sentencepiece,
    prepared,
    qwen_v1_weights,
    read,
    solve,
    step,
    step_error,
)
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sentencepiece import SentencePieceProcessor
from solving_helpers import WRAPPERS, make_wrapper
from tiktoken.load import load_tiktoken_bpe
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

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


def check_sentencepiece(source, base, bos):
    """base の tokenizer.json は、BOS (付けるなら) と SentencePiece そのものの結果を出す。"""
    original = SentencePieceProcessor(model_file=str(source / "tokenizer.model"))
    tokenizer = load_tokenizer(base, FAST)
    assert tokenizer.pad_token == tokenizer.eos_token == "</s>"
    for _, r in read_records(DEMO / "dev1_questions.json", ""):
        text = f" {r['question']}\n\n0:  x"
        ids = original.encode(text)
        assert tokenizer(text)["input_ids"] == [original.bos_id()] * bos + ids
        assert tokenizer.decode(ids) == original.decode(ids)


def test_sentencepiece_tokens(llama_source, llama):
    check_sentencepiece(llama_source, llama, bos=True)


@pytest.mark.parametrize(
    "kind, bos, prefix",
    [
        ("unigram", False, False),  # sarashina2.2
        ("unigram", False, True),
        ("unigram", True, True),
        ("bpe", False, False),
    ],
)
def test_sentencepiece_kinds(kind, bos, prefix, tmp_path):
    """語の切り方、BOS、文の初めの空白の組が違っても (BPE でどれも付けるのは llama)。"""
    source = tmp_path / "source"
    source.mkdir()
    make_sentencepiece(
        source, bos, model_type=kind, add_dummy_prefix=prefix, normalization_rule_name="nmt_nfkc"
    )
    (source / "config.json").write_text('{"model_type": "llama"}')
    check_sentencepiece(source, prepared(source, tmp_path), bos)


def test_sentencepiece_that_drops_spaces(tmp_path):
    """続く空白を捨てる SentencePiece は直せないので、1 行で断り、何も残さない。"""
    source = tmp_path / "source"
    source.mkdir()
    make_sentencepiece(source, model_type="unigram", remove_extra_whitespaces=True)
    (source / "config.json").write_text('{"model_type": "llama"}')
    error = step_error("quiz.prepare_model", source, "out", cwd=tmp_path)
    assert "同じトークン列の tokenizer.json に直せません" in error
    assert list(tmp_path.iterdir()) == [source]


def logits_of(model_class, folder, ids):
    model = model_class.from_pretrained(folder, dtype=torch.float32)
    with torch.inference_mode():
        return model(input_ids=ids).logits


@pytest.mark.parametrize("kind", WRAPPERS)
def test_text_model_computes_the_same(kind, tmp_path):
    """画像も読むモデルから取り出した文章のモデルは、同じ logits を出す。画像の部分は残らない。"""
    source = make_wrapper(tmp_path / "source", kind)
    edit_yaml(tmp_path / "qlora-opencalm.yml", "source", "./out")
    step("convert_train", DEMO / "train_questions.json", "--max-questions", "9", cwd=tmp_path)
    error = step_error("quiz.training.preflight", "qlora-opencalm.yml", cwd=tmp_path)
    command, target = re.search(
        r"python -m (quiz.prepare_model source (\S+)) で直し、base_model を ./\2 に", error
    ).groups()
    step(*command.split(), cwd=tmp_path)
    edit_yaml(tmp_path / "qlora-opencalm.yml", f"./{target}", "./out")
    assert "次は: " in step("quiz.training.preflight", "qlora-opencalm.yml", cwd=tmp_path).stdout

    ids = torch.randint(100, 8000, (2, 200), generator=torch.Generator().manual_seed(1))
    expected = logits_of(AutoModelForImageTextToText, source, ids)
    assert expected.std() > 0.5
    assert logits_of(AutoModelForCausalLM, tmp_path / target, ids).equal(expected)
    with safe_open(tmp_path / target / "model.safetensors", "pt") as f:
        names = set(f.keys())
    assert not [name for name in names if "vision" in name or "visual" in name]
    # 出力の層が埋め込みと同じ重みなら、2 度は書かない
    assert ("lm_head.weight" in names) == (kind == "qwen3_5")


def change_weights(path, change):
    """重みを change (重みの dict を変える関数) で変えて、書き直す。"""
    weights = load_file(path)
    change(weights)
    save_file(weights, path, {"format": "pt"})


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda w: w.pop("model.language_model.norm.weight"), "norm.weight が、足りないか余ります"),
        (
            lambda w: w.update({"model.language_model.layers.0.bias": torch.ones(1)}),
            "layers.0.bias が、足りないか余ります",
        ),
    ],
    ids=["missing", "extra"],
)
def test_wrapper_with_other_weights(change, told, tmp_path):
    """足りない重みを乱数で埋めたり、余った重みを捨てたりしない。"""
    source = make_wrapper(tmp_path / "source", "qwen3_5")
    change_weights(source / "model.safetensors", change)
    assert told in step_error("quiz.prepare_model", source, "out", cwd=tmp_path)
    assert list(tmp_path.iterdir()) == [source]


def test_text_model_that_answers_otherwise(tmp_path, monkeypatch):
    """書いたものを読み直して、元と違う値を出せば、残さない。"""
    source = make_wrapper(tmp_path / "source", "gemma3")
    write = prepare.replace_weights

    def write_wrongly(folder, model):
        write(folder, model)
        change_weights(folder / "model.safetensors", lambda w: w["model.norm.weight"].add_(0.01))

    monkeypatch.setattr(prepare, "replace_weights", write_wrongly)
    error = step_error("quiz.prepare_model", source, "out", cwd=tmp_path)
    assert "同じ値を出しません" in error and list(tmp_path.iterdir()) == [source]


SHARD = "model-00001-of-00002.safetensors"


def drop_weight(folder):
    """重みの 1 つが欠けたモデルにする。"""
    change_weights(folder / SHARD, lambda w: w.pop("transformer.h.0.ln_1.weight"))


def add_bias(folder):
    """Qwen2 にはない偏りの項のあるモデルにする。"""
    bias = {"transformer.h.0.attn.c_proj.bias": torch.ones(64)}
    change_weights(folder / SHARD, lambda w: w.update(bias))
    index = folder / "model.safetensors.index.json"
    names = read(index)["weight_map"] | dict.fromkeys(bias, SHARD)
    change_json(index, weight_map=names)


def test_prepare_vocab_and_merges(tmp_path):
    """SentencePiece のファイルも tokenizer.json もないモデルは、直せない。"""
    (tmp_path / "base").mkdir()
    (tmp_path / "base/config.json").write_text('{"model_type": "gpt2"}')
    (tmp_path / "base/vocab.json").write_text("{}")
    error = step_error("quiz.prepare_model", "base", "out", cwd=tmp_path)
    assert "SentencePiece のファイル" in error and not (tmp_path / "out").exists()


def test_prepare_without_network(tmp_path, monkeypatch):
    """Hub につながらなければ 1 行で終わり、何も残さない。

    設定だけがあって、重みが取れないときも。
    """
    assert "some/model を直せません: Hub から取得できません" in step_error(
        "quiz.prepare_model", "some/model", "out", cwd=tmp_path
    )
    monkeypatch.setattr(prepare, "why_prepare", lambda base: "直す")
    for error in (httpx.ConnectError("refused"), httpx.ReadTimeout("slow")):
        monkeypatch.setattr("huggingface_hub.list_repo_files", mock.Mock(side_effect=error))
        assert "some/model を直せません: Hub から取得できません" in step_error(
            "quiz.prepare_model", "some/model", "out", cwd=tmp_path
        )
    assert not list(tmp_path.iterdir())


def test_prepare_errors(qwen_v1, llama, tmp_path):
    assert "直すところはありません" in step_error("quiz.prepare_model", llama, "out", cwd=tmp_path)
    for change, where in (
        (lambda f: (f / "qwen.tiktoken").unlink(), "qwen.tiktoken そこにありません"),
        (lambda f: change_json(f / "config.json", rotary_pct=0.5), "rotary_pct: 0.5"),
        (add_bias, "o_proj.bias が、足りないか余ります"),
        (drop_weight, "weight が、足りないか余ります"),
    ):
        source = shutil.copytree(qwen_v1, tmp_path / "source")
        change(source)
        assert where in step_error("quiz.prepare_model", source, "out", cwd=tmp_path)
        assert list(tmp_path.iterdir()) == [source]
        shutil.rmtree(source)
