"""YAML の設定を、Axolotl の定義と照らし合わせる。

Axolotl は、知らない名前の設定を黙って無視する。また、モデルやトークナイザを base_model の
ものから変える設定もある。手順4はそれに従えないので、学習の前に断る。
"""

import re
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, Field, FiniteFloat, PositiveInt, ValidationError

from quiz.files import read_text

PLUGIN = "quiz.training.plugin.Plugin"
COMPARE = "元の qlora-opencalm.yml と比べてください。"

# datasets の type: instruction をそのままプロンプトにする。ほかの形では、
# 手順4の書式と違ってしまう。
FORMAT = {
    "field_instruction": "instruction",
    "field_output": "output",
    "no_input_format": "{instruction}",
    "system_prompt": "",
}

# pydantic の間違いの種類 (int_parsing などは _ の前だけ) と、どう直すか
REMEDIES = {
    "int": "整数に",
    "float": "数に",
    "bool": "true か false に",
    "string": "文字に",
    "dict": "「名前: 値」の並びに",
    "list": "「- 値」の並びに",
    "greater_than": "{gt} より大きい値に",
    "greater_than_equal": "{ge} 以上に",
    "less_than": "{lt} 未満に",
    "finite_number": "限りのある数に",
    "literal_error": "{expected} に",
}

# モデルの読み方の設定のうち、手順4も従うか、答えに関わらないもの
HARMLESS_FOR_MODEL = {
    "base_model",
    "tokenizer_type",
    "trust_remote_code",
    "tokenizer_save_jinja_files",
    "experimental_skip_move_to_device",
}
# ほかの所に定義されている、手順4が従えない設定。モデルかトークナイザか、学習する行を変える。
NOT_FOLLOWED = {
    "special_tokens",
    "tokens",
    "added_tokens_overrides",
    "resize_token_embeddings_to_32x",
    "shrink_embeddings",
    "fix_untrained_tokens",
    "reinit_weights",
    "unfrozen_parameters",
    "rope_scaling",
    "load_in_8bit",
    "gptq",
    "bnb_config_kwargs",
    "qat",
    "quantization",
    "quantize_moe_experts",
    "fp8",
    "lora_model_dir",
    "peft",
    "peft_init_lora_weights",
    "peft_layer_replication",
    "merge_lora",
    "s2_attention",
    "scaling_softmax",
    "llama4_linearized_experts",
    "rl",
    "reward_model",
    "process_reward_model",
    "num_labels",
    "pretraining_dataset",
    "streaming",
    "skip_prepare_dataset",
    "dataset_exact_deduplication",
    "load_best_model_at_end",
    "float16",
    "bfloat16",
    "float32",
}
# 埋め込みと出力の層の名前 (モデルによって違う)
EMBEDDINGS = ("lm_head", "embed_out", "embed_in", "embed_tokens", "wte")
# 注意の計算のしかたの、古い書き方
OLD_ATTENTION = (
    "flash_attention",
    "sdp_attention",
    "eager_attention",
    "xformers_attention",
    "flex_attention",
    "sage_attention",
)
# 学習の途中から始めるのは、plugin.py がする。
RESUMING = ("resume_from_checkpoint", "auto_resume_from_checkpoints", "save_only_model")


class WrongSetting(Exception):
    """設定の間違い。args は (理由, 設定の名前。どの設定とも言えなければ None)。"""


class Settings(BaseModel):
    """Axolotl の設定に足すもの。"""

    # 途中の正解率を測る問題のファイル (なければ測らない)
    learning_curve: str | None = None


class Dataset(BaseModel):
    """学習用ファイルの 1 つ。"""

    path: str
    type: dict | str


class Limits(BaseModel):
    """なければならない設定と、値の範囲。

    Axolotl は、設定がなければ黙って別の値にし、範囲の外の値も受け取る。
    """

    base_model: str
    output_dir: str
    datasets: list[Dataset]
    adapter: Literal["lora", "qlora"]
    lora_target_modules: list[str] | Literal["all-linear"]
    seed: int = Field(ge=0, lt=2**32)
    sequence_len: PositiveInt
    micro_batch_size: PositiveInt
    gradient_accumulation_steps: PositiveInt
    num_epochs: FiniteFloat = Field(gt=0)
    learning_rate: FiniteFloat = Field(gt=0)
    lora_r: PositiveInt
    lora_alpha: PositiveInt
    lora_dropout: float = Field(0, ge=0, lt=1)
    max_steps: PositiveInt = None
    fsdp_config: dict = None


