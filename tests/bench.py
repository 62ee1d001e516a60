"""速さを測る: 1 問ずつの generate、まとめた generate、run_quiz.py、lm-evaluation-harness、下限を、1 回の実行で比べる。

    python tests/bench.py --shape small                   # open-calm-small の形 (重みは乱数) を nf4 で
    python tests/bench.py --shape 7b --questions 1000     # GPU で
    python tests/bench.py --model DIR --precision full    # 本物のモデルを量子化せずに
    python tests/bench.py --demo                          # 学習したデモのモデルで 500 問と 13,000 問 (run.sh の後)
    python tests/bench.py --train --model data/demo/model # 学習: YAML と、チュートリアルの設定 (--shape でもよい)

乱数のモデルを 2 つ使う。1 つは、全問の選択肢を同じ 5 つにし、lm_head の数行を書き換えて、どの問題にも「2: クリオネ」と答えて止まる
ようにしたもの (書式を守るモデル)。もう 1 つは乱数のままで、いつまでも止まらない (書式を守らないモデル)。計算の量は変わらない。
下限は、どの問題にも共通する先頭を 1 度と、残りのトークンを 1 度ずつ計算するだけの時間。
"""

import argparse
import copy
import json
import logging
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from quiz.files import read_records, write_json  # noqa: E402
from quiz.model import load_model, load_tokenizer, quiet  # noqa: E402

quiet(".")
import datasets  # noqa: E402
import torch  # noqa: E402
from bitsandbytes.functional import has_avx512bf16  # noqa: E402
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM  # noqa: E402

from quiz.prompt import Question  # noqa: E402
from quiz.solving.batched import Solver  # noqa: E402
from quiz.solving.one_by_one import answer_plainly, generate  # noqa: E402

DEMO, CONFIG = ROOT / "data/demo", "data/demo/qlora-demo.yml"
SHAPES = {"small": (768, 12, 12), "1b": (2048, 24, 16), "7b": (4096, 32, 32)}  # open-calm の hidden, layers, heads
VOCABULARY = 52096
CHOICES = ["ミズダコ", "オオイカリナマコ", "クリオネ", "イソギンチャクモエビ", "アカシマシラヒゲエビ"]
YAML = {"tokenizer_type": "PreTrainedTokenizerFast"}


def make_questions(n):
    """デモの問題文に同じ 5 つの選択肢を付けた n 問を返す。足りなければ同じ問題文を繰り返す。"""
    texts = [row["question"] for name in ("train", "dev1", "dev2") for _, row in read_records(DEMO / f"{name}_questions.json", "")]
    random.Random(0).shuffle(texts)
    return [Question(texts[i % len(texts)], tuple(CHOICES), 2) for i in range(n)]


def make_model(shape, folder, tokenizer, keeps_format):
    """open-calm の形のモデルを乱数で作って保存する。keeps_format なら、最後の改行の次から「2: クリオネ」と続くようにする。"""
    hidden, layers, heads = SHAPES[shape]
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = GPTNeoXForCausalLM(GPTNeoXConfig(
            vocab_size=VOCABULARY, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
            intermediate_size=4 * hidden, max_position_embeddings=2048, use_parallel_residual=False))
    if keeps_format:
        chain = [tokenizer("\n")["input_ids"][-1], *tokenizer("2: クリオネ")["input_ids"], tokenizer.eos_token_id]
        with torch.no_grad():
            # 埋め込みを大きくすると、最後の隠れ状態の向きは、ほぼ今のトークンだけで決まる。
            model.gpt_neox.embed_in.weight.mul_(50)
            states = torch.nn.functional.layer_norm(model.gpt_neox.embed_in.weight[chain[:-1]], (hidden,))
            model.lm_head.weight[chain[1:]] = states
    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    model.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def timed(function, n):
    """function() を 1 度実行し、1 秒あたりの問題数 (n / 秒) を返す。"""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return n / (time.perf_counter() - start)


def plain_loop(solver, few):
    """チュートリアルと同じく、1 問ずつ generate する。"""
    for i in few:
        answer_plainly(solver.model, solver.tokenizer, solver.labels, solver.prompts[i])


def batched_generate(solver, indices, size):
    """左を埋めて size 問ずつ generate する。長さの近い問題をまとめる。"""
    for batch in solver.batches(indices, budget=10**9, max_rows=size):
        rows = solver.tokenizer.pad({"input_ids": [solver.prompts[i] for i in batch]}, padding_side="left", return_tensors="pt")
        rows = rows.to(solver.model.device)
        generate(solver.model, solver.tokenizer, rows["input_ids"], rows["attention_mask"])


def run_all(solver, indices):
    """run_quiz.py と同じく、すべてを解く。"""
    return [answer for batch in solver.batches(indices) for answer in solver.answer(batch)]


def floor(solver, indices, budget):
    """共通の先頭を 1 度、残りのトークンを 1 度ずつ計算し、次のトークンを選ぶだけ。"""
    for batch in solver.batches(indices, budget=budget):
        solver.fast.read_labels([solver.prompts[i] for i in batch]).logits.argmax(-1).tolist()


