"""テストの共通部品。学生が打つコマンドを、そのまま別の作業フォルダで実行する。"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "data/demo"
BIN = Path(sys.executable).parent
ENV = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "AXOLOTL_DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
sys.path.insert(0, str(ROOT))


def run(*command, cwd, status=0):
    """コマンドを実行して結果を返す。*.py はこのリポジトリのスクリプト。終了コードが status でなければ失敗。"""
    first, *rest = map(str, command)
    command = [sys.executable, str(ROOT / first), *rest] if first.endswith(".py") else [first, *rest]
    result = subprocess.run(command, cwd=cwd, env=ENV, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert result.returncode == status, f"{command}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
    return result


def run_error(*command, cwd):
    """コマンドが日本語 1 行のエラーで終わることを確かめ、その行を返す。"""
    error = run(*command, cwd=cwd, status=1).stderr
    assert error.startswith("エラー: ") and error.count("\n") == 1 and "Traceback" not in error, error
    return error


def write_rows(path, *rows):
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")


def read(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def edit_yaml(target, base_model, output_dir):
    """YAML の先頭 2 行だけを、教員がするように書き換える。"""
    text = (ROOT / "qlora-opencalm.yml").read_text(encoding="utf-8")
    text = re.sub(r"^base_model:.*", f"base_model: {base_model}", text, flags=re.M)
    target.write_text(re.sub(r"^output_dir:.*", f"output_dir: {output_dir}", text, flags=re.M), encoding="utf-8")


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """README の 1 つ目のコマンド (data/demo/run.sh) を、リポジトリの写しで実行した後の data/demo/out。"""
    copy = tmp_path_factory.mktemp("clone") / "repo"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "out", "*cache*"))
    (copy / ".venv").symlink_to(BIN.parent)
    out = run("bash", "data/demo/run.sh", cwd=copy).stdout
    (copy / "data/demo/out/stdout.txt").write_text(out, encoding="utf-8")
    return copy / "data/demo/out"


@pytest.fixture(scope="session")
def llama(tmp_path_factory):
    """SentencePiece 風 (先頭に ▁、BOS を付ける、pad なし) のトークナイザを持つ、小さな Llama。"""
    folder = tmp_path_factory.mktemp("llama")
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256))]
    # SentencePiece と同じく、数字と改行はほかの文字とつながらない。
    text = (line for line in (DEMO / "train_questions.json").read_text(encoding="utf-8").splitlines())
    t.train_from_iterator((w for line in text for w in line.split('"')), trainers.BpeTrainer(
        vocab_size=2500, special_tokens=special, initial_alphabet=list("0123456789:")))
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    t.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}))
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(
        vocab_size=t.get_vocab_size(), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def llama_run(llama, tmp_path_factory):
    """YAML の 2 行だけを替えて、Llama で手順1から5までを通した作業フォルダ。"""
    work = tmp_path_factory.mktemp("llama-run")
    edit_yaml(work / "qlora-opencalm.yml", llama, "./llama-qlora-out")
    run("convert_train.py", DEMO / "train_questions.json", "--max-questions", "200", cwd=work)
    run("convert_eval.py", DEMO / "dev1_questions.json", cwd=work)
    run("accelerate", "launch", "-m", "axolotl.cli.train", "qlora-opencalm.yml", "--max_steps", "2", cwd=work)
    run("run_quiz.py", "--max-questions", "6", cwd=work)
    run("analysis.py", cwd=work)
    return work
