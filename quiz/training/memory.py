"""学習に使えるメモリと、学習に要るメモリの見積もり。"""

import math
import os
import subprocess
from dataclasses import dataclass

from quiz.model import empty_model
from quiz.training.yaml_check import WrongSetting

GIB = 2**30
# 重み 1 個のバイト数。64 個ごとの倍率は 8 ビットで、その倍率 256 個ごとに fp32 が 1 つ
# (QLoRA, Dettmers+ 2023, §3)。
NF4_BYTES = 0.5 + (1 + 4 / 256) / 64
# LoRA の 1 個。fp32 の重みと勾配、AdamW の 2 つの平均
TRAINED_BYTES = 16
# logits の 1 個。半精度の値と勾配、損失を求める fp32 の値、その対数確率と勾配
LOGIT_BYTES = 20
# 線形層の入力と出力の 1 個。値と、勾配を求めるのに残す写しで、測ったものに合わせた
VALUE_BYTES = {"cuda": 4, "cpu": 10.5}
# CPU では、計算に使うライブラリ自身の分も同じメモリに入る (GiB)
CPU_OVERHEAD = 0.2
# LoRA が、1 層の計算のあいだに持つ fp32 の入力の数
LORA_COPIES = 8
# 行の長さをそろえる単位の、Axolotl の既定 (YAML の pad_to_multiple_of)
PADDED_TO = 64
# 今の PyTorch が動く compute capability
OLDEST_GPU = (7, 5)


def available():
    """(空いているメモリの GiB, GPU の compute capability。CPU なら None) を返す。"""
    import psutil
    import torch

    if not torch.cuda.is_available():
        check_hidden_gpu()
        return psutil.virtual_memory().available / GIB, None

    # 1 つのプロセスが 1 枚の GPU を使う
    device = int(os.environ.get("LOCAL_RANK", 0))
    capability = torch.cuda.get_device_capability(device)
    if capability < OLDEST_GPU:
        raise WrongSetting(
            "この GPU は、今の PyTorch では動きません。T4 か RTX 20 以降を使ってください。", None
        )
    free, _ = torch.cuda.mem_get_info(device)
    return free / GIB, capability


def check_hidden_gpu():
    """GPU があるのに PyTorch から使えないなら WrongSetting。

    黙って CPU で学習すると、何十倍も遅い。
    """
    # 学生が自分で隠したのなら、それでよい。ドライバだけで、GPU のない計算機もある
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if not hidden and subprocess.getoutput("nvidia-smi -L").startswith("GPU"):
        raise WrongSetting(
            "GPU があるのに、PyTorch から使えません (ドライバは 580.65 以降、torch は CUDA 版が"
            "要ります: docs/trouble.md)。CPU で学習するなら、コマンドの前に "
            "CUDA_VISIBLE_DEVICES= を付けてください。",
            None,
        )


@dataclass(frozen=True)
class Needs:
    """学習に要るメモリ (1 プロセスの GiB) の見積もり。"""

    parameters: int  # パラメータの数
    fast: float  # すべての途中の値を持つとき
    small: float  # 勾配チェックポイントを使い、層の中の値を計算し直すとき


def estimate(model_config, yaml, length, answer_length, device="cuda"):
    """学習に要るメモリ Needs を見積もる。

    model_config は transformers の設定、yaml は YAML の dict、device は cuda か cpu。
    length トークンの行 (うち回答は answer_length) が micro_batch_size 個並ぶとき。重みのほか、
    途中の値と logits の分を数えた概算。CUDA そのものの約 0.5 GiB は含まない。
    """
    import torch

    from quiz.training.answer_loss import can_keep_answers

    # アダプタが付き、量子化されるのは、出力のほかの線形層
    model = empty_model(model_config, yaml)
    head = model.get_output_embeddings()
    linears = []
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and module is not head:
            linears.append(module)
    width = sum(m.in_features + m.out_features for m in linears)

    # CPU では fp32、GPU では半精度で計算する
    computed_bytes = 4 if device == "cpu" else 2
    in_nf4 = {id(m.weight) for m in linears if yaml.get("load_in_4bit")}
    weights = weight_bytes(model, in_nf4, computed_bytes)
    adapter = TRAINED_BYTES * yaml["lora_r"] * width

    # 長さはそろえて埋める。logits は、回答の分だけ (answer_loss.py) か、全部の分
    multiple = yaml.get("pad_to_multiple_of") or PADDED_TO
    tokens = yaml["micro_batch_size"] * math.ceil(length / multiple) * multiple
    logit_tokens = tokens
    if can_keep_answers(model, yaml):
        logit_tokens = yaml["micro_batch_size"] * (answer_length + 1)
    always = weights + adapter + LOGIT_BYTES * model_config.vocab_size * logit_tokens
    always += 4 * LORA_COPIES * model_config.hidden_size * tokens

    # 線形層の入力と出力の数。勾配チェックポイントなら、どの層も入力 (hidden_size 個) だけを持ち、
    # 中の値は、計算し直す 1 層の分だけを持つ
    layers = model_config.num_hidden_layers
    recomputed = layers * model_config.hidden_size + width / layers
    per_value = VALUE_BYTES[device] * tokens
    if device == "cpu":
        always += CPU_OVERHEAD * GIB
    n_parameters = sum(p.numel() for p in model.parameters())
    return Needs(
        n_parameters, (always + per_value * width) / GIB, (always + per_value * recomputed) / GIB
    )


def weight_bytes(model, in_nf4, computed_bytes):
    """重みのバイト数。in_nf4 は、nf4 に量子化する重みの id。"""
    total = 0
    # 共有の埋め込みは 1 度だけ出る
    for name, p in model.named_parameters():
        if id(p) in in_nf4:
            size = NF4_BYTES
        elif "embed_tokens" in name or "lm_head" in name:
            size = computed_bytes
        else:
            # Axolotl は、ほかの量子化しない重みを fp32 に直してから学習する
            size = 4
        total += size * p.numel()
    return total
