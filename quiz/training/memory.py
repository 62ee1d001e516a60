"""学習に使えるメモリと、学習に要るメモリの見積もり。"""

import os
import shutil
import subprocess

from quiz.model import empty_model
from quiz.training.yaml_check import WrongSetting

GIB = 2**30
# 重み 1 個のバイト数。64 個ごとの倍率は 8 ビットで、その倍率 256 個ごとに fp32 が 1 つ
# (QLoRA, Dettmers+ 2023, §3)。
NF4_BYTES = 0.5 + (1 + 4 / 256) / 64
TRAINED_BYTES = 16  # LoRA の 1 個。fp32 の重みと勾配、AdamW の 2 つの平均
# logits の 1 個。半精度の値と勾配、損失を求める fp32 の値、その対数確率と勾配
LOGIT_BYTES = 20
LORA_COPIES = 8  # LoRA が、1 層の計算のあいだに持つ fp32 の入力の数
OLDEST_GPU = (7, 5)  # 今の PyTorch が動く compute capability


def available():
    """(空いているメモリの GiB, GPU の compute capability。CPU なら None) を返す。"""
    import psutil
    import torch

    if not torch.cuda.is_available():
        check_hidden_gpu(torch.version.cuda)
        return psutil.virtual_memory().available / GIB, None
    device = int(os.environ.get("LOCAL_RANK", 0))
    capability = torch.cuda.get_device_capability(device)
    if capability < OLDEST_GPU:
        name = torch.cuda.get_device_name(device)
        raise WrongSetting(
            f"この GPU ({name}) は、今の PyTorch では動きません。"
            "T4 か RTX 20 以降を使ってください。"
        )
    free, _ = torch.cuda.mem_get_info(device)
    return free / GIB, capability


def check_hidden_gpu(cuda_version):
    """GPU があるのに PyTorch から使えないなら、その理由を言う。cuda_version は torch の CUDA の版。


    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    driver = shutil.which("nvidia-smi")
    if hidden or not driver:
        return
    listed = subprocess.run([driver, "-L"], capture_output=True).stdout
    if not listed.startswith(b"GPU"):
        return
    why = "ドライバは 580.65 以降が要ります"
    if cuda_version is None:
        why = (
            "入っているのが CPU 版の torch です。pip install --force-reinstall torch で入れ直せます"
        )
    raise WrongSetting(
        f"GPU があるのに、PyTorch から使えません ({why})。CPU で学習するなら、"
        "コマンドの前に CUDA_VISIBLE_DEVICES= を付けてください。"
    )


def estimate(model_config, yaml, length, device="cuda"):
    """(パラメータ数, 学習に要る 1 プロセスの GiB) を返す。

    model_config は transformers の設定、yaml は YAML の dict、device は cuda か cpu。length
    トークンの行が
    micro_batch_size 個並ぶとき。重みのほか、層ごとの入力と、計算し直す 1 層、logits
    の分を数えた概算。
    CUDA そのものの約 0.5 GiB は含まない。
    """
    import torch

    model = empty_model(model_config, yaml)
    head = model.get_output_embeddings()
    linears = []
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and module is not head:
            linears.append(module)
    computed_bytes = 4 if device == "cpu" else 2  # CPU では fp32、GPU では半精度で計算する
    weights = weight_bytes(model, linears, bool(yaml.get("load_in_4bit")), computed_bytes)
    width = sum(m.in_features + m.out_features for m in linears)  # 線形層の入出力の合計
    adapter = TRAINED_BYTES * yaml["lora_r"] * width

    # 1 トークンの分。勾配チェックポイントなら、各層の入力と、計算し直す 1 層だけを持つ。
    layers = model_config.num_hidden_layers
    layer_width = max(width / layers, 1)
    kept = layers * layer_width
    if yaml.get("gradient_checkpointing"):
        kept = layers * model_config.hidden_size + layer_width
    per_token = 2 * computed_bytes * kept
    per_token += 4 * LORA_COPIES * model_config.hidden_size
    per_token += LOGIT_BYTES * model_config.vocab_size

    work = yaml["micro_batch_size"] * length * per_token
    n_parameters = sum(p.numel() for p in model.parameters())
    return n_parameters, (weights + adapter + work) / GIB


def weight_bytes(model, linears, quantized, computed_bytes):
    """重みのバイト数。quantized なら、linears の重みは nf4。"""
    in_nf4 = {id(m.weight) for m in linears} if quantized else set()
    total = 0
    for name, p in model.named_parameters():  # 共有の埋め込みは 1 度だけ出る
        if id(p) in in_nf4:
            size = NF4_BYTES
        elif "embed_tokens" in name or "lm_head" in name:
            size = computed_bytes
        else:  # Axolotl は、ほかの量子化しない重みを fp32 に直してから学習する
            size = 4
        total += size * p.numel()
    return total
