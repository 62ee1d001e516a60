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
from quiz.files import fail, read_records, read_text
from quiz.model import (
    attention,
    empty_model,
    load_tokenizer,
    precision,
    quiet,
    read_model_config,
    why_unreadable,
)
from quiz.prepare_model import QWEN, why_prepare
from quiz.prompt import Question
from quiz.questions.converted import read_converted, read_quiz
from quiz.training.memory import available, estimate
from quiz.training.rows import IGNORED, check_first_row, expected_rows
from quiz.training.yaml_check import WrongSetting, check_settings, where

KERNELS = ("lora_qkv_kernel", "lora_o_kernel", "lora_mlp_kernel")
STEP1 = "手順1からやり直してください: python convert_train.py"
# 見積もりが外れることもあるので、空きの全部は当てにしない
ROOM = 0.9
# これより少ない更新では、たいてい書式も覚えない
FEW_UPDATES = 100


@dataclass(frozen=True)
class Plan:
    """点検を通った学習。"""

    # 画面に出す行: 何をどう学習するかと、気を付けること
    lines: list[str]
    # 計算の精度 (float32、bfloat16、float16)
    dtype: str
    # 注意の計算のしかた
    attention: str
    # 勾配チェックポイント (メモリを節約し、その分遅い) を使うか
    gradient_checkpointing: bool
    # 学習する問題と、そのあるべき行 (training/rows.py の expected_rows)
    questions: list[Question]
    rows: list[tuple]
    # 途中の正解率を測る問題 (測らないなら空)
    curve_questions: list[Question]


def check(yaml, path, world):
    """学習できなければ 1 行で終わる。できるなら Plan を返す。

    yaml はコマンドラインの値も合わせた dict、path は YAML の場所、world はプロセス (GPU) の数。
    """
    try:
        check_repeated_lines(path)
        check_settings(yaml)
        return make_plan(yaml, world)
    except WrongSetting as e:
        reason, key = e.args
        fail(f"{where(path, yaml, key)}: {reason}")


def make_plan(yaml, world):
    """設定の正しい YAML の、問題とモデルを点検する。学習できなければ WrongSetting。"""
    # 学習する問題と、途中の正解率を測る問題
    base = yaml["base_model"]
    notes = []
    questions = read_training_files(yaml)
    curve = yaml.get("learning_curve")
    curve_questions = []
    if curve and Path(curve).is_file():
        curve_questions = read_quiz([curve])
    elif curve:
        notes.append(f"{curve} がないので、途中の正解率は測りません (手順2で作れます)。")

    # 計算機とモデル
    free, capability = available()
    device = "cuda" if capability else "cpu"
    try:
        model_config = check_model(yaml)
        rows = rows_of(yaml, model_config, questions)
        text_config = model_config.get_text_config()
        longest = longest_of(rows)
        answer = max(len(labels) - labels.count(IGNORED) for _, labels in rows)
        needs = estimate(text_config, yaml, longest, answer, device)
    except WrongSetting:
        raise
    except Exception as e:  # ないモデル、つながらない網、壊れたファイル: ライブラリごとに違う
        raise WrongSetting(f"{base} を読めません: {why_unreadable(base, e)}。", "base_model") from e

    # 途中の値をすべて持てるなら、その方が速い。YAML に書いてあれば、そのとおりにする
    checkpointing = yaml.get("gradient_checkpointing")
    if checkpointing is None:
        checkpointing = needs.fast > ROOM * free
    needed = needs.small if checkpointing else needs.fast
    memory = f"メモリが約 {needed:.1f} GiB 要ります (空きは {free:.1f} GiB"
    if checkpointing:
        memory += f"。節約しなければ {needs.fast:.1f} GiB で、その方が速い"
    memory += ")"
    # 足りなければ、学習の途中で止まる
    if needed > free:
        raise WrongSetting(
            f"{memory}。micro_batch_size を減らすか、小さいモデルにしてください。",
            "micro_batch_size",
        )

    # 重みを直す回数 (ステップ) の目安
    batch = yaml["micro_batch_size"] * yaml["gradient_accumulation_steps"] * world
    updates = math.ceil(math.ceil(len(questions) / batch) * yaml["num_epochs"])
    updates = min(updates, yaml.get("max_steps") or updates)
    if updates < FEW_UPDATES:
        notes.append(
            f"{updates} ステップでは、ほとんど何も覚えません (目安は {FEW_UPDATES} 以上)。"
            "問題か num_epochs を増やすか、gradient_accumulation_steps を減らしてください。"
        )

    # 注意の計算のしかたは、モデルによっては YAML のとおりにできない
    kind = text_config.model_type
    attn = attention(yaml, model_config)
    if attn != (yaml.get("attn_implementation") or "sdpa"):
        notes.append(
            f"{kind} は注意の値を抑える (softcapping) ので、"
            f"attn_implementation を {attn} にして学習します (手順4も同じにします)。"
        )

    # 画面に出す 1 行目
    dtype = precision(yaml.get("bf16"), yaml.get("fp16"), capability)
    summary = (
        f"{base} ({kind}、{needs.parameters / 1e6:,.0f} M パラメータ、{dtype}) を、"
        f"{len(questions)} 問 (最長 {longest} トークン、1 ステップに {batch} 問、"
        f"全部で {updates} ステップ) で学習します。{memory}。"
    )
    lines = [summary, *(f"注意: {note}" for note in notes)]
    return Plan(lines, dtype, attn, bool(checkpointing), questions, rows, curve_questions)


