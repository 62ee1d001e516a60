"""速さを測る。1 回の実行の中で、比べるものを順に何度か測り、中央値を出す。

    python tests/bench.py --shape small --questions 84       # 手順4: open-calm-small の形を解く
    python tests/bench.py --shape 7b                         # GPU で
    python tests/bench.py --model DIR                        # 手元のモデルで、そのまま解く
    python tests/bench.py --train --model data/demo/model    # 手順3: 本物のコマンドで学習する
    python tests/bench.py --train --shape small --step-questions 16

--shape は、その形のモデルを乱数で作る。計算の量は、本物と同じである。学習前のように、いつまでも
書き続けるもの (書式を守らない) と、埋め込みと lm_head を書き換えて、どの問題にも「2: クリオネ」と
答えて止まるようにしたもの (守る) を測る。手順4と同じく nf4 で読み、学習前の LoRA を付ける。
"""

import argparse
import json
import logging
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import fmean, median

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from quiz.files import read_records  # noqa: E402
from quiz.model import load_model, load_tokenizer, quiet  # noqa: E402

quiet(".")
import torch  # noqa: E402
import yaml  # noqa: E402
from axolotl.integrations.base import BasePlugin  # noqa: E402
from bitsandbytes.functional import has_avx512bf16  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM, TrainerCallback  # noqa: E402

from quiz.prompt import Question  # noqa: E402
from quiz.questions.converted import read_converted  # noqa: E402
from quiz.solving.batched import Solver  # noqa: E402
from quiz.solving.one_by_one import MAX_NEW_TOKENS, answer_plainly  # noqa: E402
from quiz.training.rows import expected_rows  # noqa: E402

DEMO = ROOT / "data/demo"
CONFIG = {"tokenizer_type": "PreTrainedTokenizerFast", "load_in_4bit": True}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

# open-calm の (hidden, layers, heads) と語彙の大きさ
SHAPES = {"small": (768, 12, 12), "1b": (2048, 24, 16), "7b": (4096, 32, 32)}
VOCABULARY = 52096
# どの問題にも同じ選択肢を付ける。正解は ANSWER
CHOICES = (
    "ミズダコ",
    "オオイカリナマコ",
    "クリオネ",
    "イソギンチャクモエビ",
    "アカシマシラヒゲエビ",
)
ANSWER = "2: クリオネ"

# まとめる問題の数と、下限を測るときの 1 回のトークンの数
SIZES = {"cuda": (32, 128, 256), "cpu": (8, 16, 32)}
BUDGETS = {"cuda": (8192, 16384, 32768), "cpu": (1024, 3072)}
# 遅い方法は、この数の問題で測る
FEW = 20
RUN_QUIZ = "run_quiz.py"

# 学習の設定: 名前と、YAML と違う所。1 回の更新に使う問題の数は、どれも同じにする。
# 64 の倍数に詰めるのは、何も書かないときの Axolotl の既定値
FORMER = {
    "plugins": ["bench.AllLogits", "quiz.training.plugin.Plugin"],
    "gradient_checkpointing": True,
}
TRAININGS = [
    (
        "チュートリアル (4 問ずつ、64 の倍数に詰める)",
        {**FORMER, "micro_batch_size": 4, "pad_to_multiple_of": 64},
    ),
    ("8 の倍数に詰める", {**FORMER, "micro_batch_size": 4}),
    ("さらに 16 問ずつ (前の版)", FORMER),
    ("さらに回答の logits だけ", {"gradient_checkpointing": True}),
    ("さらに計算し直さない (YAML)", {"gradient_checkpointing": False}),
    ("計算し直さない、すべての logits", {**FORMER, "gradient_checkpointing": False}),
    (
        "YAML のとおり、logits は 1 問ずつの積で",
        {
            "plugins": ["quiz.training.plugin.Plugin", "bench.SplitProduct"],
            "gradient_checkpointing": False,
        },
    ),
]
# 更新ごとの時計と損失を書くファイル
STEPS = "steps.jsonl"
# 初めの 2 回の更新は、準備運動とみなす
WARM_UP = 2


# --- モデルと問題 ---


