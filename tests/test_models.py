"""モデルの構造ごとの通し、Qwen 第 1 世代の変換、学習の前の点検、モデルの表。"""

import csv
import json
import re
import shutil
import unicodedata

import models
import prepare_model
import pytest
import tiktoken
import torch
from conftest import DEMO, ROOT, SHAPE, edit_yaml, qwen_v1_weights, read, run, run_error, solve
from safetensors import safe_open
from sentencepiece import SentencePieceProcessor
from test_train import check_parity
from tiktoken.load import load_tiktoken_bpe
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu
from transformers import AutoConfig, AutoModelForCausalLM

import run_quiz


def change_json(path, **values):
    path.write_text(json.dumps(read(path) | values))


@pytest.mark.parametrize("name", ["mistral", "qwen"])
def test_swap_base_model(name, llama_run, tmp_path, request):
    """Llama で学習した作業フォルダで、YAML の 2 行だけを替えて、別の構造のモデルを学習し、解かせる。"""
    base = request.getfixturevalue(name)
    work = solve(shutil.copytree(llama_run, tmp_path / name), base, name)
    check_parity(work, base)
    with safe_open(work / f"{name}-qlora-out/adapter_model.safetensors", "pt") as f:
        kinds = {k.split(".lora_")[0].rpartition(".")[2] for k in f.keys()}
    assert kinds == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    *records, summary = read(work / "result.json")
    assert summary["model"] == str(base) and summary["adapter"] == f"./{name}-qlora-out" and len(records) == 6
    assert all(0 < sum(r["choice_probs"]) <= 1.001 for r in records)


def qwen_v1_logits(w, ids):
    """Qwen 第 1 世代の計算を、その論文と公開のコードの式のとおりに書いたもの。ids (T,) → logits (T, V)。"""
    hidden, heads = SHAPE["hidden_size"], SHAPE["num_attention_heads"]
    size = hidden // heads
    angles = torch.outer(torch.arange(len(ids)).float(), 10000 ** (-torch.arange(0, size, 2).float() / size))
    cos, sin = (torch.cat([f(angles), f(angles)], dim=-1) for f in (torch.cos, torch.sin))

    def rotate(x):
        first, second = x.chunk(2, dim=-1)
        return x * cos + torch.cat([-second, first], dim=-1) * sin

    x = w["transformer.wte.weight"][ids]
    for i in range(SHAPE["num_hidden_layers"]):
        p = {k.removeprefix(f"transformer.h.{i}."): v for k, v in w.items()}
        h = rms_norm(x, (hidden,), p["ln_1.weight"], 1e-6)
        q, k, v = ((h @ p["attn.c_attn.weight"].T + p["attn.c_attn.bias"]).view(len(ids), 3, heads, size)).permute(1, 2, 0, 3)
        h = scaled_dot_product_attention(rotate(q), rotate(k), v, is_causal=True).transpose(0, 1).reshape(len(ids), hidden)
        x = x + h @ p["attn.c_proj.weight"].T
        h = rms_norm(x, (hidden,), p["ln_2.weight"], 1e-6)
        x = x + (h @ p["mlp.w1.weight"].T * silu(h @ p["mlp.w2.weight"].T)) @ p["mlp.c_proj.weight"].T
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
    original = tiktoken.Encoding("qwen", pat_str=prepare_model.PATTERN, mergeable_ranks=ranks,
                                 special_tokens={s: len(ranks) + i for i, s in enumerate(prepare_model.SPECIAL)})
    tokenizer = run_quiz.load_tokenizer(qwen, {"tokenizer_type": "PreTrainedTokenizerFast"})
    texts = [r["question"] for _, r in run_quiz.read_records(DEMO / "dev1_questions.json")]
    for text in [*texts, "か\u3099 ガ 12３\r\n\n  x's <|endoftext|>"]:
        assert tokenizer(text)["input_ids"] == original.encode(unicodedata.normalize("NFC", text), allowed_special="all")
    assert tokenizer.eos_token_id == len(ranks)


def test_sentencepiece_tokens(llama_source, llama):
    """tokenizer.model から作った tokenizer.json のトークン列は、BOS と SentencePiece そのものの結果。"""
    original = SentencePieceProcessor(model_file=str(llama_source / "tokenizer.model"))
    tokenizer = run_quiz.load_tokenizer(llama, {"tokenizer_type": "PreTrainedTokenizerFast"})
    assert tokenizer.pad_token == tokenizer.eos_token == "</s>"
    for _, r in run_quiz.read_records(DEMO / "dev1_questions.json"):
        assert tokenizer(r["question"])["input_ids"] == [original.bos_id(), *original.encode(r["question"])]