def where(path, config, key):
    """設定 key のある所 (ファイル:行)。コマンドラインで変えた設定なら、その書き方。

    config は、YAML とコマンドラインを合わせた dict。
    """
    # YAML に書いてあるのと違う値なら、コマンドラインのもの
    text = read_text(path, "YAML の場所を確かめてください。")
    written = yaml.safe_load(text) or {}
    if key in config and written.get(key) != config[key]:
        return f"--{key}"
    # 入れ子の中の設定も、名前で探す
    for number, line in enumerate(text.splitlines(), 1):
        if key and re.match(rf"\s*(- )?{re.escape(str(key))}\s*:", line):
            return f"{path}:{number}"
    return path


def names_of(*models):
    """pydantic のモデルの、設定の名前と別名の集合。"""
    names = set()
    for model in models:
        for name, field in model.model_fields.items():
            names |= {name, field.alias or name}
    return names


def check_known(given, names):
    """given (dict) の名前が、すべて names にあるか。なければ、近い名前を言う。"""
    for key in given:
        if key in names:
            continue
        near = get_close_matches(str(key), names, 1)
        hint = f"{near[0]} の間違いではありませんか。" if near else "この行を消してください。"
        # repr なら、全角の空白などの付いた名前も見える
        raise WrongSetting(f"{key!r} という設定はありません。{hint}", key)


def check_names(config):
    """設定の名前、あるべき設定、値の範囲、入れ子の中の名前を、この順に調べる。"""
    from axolotl.cli.args import TrainerCliArgs
    from axolotl.utils.schemas.config import AxolotlInputConfig
    from axolotl.utils.schemas.datasets import SFTDataset, UserDefinedPrompterType
    from axolotl.utils.schemas.fsdp import FSDPConfig

    # 名前の間違いを先に言う (その設定がない、と言うより分かりやすい)
    options = set(TrainerCliArgs.__dataclass_fields__)
    check_known(config, names_of(AxolotlInputConfig, Settings) | options)

    # 値のない行は、ないのと同じ
    try:
        Limits(**{key: value for key, value in config.items() if value is not None})
    except ValidationError as e:
        raise explain(e) from None

    # 形が分かったので、入れ子の中も見られる
    for row in config["datasets"]:
        check_known(row, names_of(SFTDataset))
        if isinstance(row["type"], dict):
            check_known(row["type"], names_of(UserDefinedPrompterType))
    check_known(config.get("fsdp_config") or {}, names_of(FSDPConfig))


def check_followed(config):
    """モデルやトークナイザや行を、手順4の知らないものに変える設定を断る。"""
    from axolotl.utils.schemas.deprecated import RemappedParameters
    from axolotl.utils.schemas.integrations import LISAConfig
    from axolotl.utils.schemas.model import ModelInputConfig
    from axolotl.utils.schemas.peft import ReLoRAConfig

    # 断る設定と、その理由
    changing = names_of(ModelInputConfig, RemappedParameters, ReLoRAConfig, LISAConfig)
    unfollowed = "手順4が同じモデルを同じように読めず、学習したものに問えなくなります"
    reasons = dict.fromkeys((changing - HARMLESS_FOR_MODEL) | NOT_FOLLOWED, unfollowed)
    reasons |= dict.fromkeys(OLD_ATTENTION, "古い書き方です。代わりは attn_implementation です")
    reasons |= dict.fromkeys(RESUMING, "続きからは、何もしなくても始まります")

    # false や空の値は、書いていないのと同じ
    for key, value in config.items():
        if value and key in reasons:
            raise WrongSetting(
                f"{key} は使えません ({reasons[key]})。この設定を消してください。", key
            )


