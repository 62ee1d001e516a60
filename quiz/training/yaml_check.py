"""YAML の設定を、Axolotl の定義と照らし合わせる。

Axolotl は、知らない名前の設定を黙って無視する。また、モデルやトークナイザを base_model の
ものから変える設定もある。手順4はそれに従えないので、学習の前に断る。
"""

import math
import re
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path

import yaml
from pydantic import BaseModel

from quiz.files import read_text

PLUGIN = "quiz.training.plugin.Plugin"
POSITIVE = (
    "sequence_len",
    "micro_batch_size",
    "gradient_accumulation_steps",
    "num_epochs",
    "learning_rate",
    "lora_r",
    "lora_alpha",
)
# なければ Axolotl が黙って別の値にするものもある
REQUIRED = (
    "base_model",
    "output_dir",
    "datasets",
    "adapter",
    "lora_target_modules",
    "seed",
    *POSITIVE,
)
RANGES = {"seed": (0, 2**32), "lora_dropout": (0, 1), "max_steps": (1, 10**9)}

# datasets の type: instruction をそのままプロンプトにする。ほかの形では、
# 手順4の書式と違ってしまう。
FORMAT = {
    "field_instruction": "instruction",
    "field_output": "output",
    "no_input_format": "{instruction}",
    "system_prompt": "",
}

# pydantic の間違いの種類 (int_parsing など) の先頭と、正しい型
TYPES = {"int": "整数", "float": "数", "bool": "true か false ", "string": "文字"}

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
}
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
    """設定 key の間違い。str() が理由。"""

    def __init__(self, reason, key=None):
        super().__init__(reason)
        self.key = key


class Settings(BaseModel):
    """Axolotl の設定に足すもの。learning_curve は、途中の正解率を測る問題のファイル
    (なければ測らない)。
    """

    learning_curve: str | None = None


def where(path, config, key):
    """設定 key のある所 (ファイル:行)。コマンドラインで変えた設定なら、その書き方。config
    は両方を合わせた dict。
    """
    text = read_text(path, "YAML の場所を確かめてください。")
    written = yaml.safe_load(text) or {}
    if key in config and written.get(key) != config[key]:
        return f"--{key}"
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
    if not isinstance(given, dict):
        return
    for key in given:
        if key in names:
            continue
        near = get_close_matches(str(key), names, 1)
        hint = f"{near[0]} の間違いではありませんか。" if near else "この行を消してください。"
        shown = repr(key) if key != str(key).strip() else key
        raise WrongSetting(f"{shown} という設定はありません。{hint}", key)


def check_names(config):
    """設定の名前を調べる。入れ子の中も見る。"""
    from axolotl.cli.args import TrainerCliArgs
    from axolotl.utils.schemas.config import AxolotlInputConfig
    from axolotl.utils.schemas.datasets import SFTDataset, UserDefinedPrompterType
    from axolotl.utils.schemas.fsdp import FSDPConfig

    options = set(TrainerCliArgs.__dataclass_fields__)
    check_known(config, names_of(AxolotlInputConfig, Settings) | options)
    for key in REQUIRED:
        if config.get(key) is None:
            raise WrongSetting(
                f"{key} の行がありません。元の qlora-opencalm.yml と比べてください。", key
            )
    datasets = config["datasets"]
    rows = datasets if isinstance(datasets, list) else [None]
    for row in rows:
        if not isinstance(row, dict) or not row.get("type") or not isinstance(row.get("path"), str):
            raise WrongSetting(
                "datasets の形が違います (path と type の並び)。"
                "元の qlora-opencalm.yml と比べてください。",
                "datasets",
            )
        check_known(row, names_of(SFTDataset))
        check_known(row["type"], names_of(UserDefinedPrompterType))
    check_known(config.get("fsdp_config"), names_of(FSDPConfig))


def check_followed(config):
    """モデルやトークナイザや行を、手順4の知らないものに変える設定を断る。"""
    from axolotl.utils.schemas.deprecated import RemappedParameters
    from axolotl.utils.schemas.integrations import LISAConfig
    from axolotl.utils.schemas.model import ModelInputConfig
    from axolotl.utils.schemas.peft import ReLoRAConfig

    changing = (
        names_of(ModelInputConfig, RemappedParameters, ReLoRAConfig, LISAConfig)
        - HARMLESS_FOR_MODEL
    )
    for key, value in config.items():
        if value and key in changing | NOT_FOLLOWED:
            raise WrongSetting(
                f"{key} は使えません。手順4が同じモデルを同じように読めず、"
                "学習したものに問えなくなります。この設定を消してください。",
                key,
            )
    for key in OLD_ATTENTION:
        if config.get(key):
            raise WrongSetting(
                f"{key} は古い書き方です。attn_implementation で書いてください。", key
            )
    for key in RESUMING:
        if config.get(key):
            raise WrongSetting(
                f"{key} は使えません (続きからは、何もしなくても始まります)。"
                "この設定を消してください。",
                key,
            )