def make_model(shape, folder, tokenizer):
    """open-calm の形のモデルを乱数で作り、folder に保存する。bf16 なので、7b でも 14 GB。"""
    hidden, layers, heads = SHAPES[shape]
    config = AutoConfig.for_model(
        "gpt_neox",
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
        max_position_embeddings=2048,
        use_parallel_residual=False,
    )
    torch.manual_seed(0)
    with torch.device(DEVICE):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def load(base):
    """base を手順4と同じように読み、学習前の LoRA (答えを変えない) を付ける。"""
    model = load_model(base, None, CONFIG, DEVICE)
    lora = LoraConfig(r=64, lora_alpha=16, target_modules="all-linear")
    return get_peft_model(model, lora).eval()


def load_as_tutorial(base):
    """チュートリアルのように読む。CPU によっては、bitsandbytes が bf16 で近似して速くする。"""
    model = load(base)
    split_product(model)
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = has_avx512bf16()
    return model


def split_product(model):
    """quiz.model.multiply_once の工夫をやめる (PyTorch のふつうの計算になる)。"""
    model.get_output_embeddings()._forward_pre_hooks.clear()


@torch.no_grad()
def keep_format(model, tokenizer):
    """model を、どの問題にも ANSWER と答えて止まるように書き換える。"""
    answer = tokenizer(ANSWER, add_special_tokens=False)["input_ids"]
    chain = [tokenizer("\n")["input_ids"][-1], *answer, tokenizer.eos_token_id]
    # 埋め込みを大きくすると、最後の隠れ状態の向きは、ほぼ今のトークンだけで決まる
    embedding = model.get_input_embeddings().weight
    embedding.mul_(50)
    states = torch.nn.functional.layer_norm(embedding[chain[:-1]], embedding.shape[1:])
    model.get_output_embeddings().weight[chain[1:]] = states


def make_questions(n):
    """デモの問題文に同じ選択肢を付けた n 問。足りなければ、同じ問題文を繰り返す。"""
    texts = []
    for name in ("train", "dev1", "dev2"):
        rows = read_records(DEMO / f"{name}_questions.json", "")
        texts += [row["question"] for _, row in rows]
    random.Random(0).shuffle(texts)
    return [Question(texts[i % len(texts)], CHOICES, 2) for i in range(n)]


# --- 手順4: 測る方法。indices は、解く問題の番号 ---