def check_repeated_lines(path):
    """同じ設定が 2 行ないか。PyYAML は、黙って後の方を使う。"""
    # 字下げのない名前だけを数える
    names = re.findall(r"^(\w+)\s*:", read_text(path, ""), re.M)
    for key, n in Counter(names).items():
        if n > 1:
            raise WrongSetting(f"{key} の行が {n} つあります。1 つにしてください。", key)


def read_training_files(yaml):
    """学習用ファイルの Question のリスト。"""
    questions = []
    for dataset in yaml["datasets"]:
        path = dataset["path"]
        questions += read_converted(path, STEP1)
        # input があるのは、手順2のファイル
        _, first = next(read_records(path, STEP1), (1, {}))
        if first.get("input"):
            raise WrongSetting(f"{path} は評価用のファイルで、学習には使えません。{STEP1}", "path")
    if not questions:
        raise WrongSetting(f"学習用の問題が 1 問もありません。{STEP1}", "path")
    return questions


def check_model(yaml):
    """モデルの設定を読んで返す。今のライブラリで学習できないモデルなら WrongSetting。"""
    why = why_unusable(yaml)
    if why:
        raise WrongSetting(f"{yaml['base_model']} {why}", "base_model")
    model_config = read_model_config(yaml["base_model"], yaml)
    check_accelerators(yaml, model_config.model_type)
    check_lora(yaml, model_config)
    return model_config


def why_unusable(yaml):
    """base_model を学習できない理由と、次にすること。学習できるなら None。"""
    import transformers

    base = yaml["base_model"]
    if Path(base, "adapter_config.json").exists():
        return "はアダプタのフォルダです。基のモデルにしてください。"

    # 画像も読むモデルなら、中の文章のモデルの構造
    saved, _ = transformers.PreTrainedConfig.get_config_dict(base)
    kind = saved.get("text_config", saved).get("model_type")
    known = transformers.models.auto.modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if kind not in (*known, QWEN) and not yaml.get("trust_remote_code"):
        return (
            f"の構造 {kind} を、今の transformers は知りません。"
            "docs/models.md の表のモデルを使ってください。"
        )
    if saved.get("quantization_config"):
        return "の重みは、もう量子化してあります。量子化していないモデルを使ってください。"

    # 学習できる形に直せるモデルなら、直すコマンドを言う
    why = why_prepare(base, saved)
    if why:
        target = f"{Path(base).name}-prepared"
        command = f"python -m quiz.prepare_model {shlex.quote(base)} {shlex.quote(target)}"
        return f"{why}。{command} で直し、base_model を ./{target} にしてください。"
    return None


