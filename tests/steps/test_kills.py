"""どの手順を、いつ止めても (SIGKILL、SIGTERM): 出力は前のものか、完成した新しいもので、
もう一度実行すれば終わる。

KILLS=100 .venv/bin/pytest tests/steps/test_kills.py    # 100 回

何も付けなければ、手順1、2、5 を 1 回ずつ (手順3と4を止めるテストは、その部屋にもある)。
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import CONFIG, DEMO, ROOT, run
from solving_helpers import check_same

KILLS = int(os.environ.get("KILLS", 3))
SLOW = "手順3", "手順4"
TRAIN = [
    "accelerate",
    "launch",
    "-m",
    "axolotl.cli.train",
    CONFIG,
    "--max_steps",
    "8",
    "--micro_batch_size",
    "4",
    "--gradient_accumulation_steps",
    "1",
    "--output_dir",
    "out",
]


def python(script, *args):
    return [sys.executable, str(ROOT / f"{script}.py"), *map(str, args)]


STEPS = {
    "手順1": python("convert_train", DEMO / "train_questions.json"),
    "手順2": python("convert_eval", DEMO / "dev1_questions.json"),
    "手順4": python(
        "run_quiz",
        "--config",
        CONFIG,
        "--max-questions",
        "24",
        "--batch-size",
        "4",
        "-o",
        "solved.json",
    ),
    "手順5": python("analysis", "result.json", "--plot", "figure.png", "--html", "page.html"),
    "手順3": TRAIN,
}
OUTPUTS = {
    "手順1": ["train-5-inst.json"],
    "手順2": ["quiz.json"],
    "手順4": ["solved.json", "solved.log"],
    "手順5": ["figure.png", "page.html"],
    "手順3": ["out/adapter_model.safetensors", "out/training.json"],
}


def family(process):
    """プロセスと、その子孫。"""
    return [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]


def whole(path):
    """書きかけでないか。"""
    raw = path.read_bytes()
    if path.suffix == ".json":
        json.loads(raw)
    return raw.endswith(
        {".png": b"IEND\xaeB`\x82", ".html": b"</html>\n"}.get(path.suffix, raw[-1:])
    )


@pytest.fixture
def work(demo, tmp_path):
    return shutil.copytree(demo, tmp_path / "work", symlinks=True)


def test_killed_at_any_moment(work):
    rng, seconds, finished, counts = random.Random(KILLS), {}, {}, {}
    names = [name for name in STEPS if name not in SLOW or KILLS >= 50]
    # 前の出力: 別の種の問題、前の結果、前の図。
    run(*STEPS["手順1"], "--seed", "1", cwd=work)
    run(*STEPS["手順2"], "--seed", "1", cwd=work)
    before = {name: (work / name).read_bytes() for name in ("train-5-inst.json", "quiz.json")}
    for name in names:
        start = time.perf_counter()
        run(*STEPS[name], cwd=work)
        seconds[name] = time.perf_counter() - start
        finished |= {path: (work / path).read_bytes() for path in OUTPUTS[name]}
        if name == "手順4":
            shutil.copy(work / "solved.json", work / "expected.json")
    while (i := sum(counts.values())) < KILLS:
        name = names[i % len(names)]
        if name == "手順3" and i % 20 != 4:
            name = rng.choice(["手順1", "手順2"])
        if name in ("手順1", "手順2"):
            (work / OUTPUTS[name][0]).write_bytes(before[OUTPUTS[name][0]])
        if name == "手順3":
            shutil.rmtree(work / "out", ignore_errors=True)
        kill = rng.choice([signal.SIGKILL, signal.SIGTERM])
        process = subprocess.Popen(
            STEPS[name],
            cwd=work,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            process.wait(rng.uniform(0, seconds[name]))
            seconds[name] *= 0.8  # 止める前に終わった。もう一度、早めに
        except subprocess.TimeoutExpired:
            counts[name] = counts.get(name, 0) + 1
            for victim in family(process):
                victim.send_signal(kill)
        error = process.communicate()[1].decode()
        assert name == "手順3" or "Traceback" not in error, error
        for path in OUTPUTS[name]:
            if (work / path).exists():
                assert whole(work / path), (name, path)
            if path in before:
                assert (work / path).read_bytes() in (before[path], finished[path]), (name, path)
        wait_for_locks(work)
        run(*STEPS[name], cwd=work)
        for path in OUTPUTS[name]:
            if path in before or path.endswith((".html", ".safetensors")):
                assert (work / path).read_bytes() == finished[path], (name, path)
        if name == "手順4":
            check_same(work / "solved.json", work / "expected.json")
        assert not [p for p in work.iterdir() if p.suffix == ".tmp" or ".part" in p.name]
    print(f"止めた回数: {counts}")


def wait_for_locks(work):
    """止めたプロセスの子が、work を使い終えるまで待つ。"""
    for process in psutil.process_iter(["cwd"]):
        if process.info["cwd"] and Path(process.info["cwd"]) == work and process.pid != os.getpid():
            process.wait(60)