def generate(model, tokenizer, prompts):
    """transformers の generate だけで、prompts (トークン列のリスト) に、左を埋めて答える。"""
    rows = tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
    model.generate(
        **rows.to(model.device),
        do_sample=False,
        max_new_tokens=MAX_NEW_TOKENS,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def generate_each(solver, model, indices):
    """チュートリアルと同じく、1 問ずつ generate するだけ。"""
    for i in indices:
        generate(model, solver.tokenizer, [solver.prompts[i]])


def answer_each(solver, indices):
    """1 問ずつ、番号の確率も求める。"""
    for i in indices:
        answer_plainly(solver.model, solver.tokenizer, solver.labels, solver.prompts[i])


def batched_generate(solver, size, indices):
    """長さの近い size 問ずつ generate する。"""
    for batch in solver.batches(indices, budget=10**9, max_rows=size):
        generate(solver.model, solver.tokenizer, [solver.prompts[i] for i in batch])


def run_all(solver, indices):
    """run_quiz.py と同じく解き、Output のリストを返す。"""
    outputs = []
    for batch in solver.batches(indices):
        outputs += solver.answer(batch)
    return outputs


def floor(solver, budget, indices):
    """共通の先頭を 1 度、残りのトークンを 1 度ずつ計算して、次のトークンを選ぶだけ。"""
    for batch in solver.batches(indices, budget=budget):
        prompts = [solver.prompts[i] for i in batch]
        solver.fast.read_labels(prompts).logits.argmax(-1).tolist()


def harness(solver, whole, size, indices):
    """lm-evaluation-harness で、番号だけ、または回答の全体 (whole) の対数尤度を求める。"""
    lm = HFLM(pretrained=solver.model, tokenizer=solver.tokenizer, batch_size=size)
    requests = []
    for i in indices:
        for label, line in enumerate(solver.questions[i].lines):
            text = line if whole else str(label)
            tokens = solver.tokenizer(text, add_special_tokens=False)["input_ids"]
            requests.append((("", text), solver.prompts[i], tokens))
    lm._loglikelihood_tokens(requests, disable_tqdm=True)


def ways(solver, tutorial, keeps_format):
    """測る方法 {名前: (関数, 解く問題の番号)}。tutorial は、チュートリアルのように読んだモデル。"""
    n = len(solver.questions)
    every = range(n)
    few = every[:: max(1, n // FEW)][:FEW]
    part = every if keeps_format else every[::2]
    sizes = SIZES[DEVICE]

    found = {
        "generate を 1 問ずつ (チュートリアル)": (partial(generate_each, solver, tutorial), few),
        "1 問ずつ、番号の確率も": (partial(answer_each, solver), few),
        RUN_QUIZ: (partial(run_all, solver), part),
    }
    for size in sizes:
        found[f"generate を {size} 問ずつ"] = partial(batched_generate, solver, size), part
    # 次の 2 つは、回答を作らないので、書式を守るかどうかで変わらない
    if keeps_format:
        for budget in BUDGETS[DEVICE]:
            found[f"下限 ({budget} トークンずつ)"] = partial(floor, solver, budget), every
        found["lm_eval 番号だけ"] = partial(harness, solver, False, sizes[1]), every[::4]
        found["lm_eval 回答の全体"] = partial(harness, solver, True, sizes[1]), few
    return found


@torch.inference_mode()
def measure(ways, rounds):
    """{方法: 1 秒あたりの問題数のリスト}。計算機の速さは揺れるので、交互に rounds 回ずつ測る。"""
    rates = {name: [] for name in ways}
    for function, indices in ways.values():
        function(indices[:2])  # 準備運動
    for _ in range(rounds):
        for name, (function, indices) in ways.items():
            begin = time.perf_counter()
            function(indices)
            if DEVICE == "cuda":
                torch.cuda.synchronize()
            rates[name].append(len(indices) / (time.perf_counter() - begin))
    return rates


def solve(base, args, tokenizer):
    """手順4の方法を比べる表を出す。"""
    questions = make_questions(args.questions)
    prompts = tokenizer([question.prompt for question in questions])["input_ids"]
    model = load(base)
    tutorial = load_as_tutorial(base) if DEVICE == "cpu" else model
    hardware = torch.cuda.get_device_name() if DEVICE == "cuda" else "CPU"
    print(
        f"{args.model or args.shape} ({model.num_parameters() / 1e6:.0f} M パラメータ)、"
        f"{hardware}、"
        f"{torch.get_num_threads()} スレッド、{len(questions)} 問、"
        f"平均 {fmean(map(len, prompts)):.0f} トークン"
    )

    # 乱数のモデルは、書式を守らない。書き換えれば、守る
    for keeps_format in (False, True):
        if keeps_format and args.model:
            break  # 本物のモデルは、書き換えない
        if keeps_format:
            for patched in {model, tutorial}:
                keep_format(patched, tokenizer)
        solver = Solver(model, tokenizer, questions, prompts)
        hits = sum(output.text == ANSWER for output in run_all(solver, range(FEW)))
        rates = measure(ways(solver, tutorial, keeps_format), args.rounds)
        print(f"\n{FEW} 問のうち「{ANSWER}」と答えたのは {hits} 問。{solver.why_plain or ''}")
        print("\n| 方法 | 問/秒 | run_quiz.py はその何倍か |\n| --- | --- | --- |")
        for name, values in rates.items():
            times = median(ours / value for ours, value in zip(rates[RUN_QUIZ], values))
            print(f"| {name} | {median(values):.2f} | {times:.2f} |", flush=True)


# --- 手順3 ---


class AllLogits(BasePlugin):
    """Axolotl のふつうの学習のように、すべてのトークンの logits を求めさせるプラグイン。"""

    def post_trainer_create(self, cfg, trainer):
        # quiz/training/answer_loss.py が替えるのは、DataCollatorForSeq2Seq そのものだけ
        trainer.data_collator = partial(trainer.data_collator)


class SplitProduct(BasePlugin):
    """split_product() をするプラグイン。"""

    def post_trainer_create(self, cfg, trainer):
        split_product(trainer.model)


class Stopwatch(BasePlugin, TrainerCallback):
    """更新ごとの時計と損失を、STEPS に書き足すプラグイン。

    CPU では、ほかの仕事に取られた時間を数えないように、このプロセスの使った CPU の秒で測る。
    """

    def post_trainer_create(self, cfg, trainer):
        trainer.add_callback(self)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" not in logs:
            return
        clock = time.process_time()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
            clock = time.perf_counter()
        with open(STEPS, "a") as f:
            f.write(json.dumps({"clock": clock, "loss": logs["loss"]}) + "\n")


def run(command, work):
    """command を work で実行する。失敗すれば、その出力を見せて終わる。"""
    environment = {**os.environ, "AXOLOTL_DO_NOT_TRACK": "1"}
    environment["PYTHONPATH"] = f"{ROOT}:{ROOT / 'tests'}"  # quiz と bench.AllLogits
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)


def train_once(work, base, changes, args):
    """YAML に changes を加えて学習し、(1 回の更新の秒, 最後の損失) を返す。"""
    shutil.rmtree(work / "out", ignore_errors=True)
    (work / STEPS).unlink(missing_ok=True)
    settings = yaml.safe_load((ROOT / "qlora-opencalm.yml").read_text(encoding="utf-8"))
    settings |= changes
    settings |= {"base_model": base, "output_dir": "out", "max_steps": args.steps}
    settings["plugins"] = [*settings["plugins"], "bench.Stopwatch"]
    settings["gradient_accumulation_steps"] = args.step_questions // settings["micro_batch_size"]
    # チェックポイントを書く時間は、測らない
    del settings["saves_per_epoch"]
    settings["save_strategy"] = "no"
    (work / "q.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    accelerate = Path(sys.executable).parent / "accelerate"
    run([accelerate, "launch", "-m", "axolotl.cli.train", "q.yml"], work)

    steps = list(read_records(work / STEPS, ""))
    seconds = []
    for (_, before), (_, after) in zip(steps[WARM_UP - 1 :], steps[WARM_UP:]):
        seconds.append(after["clock"] - before["clock"])
    _, last = steps[-1]
    return median(seconds), last["loss"]


def train(base, args):
    """手順3の設定を比べる表を出す。"""
    times = {name: [] for name, _ in TRAININGS}
    losses = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        run([sys.executable, ROOT / "convert_train.py", DEMO / "train_questions.json"], work)
        questions = list(read_converted(work / "train-5-inst.json", ""))
        rows = expected_rows(load_tokenizer(base, CONFIG), base, questions)
        for _ in range(args.rounds):
            for name, changes in TRAININGS:
                seconds, losses[name] = train_once(work, base, changes, args)
                times[name].append(seconds)

    # トークンの数は、詰め物を除いて数える
    tokens = fmean(len(ids) for ids, _ in rows) * args.step_questions
    first, _ = TRAININGS[0]
    print(f"\n{args.model or args.shape}、1 回の更新に {args.step_questions} 問")
    print("\n| 設定 | 1 回の更新 (秒) | トークン/秒 | 何倍か | 最後の損失 |")
    print("| --- | --- | --- | --- | --- |")
    for name, seconds in times.items():
        step = median(seconds)
        ratio = median(a / b for a, b in zip(times[first], seconds))
        print(f"| {name} | {step:.3f} | {tokens / step:.0f} | {ratio:.2f} | {losses[name]:.4f} |")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--shape", choices=SHAPES, default="small", help="乱数のモデルの形 (既定: small)")
    add("--model", help="--shape の代わりに使うモデルのフォルダ")
    add("--rounds", type=int, default=3, help="交互に測る回数 (既定: 3)")
    add("--questions", type=int, default=200, help="手順4の問題の数 (既定: 200)")
    add("--train", action="store_true", help="手順4ではなく、手順3を測る")
    add("--steps", type=int, default=7, help="手順3の更新の回数 (既定: 7)")
    add("--step-questions", type=int, default=64, help="手順3の 1 回の更新の問題の数 (既定: 64)")
    args = parser.parse_args()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)

    with tempfile.TemporaryDirectory() as folder:
        base = folder
        if args.model:
            base = str(Path(args.model).resolve())
        else:
            make_model(args.shape, folder, load_tokenizer(DEMO / "model", CONFIG))
        if args.train:
            train(base, args)
        else:
            solve(base, args, load_tokenizer(base, CONFIG))


if __name__ == "__main__":
    main()