def check_values(config):
    """Axolotl が受け取っても、ここでは役に立たない値を断る。"""
    import transformers

    # 場所。Windows の書き方や、ワープロの引用符は、名前の一部になってしまう
    for key in ("base_model", "output_dir"):
        value = config[key]
        if re.search(r"^~|[\\“”‘’]", value) or Path(value).is_file():
            raise WrongSetting(
                f"{key} の {value!r} は、名前でもフォルダでもありません (~ は使えません。"
                "フォルダは / で区切り、引用符は消してください。"
                "WSL なら C:\\Users は /mnt/c/Users)。",
                key,
            )

    # 何行かを 1 行に詰めると、1 ステップの問題の数が決まらず、行も確かめられない。
    # 検証用に取り分けた問題は、学習されない。途中の正解率は learning_curve で測る
    for key, off in {"sample_packing": "false", "val_set_size": "0"}.items():
        if config.get(key):
            raise WrongSetting(f"{key} は {off} にしてください。", key)
    # Axolotl は、adapter: lora なら量子化せずに学習する。手順4は load_in_4bit に従う
    if config["adapter"] == "lora" and config.get("load_in_4bit"):
        raise WrongSetting(
            "adapter: lora なら load_in_4bit は false に (4 ビットで学習するなら qlora に) "
            "してください。",
            "adapter",
        )
    # 埋め込みと出力の層のアダプタは、基の重みごと書かれ、手順4が読めない
    targets = config["lora_target_modules"]
    for name in EMBEDDINGS:
        if name in targets:
            raise WrongSetting(
                f"lora_target_modules に {name} は使えません。all-linear にしてください。",
                "lora_target_modules",
            )

    # 学習する文字列は、手順4の問い方と 1 文字も違ってはいけない
    for row in config["datasets"]:
        kind = row["type"] if isinstance(row["type"], dict) else {}
        for key, text in FORMAT.items():
            if (kind.get(key) or "") != text:
                raise WrongSetting(
                    f"{key} が「{text}」でないと、手順4と違う書式の学習になります。"
                    "直してください。",
                    key,
                )

    # ここまでの点検をするのも、学習の記録を残すのも、このプラグイン
    if PLUGIN not in (config.get("plugins") or ()):
        raise WrongSetting(f"plugins に {PLUGIN} がありません。{COMPARE}", "plugins")

    tokenizer_type = str(config.get("tokenizer_type") or "AutoTokenizer")
    if not hasattr(transformers, tokenizer_type):
        raise WrongSetting(
            f"transformers に {tokenizer_type} はありません。"
            "PreTrainedTokenizerFast にしてください。",
            "tokenizer_type",
        )


def check_choices(config):
    """決まった名前から選ぶ設定を調べる (Axolotl は、どんな文字も受け取る)。"""
    from axolotl.utils.schemas.enums import CustomSupportedOptimizers
    from transformers import SchedulerType
    from transformers.training_args import OptimizerNames

    choices = {
        "optimizer": [*OptimizerNames, *CustomSupportedOptimizers],
        "lr_scheduler": [*SchedulerType, "one_cycle", "rex"],
    }
    for key, allowed in choices.items():
        value = config.get(key)
        if value is not None and value not in allowed:
            raise WrongSetting(f"{key} に {value} という値はありません。{COMPARE}", key)


def check_types(config):
    """値の型と組み合わせを、Axolotl 自身の検査で調べる。"""
    from axolotl.utils.config import validate_config
    from axolotl.utils.dict import DictDefault

    try:
        checked = validate_config(DictDefault(deepcopy(config)))
    except ValidationError as e:
        raise explain(e) from None

    # Axolotl は "true" を true と読み替えるが、手順4は読み替えない
    for key, value in config.items():
        if isinstance(value, str) and isinstance(checked.get(key), (bool, int)):
            raise WrongSetting(
                f'{key} が文字の "{value}" です。YAML に、引用符なしで書いてください。', key
            )


def explain(error):
    """pydantic の間違いを、WrongSetting にする。"""
    # いくつかの型を許す設定では、最後のものが、許す値をいちばんよく表す
    last = error.errors()[-1]
    kind = last["type"]
    key = last["loc"][0] if last["loc"] else None
    place = ".".join(map(str, last["loc"])) or "設定の組み合わせ"
    if kind == "missing":
        return WrongSetting(f"{place} の行がありません。{COMPARE}", key)

    # 直し方の分かるもの
    remedy = REMEDIES.get(kind) or REMEDIES.get(kind.split("_")[0])
    if key and remedy:
        how = remedy.format(**last.get("ctx", {}))
        return WrongSetting(f"{key} が {last['input']!r} です。{how}してください。", key)

    # そのほかは、Axolotl の言うとおりに
    what = last["msg"].removeprefix("Value error, ")
    return WrongSetting(f"{place} が Axolotl に合いません ({what})。{COMPARE}", key)


def check_settings(config):
    """名前、値、型を調べる。間違いがあれば WrongSetting。

    config は、コマンドラインの値も合わせた dict。
    """
    check_names(config)
    check_followed(config)
    check_values(config)
    check_choices(config)
    check_types(config)
