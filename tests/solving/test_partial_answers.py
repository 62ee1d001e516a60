"""手順4: 同じ結果、途中からの続き、複数のプロセス、メモリ不足、エラー。"""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from conftest import CONFIG, ROOT, quiz_of, read, run, step
from solving_helpers import check_same, records_of

from quiz.files import lock
from quiz.solving.partial_answers import PartialAnswers, read_part
from quiz.solving.results import Answer

TWO = ["accelerate", "launch", "--multi_gpu", "--num_processes", "2"]


def ask(demo, output, *options, status=0):
    return step("run_quiz", "--config", CONFIG, "-o", output, *options, cwd=demo, status=status)


def test_same_result_for_any_batch(demo):
    """1 問ずつでも 16 問ずつでも同じ。学習前のモデルと、長さの大きく違う問題で。"""
    quiz = read(demo / "quiz.json")[:16]
    for i, r in enumerate(quiz):
        longer = "問題: " + "これは長い前置きです。" * (i * 5 % 16) * 2
        r["instruction"] = r["instruction"].replace("問題: ", longer)
    (demo / "long.json").write_text(json.dumps(quiz, ensure_ascii=False), encoding="utf-8")
    for size in (1, 16):
        ask(demo, f"batch{size}.json", "--base", "--quiz", "long.json", "--batch-size", str(size))
    check_same(*(demo / f"batch{size}.json" for size in (1, 16)))


def test_same_result_for_any_budget(demo):
    """1 回の量が小さくても大きくても同じ。"""
    ask(demo, "budget200.json", "--batch-tokens", "200")
    ask(demo, "budget20000.json", "--batch-tokens", "20000")
    check_same(*(demo / f"{name}.json" for name in ("result", "budget200", "budget20000")))


def test_continues_after_kills(demo):
    """SIGKILL で何度止めても、答え終えた問題は解き直さず、止めなかったときと同じ結果になる。"""
    rng, part, answered = random.Random(0), demo / "killed.json.part0", {}
    (demo / "killed.json").unlink(missing_ok=True)
    options = ["--config", CONFIG, "-o", "killed.json", "--batch-size", "1"]
    command = [sys.executable, ROOT / "run_quiz.py", *options]
    for _ in range(int(os.environ.get("KILLS", "1"))):
        process = subprocess.Popen(command, cwd=demo, stderr=subprocess.DEVNULL)
        target = len(answered) + rng.randint(0, 4)
        while process.poll() is None:
            if part.exists() and part.read_bytes().count(b"\n") > target:
                break
            time.sleep(0.001)
        time.sleep(rng.random() / 50)
        assert process.poll() is None, "止める前に終わった"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (demo / "killed.json").exists()
        now = {r["ID"]: r for r in records_of(part)}
        assert len(now) == len(records_of(part)) and now.items() >= answered.items()
        answered = now
    assert answered
    with part.open("a") as f:
        f.write('\n{"ID": 59, "outp')  # 電源が落ちて、書きかけになった行
    ask(demo, "killed.json")
    check_same(demo / "killed.json", demo / "result.json")
    seconds = {r["ID"]: r["seconds"] for r in read(demo / "killed.json")[:-1]}
    assert all(seconds[i] == r["seconds"] for i, r in answered.items())


MEMORY = """
import os
from pathlib import Path
import run_quiz
from quiz.solving.fast_way import FastWay

whole = FastWay.answer
rank = os.environ["RANK"]

def answer(self, prompts, lines):
    if rank == "1" and len(prompts) > 3:
        raise RuntimeError("CUDA error: out of memory")
    with Path(f"solved-{rank}.txt").open("a") as f:
        f.writelines(f"{line}\\n" for line in lines)
    return whole(self, prompts, lines)

FastWay.answer = answer
run_quiz.main()
"""


def test_memory_runs_out_in_one_of_two_processes(llama_run):
    """2 つで別の問題を解き、片方だけでメモリが足りなくなっても、答えは 1 つのときと同じ。"""
    (llama_run / "memory.py").write_text(MEMORY)
    options = "--max-questions", "40", "--batch-size", "8", "-o", "memory.json"
    run(*TWO, "memory.py", *options, cwd=llama_run)
    step("run_quiz", "--max-questions", "40", "-o", "alone.json", cwd=llama_run)
    check_same(llama_run / "alone.json", llama_run / "memory.json")
    assert not list(llama_run.glob("memory.json.part*"))
    # 40 問のどれも、どちらか一方だけが 1 度解いた
    first, second = (
        (llama_run / f"solved-{rank}.txt").read_text().splitlines() for rank in (0, 1)
    )
    lines = [str(question.lines) for question in quiz_of(llama_run / "quiz.json", 40)]
    assert first and second and sorted(first + second) == sorted(lines)


def test_parts_of_two_processes_are_continued_by_one(llama_run):
    """2 つのプロセスが途中で止まった後、1 つのプロセスで続けても、2 つ分の答えを使う。"""
    part = partial(llama_run, "two.json", 4)
    conditions, *answers = part.read_text().splitlines()
    part.write_text("\n".join([conditions, *answers[:2]]))
    part.with_name("two.json.part1").write_text("\n".join([conditions, *answers[2:]]))
    step("run_quiz", "--max-questions", "6", "-o", "two.json", cwd=llama_run)
    kept = [record["seconds"] == 100 for record in read(llama_run / "two.json")[:-1]]
    assert kept == [True] * 4 + [False] * 2
    assert not list(llama_run.glob("two.json.part*"))


