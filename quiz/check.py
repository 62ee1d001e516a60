"""YAML のモデルで手順3の学習ができるかを、学習の前に数秒で確かめる。

    python -m quiz.check qlora-opencalm.yml      # モデルの取得は、設定とトークナイザだけ
"""

import argparse
from pathlib import Path

from quiz.config import read_config
from quiz.files import fail
from quiz.memory import GIB, estimate
from quiz.model import encode_prompts, load_tokenizer, quiet
from quiz.source import read_converted

STEP1 = "手順1からやり直してください: python convert_train.py"


def check_model(stop, yaml):
    """モデルの設定を読んで返す。今の transformers で学習できないモデルなら、stop にその理由を渡す。"""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    from transformers.utils import cached_file

    base, trust = yaml["base_model"], bool(yaml.get("trust_remote_code"))
    prepare = f"python -m quiz.prepare {base} {Path(base).name}-prepared で直し、base_model をそのフォルダにしてください。"
    try:
        kind = transformers.PreTrainedConfig.get_config_dict(base)[0].get("model_type")
    except OSError:
        stop(f"base_model {base} を取得できません。名前 (手元のフォルダならその場所) とネットワークを確かめてください。"
             "承認の要るモデルは、先に hf auth login が要ります。")
    if kind == "qwen" or not cached_file(base, "tokenizer.json", _raise_exceptions_for_missing_entries=False):
        stop(f"{base} は、このままでは使えません (Qwen 第 1 世代か、tokenizer.json がない)。{prepare}")
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not trust:
        stop(f"{base} の構造 {kind} を、今の transformers は知りません。docs/models.md の表のモデルを使ってください。")
    if yaml.get("attn_implementation") == "flash_attention_2" and not transformers.utils.is_flash_attn_2_available():
        stop("attn_implementation が flash_attention_2 ですが、flash-attn か GPU がありません。sdpa にしてください。")
    return transformers.AutoConfig.from_pretrained(base, trust_remote_code=trust).get_text_config()


def longest_row(stop, yaml, config, questions):
    """最も長い行のトークン数を返す。トークナイザか長さに問題があれば、stop にその理由を渡す。"""
    base, limit = yaml["base_model"], yaml["sequence_len"]
    if not questions:
        stop(f"学習用の問題が 1 問もありません。{STEP1}")
    tokenizer = load_tokenizer(base, yaml)
    if tokenizer.eos_token is None:
        stop(f"{base} には終わりの記号 (eos_token) がなく、回答の終わりを教えられません。別のモデルを使ってください。")
    answers = tokenizer([q.answer for q in questions], add_special_tokens=False)["input_ids"]
    lengths = [len(p) + len(a) + 1 for p, a in zip(encode_prompts(tokenizer, base, [q.prompt for q in questions]), answers)]
    largest = getattr(config, "max_position_embeddings", None) or limit
    if limit > largest:
        stop(f"sequence_len {limit} は、{base} の扱える長さ {largest} を超えています。{largest} 以下にしてください。")
    if max(lengths) > limit:
        stop(f"{sum(n > limit for n in lengths)} 問が sequence_len {limit} を超え (最長 {max(lengths)})、Axolotl に黙って捨てられます。"
             "sequence_len を増やすか、--num-choices を減らして手順1からやり直してください。")
    return max(lengths)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("yaml", help="確かめる YAML")
    path = parser.parse_args().yaml
    yaml, stop = read_config(path), lambda reason: fail(f"{path}: {reason}")
    quiet(yaml["base_model"])
    import psutil
    import torch

    gpu = torch.cuda.is_available()
    free = (torch.cuda.get_device_properties(0).total_memory if gpu else psutil.virtual_memory().available) / GIB
    try:
        questions = [q for dataset in yaml["datasets"] for q in read_converted(dataset["path"], STEP1)]
        config = check_model(stop, yaml)
        longest = longest_row(stop, yaml, config, questions)
        n, needed = estimate(config, yaml, longest, "cuda" if gpu else "cpu")
    except KeyError as e:
        stop(f"{e} の行がありません。元の qlora-opencalm.yml と比べてください。")
    except (OSError, ValueError, AttributeError, TypeError) as e:
        stop(f"{yaml['base_model']} を読めません ({str(e).strip().splitlines()[0]})。docs/models.md の表のモデルを使ってください。")
    memory = f"学習に約 {needed:.1f} GiB ({'GPU' if gpu else '使えるメモリ'}は {free:.1f} GiB)"
    if needed > free:
        stop(f"{memory}。micro_batch_size を減らすか、小さいモデルにしてください。")
    print(f"{yaml['base_model']}: {config.model_type}、{n / 1e6:,.0f} M パラメータ。{len(questions)} 問、最長 {longest} トークン。{memory}")
    print(f"次は: accelerate launch -m axolotl.cli.train {path}")


if __name__ == "__main__":
    main()