def harness(solver, indices, whole, batch_size):
    """lm-evaluation-harness で、番号だけ、または「番号: 選択肢」全体の対数尤度を求める。"""
    from lm_eval.models.huggingface import HFLM

    lm, tokenizer = HFLM(pretrained=solver.model, tokenizer=solver.tokenizer, batch_size=batch_size), solver.tokenizer
    texts = [(i, text) for i in indices for text in (solver.questions[i].lines if whole else map(str, range(len(CHOICES))))]
    lm._loglikelihood_tokens([(("", text), solver.prompts[i], tokenizer(text, add_special_tokens=False)["input_ids"]) for i, text in texts],
                             disable_tqdm=True)


# チュートリアルの設定のうち、YAML と違うもの。64 の倍数に詰めるのは、何も書かないときの Axolotl の既定値。
TUTORIAL = {"micro_batch_size": 4, "gradient_accumulation_steps": 16, "pad_to_multiple_of": 64}
TRAININGS = {
    "チュートリアル (4 問 × 16、64 の倍数に詰める)": TUTORIAL,
    "8 の倍数に詰める": {**TUTORIAL, "pad_to_multiple_of": 8},
    "さらに 16 問 × 4 (YAML)": {},
    "YAML で gradient_checkpointing: false": {"gradient_checkpointing": False},
}


def train_rates(base, steps):
    """設定ごとに、同じ問題を同じ順で steps 回の更新だけ学習し、{設定: (1 秒あたりのトークン数, 平均の損失)} を返す。

    トークン数は詰め物を除いた数。時間は Axolotl の学習のループだけで、起動とモデルの読み込みは含まない。
    時間が揺れるので、全部を 2 回ずつ交互に測り、速い方をとる。
    """
    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        text = (ROOT / "qlora-opencalm.yml").read_text(encoding="utf-8")
        text = re.sub(r"^base_model:.*", f"base_model: {Path(base).resolve()}", text, flags=re.M)
        (work / "q.yml").write_text(text, encoding="utf-8")
        command = [sys.executable, ROOT / "convert_train.py", DEMO / "train_questions.json"]
        subprocess.run(command, cwd=work, check=True, capture_output=True)
        for name, changes in [*TRAININGS.items()] * 2:
            shutil.rmtree(work / "out", ignore_errors=True)  # 1 つの output_dir は 1 つの学習のもの
            command = ["accelerate", "launch", "-m", "axolotl.cli.train", "q.yml", "--output_dir", "out", "--max_steps", str(steps)]
            command += ["--saves_per_epoch", "0", "--save_strategy", "epoch"]  # 途中では書かない
            command += [str(x) for key, value in changes.items() for x in (f"--{key}", value)]
            subprocess.run(command, cwd=work, check=True, capture_output=True,
                           env={**os.environ, "AXOLOTL_DO_NOT_TRACK": "1", "PYTHONPATH": str(ROOT)})
            log = (work / "out/debug.log").read_text(encoding="utf-8")
            last = {k: float(v) for k, v in re.findall(r"'(train_runtime|train_loss)': '?([\d.]+)", log)}
            prepared = datasets.load_from_disk(str(next((work / "last_run_prepared").glob("*/"))))
            tokens = sum(map(len, prepared["input_ids"])) / len(prepared)
            rate = steps * 64 * tokens / last["train_runtime"]
            rates[name] = max(rates.get(name, (0, 0)), (rate, last["train_loss"]))
    return rates


def demo_run(n):
    """学習したデモのモデルに n 問 (dev の繰り返し) を解かせ、(プロセス全体と、解いている間だけの問/秒、ピークの MB) を返す。"""
    out = DEMO / "out/seed-42"
    with tempfile.TemporaryDirectory() as folder:
        quiz, result = Path(folder) / "quiz.json", Path(folder) / "result.json"
        dev = [r for name in ("quiz", "quiz-dev2") for r in json.loads((out / f"{name}.json").read_text(encoding="utf-8"))]
        write_json(quiz, [dev[i % len(dev)] for i in range(n)])
        command = [sys.executable, ROOT / "run_quiz.py", "--config", CONFIG, "-o", result, "--quiz", quiz]
        start = time.perf_counter()
        process, peak = subprocess.Popen(command, cwd=out, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), 0
        while process.poll() is None:  # 終了時の ru_maxrss には、起動元 (このプロセス) の大きさが混じる
            found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
            peak = max(peak, int(found.group(1)) if found else 0)
            time.sleep(0.1)
        seconds = time.perf_counter() - start
        if process.returncode:
            sys.exit("run_quiz.py がデモのモデルで失敗しました。先に bash data/demo/run.sh を実行してください。")
        summary = json.loads(result.read_text(encoding="utf-8"))[-1]
    return n / seconds, n / summary["elapsed_time"], peak / 1024


