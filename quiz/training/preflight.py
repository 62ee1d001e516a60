"""YAML のモデルで手順3の学習ができるかを、重みを読む前に確かめる。学習のコマンドも、初めにこれをする (quiz/training/plugin.py)。

    python -m quiz.training.preflight qlora-opencalm.yml      # 点検だけ。モデルの取得は、設定とトークナイザだけ
"""

import os
import re
from collections import Counter
from pathlib import Path

from quiz.command import Parser, start
from quiz.adapter import read_config
from quiz.training.devices import check_devices
from quiz.files import fail, read_records, read_text, reason
from quiz.training.memory import available, estimate
from quiz.model import encode_prompts, load_tokenizer, precision, quiet, why_unreadable
from quiz.prepare_model import why_prepare
from quiz.questions.converted import read_converted, read_quiz
from quiz.training.yaml_check import check_settings, where

STEP1 = "手順1からやり直してください: python convert_train.py"
KERNELS = "lora_qkv_kernel", "lora_o_kernel", "lora_mlp_kernel"


def check_model(stop, yaml):
    """モデルの設定を読んで返す。今の transformers で学習できないモデルなら、stop に理由を渡す。"""
    import transformers

    base, trust = yaml["base_model"], bool(yaml.get("trust_remote_code"))
    if Path(base, "adapter_config.json").exists():
        stop(f"base_model {base} はアダプタのフォルダです。基のモデルにしてください。", "base_model")
    try:
        kind, why = transformers.PreTrainedConfig.get_config_dict(base)[0].get("model_type"), why_prepare(base)
    except Exception as e:  # 手元にないときも、Hub につながらないときも、設定が壊れているときも
        stop(f"base_model {base} を読めません: {why_unreadable(base, e)}。", "base_model")
    if why:
        target = f"{Path(base).name}-prepared"
        stop(f"{base} {why}。python -m quiz.prepare_model {base} {target} で直し、base_model を ./{target} にしてください。", "base_model")
    if kind not in transformers.models.auto.modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not trust:
        stop(f"{base} の構造 {kind} を、今の transformers は知りません。docs/models.md の表のモデルを使ってください。", "base_model")
    wrong = [key for key in KERNELS if kind == "gpt_neox" and yaml.get(key) is not False]
    if wrong:
        stop(f"{wrong[0]} は、gpt_neox (open-calm) では使えません。false にしてください。", wrong[0])
    if yaml.get("attn_implementation") == "flash_attention_2" and not transformers.utils.is_flash_attn_2_available():
        stop("flash_attention_2 に要る flash-attn か GPU がありません。sdpa にしてください。", "attn_implementation")
    return transformers.AutoConfig.from_pretrained(base, trust_remote_code=trust).get_text_config()


def longest_row(stop, yaml, config, questions):
    """最も長い行のトークン数を返す。トークナイザか長さに問題があれば、stop に理由を渡す。"""
    base, limit = yaml["base_model"], int(yaml["sequence_len"])
    tokenizer = load_tokenizer(base, yaml)
    if tokenizer.eos_token is None:
        stop(f"{base} には終わりの記号 (eos_token) がなく、回答の終わりを教えられません。別のモデルを使ってください。", "base_model")
    answers = tokenizer([q.answer for q in questions], add_special_tokens=False)["input_ids"]
    lengths = [len(p) + len(a) + 1 for p, a in zip(encode_prompts(tokenizer, base, [q.prompt for q in questions]), answers)]
    largest = getattr(config, "max_position_embeddings", None) or limit
    if limit > largest:
        stop(f"sequence_len {limit} は、{base} の扱える長さ {largest} を超えています。{largest} 以下にしてください。", "sequence_len")
    if max(lengths) > limit:
        stop(f"{sum(n > limit for n in lengths)} 問が sequence_len {limit} を超え (最長 {max(lengths)})、Axolotl に黙って捨てられます。"
             "sequence_len を増やすか、--num-choices を減らして手順1からやり直してください。", "sequence_len")
    return max(lengths)


def check(yaml, path, world):
    """学習できなければ 1 行で終わる。できるなら、(何をどう学習するかの 1 行, 計算の精度) を返す。

    yaml はコマンドラインの値も合わせた dict、path は YAML の場所、world はプロセス (GPU) の数。
    """
    def stop(reason, key=None):
        fail(f"{where(path, yaml, key)}: {reason}")

    for key, n in Counter(re.findall(r"^(\w+)\s*:", read_text(path, ""), re.M)).items():
        if n > 1:  # PyYAML は、黙って後の方を使う
            stop(f"{key} の行が {n} つあります。1 つにしてください。", key)
    check_settings(stop, yaml)
    free, capability = available(stop)
    place = "GPU のメモリ" if capability else "メモリ"
    questions = [q for dataset in yaml["datasets"] for q in read_converted(dataset["path"], STEP1)]
    for dataset in yaml["datasets"]:
        if any(row.get("input") for _, row in read_records(dataset["path"], STEP1)):
            stop(f"{dataset['path']} は評価用のファイルで、学習には使えません。{STEP1}", "path")
    if yaml.get("learning_curve") and Path(yaml["learning_curve"]).is_file():
        read_quiz([yaml["learning_curve"]])
    if not questions:
        stop(f"学習用の問題が 1 問もありません。{STEP1}", "path")
    import transformers
    try:
        config = check_model(stop, yaml)
        longest = longest_row(stop, yaml, config, questions)
        mapping = transformers.AutoModelForCausalLM._model_mapping
        check_devices(stop, yaml, mapping[type(config)] if type(config) in mapping else None, world)
        n, needed = estimate(config, yaml, longest, "cuda" if capability else "cpu", world)
    except (OSError, ValueError, AttributeError, TypeError, KeyError, ImportError) as e:
        stop(f"{yaml['base_model']} を読めません ({reason(e)})。docs/models.md の表のモデルを使ってください。", "base_model")
    memory = f"{place}が約 {needed:.1f} GiB 要ります (空きは {free:.1f} GiB)"
    if needed * (1 if capability else int(os.environ.get("LOCAL_WORLD_SIZE", 1))) > free:
        stop(f"{memory}。micro_batch_size を減らすか、小さいモデルにしてください。", "micro_batch_size")
    dtype = precision(yaml.get("bf16"), yaml.get("fp16"), capability)
    batch = yaml["micro_batch_size"] * yaml["gradient_accumulation_steps"] * world
    return (f"{yaml['base_model']} ({config.model_type}、{n / 1e6:,.0f} M パラメータ、{dtype}) を、{len(questions)} 問 "
            f"(最長 {longest} トークン、1 ステップに {batch} 問) で学習します。{memory}。"), dtype


def main():
    parser = Parser(__doc__)
    parser.add_argument("yaml", help="確かめる YAML")
    path = parser.parse_args().yaml
    config = read_config(path)
    quiet(config["base_model"])
    import torch

    print(check(config, path, max(1, torch.cuda.device_count()))[0])  # 何も言わなければ、accelerate launch はすべての GPU を使う
    print(f"次は: accelerate launch -m axolotl.cli.train {path}")


if __name__ == "__main__":
    start(main)
