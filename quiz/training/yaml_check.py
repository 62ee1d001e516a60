"""YAML の設定を、Axolotl の定義と照らし合わせる。Axolotl は、知らない名前の設定を黙って無視する。"""

import math
import re
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path

import yaml
from pydantic import BaseModel

from quiz.files import read_text

POSITIVE = "sequence_len", "micro_batch_size", "gradient_accumulation_steps", "num_epochs", "learning_rate", "lora_r", "lora_alpha"
# なければ Axolotl が黙って別の値にするものもある
REQUIRED = "base_model", "output_dir", "datasets", "adapter", "lora_target_modules", "seed", *POSITIVE
PLUGIN = "quiz.training.plugin.Plugin"
# datasets の type: instruction をそのままプロンプトにする。ほかの形では、手順4の書式と違ってしまう。
FORMAT = {"field_instruction": "instruction", "field_output": "output", "no_input_format": "{instruction}", "system_prompt": ""}
RANGES = {"seed": (0, 2**32), "lora_dropout": (0, 1), "max_steps": (1, 10**9)}
TYPES = {"int": "整数", "float": "数", "bool": "true か false ", "string": "文字"}  # pydantic の間違いの種類 (int_parsing など) の先頭


class Settings(BaseModel):
    """Axolotl の設定に足すもの。learning_curve は、学習の途中の正解率を測る問題のファイル (なければ測らない)。"""

    learning_curve: str | None = None


def where(path, config, key):
    """設定 key のある所 (ファイル:行)。コマンドラインで変えた設定なら、その書き方。config は両方を合わせた dict。"""
    text = read_text(path, "YAML の場所を確かめてください。")
    lines = [n for n, line in enumerate(text.splitlines(), 1) if key and re.match(rf"\s*(- )?{re.escape(str(key))}\s*:", line)]
    if key in config and (yaml.safe_load(text) or {}).get(key) != config[key]:
        return f"--{key}"
    return f"{path}:{lines[0]}" if lines else path


def check_names(stop, config):
    """設定の名前を調べる。入れ子の中も見る。"""
    from axolotl.cli.args import TrainerCliArgs
    from axolotl.utils.schemas.config import AxolotlInputConfig
    from axolotl.utils.schemas.datasets import SFTDataset, UserDefinedPrompterType
    from axolotl.utils.schemas.fsdp import FSDPConfig

    def known(given, *models, more=()):
        names = {name for model in models for key, field in model.model_fields.items() for name in (key, field.alias or key)} | set(more)
        for key in given if isinstance(given, dict) else ():
            if key not in names:
                near = [f"{name} の間違いではありませんか。" for name in get_close_matches(str(key), names, 1)]
                stop(f"{key} という設定はありません。{(near or ['この行を消してください。'])[0]}", key)

    known(config, AxolotlInputConfig, Settings, more=TrainerCliArgs.__dataclass_fields__)
    for key in REQUIRED:
        if config.get(key) is None:
            stop(f"{key} の行がありません。元の qlora-opencalm.yml と比べてください。", key)
    rows = config["datasets"] if isinstance(config["datasets"], list) else [None]
    if not all(isinstance(row, dict) and row.get("type") and isinstance(row.get("path"), str) for row in rows):
        stop("datasets の形が違います (path と type の並び)。元の qlora-opencalm.yml と比べてください。", "datasets")
    for row in rows:
        known(row, SFTDataset)
        known(row["type"], UserDefinedPrompterType)
    known(config.get("fsdp_config"), FSDPConfig)


