"""手順3: 本物の Axolotl で学習したアダプタと、学習に使われたトークン列。"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter

import pytest
import torch
from conftest import CONFIG, DEMO, FAST, check_parity, read, refused, run, step, step_error, train
from safetensors import safe_open
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from quiz.adapter import RECORD
from quiz.model import load_tokenizer
from quiz.solving.one_by_one import Labels
from quiz.training.record import last_checkpoint, occupy


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


def test_format_is_kept_beside_the_adapter(llama_run, tmp_path):
    """学習に使った最初の 1 件が、YAML の書式を通した形でアダプタの隣に残る。

    手順4と違う書式になる YAML では、学習しない。
    """
    first = read(llama_run / "train-5-inst.json")[0]
    assert read(llama_run / "llama-qlora-out/training.json")["example"] == first
    for name in ("train-5-inst.json", "qlora-opencalm.yml"):
        shutil.copy(llama_run / name, tmp_path)
    for kind in (
        {"no_input_format": "Q: {instruction} A: "},
        {"format": "{instruction}"},
        "alpaca",
    ):
        assert "手順4と違う書式" in refused(
            tmp_path, datasets=[{"path": "train-5-inst.json", "type": kind}], output_dir="new"
        )
    assert not (tmp_path / "new").exists()


def test_output_dir_belongs_to_one_training(llama_run, llama, tmp_path, capsys):
    """別のモデル、学習用ファイル、設定のアダプタがある output_dir では学習しない。

    済んでいれば、そう言って終わる。何も変えない。
    """
    work = shutil.copytree(llama_run, tmp_path / "work")
    out = work / "llama-qlora-out"
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert not refused(work, max_steps=2) and "学習は済んでいます" in capsys.readouterr().out
    assert "num_epochs: 前は 3、今は 1" in refused(work, max_steps=2, num_epochs=1)
    assert "learning_rate" not in refused(work, max_steps=2, seed=1)
    other = shutil.copytree(llama, tmp_path / "other")
    assert f"base_model: 前は {llama}、今は {other}" in refused(
        work, max_steps=2, base_model=str(other)
    )
    (work / "train-5-inst.json").write_text(json.dumps(read(work / "train-5-inst.json")[1:]))
    assert "train-5-inst.json の中身" in refused(work, max_steps=2)
    assert "この学習のものではないファイル" in refused(work, output_dir=str(other))
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def test_two_trainings_do_not_share_a_folder(tmp_path):
    occupy(tmp_path / "out")
    with pytest.raises(SystemExit, match="もう 1 つの学習が動いています"):
        occupy(tmp_path / "out")


def test_stopped_at_the_very_end(llama_run, tmp_path, capsys):
    """最後のチェックポイントを書いてから、アダプタを書き終えるまでに止まった学習は、余計に進めずに仕上げる。"""
    work = shutil.copytree(llama_run, tmp_path / "work")
    out = work / "llama-qlora-out"
    adapter, report = (out / "adapter_model.safetensors").read_bytes(), read(out / RECORD)
    (out / "adapter_model.safetensors").unlink()
    (out / RECORD).write_text(json.dumps(report | {"finished": False}))
    assert not refused(work, max_steps=2) and "学習は済んでいます" in capsys.readouterr().out
    assert (out / "adapter_model.safetensors").read_bytes() == adapter and read(
        out / RECORD
    ) == report
    step("run_quiz", "--max-questions", "2", "-o", "result-2.json", cwd=work)


@pytest.mark.parametrize("text", ["[]", "{}", "{", '{"finished": true}', '{"settings": null}'])
def test_broken_record(text, llama_run, tmp_path):
    """training.json が壊れていても 1 行で終わる。

    途中までのチェックポイントと、名前の似たフォルダは、続きに使わない。
    """
    work = shutil.copytree(llama_run, tmp_path / "work")
    out = work / "llama-qlora-out"
    for name in ("checkpoint-9", "checkpoint-2-old", "checkpoint-2x"):
        (out / name).mkdir()
    assert last_checkpoint(out) == out / "checkpoint-2"
    (out / RECORD).write_text(text)
    assert refused(work, max_steps=2).startswith("エラー: ") and "別の output_dir" in refused(
        work, max_steps=2
    )
    assert "training.json" in step_error("run_quiz", cwd=work)


def test_mistake_is_told_before_training(llama_run, tmp_path):
    """学習のコマンドそのものが、日本語の 1 行で間違いを言う。

    そのあとは accelerate の traceback だけで、何も作らない。
    """
    for name in ("train-5-inst.json", "qlora-opencalm.yml"):
        shutil.copy(llama_run / name, tmp_path)
    files = sorted(tmp_path.iterdir())
    error = run(
        "accelerate",
        "launch",
        "-m",
        "axolotl.cli.train",
        "qlora-opencalm.yml",
        "--num_epoch",
        "1",
        "--output_dir",
        "new",
        cwd=tmp_path,
        status=1,
    ).stderr
    line, _, rest = error.partition("エラー: ")[2].partition("\n")
    assert (
        line
        == "--num_epoch: 'num_epoch' という設定はありません。num_epochs の間違いではありませんか。"
    )
    assert (
        rest.startswith("Traceback")
        and rest.count("Traceback") == 1
        and "CalledProcessError" in rest
    )
    assert sorted(tmp_path.iterdir()) == files


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

    止めない方は学習曲線も測らない: 測っても、学習は変わらない。
    """
    for name in ("train-5-inst.json", "qlora-opencalm.yml", "quiz.json"):
        shutil.copy(llama_run / name, tmp_path)
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
    train(tmp_path, *options)
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
    with (work / "qlora-opencalm.yml").open("a") as f:
        f.write(
            "\nmax_memory:\n  cpu: 8GiB\n"
        )  # Axolotl は 2 プロセスなら GPU があると決めてかかるので、CPU に置かせる
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
    step("run_quiz", "--model", "ddp-out", "--max-questions", "2", cwd=work)


