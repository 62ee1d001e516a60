"""YAML のモデルで手順3の学習ができるかを、重みを読む前に確かめる。

    python -m quiz.training.preflight qlora-opencalm.yml

学習のコマンドも、初めにこれをする。取得するのは、モデルの設定とトークナイザだけである。
"""

import importlib.util
import math
import os
import re
import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from quiz.adapter import read_config
from quiz.command import Parser, start
from quiz.files import fail, read_records, read_text, reason
from quiz.model import (
    attention,
    load_tokenizer,
    precision,
    quiet,
    read_model_config,
    why_unreadable,
)
from quiz.prepare_model import why_prepare
from quiz.questions.converted import read_converted, read_quiz
from quiz.training.memory import available, estimate
from quiz.training.rows import check_first_row, expected_rows
from quiz.training.yaml_check import WrongSetting, check_settings, where

STEP1 = "手順1からやり直してください: python convert_train.py"
KERNELS = ("lora_qkv_kernel", "lora_o_kernel", "lora_mlp_kernel")
FEW_UPDATES = 100  # これより少ない更新では、たいてい書式も覚えない


@dataclass(frozen=True)
class Plan:
    """点検を通った学習。"""

    summary: str  # 何をどう学習するかの 1 行
    notes: list[str]  # 気を付けること
    dtype: str  # 計算の精度 (float32、bfloat16、float16)
    attention: str  # 注意の計算のしかた
    n_questions: int


def check(yaml, path, world):
    """学習できなければ 1 行で終わる。できるなら Plan を返す。

    yaml はコマンドラインの値も合わせた dict、path は YAML の場所、world はプロセス (GPU) の数。
    """
    try:
        return make_plan(yaml, path, world)
    except WrongSetting as e:
        fail(f"{where(path, yaml, e.key)}: {e}")


def make_plan(yaml, path, world):
    """check の中身。間違いがあれば WrongSetting。"""
    check_repeated_lines(path)
    check_settings(yaml)
    check_deepspeed(yaml)
    questions = read_training_files(yaml)
    if yaml.get("learning_curve") and Path(yaml["learning_curve"]).is_file():
        read_quiz([yaml["learning_curve"]])

    free, capability = available()
    device = "cuda" if capability else "cpu"
    try:
        model_config = check_model(yaml)
        longest = longest_row(yaml, model_config, questions)
        text_config = model_config.get_text_config()
        n_parameters, needed = estimate(text_config, yaml, longest, device)
    except (OSError, ValueError, AttributeError, TypeError, KeyError, ImportError) as e:
        raise WrongSetting(
            f"{yaml['base_model']} を読めません ({reason(e)})。"
            "docs/models.md の表のモデルを使ってください。",
            "base_model",
        ) from None

    place = "GPU のメモリ" if capability else "メモリ"
    memory = f"{place}が約 {needed:.1f} GiB 要ります (空きは {free:.1f} GiB)"
    # GPU は 1 プロセスに 1 枚。CPU では、すべてのプロセスが同じメモリを使う。
    sharing = 1 if capability else int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if needed * sharing > free:
        raise WrongSetting(
            f"{memory}。micro_batch_size を減らすか、小さいモデルにしてください。",
            "micro_batch_size",
        )

    dtype = precision(yaml.get("bf16"), yaml.get("fp16"), capability)
    batch = yaml["micro_batch_size"] * yaml["gradient_accumulation_steps"] * world
    updates = count_updates(yaml, len(questions), batch)
    kind = f"{text_config.model_type}、{n_parameters / 1e6:,.0f} M パラメータ、{dtype}"
    size = f"最長 {longest} トークン、1 ステップに {batch} 問、全部で {updates} ステップ"
    summary = (
        f"{yaml['base_model']} ({kind}) を、{len(questions)} 問 ({size}) で学習します。{memory}。"
    )
    notes = []
    if updates < FEW_UPDATES:
        notes.append(
            f"{updates} ステップでは、ほとんど何も覚えません (目安は {FEW_UPDATES} 以上)。"
            "問題か num_epochs を増やすか、gradient_accumulation_steps "
            "を減らしてください。"
        )
    attn = attention(yaml, model_config)
    if attn != (yaml.get("attn_implementation") or "sdpa"):
        notes.append(
            f"{text_config.model_type} は注意の値を抑える (softcapping) ので、"
            f"attn_implementation を {attn} にして学習します (手順4も同じにします)。"
        )
    return Plan(summary, notes, dtype, attn, len(questions))


def check_repeated_lines(path):
    """同じ設定が 2 行ないか。PyYAML は、黙って後の方を使う。"""
    names = re.findall(r"^(\w+)\s*:", read_text(path, ""), re.M)
    for key, n in Counter(names).items():
        if n > 1:
            raise WrongSetting(f"{key} の行が {n} つあります。1 つにしてください。", key)


def check_deepspeed(yaml):
    """YAML か accelerate config が DeepSpeed を使うと言うのに、入っていなければ断る。"""
    wanted = yaml.get("deepspeed") or os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"
    if wanted and not importlib.util.find_spec("deepspeed"):
        raise WrongSetting(
            'DeepSpeed が入っていません: pip install "deepspeed>=0.18.6,<0.19" '
            "(使わないなら、YAML の deepspeed と accelerate config "
            "から消してください)。",
            "deepspeed",
        )


