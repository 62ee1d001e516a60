"""学習の前の点検。"""

import shutil

import pytest
from conftest import CONFIG, change_json, edit_yaml, read, step, step_error
from solving_helpers import SMALL
from transformers import AutoConfig


def edit(yaml, old, new):
    yaml.write_text(yaml.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def another_kind(kind, **settings):
    """config.json を、kind という構造のものにする。"""
    config = AutoConfig.for_model(kind, **{**SMALL, **settings})
    return lambda base, yaml: config.save_pretrained(base)


def only_remote_code(base, yaml):
    """構造もトークナイザも独自のプログラムのモデル (plamo)。"""
    (base / "tokenizer.json").unlink()
    program = {"AutoConfig": "program.Config", "AutoModelForCausalLM": "program.Model"}
    change_json(base / "config.json", model_type="plamo2", auto_map=program)
    (base / "program.py").write_text("raise SystemExit('実行した')")


CHECKS = {
    "train file": (lambda base, yaml: edit(yaml, "train-5-inst.json", "nowhere.json"), "手順1"),
    "no question": (
        lambda base, yaml: edit(yaml, "  - path: train-5-inst.json", "  - ds_type: json"),
        "path",
    ),
    "no sequence_len": (lambda base, yaml: edit(yaml, "sequence_len", "# "), "sequence_len"),
    "no micro_batch_size": (
        lambda base, yaml: edit(yaml, "micro_batch_size: 16", "#"),
        "micro_batch_size",
    ),
    "hub": (
        lambda base, yaml: edit_yaml(yaml, "some/unknown-model", "./o"),
        "some/unknown-model を読めません",
    ),
    "unknown architecture": (
        lambda base, yaml: change_json(base / "config.json", model_type="brandnew"),
        "構造 brandnew",
    ),
    "only remote code": (only_remote_code, "構造 plamo2 を、今の transformers は知りません"),
    "attention": (
        another_kind("gpt_oss", num_local_experts=4),
        "(gpt_oss) では attn_implementation: sdpa を使えません。eager に",
    ),
    "mamba layers": (another_kind("nemotron_h"), "(nemotron_h) の lora_target_modules all-linear"),
    "mamba beside attention": (
        another_kind("falcon_h1"),
        "(falcon_h1) の lora_target_modules all-linear",
    ),
    "no such layer": (
        lambda base, yaml: edit(yaml, "modules: all-linear", "modules: [q_prj]"),
        "['q_prj'] には LoRA を付けられません",
    ),
    "shape": (another_kind("opt", hidden_size=66), "を読めません: embed_dim must be divisible"),
    "quantized": (
        lambda base, yaml: change_json(
            base / "config.json", quantization_config={"quant_method": "mxfp4"}
        ),
        "もう量子化してあります",
    ),
    "qwen v1": (
        lambda base, yaml: change_json(base / "config.json", model_type="qwen"),
        "python -m quiz.prepare_model",
    ),
    "no tokenizer": (
        lambda base, yaml: (base / "tokenizer.json").unlink(),
        "python -m quiz.prepare_model",
    ),
    "no eos": (lambda base, yaml: (base / "tokenizer_config.json").write_text("{}"), "eos_token"),
    "longer than the model": (
        lambda base, yaml: change_json(base / "config.json", max_position_embeddings=256),
        "扱える長さ 256",
    ),
    "rows too long": (
        lambda base, yaml: edit(yaml, "sequence_len: 512", "sequence_len: 99"),
        "を超え",
    ),
    "no flash-attn": (lambda base, yaml: edit(yaml, ": sdpa", ": flash_attention_2"), "flash-attn"),
    "memory": (
        lambda base, yaml: change_json(
            base / "config.json", num_hidden_layers=99, hidden_size=2**15
        ),
        "GiB",
    ),
}


@pytest.mark.parametrize("name", CHECKS)
def test_check_finds(name, llama, llama_run, tmp_path):
    """学習できないときは、学習の前に 1 行で知らせる。"""
    change, message = CHECKS[name]
    base, yaml = shutil.copytree(llama, tmp_path / "base"), tmp_path / "qlora-opencalm.yml"
    edit_yaml(yaml, base, "./o")
    change(base, yaml)
    error = step_error("quiz.training.preflight", yaml, cwd=llama_run)
    assert message in error and (str(yaml) in error or name == "train file")


def test_check_passes(demo):
    out = step("quiz.training.preflight", CONFIG, cwd=demo).stdout
    assert (
        "gpt_neox" in out
        and "895 問" in out
        and out.endswith(f"次は: accelerate launch -m axolotl.cli.train {CONFIG}\n")
    )


def test_check_without_pad(llama, llama_run):
    """pad のないトークナイザは、EOS で詰めて学習できる (llama_run がその学習)。"""
    assert "pad_token" not in read(llama / "tokenizer_config.json")
    assert "次は: " in step("quiz.training.preflight", "qlora-opencalm.yml", cwd=llama_run).stdout