def partial(work, output, n=3, **changes):
    """work で n 問まで解いたところで止まったように見える途中結果を作り、その名前を返す。"""
    step("run_quiz", "--max-questions", "6", "-o", output, cwd=work)
    *records, summary = read(work / output)
    (work / output).unlink()
    part = work / f"{output}.part0"
    write_part(part, conditions_of(summary) | changes, records[:n])
    return part


def conditions_of(summary):
    """結果の最後の要素のうち、途中結果の 1 行目になる実行条件。"""
    added = "elapsed_time", "quiz", "num_questions"
    return {key: value for key, value in summary.items() if key not in added}


def write_part(part, conditions, records):
    """前の版も書いた形の途中結果。時間を 100 秒にして、解き直したものと見分けられるようにする。"""
    keys = "ID", "output", "out_str", "hit", "choice_probs", "seconds"
    lines = [conditions]
    for record in records:
        lines.append({key: record[key] for key in keys} | {"seconds": 100})
    part.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines))


def test_two_runs_on_one_output(llama_run):
    """同じ結果に 2 つの run_quiz.py が書くことはない。後の方が、そう言って終わる。"""
    part = llama_run / "twice.json.part0"
    part.touch()
    lock(part, "")
    options = "--max-questions", "2", "-o", "twice.json"
    error = step("run_quiz", *options, cwd=llama_run, status=1).stderr
    assert "もう 1 つの run_quiz.py" in error and not part.read_bytes()
    part.unlink()


@pytest.mark.parametrize(
    "change",
    [
        {"adapter": "別のアダプタ"},
        {"tokenizer_type": "AutoTokenizer"},
        {"attn_implementation": "eager"},
        {"model_files": "0" * 16},
        {"by_text": True},
    ],
)
def test_does_not_continue_another_run(change, llama_run):
    """条件の違う途中結果には続けない。何が違うかを言い、ファイルには触らない。"""
    part = partial(llama_run, "other.json", **change)
    before = part.read_text()
    options = "--max-questions", "6", "-o", "other.json"
    error = step("run_quiz", *options, cwd=llama_run, status=1).stderr.splitlines()[-1]
    ((key, value),) = change.items()
    assert error.startswith("エラー: ") and "other.json.part0" in error
    assert f"{key}: {value} → " in error
    assert part.read_text() == before
    part.unlink()


def test_base_model_changed_in_between(llama, llama_run, tmp_path):
    """解いている途中で基のモデルの重みが変わったら、続けない。"""
    base = tmp_path / "base"
    base.mkdir()
    for path in llama.iterdir():
        (base / path.name).write_bytes(path.read_bytes())
    options = ("--model", base, "--max-questions", "4", "-o", tmp_path / "r.json")
    step("run_quiz", *options, cwd=llama_run)
    *records, summary = read(tmp_path / "r.json")
    write_part(tmp_path / "r.json.part0", conditions_of(summary), records[:2])
    weights = (base / "model.safetensors").read_bytes()
    (base / "model.safetensors").write_bytes(weights[:-4] + b"\0\0\0\0")
    assert "model_files" in step("run_quiz", *options, cwd=llama_run, status=1).stderr


@pytest.mark.parametrize("output", ["r[1].json", "res-V0.1.json"])
def test_any_name_is_continued_and_only_our_files_are_removed(output, llama_run):
    """どんな名前の結果でも続きから始まり、終わったら途中結果だけを消す。"""
    partial(llama_run, output)
    mine = [llama_run / f"{output}.part0.bak", llama_run / f"{output}.partial"]
    for path in mine:
        path.write_text("大事なメモ")
    step("run_quiz", "--max-questions", "6", "-o", output, cwd=llama_run)
    assert [r["seconds"] == 100 for r in read(llama_run / output)[:-1]] == [True] * 3 + [False] * 3
    assert all(path.read_text() == "大事なメモ" for path in mine)
    assert not (llama_run / f"{output}.part0").exists()


class OneProcess:
    """1 つのプロセスだけのときの、accelerate の PartialState。"""

    process_index = 0
    num_processes = 1
    is_main_process = True


@pytest.fixture
def four(llama_run):
    return quiz_of(llama_run / "quiz.json", 4)


def test_bytes_of_a_part(four, tmp_path, capsys):
    """途中結果は、1 行目が実行条件、続いて 1 行に 1 問。書きかけの行は、なかったことにする。"""
    run_conditions = {"model": "模型", "versions": {"torch": "1"}}
    path, part = tmp_path / "r.json", tmp_path / "r.json.part0"
    part.write_text('{"model": "模')  # 1 行目の途中で止まった
    first = Answer(2, "0: あ", "0", True, [0.5, 0.5], 0.25)
    line = (
        '{"ID": 2, "output": "0: あ", "out_str": "0", "hit": true, '
        '"choice_probs": [0.5, 0.5], "seconds": 0.25}'
    )
    with PartialAnswers(path, run_conditions, four, OneProcess()) as partial:
        partial.keep([first])
    assert part.read_text() == f'{{"model": "模型", "versions": {{"torch": "1"}}}}\n{line}'
    with part.open("a") as f:
        f.write('\n{"ID": 3, "outp')
    changed = {"versions": {"torch": "2"}, "name": "山田"}  # 違っていてもよいもの
    assert read_part(part, run_conditions | changed) == [first]
    with pytest.raises(SystemExit, match="model: 模型 → 別"):
        read_part(part, {"model": "別"})
