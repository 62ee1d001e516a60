"""学習に使えるメモリと、学習に要るメモリの見積もり。"""

import os
import shutil
import subprocess

GIB = 2**30
NF4_BYTES = 0.5 + (1 + 4 / 256) / 64  # 重み 1 個。64 個ごとの倍率は 8 ビットで、その倍率 256 個ごとに fp32 が 1 つ (QLoRA, 2023, §3)
TRAINED_BYTES = 16  # LoRA の 1 個。fp32 の重みと勾配、AdamW の 2 つの平均
LOGIT_BYTES = 20  # logits の 1 個。半精度の値と勾配、損失を求める fp32 の値、その対数確率と勾配
LORA_COPIES = 8  # LoRA が、1 層の計算のあいだに持つ fp32 の入力の数


def available(stop):
    """(空いているメモリの GiB, GPU の compute capability。CPU なら None) を返す。GPU があるのに使えなければ、stop に理由を渡す。"""
    import psutil
    import torch

    if not torch.cuda.is_available():
        driver = os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1") and shutil.which("nvidia-smi")
        if driver and subprocess.run([driver, "-L"], capture_output=True).stdout.startswith(b"GPU"):
            stop("GPU があるのに、PyTorch から使えません (ドライバは 580.65 以降が要ります)。"
                 "CPU で学習するなら、コマンドの前に CUDA_VISIBLE_DEVICES= を付けてください。")
        return psutil.virtual_memory().available / GIB, None
    device = int(os.environ.get("LOCAL_RANK", 0))
    capability = torch.cuda.get_device_capability(device)
    if capability < (7, 5):
        stop(f"この GPU ({torch.cuda.get_device_name(device)}) は、今の PyTorch では動きません。T4 か RTX 20 以降を使ってください。")
    return torch.cuda.mem_get_info(device)[0] / GIB, capability


def estimate(config, yaml, length, device="cuda", world=1):
    """(パラメータ数, 学習に要る 1 プロセスの GiB) を返す。config は transformers の設定、yaml は YAML の dict。

    length トークンの行が micro_batch_size 個並ぶとき。重みのほか、層ごとの入力 (勾配チェックポイント) と、計算し直す 1 層、
    logits の分を数えた概算。CUDA そのものの約 0.5 GiB は含まない。world は FSDP や DeepSpeed で分ける数。
    """
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):  # 重みは作らない
        model = AutoModelForCausalLM.from_config(config)
    half = 4 if device == "cpu" else 2  # CPU では fp32 で計算する
    head = model.get_output_embeddings()
    linears = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    quantized = {id(m.weight) for m in linears} if yaml.get("load_in_4bit") else set()
    weights = 0
    for name, p in model.named_parameters():  # 共有の埋め込みは 1 度だけ出る
        # Axolotl は、埋め込みと lm_head のほかの量子化しない重みを fp32 に直してから学習する。
        weights += p.numel() * (NF4_BYTES if id(p) in quantized else half if "embed_tokens" in name or "lm_head" in name else 4)
    adapter = TRAINED_BYTES * sum(yaml["lora_r"] * (m.in_features + m.out_features) for m in linears)
    layer = max(sum(m.in_features + m.out_features for m in linears) / config.num_hidden_layers, 1)  # 1 層の線形層の入出力
    kept = config.num_hidden_layers * config.hidden_size + layer if yaml.get("gradient_checkpointing") else config.num_hidden_layers * layer
    per_token = 2 * half * kept + 4 * LORA_COPIES * config.hidden_size + config.vocab_size * LOGIT_BYTES
    work, shards = yaml["micro_batch_size"] * length * per_token, world if yaml.get("fsdp_config") or yaml.get("deepspeed") else 1
    size = weights + adapter / shards + work
    if yaml.get("fsdp_config"):  # 学習のあいだは分けて持つが、読み込むときは、どのプロセスも重みの全体を持つ
        size = max(weights, (weights + adapter) / shards + work)
    return sum(p.numel() for p in model.parameters()), size / GIB