def check_values(stop, config):
    """Axolotl が受け取っても、ここでは役に立たない値を断る。"""
    from axolotl.utils.schemas.enums import CustomSupportedOptimizers
    from transformers import SchedulerType
    from transformers.trainer_utils import SaveStrategy
    from transformers.training_args import OptimizerNames

    for key in ("base_model", "output_dir"):
        if not isinstance(config[key], str) or config[key].startswith("~") or Path(config[key]).is_file():
            stop(f"{key} の {config[key]!r} は、名前でもフォルダでもありません (~ は使えません。./ か / から書いてください)。", key)
    for row in config["datasets"]:
        kind = row["type"] if isinstance(row["type"], dict) else {}
        wrong = [key for key, text in FORMAT.items() if (kind.get(key) or "") != text]
        if wrong:
            stop(f"{wrong[0]} が「{FORMAT[wrong[0]]}」でないと、手順4と違う書式の学習になります。直してください。", wrong[0])
    for key, kinds in {"fsdp_config": dict, "deepspeed": (dict, str)}.items():
        if not isinstance(config.get(key) or {}, kinds):
            stop(f"{key} の形が違います (docs/models.md に例)。", key)
    choices = {"adapter": ("lora", "qlora"), "optimizer": (*OptimizerNames, *CustomSupportedOptimizers),
               "lr_scheduler": (*SchedulerType, "one_cycle", "rex"), "save_strategy": tuple(SaveStrategy)}
    for key, values in choices.items():
        values = [getattr(value, "value", value) for value in values]
        if config.get(key) is not None and config[key] not in values:
            near = get_close_matches(str(config[key]), values, 1) or values[:1]
            stop(f"{key} に {config[key]} という値はありません ({near[0]} など)。", key)
    if isinstance(config["lora_target_modules"], str) and config["lora_target_modules"] != "all-linear":
        stop("lora_target_modules は all-linear か、層の名前の並びにしてください。", "lora_target_modules")
    for key in ("resume_from_checkpoint", "auto_resume_from_checkpoints", "save_only_model"):
        if config.get(key):
            stop(f"{key} は使えません (続きからは、何もしなくても始まります)。この設定を消してください。", key)
    if PLUGIN not in (config.get("plugins") or ()):
        stop(f"plugins に {PLUGIN} がありません。元の qlora-opencalm.yml と比べてください。", "plugins")


def check_settings(stop, config):
    """名前、値、型を調べる。間違いがあれば、stop(理由, 設定の名前) を呼ぶ。config は、コマンドラインの値も合わせた dict。"""
    import transformers
    from axolotl.utils.config import validate_config
    from axolotl.utils.dict import DictDefault
    from pydantic import ValidationError

    check_names(stop, config)
    check_values(stop, config)
    if not hasattr(transformers, str(config.get("tokenizer_type") or "AutoTokenizer")):
        stop(f"transformers に {config['tokenizer_type']} はありません。PreTrainedTokenizerFast にしてください。", "tokenizer_type")
    try:
        checked = validate_config(DictDefault(deepcopy(config)))
    except ValidationError as e:
        error = e.errors()[-1]  # いくつかの型を許す設定では、最後のものが、許す値をいちばんよく表す
        key, kind, what = (error["loc"] or ("",))[0], TYPES.get(error["type"].split("_")[0]), error["msg"].removeprefix("Value error, ")
        if key and kind:
            stop(f"{key} が {error['input']!r} です。{kind}にしてください。", key)
        stop(f"{key or '設定の組み合わせ'} が Axolotl に合いません ({what})。元の qlora-opencalm.yml と比べてください。", key)
    for key in POSITIVE:
        if not 0 < float(checked[key]) < math.inf:
            stop(f"{key} が {config[key]} です。0 より大きい値にしてください。", key)
    for key, (low, high) in RANGES.items():
        if checked.get(key) is not None and not low <= checked[key] < high:
            stop(f"{key} が {config[key]} です。{low} 以上 {high} 未満にしてください。", key)
    for key, value in config.items():
        if isinstance(value, str) and isinstance(checked.get(key), (bool, int)):  # Axolotl は読み替えるが、手順4は読み替えない
            stop(f'{key} が文字の "{value}" です。引用符を外してください。', key)
