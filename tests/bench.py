"""速さを測る: チュートリアルの素朴なループ、run_quiz.py、lm-evaluation-harness、順伝播だけの下限を、1 回の実行で比べる。

    python tests/bench.py --shape small                   # open-calm-small の形 (重みは乱数) を nf4 で
    python tests/bench.py --shape 7b --questions 1000     # GPU で
    python tests/bench.py --model DIR --precision full    # 本物のモデルを量子化せずに
    python tests/bench.py --train --model data/demo/model # 学習: YAML と、チュートリアルの設定 (--shape でもよい)

乱数のモデルは書式を守らず、いつまでも止まらないので、そのままでは比べられない。そこで全問の選択肢を同じ 5 つにし、
lm_head の数行を書き換えて、どの問題にも「2: クリオネ」と答えて止まるようにする (計算の量は変わらない)。
"""

import argparse
import json
import logging
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import datasets
import torch
from accelerate import PartialState
from bitsandbytes.functional import has_avx512bf16
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
import run_quiz  # noqa: E402
from convert_train import read_records, train_record, write_json  # noqa: E402

DEMO = ROOT / "data/demo"
SHAPES = {"small": (768, 12, 12), "1b": (2048, 24, 16), "7b": (4096, 32, 32)}  # open-calm の hidden, layers, heads
VOCABULARY = 52096
CHOICES = ["ミズダコ", "オオイカリナマコ", "クリオネ", "イソギンチャクモエビ", "アカシマシラヒゲエビ"]
YAML = {"tokenizer_type": "PreTrainedTokenizerFast"}


def make_questions(n):
    """デモの問題文に同じ 5 つの選択肢を付けた n 問を返す。足りなければ同じ問題文を繰り返す。"""
    texts = [row["question"] for name in ("train", "dev1", "dev2") for _, row in read_records(DEMO / f"{name}_questions.json")]
    random.Random(0).shuffle(texts)
    questions = []
    for i in range(n):
        record = train_record(texts[i % len(texts)], CHOICES, 2)
        questions.append({"ID": i, "prompt": record["instruction"], "choices": CHOICES, "label": 2})
    return questions


def make_model(shape, folder, tokenizer):
    """open-calm の形のモデルを乱数で作り、最後の改行の次から「2: クリオネ」と続くように lm_head を書き換えて保存する。"""
    hidden, layers, heads = SHAPES[shape]
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = GPTNeoXForCausalLM(GPTNeoXConfig(
            vocab_size=VOCABULARY, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
            intermediate_size=4 * hidden, max_position_embeddings=2048, use_parallel_residual=False))
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


def plain_loop(model, tokenizer, questions):
    """(a) チュートリアルと同じく、1 問ずつ generate する。"""
    for q in questions:
        ids = torch.tensor([q["prompt_ids"]], device=model.device)
        model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=32, do_sample=False,
                       pad_token_id=tokenizer.pad_token_id)


def harness(model, tokenizer, questions, whole, batch_size):
    """(c) lm-evaluation-harness で、番号だけ、または「番号: 選択肢」全体の対数尤度を求める。"""
    from lm_eval.models.huggingface import HFLM

    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
    requests = []
    for q in questions:
        for k, choice in enumerate(q["choices"]):
            text = f"{k}: {choice}" if whole else str(k)
            requests.append((("", text), q["prompt_ids"], tokenizer(text, add_special_tokens=False)["input_ids"]))
    return lm._loglikelihood_tokens(requests, disable_tqdm=True)


def bare_forward(model, tokenizer, questions, budget):
    """(d) 同じプロンプトを budget トークンずつ 1 度だけ順伝播する。"""
    for batch in run_quiz.make_batches(questions, lambda q: len(q["prompt_ids"]), budget, len(questions)):
        rows = [q["prompt_ids"] for q in batch]
        mask = run_quiz.pad([[1] * len(r) for r in rows], 0).to(model.device)
        ids = run_quiz.pad(rows, tokenizer.pad_token_id).to(model.device)
        model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=1).logits.argmax(-1).tolist()


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
            command = ["accelerate", "launch", "-m", "axolotl.cli.train", "q.yml", "--output_dir", "out", "--max_steps", str(steps)]
            command += [str(x) for key, value in changes.items() for x in (f"--{key}", value)]
            log = subprocess.run(command, cwd=work, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                 env={**os.environ, "AXOLOTL_DO_NOT_TRACK": "1"}).stdout
            last = {k: float(v) for k, v in re.findall(r"'(train_runtime|train_loss)': '([\d.]+)'", log)}
            prepared = datasets.load_from_disk(str(next((work / "last_run_prepared").glob("*/"))))
            tokens = sum(map(len, prepared["input_ids"])) / len(prepared)
            rate = steps * 64 * tokens / last["train_runtime"]
            rates[name] = max(rates.get(name, (0, 0)), (rate, last["train_loss"]))
    return rates


