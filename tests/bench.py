"""速さを測る: チュートリアルの素朴なループ、run_quiz.py、lm-evaluation-harness、順伝播だけの下限を、1 回の実行で比べる。

    python tests/bench.py --shape small                   # open-calm-small の形 (重みは乱数) を nf4 で
    python tests/bench.py --shape 7b --questions 1000     # GPU で
    python tests/bench.py --model DIR --precision full    # 本物のモデルを量子化せずに

乱数のモデルは書式を守らず、いつまでも止まらないので、そのままでは比べられない。そこで全問の選択肢を同じ 5 つにし、
lm_head の数行を書き換えて、どの問題にも「2: クリオネ」と答えて止まるようにする (計算の量は変わらない)。
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from accelerate import PartialState
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
import run_quiz  # noqa: E402
from convert_train import read_records, train_record  # noqa: E402

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
    for batch in run_quiz.make_batches(questions, budget, len(questions)):
        rows = [q["prompt_ids"] for q in batch]
        mask = run_quiz.pad([[1] * len(r) for r in rows], 0, left=True).to(model.device)
        ids = run_quiz.pad(rows, tokenizer.pad_token_id, left=True).to(model.device)
        model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=1).logits.argmax(-1).tolist()


def demo_rates():
    """学習したデモのモデルで run_quiz.py を実行し、(プロセス全体, 解いている間だけ) の問/秒を返す。"""
    out = DEMO / "out"
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, ROOT / "run_quiz.py", "--config", "qlora-demo.yml", "-o", result,
                   "--quiz", "quiz.json", "quiz-dev2.json"]
        start = time.perf_counter()
        subprocess.run(command, cwd=out, check=True, capture_output=True)
        seconds = time.perf_counter() - start
        *records, summary = json.loads(result.read_text(encoding="utf-8"))
    return len(records) / seconds, len(records) / summary["elapsed_time"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="small", help="乱数のモデルの形 (既定: small)")
    parser.add_argument("--model", help="本物のモデルのフォルダ (--shape の代わり)")
    parser.add_argument("--adapter", help="--model に付けるアダプタのフォルダ")
    parser.add_argument("--precision", choices=("nf4", "full"), default="nf4", help="nf4 か、量子化なし (既定: nf4)")
    parser.add_argument("--questions", type=int, default=200, help="問題の数 (既定: 200)")
    args = parser.parse_args()

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
        few = questions[::max(1, len(questions) // 20)][:20]  # 遅いものは 20 問で測る
        plain_loop(model, tokenizer, few[:2])  # 準備運動
        bare_forward(model, tokenizer, questions[:32], 2048)

        records = []

        def quiz():
            solver = run_quiz.Solver(model, tokenizer, questions)
            records.extend(run_quiz.ask(solver, questions, Path(folder) / "result.json", {}, state))

        rate = {"(a) 1 問ずつ generate": timed(lambda: plain_loop(model, tokenizer, few), len(few)),
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
    print(f"\n{args.model or args.shape} ({sum(p.numel() for p in model.parameters()) / 1e6:.0f} M 要素), {args.precision}, {hardware}, "
          f"{len(questions)} 問, プロンプト平均 {lengths:.0f} トークン, 「2: クリオネ」と答えたのは {hits} 問\n")
    print("| 方法 | 問/秒 | run_quiz.py はその何倍か |\n| --- | --- | --- |")
    for name, value in rate.items():
        print(f"| {name} | {value:.2f} | {rate['(b) run_quiz.py'] / value:.2f} |")
    if (DEMO / "out/demo-qlora-out").exists():
        whole, steady = demo_rates()
        print(f"\n学習したデモのモデル (data/demo/run.sh の後): プロセス全体で {whole:.1f} 問/秒、解いている間は {steady:.1f} 問/秒")


if __name__ == "__main__":
    main()