def read_training_files(yaml):
    """学習用ファイルの Question のリスト。"""
    questions = []
    for dataset in yaml["datasets"]:
        path = dataset["path"]
        questions += read_converted(path, STEP1)
        if any(row.get("input") for _, row in read_records(path, STEP1)):
            raise WrongSetting(f"{path} は評価用のファイルで、学習には使えません。{STEP1}", "path")
    if not questions:
        raise WrongSetting(f"学習用の問題が 1 問もありません。{STEP1}", "path")
    return questions


def check_model(yaml):
    """モデルの設定を読んで返す。今の transformers と Axolotl で学習できないモデルなら
    WrongSetting。
    """
    import transformers

    base = yaml["base_model"]
    trust = bool(yaml.get("trust_remote_code"))
    if Path(base, "adapter_config.json").exists():
        raise WrongSetting(
            f"base_model {base} はアダプタのフォルダです。基のモデルにしてください。", "base_model"
        )
    try:
        saved, _ = transformers.PreTrainedConfig.get_config_dict(base, trust_remote_code=trust)
        why = why_prepare(base)
    except Exception as e:  # 手元にないときも、Hub につながらないときも、設定が壊れているときも
        raise WrongSetting(
            f"base_model {base} を読めません: {why_unreadable(base, e)}。", "base_model"
        ) from None
    kind = saved.get("model_type")
    if why:
        target = f"{Path(base).name}-prepared"
        command = f"python -m quiz.prepare_model {shlex.quote(base)} {shlex.quote(target)}"
        raise WrongSetting(
            f"{base} {why}。{command} で直し、base_model を ./{target} にしてください。",
            "base_model",
        )
    known = transformers.models.auto.modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if kind not in known and not trust:
        raise WrongSetting(
            f"{base} の構造 {kind} を、今の transformers は知りません。"
            "docs/models.md の表のモデルを使ってください。",
            "base_model",
        )
    if "text_config" in saved and "vision_config" in saved:
        raise WrongSetting(
            f"{base} ({kind}) は画像も読むモデルで、"
            "アダプタが画像の部分にも付いてしまいます。"
            "文章だけのモデルを使ってください (docs/models.md)。",
            "base_model",
        )
    for key in KERNELS:
        if kind == "gpt_neox" and yaml.get(key) is not False:
            raise WrongSetting(
                f"{key} は、gpt_neox (open-calm) では使えません。false にしてください。", key
            )
    flash = yaml.get("attn_implementation") == "flash_attention_2"
    if flash and not transformers.utils.is_flash_attn_2_available():
        raise WrongSetting(
            "flash_attention_2 に要る flash-attn か GPU がありません。sdpa にしてください。",
            "attn_implementation",
        )
    return read_model_config(base, yaml)


def longest_row(yaml, model_config, questions):
    """最も長い行のトークン数を返す。トークナイザか長さに問題があれば WrongSetting。"""
    base = yaml["base_model"]
    limit = int(yaml["sequence_len"])
    tokenizer = load_tokenizer(base, yaml)
    if tokenizer.eos_token is None:
        raise WrongSetting(
            f"{base} には終わりの記号 (eos_token) がなく、"
            "回答の終わりを教えられません。"
            "別のモデルを使ってください。",
            "base_model",
        )
    text_config = model_config.get_text_config()
    largest = getattr(text_config, "max_position_embeddings", None) or limit
    if limit > largest:
        raise WrongSetting(
            f"sequence_len {limit} は、{base} の扱える長さ {largest} "
            "を超えています。"
            f"{largest} 以下にしてください。",
            "sequence_len",
        )

    rows = expected_rows(tokenizer, base, questions)
    lengths = [len(ids) for ids, _ in rows]
    longest = max(lengths)
    if longest > limit:
        n = sum(length > limit for length in lengths)
        raise WrongSetting(
            f"{n} 問が sequence_len {limit} を超え (最長 {longest})、Axolotl "
            "に黙って捨てられます。"
            "sequence_len を増やすか、--num-choices "
            "を減らして手順1からやり直してください。",
            "sequence_len",
        )
    last_token = max(max(ids) for ids, _ in rows)
    if last_token >= text_config.vocab_size:
        raise WrongSetting(
            f"{base} のトークナイザの番号 {last_token} が、モデルの語彙 "
            f"{text_config.vocab_size} を"
            "超えています。トークナイザとモデルがそろっているか確かめてください。",
            "base_model",
        )
    first = {"instruction": questions[0].prompt, "output": questions[0].answer}
    check_first_row(tokenizer, yaml, first, rows[0])
    return longest


def count_updates(yaml, n_questions, batch):
    """重みを直す回数 (ステップ) の目安。"""
    planned = math.ceil(math.ceil(n_questions / batch) * yaml["num_epochs"])
    return min(planned, yaml.get("max_steps") or planned)


def main():
    parser = Parser(__doc__)
    parser.add_argument("yaml", help="確かめる YAML")
    path = parser.parse_args().yaml
    config = read_config(path)
    quiet(config["base_model"])
    import torch

    # 何も言わなければ、accelerate launch はすべての GPU を使う。
    plan = check(config, path, max(1, torch.cuda.device_count()))
    print(plan.summary)
    for note in plan.notes:
        print(f"注意: {note}")
    print(f"次は: accelerate launch -m axolotl.cli.train {shlex.quote(path)}")


if __name__ == "__main__":
    start(main)