def test_prepare_errors(qwen_v1, llama, tmp_path):
    assert "直すところはありません" in run_error("data/prepare_model.py", llama, "out", cwd=tmp_path)
    for change, where in ((lambda f: (f / "qwen.tiktoken").unlink(), "qwen.tiktoken"),
                          (lambda f: change_json(f / "config.json", no_bias=False), "no_bias: False")):
        source = shutil.copytree(qwen_v1, tmp_path / "source", dirs_exist_ok=True)
        change(source)
        assert where in run_error("data/prepare_model.py", source, "out", cwd=tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source"]


def edit(yaml, old, new):
    yaml.write_text(yaml.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


CHECKS = {
    "hub": (lambda base, yaml: edit_yaml(yaml, "some/unknown-model", "./o"), "some/unknown-model を取得できません"),
    "unknown architecture": (lambda base, yaml: change_json(base / "config.json", model_type="brandnew"), "構造 brandnew"),
    "qwen v1": (lambda base, yaml: change_json(base / "config.json", model_type="qwen"), "data/prepare_model.py"),
    "no tokenizer": (lambda base, yaml: (base / "tokenizer.json").unlink(), "data/prepare_model.py"),
    "no eos": (lambda base, yaml: (base / "tokenizer_config.json").write_text("{}"), "eos_token"),
    "longer than the model": (lambda base, yaml: change_json(base / "config.json", max_position_embeddings=256), "扱える長さ 256"),
    "rows too long": (lambda base, yaml: edit(yaml, "sequence_len: 512", "sequence_len: 99"), "を超え"),
    "no flash-attn": (lambda base, yaml: edit(yaml, ": sdpa", ": flash_attention_2"), "flash-attn"),
    "memory": (lambda base, yaml: change_json(base / "config.json", num_hidden_layers=99, hidden_size=2**15), "GiB"),
}


@pytest.mark.parametrize("name", CHECKS)
def test_check_finds(name, llama, llama_run, tmp_path, monkeypatch):
    """学習できないときは、学習の前に 1 行で知らせる。"""
    change, message = CHECKS[name]
    base, yaml = shutil.copytree(llama, tmp_path / "base"), tmp_path / "qlora-opencalm.yml"
    edit_yaml(yaml, base, "./o")
    change(base, yaml)
    monkeypatch.chdir(llama_run)
    with pytest.raises(SystemExit) as stop:
        models.check(str(yaml))
    error = stop.value.code
    assert error.startswith("エラー: ") and "\n" not in error and message in error and str(yaml) in error


def test_check_passes(demo):
    out = run("data/models.py", "qlora-demo.yml", cwd=demo).stdout
    assert "gpt_neox" in out and "895 問" in out and out.endswith("次は: accelerate launch -m axolotl.cli.train qlora-demo.yml\n")


def test_check_without_pad(llama, llama_run, monkeypatch, capsys):
    """pad のないトークナイザは、EOS で詰めて学習できる (llama_run がその学習)。"""
    assert "pad_token" not in read(llama / "tokenizer_config.json")
    monkeypatch.chdir(llama_run)
    models.check("qlora-opencalm.yml")
    assert "次は: " in capsys.readouterr().out


def test_weight_memory_is_what_loading_takes(llama):
    """重みの見積もりは、bitsandbytes が実際に作るテンソルの大きさと合う。"""
    yaml = {"load_in_4bit": True, "lora_r": 0, "micro_batch_size": 0}
    n, train, _ = models.estimate(AutoConfig.from_pretrained(llama), yaml, 0, "cpu")
    model = run_quiz.load_model(llama, None, {"load_in_4bit": True})
    size = 0
    for p in model.parameters():
        size += p.numel() * p.element_size()
        if state := getattr(p, "quant_state", None):
            size += state.absmax.numel() + state.state2.absmax.numel() * 4
    assert train * models.GIB == pytest.approx(size, rel=0.01)
    assert n == sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(llama).parameters())


def test_table_has_every_model(tmp_path):
    """表には、公開の表の 14 モデルと open-calm の 6 モデルがすべてあり、README の表はこのコマンドの出力そのもの。"""
    out = run("data/models.py", cwd=tmp_path).stdout
    names = re.findall(r"^\| (\S+) \| \S+/", out, re.M)
    with open(ROOT / "data/published_scores.csv", encoding="utf-8", newline="") as f:
        published = {row["model"] for row in csv.DictReader(f)}
    assert published <= set(names) and len(names) == len(published) + 6
    assert out in (ROOT / "README.md").read_text(encoding="utf-8")