def demo_run(n):
    """学習したデモのモデルに n 問 (dev の繰り返し) を解かせ、(プロセス全体と、解いている間だけの問/秒、ピークの MB) を返す。"""
    out = DEMO / "out"
    with tempfile.TemporaryDirectory() as folder:
        quiz, result = Path(folder) / "quiz.json", Path(folder) / "result.json"
        dev = [r for name in ("quiz", "quiz-dev2") for r in json.loads((out / f"{name}.json").read_text(encoding="utf-8"))]
        write_json([dev[i % len(dev)] for i in range(n)], quiz)
        command = [sys.executable, ROOT / "run_quiz.py", "--config", "qlora-demo.yml", "-o", result, "--quiz", quiz]
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="small", help="乱数のモデルの形 (既定: small)")
    parser.add_argument("--model", help="本物のモデルのフォルダ (--shape の代わり)")
    parser.add_argument("--adapter", help="--model に付けるアダプタのフォルダ")
    parser.add_argument("--precision", choices=("nf4", "full"), default="nf4", help="nf4 か、量子化なし (既定: nf4)")
    parser.add_argument("--questions", type=int, default=200, help="問題の数 (既定: 200)")
    parser.add_argument("--train", action="store_true", help="評価ではなく学習の速さを測る")
    parser.add_argument("--steps", type=int, default=7, help="--train の更新の回数 (既定: 7)")
    args = parser.parse_args()
    run_quiz.quiet(".")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)

    if args.train:
        with tempfile.TemporaryDirectory() as folder:
            if not args.model:
                make_model(args.shape, folder, run_quiz.load_tokenizer(DEMO / "model", YAML))
            rates = train_rates(args.model or folder, args.steps)
        print("\n| 設定 | トークン/秒 | 何倍か | 損失 |\n| --- | --- | --- | --- |")
        for name, (rate, loss) in rates.items():
            print(f"| {name} | {rate:.0f} | {rate / next(iter(rates.values()))[0]:.2f} | {loss:.4f} |")
        return

    state = PartialState(cpu=not torch.cuda.is_available())
    config = YAML | {"load_in_4bit": args.precision == "nf4"}
    questions = make_questions(args.questions)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        if not args.model:
            with torch.inference_mode(False):
                make_model(args.shape, folder, run_quiz.load_tokenizer(DEMO / "model", YAML))
        base = args.model or folder
        tokenizer = run_quiz.load_tokenizer(base, config)
        model = run_quiz.load_model(base, args.adapter, config, state.device)
        for q, ids in zip(questions, tokenizer([q["prompt"] for q in questions])["input_ids"]):
            q["prompt_ids"] = ids
        plain = run_quiz.load_model(base, args.adapter, config, state.device) if state.device.type == "cpu" else model
        for module in plain.modules():
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = has_avx512bf16()  # bitsandbytes の既定の計算。1 問ずつなら、この方が速い
        few = questions[::max(1, len(questions) // 20)][:20]  # 遅いものは 20 問で測る
        plain_loop(plain, tokenizer, few[:2])  # 準備運動
        bare_forward(model, tokenizer, questions[:32], 2048)

        records = []

        def quiz():
            solver = run_quiz.Solver(model, tokenizer, questions)
            records.extend(run_quiz.ask(solver, questions, Path(folder) / "result.json", {}, state))

        rate = {"(a) 1 問ずつ generate": timed(lambda: plain_loop(plain, tokenizer, few), len(few)),
                "(b) run_quiz.py": timed(quiz, len(questions))}
        sizes = (8, 16, 32) if state.device.type == "cpu" else (32, 128, 256)
        part = questions[:max(40, len(questions) // 4)]
        rate["(c) lm_eval 番号だけ"] = max(timed(lambda: harness(model, tokenizer, part, False, s), len(part)) for s in sizes)
        rate["(c) lm_eval 回答の全体"] = max(timed(lambda: harness(model, tokenizer, few, True, s), len(few)) for s in sizes)
        budgets = (512, 1024, 2048, 4096) if state.device.type == "cpu" else (8192, 16384, 32768, 65536)
        rate["(d) 順伝播だけ"] = max(timed(lambda: bare_forward(model, tokenizer, questions, b), len(questions)) for b in budgets)

    hardware = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU {torch.get_num_threads()} threads"
    lengths = sum(len(q["prompt_ids"]) for q in questions) / len(questions)
    hits = sum(r["hit"] for r in records)
    print(f"\n{args.model or args.shape} ({model.num_parameters() / 1e6:.0f} M パラメータ), {args.precision}, {hardware}, "
          f"{len(questions)} 問, プロンプト平均 {lengths:.0f} トークン, 「2: クリオネ」と答えたのは {hits} 問\n")
    print("| 方法 | 問/秒 | run_quiz.py はその何倍か |\n| --- | --- | --- |")
    for name, value in rate.items():
        print(f"| {name} | {value:.2f} | {rate['(b) run_quiz.py'] / value:.2f} |")
    if (DEMO / "out/demo-qlora-out").exists():
        print("\n学習したデモのモデル (data/demo/run.sh の後)\n\n| 問題 | 問/秒 (プロセス全体) | 問/秒 (解いている間) | ピークの MB |\n"
              "| --- | --- | --- | --- |")
        for n in (500, 13000):
            whole, steady, peak = demo_run(n)
            print(f"| {n} | {whole:.1f} | {steady:.1f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
