"""モデルとトークナイザを読む: トークン列の照合、精度、読めないとき。"""

import json
import shutil

import pytest
from conftest import FAST, read, step_error
from tokenizers import Tokenizer

from quiz.model import encode_prompts, load_tokenizer, precision


def test_changed_tokens_are_refused(demo, tmp_path):
    """tokenizer_type を外すと transformers が正規化を変える。run_quiz.py は黙って続けない。"""
    text = (demo / "qlora-demo.yml").read_text(encoding="utf-8").replace("../model", str(demo.parent / "model"))
    (tmp_path / "q.yml").write_text(text.replace("tokenizer_type: PreTrainedTokenizerFast", "tokenizer_type: AutoTokenizer"))
    wide = (demo / "quiz.json").read_text(encoding="utf-8").replace("?", "？")
    (tmp_path / "quiz.json").write_text(wide, encoding="utf-8")
    assert "トークン列が tokenizer.json と違います" in step_error("run_quiz", "--config", "q.yml", "--base", cwd=tmp_path)
    assert not list(tmp_path.glob("result*"))


def test_padding_and_truncation_in_the_file(llama, tmp_path):
    """tokenizer.json に長さのそろえ方や切り方が書いてあっても、同じトークナイザとして使う。"""
    base = shutil.copytree(llama, tmp_path / "base")
    prompts = ["短い問題", "とても長い問題" * 10]
    expected = encode_prompts(load_tokenizer(llama, FAST), llama, prompts)
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    tokenizer.enable_padding(length=64)
    tokenizer.enable_truncation(max_length=8)
    tokenizer.save(str(base / "tokenizer.json"))
    assert encode_prompts(load_tokenizer(base, FAST), base, prompts) == expected and len(expected[1]) > 64


@pytest.mark.parametrize("bf16, fp16, capability, dtype", [
    ("auto", False, (7, 5), "float16"), (True, False, (7, 5), "float16"), ("auto", False, (8, 0), "bfloat16"),
    ("auto", None, (9, 0), "bfloat16"), ("auto", True, (8, 0), "float16"), (False, False, (9, 0), "float32"),
    ("auto", False, None, "float32"), (False, True, None, "float32"), ("auto", None, None, "float32")])
def test_precision_follows_the_gpu_and_the_yaml(bf16, fp16, capability, dtype):
    """bf16 は compute capability 8.0 から (T4 は 7.5)。YAML が fp16 と言えば fp16。CPU は fp32。"""
    assert precision(bf16, fp16, capability) == dtype


def cut_weights(base, work):
    path = base / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.parametrize("spoil", [
    lambda base, work: (base / "config.json").unlink(), cut_weights,
    lambda base, work: (base / "config.json").write_text(json.dumps(read(base / "config.json") | {"hidden_size": 128})),
    lambda base, work: (work / "q.yml").write_text((work / "q.yml").read_text().replace("PreTrainedTokenizerFast", "NoSuchTokenizer"))])
def test_model_that_cannot_be_read(spoil, llama, llama_run, tmp_path):
    """モデルが読めないときも 1 行で、前の結果は残る。ない設定、途中で切れた重み、重みの形の違い、トークナイザの名前の間違い。"""
    base = shutil.copytree(llama, tmp_path / "base")
    (tmp_path / "q.yml").write_text(f"base_model: {base}\noutput_dir: out\ntokenizer_type: PreTrainedTokenizerFast\n")
    (tmp_path / "result-base.json").write_text("前の結果")
    spoil(base, tmp_path)
    shutil.copy(llama_run / "quiz.json", tmp_path)
    assert "base" in step_error("run_quiz", "--config", "q.yml", "--base", cwd=tmp_path)
    assert (tmp_path / "result-base.json").read_text() == "前の結果"


def test_unknown_model(llama_run):
    assert "some/unknown-model" in step_error("run_quiz", "--model", "some/unknown-model", cwd=llama_run)
