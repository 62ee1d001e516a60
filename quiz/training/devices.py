"""複数の GPU で学習するときの設定 (FSDP、DeepSpeed) の点検。"""

import importlib.util
import re

from quiz.files import read_records


def check_devices(stop, config, model_class, world):
    """FSDP と DeepSpeed の設定を調べる。model_class はモデルのクラス、world はプロセス (GPU) の数。"""
    fsdp, deepspeed = config.get("fsdp_config"), config.get("deepspeed")
    if fsdp and deepspeed:
        stop("fsdp_config と deepspeed は、どちらか 1 つにしてください。", "deepspeed")
    if fsdp and world < 2:
        stop("fsdp_config は、2 つ以上の GPU で使います (docs/models.md の「複数の GPU」)。", "fsdp_config")
    if fsdp and re.search("paged|8bit|bnb", config.get("optimizer") or ""):
        stop("FSDP では、この optimizer は最初の更新で止まります。adamw_torch にしてください。", "optimizer")
    layers = getattr(model_class, "_no_split_modules", None) or ()
    layer = (fsdp or {}).get("transformer_layer_cls_to_wrap")
    if layer and layer not in layers:
        stop(f"このモデルに {layer} という層はありません。{'、'.join(layers)} にしてください。", "transformer_layer_cls_to_wrap")
    if deepspeed and not importlib.util.find_spec("deepspeed"):
        stop('DeepSpeed が入っていません: pip install "deepspeed>=0.18.6,<0.19"', "deepspeed")
    if isinstance(deepspeed, str):
        deepspeed = next(read_records(deepspeed, "YAML の deepspeed: の場所と中身を確かめてください (docs/models.md に例)。"))[1]
    if deepspeed and "stage" not in deepspeed.get("zero_optimization", {}):
        stop("DeepSpeed の設定に zero_optimization の stage がありません (docs/models.md に例)。", "deepspeed")