def test_report_and_learning_curve_of_the_demo(demo):
    """学習の記録は終わりまで進む。

    学習曲線の初めと終わりは、手順4の番号の確率での正解率そのもの。TensorBoard でも見られる。
    """
    report = read(demo / "demo-qlora-out/training.json")
    assert report["finished"] and report["steps_done"] == report["steps_planned"] == 3 * 224
    assert report["questions"] == 895 and report["first_loss"] > 2 > report["last_loss"]
    curve = report["curve"]
    assert [p["epoch"] for p in curve] == [0, 1, 2, 3]
    for point, name in ((curve[0], "result-base.json"), (curve[-1], "result.json")):
        records = read(demo / name)[:-1]
        likely = [
            r["choice_probs"].index(max(r["choice_probs"])) == int(r["correct_answer"][0])
            for r in records
        ]
        assert point["accuracy"] == pytest.approx(sum(likely) / len(likely), abs=1.5 / len(likely))
    events = EventAccumulator(str(next(demo.glob("demo-qlora-out/runs/*")))).Reload()
    assert [e.value for e in events.Scalars("eval/quiz_label_accuracy")] == pytest.approx(
        [p["accuracy"] for p in curve]
    )
    assert len(events.Scalars("train/loss")) == report["steps_done"]
    assert read(demo / "result-dev2.json")[-1]["training"]["curve"] == curve


def test_screen_of_the_demo(demo):
    """手順3で画面に出るのは 30 行まで。今の Axolotl が廃止や改名を知らせる設定は使っていない。"""
    log = (demo / "demo-qlora-out/debug.log").read_text(encoding="utf-8")
    assert "Starting trainer" in log and "deprecated" not in log.lower()
    out, err = ((demo / name).read_bytes().decode() for name in ("stdout.txt", "stderr.txt"))
    shown = out[out.index("手順3") : out.index("手順4 (学習後)")]
    assert shown.count("\n") + err.count("\n") <= 30, shown + err
    assert (
        "学習しました: 895 問" in shown and f"次は: python run_quiz.py --config {CONFIG}" in shown
    )