def check_values(config):
    """Axolotl が受け取っても、ここでは役に立たない値を断る。"""
    from axolotl.utils.schemas.enums import CustomSupportedOptimizers
    from transformers import SchedulerType
    from transformers.trainer_utils import SaveStrategy
    from transformers.training_args import OptimizerNames

    for key in ("base_model", "output_dir"):
        value = config[key]
        if not isinstance(value, str) or value.startswith("~") or Path(value).is_file():
            raise WrongSetting(
                f"{key} の {value!r} は、名前でもフォルダでもありません "
                "(~ は使えません。./ か / から書いてください)。",
                key,
            )
    for row in config["datasets"]:
        kind = row["type"] if isinstance(row["type"], dict) else {}
        for key, text in FORMAT.items():
            if (kind.get(key) or "") != text:
                raise WrongSetting(
                    f"{key} が「{text}」でないと、手順4と違う書式の学習になります。"
                    "直してください。",
                    key,
                )
    if not isinstance(config.get("fsdp_config") or {}, dict):
        raise WrongSetting("fsdp_config の形が違います (docs/models.md に例)。", "fsdp_config")
    check_choice(config, "adapter", ["lora", "qlora"])
    check_choice(config, "optimizer", [*OptimizerNames, *CustomSupportedOptimizers])
    check_choice(config, "lr_scheduler", [*SchedulerType, "one_cycle", "rex"])
    check_choice(config, "save_strategy", list(SaveStrategy))
    targets = config["lora_target_modules"]
    if isinstance(targets, str) and targets != "all-linear":
        raise WrongSetting(
            "lora_target_modules は all-linear か、層の名前の並びにしてください。",
            "lora_target_modules",
        )
    if PLUGIN not in (config.get("plugins") or ()):
        raise WrongSetting(
            f"plugins に {PLUGIN} がありません。元の qlora-opencalm.yml と比べてください。",
            "plugins",
        )


def check_choice(config, key, choices):
    """設定 key の値が、choices (文字列か、値が文字列の Enum) のどれかであるか。"""
    values = [getattr(choice, "value", choice) for choice in choices]
    value = config.get(key)
    if value is not None and value not in values:
        near = get_close_matches(str(value), values, 1) or values[:1]
        raise WrongSetting(f"{key} に {value} という値はありません ({near[0]} など)。", key)


def check_types(config):
    """値の型と範囲を、Axolotl 自身の検査で調べる。"""
    from axolotl.utils.config import validate_config
    from axolotl.utils.dict import DictDefault
    from pydantic import ValidationError

    try:
        checked = validate_config(DictDefault(deepcopy(config)))
    except ValidationError as e:
        raise explain(e) from None
    for key in POSITIVE:
        if not 0 < float(checked[key]) < math.inf:
            raise WrongSetting(f"{key} が {config[key]} です。0 より大きい値にしてください。", key)
    for key, (low, high) in RANGES.items():
        value = checked.get(key)
        if value is not None and not low <= value < high:
            raise WrongSetting(
                f"{key} が {config[key]} です。{low} 以上 {high} 未満にしてください。", key
            )
    # Axolotl は "true" を true と読み替えるが、手順4は読み替えない。
    for key, value in config.items():
        if isinstance(value, str) and isinstance(checked.get(key), (bool, int)):
            raise WrongSetting(f'{key} が文字の "{value}" です。引用符を外してください。', key)


def explain(error):
    """pydantic の間違いを、WrongSetting にする。"""
    # いくつかの型を許す設定では、最後のものが、許す値をいちばんよく表す。
    last = error.errors()[-1]
    place = last["loc"] or ("",)
    key = place[0]
    kind = TYPES.get(last["type"].split("_")[0])
    if key and kind:
        return WrongSetting(f"{key} が {last['input']!r} です。{kind}にしてください。", key)
    what = last["msg"].removeprefix("Value error, ")
    return WrongSetting(
        f"{key or '設定の組み合わせ'} が Axolotl に合いません ({what})。"
        "元の qlora-opencalm.yml と比べてください。",
        key,
    )


def check_settings(config):
    """名前、値、型を調べる。間違いがあれば WrongSetting。config は、コマンドラインの値も合わせた
    dict。
    """
    import transformers

    check_names(config)
    check_followed(config)
    check_values(config)
    tokenizer_type = str(config.get("tokenizer_type") or "AutoTokenizer")
    if not hasattr(transformers, tokenizer_type):
        raise WrongSetting(
            f"transformers に {tokenizer_type} はありません。"
            "PreTrainedTokenizerFast にしてください。",
            "tokenizer_type",
        )
    check_types(config)