def check_accelerators(yaml, kind):
    """そのモデルか、この計算機では使えない高速化を断る。kind はモデルの構造の名前。"""
    import transformers

    for key in KERNELS:
        if kind == "gpt_neox" and yaml.get(key) is not False:
            raise WrongSetting(
                f"{key} は、gpt_neox (open-calm) では使えません。false にしてください。", key
            )
    wanted = yaml.get("deepspeed") or os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"
    if wanted and not importlib.util.find_spec("deepspeed"):
        raise WrongSetting(
            'DeepSpeed が入っていません: pip install "deepspeed>=0.18.6,<0.19" '
            "(使わないなら、YAML と accelerate config から消してください)。",
            "deepspeed",
        )
    flash = yaml.get("attn_implementation") == "flash_attention_2"
    if flash and not transformers.utils.is_flash_attn_2_available():
        raise WrongSetting(
            "flash_attention_2 に要る flash-attn か GPU がありません。sdpa にしてください。",
            "attn_implementation",
        )


def check_lora(yaml, model_config):
    """手順4の読むモデルに LoRA を付けてみる。付けられなければ WrongSetting。"""
    from peft import LoraConfig, get_peft_model

    base = f"{yaml['base_model']} ({model_config.model_type})"
    how = attention(yaml, model_config)
    try:
        model = empty_model(model_config, yaml)
    except ValueError as e:
        # 合わない設定など、ほかの理由なら、読めないモデル
        if "does not support" not in str(e):
            raise
        raise WrongSetting(
            f"{base} では attn_implementation: {how} を使えません。eager にしてください。",
            "attn_implementation",
        ) from e

    # Mamba の層などは、PEFT が断る
    lora = LoraConfig(target_modules=yaml["lora_target_modules"])
    try:
        get_peft_model(model, lora, low_cpu_mem_usage=True)
    except ValueError as e:
        raise WrongSetting(
            f"{base} の lora_target_modules {yaml['lora_target_modules']} には LoRA を"
            "付けられません。all-linear にするか、別のモデルを使ってください (docs/models.md)。",
            "lora_target_modules",
        ) from e


def longest_of(rows):
    """最も長い行のトークン数。"""
    return max(len(ids) for ids, _ in rows)


def rows_of(yaml, model_config, questions):
    """学習する行のリストを返す。トークナイザか長さに問題があれば WrongSetting。"""
    base = yaml["base_model"]
    limit = yaml["sequence_len"]
    tokenizer = load_tokenizer(base, yaml)
    # 行の終わりの記号と、モデルの扱える長さ
    if tokenizer.eos_token is None:
        raise WrongSetting(
            f"{base} には終わりの記号 (eos_token) がなく、回答の終わりを教えられません。"
            "別のモデルを使ってください。",
            "base_model",
        )
    text_config = model_config.get_text_config()
    largest = getattr(text_config, "max_position_embeddings", None) or limit
    if limit > largest:
        raise WrongSetting(
            f"sequence_len {limit} は、{base} の扱える長さ {largest} を超えています。"
            f"{largest} 以下にしてください。",
            "sequence_len",
        )

    # 学習する行を、すべて作ってみる。長すぎる行は、Axolotl が黙って捨てる
    rows = expected_rows(tokenizer, base, questions)
    longest = longest_of(rows)
    if longest > limit:
        raise WrongSetting(
            f"sequence_len {limit} を超える問題があり (最長 {longest})、Axolotl に黙って"
            "捨てられます。sequence_len を増やすか、"
            "--num-choices を減らして手順1からやり直してください。",
            "sequence_len",
        )

    # モデルの知らない番号は、埋め込みの表からはみ出す
    last_token = max(max(ids) for ids, _ in rows)
    if last_token >= text_config.vocab_size:
        raise WrongSetting(
            f"{base} のトークナイザの番号 {last_token} が、モデルの語彙 {text_config.vocab_size} を"
            "超えています。トークナイザとモデルがそろっているか確かめてください。",
            "base_model",
        )
    check_first_row(tokenizer, yaml, questions[0], rows[0])
    return rows


def main():
    # ライブラリを読み込む前に、YAML を読んで、余計な表示を止める
    parser = Parser(__doc__)
    parser.add_argument("yaml", help="確かめる YAML")
    path = parser.parse_args().yaml
    config = read_config(path)
    quiet(config["base_model"])
    import torch

    # 学習のコマンドと同じ点検。何も言わなければ、accelerate launch はすべての GPU を使う
    plan = check(config, path, max(1, torch.cuda.device_count()))
    print(*plan.lines, sep="\n")
    print(f"次は: accelerate launch -m axolotl.cli.train {shlex.quote(path)}")


if __name__ == "__main__":
    start(main)