def make_solver(base, adapter, precision, questions):
    """questions を解く Solver と、1 問ずつ解くときのモデル (CPU では、bitsandbytes の既定の bf16 の方が 1 問ずつなら速い)。"""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    config = YAML | {"load_in_4bit": precision == "nf4"}
    tokenizer, model = load_tokenizer(base, config), load_model(base, adapter, config, device)
    solver = Solver(model, tokenizer, questions, tokenizer([q.prompt for q in questions])["input_ids"])
    plain = copy.copy(solver)
    if device == "cpu":
        plain.model = load_model(base, adapter, config, device)
        for module in plain.model.modules():
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = has_avx512bf16()
    return solver, plain


def rates(solver, plain, keeps_format):
    """{方法: 1 秒あたりの問題数}。まとめ方の選べるものは、いくつか試して最も速いもの。"""
    gpu, n = torch.cuda.is_available(), len(solver.questions)
    every, part = range(n), range(0, n, 1 if keeps_format else 2)
    few = every[::max(1, n // 20)][:20]  # 遅いものは 20 問で測る
    plain_loop(plain, few[:2])  # 準備運動
    floor(solver, every[:32], None)
    sizes, budgets = ((32, 128, 256), (8192, 16384, 32768)) if gpu else ((8, 16, 24, 32), (1024, 2048, 4096))
    rate = {"1 問ずつ generate": timed(lambda: plain_loop(plain, few), len(few)),
            "まとめて generate": max(timed(lambda: batched_generate(solver, part, size), len(part)) for size in sizes),
            "run_quiz.py": timed(lambda: run_all(solver, part), len(part))}
    if keeps_format:
        rate["lm_eval 番号だけ"] = max(timed(lambda: harness(solver, every[::4], False, s), len(every[::4])) for s in sizes[:2])
        rate["lm_eval 回答の全体"] = max(timed(lambda: harness(solver, few, True, s), len(few)) for s in sizes[:2])
        rate["下限"] = max(timed(lambda: floor(solver, every, budget), n) for budget in budgets)
    return rate


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="small", help="乱数のモデルの形 (既定: small)")
    parser.add_argument("--model", help="本物のモデルのフォルダ (--shape の代わり)")
    parser.add_argument("--adapter", help="--model に付けるアダプタのフォルダ")
    parser.add_argument("--precision", choices=("nf4", "full"), default="nf4", help="nf4 か、量子化なし (既定: nf4)")
    parser.add_argument("--questions", type=int, default=200, help="問題の数 (既定: 200)")
    parser.add_argument("--demo", action="store_true", help="学習したデモのモデルの速さとメモリを測る")
    parser.add_argument("--train", action="store_true", help="評価ではなく学習の速さを測る")
    parser.add_argument("--steps", type=int, default=7, help="--train の更新の回数 (既定: 7)")
    args = parser.parse_args()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    tokenizer = load_tokenizer(DEMO / "model", YAML)

    if args.demo:
        print("| 問題 | 問/秒 (プロセス全体) | 問/秒 (解いている間) | ピークの MB |\n| --- | --- | --- | --- |")
        for n in (500, 13000):
            whole, steady, peak = demo_run(n)
            print(f"| {n} | {whole:.1f} | {steady:.1f} | {peak:.0f} |", flush=True)
        return
    if args.train:
        with tempfile.TemporaryDirectory() as folder:
            if not args.model:
                make_model(args.shape, folder, tokenizer, False)
            result = train_rates(args.model or folder, args.steps)
        print("\n| 設定 | トークン/秒 | 何倍か | 損失 |\n| --- | --- | --- | --- |")
        for name, (rate, loss) in result.items():
            print(f"| {name} | {rate:.0f} | {rate / next(iter(result.values()))[0]:.2f} | {loss:.4f} |")
        return

    questions, hardware = make_questions(args.questions), torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    for keeps_format in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            if not args.model:
                make_model(args.shape, folder, tokenizer, keeps_format)
            solver, plain = make_solver(args.model or folder, args.adapter, args.precision, questions)
        with torch.inference_mode():
            rate = rates(solver, plain, keeps_format)
            hits = sum(text == "2: クリオネ" for text, *_ in run_all(solver, range(40)))
        print(f"\n{args.model or args.shape} ({solver.model.num_parameters() / 1e6:.0f} M パラメータ), {args.precision}, {hardware}, "
              f"{torch.get_num_threads()} threads, {len(questions)} 問, 平均 {sum(map(len, solver.prompts)) / len(questions):.0f} "
              f"トークン (共通の先頭 {len(solver.fast.prefix)}), 「2: クリオネ」と答えたのは 40 問中 {hits} 問{solver.why_plain or ''}\n")
        print("| 方法 | 問/秒 | run_quiz.py はその何倍か |\n| --- | --- | --- |")
        for name, value in rate.items():
            print(f"| {name} | {value:.2f} | {rate['run_quiz.py'] / value:.2f} |", flush=True)
        if args.model:
            return


if __name__ == "__main__":
    main()
