"""手順3: 本物の Axolotl で学習したアダプタと、学習に使われたトークン列。"""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter

import pytest
import torch
from conftest import DEMO, FAST, check_parity, read, run, step, step_error, train
from safetensors import safe_open

from quiz.adapter import RECORD
from quiz.model import load_tokenizer
from quiz.solving.one_by_one import Labels

SPY = """
from pathlib import Path
from axolotl.integrations.base import BasePlugin

class Plugin(BasePlugin):
    def post_trainer_create(self, cfg, trainer):
        Path("collator.txt").write_text(type(trainer.data_collator).__name__)
"""


def test_token_parity_demo(demo):
    base = DEMO / "model"
    prepared = check_parity(demo, base)
    tokenizer = load_tokenizer(base, FAST)
    outputs = Counter(tokenizer.decode([x for x in row["labels"] if x != -100]) for row in prepared)
    assert outputs == Counter(
        r["output"] + tokenizer.eos_token for r in read(demo / "train-5-inst.json")
    )


def test_token_parity_llama(llama, llama_run):
    prepared = check_parity(llama_run, llama)
    assert all(row["input_ids"][0] == 1 and row["input_ids"][-1] == 2 for row in prepared)
    labels = Labels(load_tokenizer(llama, FAST), 5).tokens
    starts = {tuple(x for x in row["labels"] if x != -100)[: len(labels[0])] for row in prepared}
    assert starts == set(map(tuple, labels))


def test_adapter_targets(demo):
    """アダプタは、ブロックの線形層すべてに付き、埋め込みと lm_head には付かない。

    rank は YAML のとおり。
    """
    with safe_open(demo / "demo-qlora-out/adapter_model.safetensors", "pt") as f:
        shapes = {k: f.get_slice(k).get_shape() for k in f.keys()}
    kinds = {k.split(".layers.")[1].partition(".")[2] for k in shapes}
    assert kinds == {
        f"{m}.lora_{s}.weight"
        for s in "AB"
        for m in (
            "attention.query_key_value",
            "attention.dense",
            "mlp.dense_h_to_4h",
            "mlp.dense_4h_to_h",
        )
    }
    model = read(DEMO / "model/config.json")
    assert len(shapes) == 8 * model["num_hidden_layers"]
    assert {s[0] for k, s in shapes.items() if "lora_A" in k} == {64}


def test_adapter_targets_llama(llama_run):
    with safe_open(llama_run / "llama-qlora-out/adapter_model.safetensors", "pt") as f:
        kinds = {k.split(".lora_")[0].rpartition(".")[2] for k in f.keys()}
    assert kinds == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def start(work, *options):
    return subprocess.Popen(
        ["accelerate", "launch", "-m", "axolotl.cli.train", "qlora-opencalm.yml", *options],
        cwd=work,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def test_interrupted_training_goes_on(llama_run, tmp_path):
    """Ctrl-C と kill -9 で止めても、同じコマンドで続きから始まる。

    止めなかったときと 1 バイトも違わないアダプタになる。

    止めない方は学習曲線も測らない: 測っても、学習は変わらない。長すぎる問題は、そう言って除く。
    """
    for name in ("train-5-inst.json", "qlora-opencalm.yml", "quiz.json"):
        shutil.copy(llama_run / name, tmp_path)
    quiz = read(tmp_path / "quiz.json")
    longer = "問題: " + "これは長い前置きです。" * 200
    quiz[0]["instruction"] = quiz[0]["instruction"].replace("問題: ", longer)
    (tmp_path / "quiz.json").write_text(json.dumps(quiz, ensure_ascii=False), encoding="utf-8")
    options = [
        "--micro_batch_size",
        "4",
        "--gradient_accumulation_steps",
        "1",
        "--max_steps",
        "36",
        "--output_dir",
        "out",
    ]
    for number, kill in enumerate((signal.SIGINT, signal.SIGKILL)):
        process, before = start(tmp_path, *options), steps_done(tmp_path / "out")
        while process.poll() is None and steps_done(tmp_path / "out") <= before:
            time.sleep(0.05)
        os.killpg(process.pid, kill)
        text = process.communicate()[0]
        assert (
            not read(tmp_path / "out/training.json")["finished"]
            and before < steps_done(tmp_path / "out") < 36
        ), text
        assert number or "中断しました" in text
        assert not number or "の続きから始めます" in text
        assert "途中です" in step_error("run_quiz", "--model", "out", cwd=tmp_path)
        wait_for_lock(tmp_path / "out")
    # 36 ステップでは、選ぶことは覚えない
    shown = train(tmp_path, *options).stdout
    assert "当てずっぽう (0.20) より高いとは言えません" in shown
    assert "sequence_len より長い 1 問は、測っていません" in shown
    train(tmp_path, *options[:-1], "whole", "--learning_curve", "none")
    adapters = [
        (tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("out", "whole")
    ]
    assert adapters[0] == adapters[1]
    report = read(tmp_path / "out/training.json")
    assert (
        report["finished"]
        and report["steps_done"] == 36
        and [p["epoch"] for p in report["curve"]] == [0, pytest.approx(0.72, abs=0.01)]
    )
    assert not read(tmp_path / "whole/training.json")["curve"]


def steps_done(folder):
    """チェックポイントに残ったステップの数。"""
    return read(folder / RECORD)["steps_done"] if (folder / RECORD).exists() else 0


def wait_for_lock(folder):
    """folder で学習しているプロセスが、すべて終わるまで待つ。"""
    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    os.close(handle)


@pytest.mark.skipif(
    torch.version.cuda is not None,
    reason="CUDA 版の torch では、GPU が見えないと Axolotl の 2 プロセスが始まらない",
)
def test_two_processes_train_together(llama_run, tmp_path, monkeypatch):
    """2 つのプロセス (CPU、gloo) が、問題を分けて 1 つのアダプタを学習する (DDP)。"""
    work = shutil.copytree(llama_run, tmp_path / "ddp")
    # Axolotl は 2 プロセスなら GPU があると決めてかかるので、CPU に置かせる
    config = work / "qlora-opencalm.yml"
    text = config.read_text(encoding="utf-8") + "\nmax_memory:\n  cpu: 8GiB\n"
    # 学習の行のまとめ方を書き留めるだけのプラグインを、後ろに足す
    text = re.sub(r"^( *- )quiz\.training.*", r"\g<0>\n\g<1>spy.Plugin", text, flags=re.M)
    config.write_text(text, encoding="utf-8")
    (work / "spy.py").write_text(SPY, encoding="utf-8")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    run(
        "accelerate",
        "launch",
        "--multi_gpu",
        "--num_processes",
        "2",
        "-m",
        "axolotl.cli.train",
        "qlora-opencalm.yml",
        "--max_steps",
        "1",
        "--output_dir",
        "ddp-out",
        cwd=work,
    )
    state = read(work / "ddp-out/checkpoint-1/trainer_state.json")
    # 1 回の更新で、YAML の 16 問 × 4 を 2 プロセス分使う。
    # ばらばらに学習していれば、この半分になる。
    assert state["epoch"] == pytest.approx(
        2 * 16 * 4 / len(read(work / "train-5-inst.json")), rel=0.2
    )
    assert (work / "collator.txt").read_text() == "AnswerCollator"
    step("run_quiz", "--model", "ddp-out", "--max-questions", "2", cwd=work)
