"""手順4: 回答、確率、途中からの続き、エラー。"""

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import ENV, ROOT, edit_yaml, read, run, run_error

import run_quiz

TIMES = {"seconds", "elapsed_time"}


def check_same(first, *others):
    """結果のファイルが、時間のほかはすべて (番号の確率は最後の桁まで) 同じことを確かめる。"""
    def without_times(path):
        return [{k: v for k, v in r.items() if k not in TIMES} for r in read(path)]

    for other in others:
        assert without_times(first) == without_times(other)


def ask(demo, output, *options, status=0):
    return run("run_quiz.py", "--config", "qlora-demo.yml", "-o", output, *options, cwd=demo, status=status)


def test_result_files(demo):
    """result.json は決めた形で、result.log は同じ内容の文章。"""
    *records, summary = read(demo / "result-tuned-dev1.json")
    quiz = read(demo / "quiz.json")
    assert [r["correct_answer"] for r in records] == [q["output"] for q in quiz]
    assert [r["qid"] for r in records] == [q["qid"] for q in quiz] and [r["ID"] for r in records] == list(range(len(quiz)))
    for r in records:
        assert {"instruction", "input", "prompt", "output", "out_str", "hit", "genre", "seconds"} <= r.keys()
        assert r["prompt"].endswith("### 回答:\n") and len(r["choice_probs"]) == 5 and 0 <= sum(r["choice_probs"]) <= 1.001
        assert r["hit"] == (r["out_str"] == r["correct_answer"][0])
        assert "\n" not in r["output"] and "問題" not in r["output"]
    assert summary["model"] == "../model" and summary["adapter"] == "./demo-qlora-out" and summary["load_in_4bit"]
    assert summary["elapsed_time"] == pytest.approx(sum(r["seconds"] for r in records), rel=0.01)
    log = (demo / "result-tuned-dev1.log").read_text(encoding="utf-8")
    assert log.count("正解: ") == len(records) and f"({sum(r['hit'] for r in records)}/{len(records)})" in log
    assert not list(demo.glob("result*.part*")) and not list(demo.glob("*.tmp"))


def test_same_result_for_any_batch(demo):
    """1 問ずつでも 16 問ずつでも、時間のほかは同じ。1 トークンずつ作る学習前のモデルと、長さの大きく違う問題で。"""
    quiz = read(demo / "quiz.json")[:16]
    for i, r in enumerate(quiz):
        r["instruction"] = r["instruction"].replace("問題: ", "問題: " + "これは長い前置きです。" * (i * 5 % 16) * 3)
    (demo / "long.json").write_text(json.dumps(quiz, ensure_ascii=False), encoding="utf-8")
    for size in (1, 16):
        ask(demo, f"batch{size}.json", "--base", "--quiz", "long.json", "--batch-size", str(size))
    check_same(*(demo / f"batch{size}.json" for size in (1, 16)))


def test_greedy_is_what_generate_gives(demo, monkeypatch):
    """回答は、transformers の generate を 1 問ずつ貪欲法で動かしたものと同じ。確率も 1 問ずつの計算と同じ。"""
    monkeypatch.chdir(demo)
    config = run_quiz.read_config("qlora-demo.yml")
    tokenizer = run_quiz.load_tokenizer("../model", config)
    for adapter, result in (("demo-qlora-out", "result-tuned-dev1.json"), (None, "result-base-dev1.json")):
        model = run_quiz.load_model("../model", adapter, config)
        for r in read(result)[:15]:
            ids = tokenizer(r["prompt"], return_tensors="pt")
            with torch.inference_mode():
                out = model.generate(**ids, max_new_tokens=run_quiz.MAX_NEW_TOKENS, do_sample=False, pad_token_id=1)
                probs = model(**ids).logits[0, -1].float().softmax(-1)
            text = tokenizer.decode(out[0, ids["input_ids"].shape[1]:], skip_special_tokens=True)
            assert r["output"] == text.lstrip().partition("\n")[0].strip()
            expected = [probs[tokenizer(str(k))["input_ids"][0]].item() for k in range(5)]
            assert r["choice_probs"] == pytest.approx(expected, abs=2e-5)


def check_against_harness(work, config_name, base, adapter):
    """番号の確率の対数が、lm-evaluation-harness の対数尤度と選択肢ごとに一致することを確かめる。"""
    from lm_eval.models.huggingface import HFLM

    config = run_quiz.read_config(work / config_name)
    questions = run_quiz.load_questions([work / "quiz.json"], 12)
    tokenizer = run_quiz.load_tokenizer(base, config)
    for q, ids in zip(questions, run_quiz.encode_prompts(tokenizer, base, [q["prompt"] for q in questions])):
        q["prompt_ids"] = ids
    model = run_quiz.load_model(base, adapter, config)
    solver = run_quiz.Solver(model, tokenizer, questions)
    with torch.inference_mode():
        probs = [p for _, p in solver.answer(questions)]
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4)
    requests = [((q["prompt"], str(k)), q["prompt_ids"], solver.labels[k]) for q in questions for k in range(5)]
    theirs = [score for score, _ in lm._loglikelihood_tokens(requests, disable_tqdm=True)]
    ours = [math.log(x) for p in probs for x in p]
    assert ours == pytest.approx(theirs, abs=2e-3)
    return solver


def test_likelihood_agrees_with_lm_eval(demo):
    """byte-level のトークナイザ (番号は 1 トークン) で、番号の確率が lm-evaluation-harness と一致する。"""
    byte_level = check_against_harness(demo, "qlora-demo.yml", demo.parent / "model", demo / "demo-qlora-out")
    assert {len(s) for s in byte_level.labels} == {1} and not byte_level.tail and len(byte_level.prefix) > 10


def test_likelihood_agrees_with_lm_eval_llama(llama, llama_run):
    """SentencePiece 風 (▁ と番号) のトークナイザでも一致する。"""
    pieces = check_against_harness(llama_run, "qlora-opencalm.yml", llama, llama_run / "llama-qlora-out")
    assert {len(s) for s in pieces.labels} == {2} and len(pieces.tail) == 1


def test_batches_fill_the_budget():
    """長さ × 問題数が上限を超えず、すべての問題がちょうど 1 度ずつ入る。上限より長い 1 問も解く。"""
    questions = [{"ID": i, "prompt_ids": [0] * n} for i, n in enumerate([5, 90, 7, 7, 30, 200, 6])]
    batches = run_quiz.make_batches(questions, lambda q: len(q["prompt_ids"]), 100, 3)
    assert sorted(q["ID"] for b in batches for q in b) == list(range(7))
    assert all(len(b) == 1 or len(b) * max(len(q["prompt_ids"]) for q in b) <= 100 for b in batches)
    assert max(map(len, batches)) == 3


def test_same_result_for_any_budget_and_two_processes(demo):
    """1 回の量が小さくても大きくても、2 プロセスで分けても、時間のほかは同じ。"""
    ask(demo, "budget200.json", "--batch-tokens", "200")
    ask(demo, "budget20000.json", "--batch-tokens", "20000")
    run("accelerate", "launch", "--multi_gpu", "--num_processes", "2", ROOT / "run_quiz.py", "--config", "qlora-demo.yml",
        "-o", "shared2.json", cwd=demo)
    check_same(demo / "result-tuned-dev1.json", *(demo / f"{name}.json" for name in ("shared2", "budget200", "budget20000")))
    assert not list(demo.glob("shared2.json.part*"))


def test_two_processes_really_share(demo):
    """2 つのプロセスが、それぞれ別の問題を解いている (途中で止めて、残った 2 つの途中結果を見る)。"""
    command = ["accelerate", "launch", "--multi_gpu", "--num_processes", "2", str(ROOT / "run_quiz.py"), "--config", "qlora-demo.yml",
               "--batch-size", "1", "-o", "shared.json"]
    process = subprocess.Popen(command, cwd=demo, env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    parts = [demo / f"shared.json.part{rank}" for rank in (0, 1)]
    while not all(p.exists() and p.read_bytes().count(b"\n") > 3 for p in parts):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    first, second = ({json.loads(line)["ID"] for line in p.read_text(encoding="utf-8").splitlines()[1:]} for p in parts)
    assert first and second and not first & second
    ask(demo, "shared.json")  # 1 プロセスで続けても、2 プロセス分の答えを使う
    records = read(demo / "shared.json")[:-1]
    assert [r["output"] for r in records] == [r["output"] for r in read(demo / "result-tuned-dev1.json")[:-1]]
    assert not list(demo.glob("shared.json.part*"))


def test_continues_after_kills(demo):
    """SIGKILL で何度止めても、答え終えた問題は解き直さず、止めなかったときと同じ結果になる。"""
    rng, part, answered = random.Random(0), demo / "killed.json.part0", {}
    (demo / "killed.json").unlink(missing_ok=True)
    command = [sys.executable, ROOT / "run_quiz.py", "--config", "qlora-demo.yml", "-o", "killed.json", "--batch-size", "1"]
    for _ in range(int(os.environ.get("KILLS", "1"))):
        process = subprocess.Popen(command, cwd=demo, env=ENV, stderr=subprocess.DEVNULL)
        target = len(answered) + rng.randint(0, 4)
        while process.poll() is None and not (part.exists() and part.read_bytes().count(b"\n") > target):
            time.sleep(0.001)
        time.sleep(rng.random() / 50)
        assert process.poll() is None, "止める前に終わった"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (demo / "killed.json").exists()
        lines = part.read_bytes().split(b"\n")[1:-1]
        now = {r["ID"]: r for r in map(json.loads, lines)}
        assert len(now) == len(lines) and now.items() >= answered.items()
        answered = now
    assert answered
    with part.open("a") as f:
        f.write('{"ID": 59, "outp')  # 電源が落ちて、書きかけになった行
    ask(demo, "killed.json")
    check_same(demo / "killed.json", demo / "result-tuned-dev1.json")
    seconds = {r["ID"]: r["seconds"] for r in read(demo / "killed.json")[:-1]}
    assert all(seconds[i] == r["seconds"] for i, r in answered.items())


def test_does_not_continue_another_run(demo):
    """条件の違う途中結果には続けない。何が違うかを言い、ファイルには触らない。"""
    part = demo / "other.json.part0"
    part.write_text('{"model": "../model", "adapter": "別のアダプタ"}\n{"ID": 0}\n', encoding="utf-8")
    error = ask(demo, "other.json", "--max-questions", "2", status=1).stderr.splitlines()[-1]
    assert error.startswith("エラー: ") and "別のアダプタ → ./demo-qlora-out" in error and "other.json.part0" in error
    assert part.read_text(encoding="utf-8") == '{"model": "../model", "adapter": "別のアダプタ"}\n{"ID": 0}\n'


@pytest.fixture
def work(demo, tmp_path):
    """YAML と quiz.json だけがある作業フォルダ (学習はまだ)。"""
    edit_yaml(tmp_path / "qlora-opencalm.yml", demo.parent / "model", "./demo-qlora-out")
    shutil.copy(demo / "quiz.json", tmp_path)
    (tmp_path / "result.json").write_text("前の結果")
    return tmp_path


def broken_quiz(edit):
    def change(work):
        records = read(work / "quiz.json")
        edit(records[1])
        (work / "quiz.json").write_text(json.dumps(records, ensure_ascii=False, indent=2), encoding="utf-8")
    return change


def wrong_adapter(work):
    (work / "demo-qlora-out").mkdir()
    (work / "demo-qlora-out/adapter_config.json").write_text('{"base_model_name_or_path": "some/other-model"}')
    (work / "demo-qlora-out/adapter_model.safetensors").write_bytes(b"")


ERRORS = {
    "no adapter yet": (lambda work: None, "手順3"),
    "wrong adapter": (wrong_adapter, "some/other-model"),
    "no yaml": (lambda work: (work / "qlora-opencalm.yml").unlink(), "qlora-opencalm.yml"),
    "broken yaml": (lambda work: (work / "qlora-opencalm.yml").write_text("base_model: a\n b: - c\n"), "qlora-opencalm.yml:2"),
    "no quiz": (lambda work: (work / "quiz.json").unlink(), "quiz.json"),
    "empty quiz": (lambda work: (work / "quiz.json").write_text("[]"), "quiz.json"),
    "no output": (broken_quiz(lambda r: r.pop("output")), "quiz.json:9"),
    "output is no answer": (broken_quiz(lambda r: r.update(output="クリオネ")), "quiz.json:9"),
    "label out of range": (broken_quiz(lambda r: r.update(output="7: クリオネ")), "quiz.json:9"),
    "another format": (broken_quiz(lambda r: r.update(instruction="答えてください")), "quiz.json:9"),
    "no input": (broken_quiz(lambda r: r.pop("input")), "quiz.json:9"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(work, name):
    change, where = ERRORS[name]
    if name not in ("no adapter yet", "wrong adapter"):
        wrong_adapter(work)
        text = (work / "demo-qlora-out/adapter_config.json")
        text.write_text(json.dumps({"base_model_name_or_path": run_quiz.read_config(work / "qlora-opencalm.yml")["base_model"]}))
    change(work)
    assert where in run_error("run_quiz.py", cwd=work)
    assert (work / "result.json").read_text() == "前の結果" and not (work / "result.log").exists()


def test_model_that_cannot_be_read(work):
    """モデルが読めないときも 1 行。壊れた重み、ない名前、アダプタの重みの形の違い。"""
    result = run("run_quiz.py", "--model", "some/unknown-model", cwd=work, status=1)
    assert "some/unknown-model" in result.stderr and "Traceback" not in result.stderr
    assert (work / "result.json").read_text() == "前の結果"


def test_question_longer_than_the_model_sees(work):
    """モデルが一度に見る範囲に収まらない問題があれば、解く前に言う。"""
    shutil.copytree(run_quiz.read_config(work / "qlora-opencalm.yml")["base_model"], work / "short")
    config = read(work / "short/config.json")
    (work / "short/config.json").write_text(json.dumps({**config, "max_position_embeddings": 100}))
    assert "100 トークンに収まりません" in run_error("run_quiz.py", "--model", "short", cwd=work)


def test_training_format_is_used_as_it_is(demo):
    """input のない学習用の書式の記録は、そのまま問う。"""
    questions = run_quiz.load_questions([demo / "train-5-inst.json"], 3)
    assert [q["prompt"] for q in questions] == [r["instruction"] for r in read(demo / "train-5-inst.json")[:3]]


def test_model_option_takes_an_adapter(demo):
    """--model にアダプタのフォルダを渡すと、YAML の output_dir の代わりに使う。"""
    shutil.copytree(demo / "demo-qlora-out", demo / "copied-qlora", dirs_exist_ok=True)
    ask(demo, "model-option.json", "--model", "copied-qlora", "--max-questions", "5")
    *records, summary = read(demo / "model-option.json")
    assert summary["adapter"] == "copied-qlora"
    assert [r["output"] for r in records] == [r["output"] for r in read(demo / "result-tuned-dev1.json")[:5]]
