"""トークナイザ、モデル、アダプタを、学習 (Axolotl) と同じ形で読む。"""

import logging
import os
import warnings
from pathlib import Path

from quiz.files import fail, reason

OUT_OF_MEMORY = "out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_NOT_SUPPORTED", "DefaultCPUAllocator"  # 言い方はいろいろ


def quiet(base):
    """利用状況の送信と、学生に関係のない警告を止める。base が手元のフォルダなら、ネットワークも使わせない。ライブラリより先に呼ぶ。"""
    os.environ |= {"HF_HUB_DISABLE_TELEMETRY": "1", "DISABLE_SAFETENSORS_CONVERSION": "1",
                   "HF_HUB_VERBOSITY": "error", "TRANSFORMERS_VERBOSITY": "error"}
    if Path(base).is_dir():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    for name in ("bitsandbytes", "torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="bitsandbytes")
    import transformers

    transformers.logging.disable_progress_bar()  # 重みの取得の進み具合は見せる


def load_tokenizer(base, config):
    """学習と同じトークナイザを読む。YAML の tokenizer_type と trust_remote_code に従う。"""
    import transformers

    cls = getattr(transformers, config.get("tokenizer_type") or "AutoTokenizer")
    tokenizer = cls.from_pretrained(base, trust_remote_code=bool(config.get("trust_remote_code")))
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return tokenizer


def encode_prompts(tokenizer, base, prompts):
    """プロンプトをトークン列のリストにする。モデルの tokenizer.json そのものの結果と違えば終わる。"""
    from tokenizers import Tokenizer
    from transformers.utils import cached_file

    raw, encoded = Tokenizer.from_file(cached_file(base, "tokenizer.json")), []
    raw.no_padding()
    raw.no_truncation()
    for i in range(0, len(prompts), 1000):  # まとめて渡すと、途中の結果が問題の何十倍ものメモリを使う
        chunk = prompts[i:i + 1000]
        expected = [e.ids for e in raw.encode_batch_fast(chunk, add_special_tokens=False)]
        if tokenizer(chunk, add_special_tokens=False)["input_ids"] != expected:
            fail(f"{base} のトークン列が tokenizer.json と違います。tokenizer_type を PreTrainedTokenizerFast にして学習してください。")
        encoded += tokenizer(chunk)["input_ids"]
    return encoded


def precision(bf16, fp16, capability):
    """計算の精度。bf16 と fp16 は YAML の値、capability は GPU の compute capability (CPU なら None)。"""
    if capability is None or bf16 is False and fp16 is not True:
        return "float32"
    # torch.cuda.is_bf16_supported() は、T4 のように遅い代用しかない GPU でも True を返す。
    return "float16" if fp16 is True or capability < (8, 0) else "bfloat16"


def compute_exactly(model):
    """CPU の評価でも、学習と同じ精度で計算させる。bitsandbytes は、評価では重みを並べ替え、bf16 で近似することがある。"""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def load_model(base, adapter, config, device):
    """モデルを学習と同じ精度で device に読み、アダプタがあれば付ける。load_in_4bit なら nf4 に量子化する。"""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig, GenerationConfig

    device = torch.device(device)
    if device.type == "cuda":  # LoRA は fp32 で計算する。Ampere 以降では TF32 の方がずっと速い
        torch.set_float32_matmul_precision("high")
    capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
    dtype = getattr(torch, precision(config.get("bf16"), config.get("fp16"), capability))
    # Axolotl が学習のときに使う設定と同じ。
    nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype)
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=dtype, quantization_config=nf4 if config.get("load_in_4bit") else None, device_map={"": device},
        attn_implementation=config.get("attn_implementation") or "sdpa", trust_remote_code=bool(config.get("trust_remote_code")))
    compute_exactly(model)
    # モデルに付いてくる生成の設定 (温度、繰り返しの罰など) は、貪欲法の答えを変えてしまう。
    model.generation_config = GenerationConfig()
    return (PeftModel.from_pretrained(model, adapter) if adapter else model).eval()


def why_unreadable(base, error):
    """base (手元のフォルダか Hub の名前) のモデルを読めない理由と、次にすること。error はライブラリの例外。"""
    from httpx import HTTPError
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if str(base).startswith((".", "/")) and not Path(base).is_dir():
        return "そのフォルダはありません。場所を確かめてください"
    chain = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:  # transformers は、Hub の例外を別の例外に包む
        chain.append(cause)
    if any(isinstance(e, (GatedRepoError, RepositoryNotFoundError)) for e in chain):
        return ("Hub にその名前のモデルがないか、承認が要ります。名前 (手元のフォルダならその場所) を確かめてください "
                "(承認の要るモデルは、先に hf auth login)")
    # つながらないときの例外はいろいろで、最後は RuntimeError (閉じた接続) のこともある。
    if not Path(base).is_dir() and any(isinstance(e, (OSError, HTTPError)) or "client has been closed" in str(e) for e in chain):
        return "Hub から取得できません。名前 (手元のフォルダならその場所) とネットワークを確かめて、同じコマンドをもう一度実行してください"
    return f"{reason(error)}。base_model と output_dir を確かめてください"


def load(base, adapter, config, device, prompts):
    """(tokenizer, model, prompts のトークン列のリスト) を返す。読めなければ 1 行で終わる。"""
    try:
        tokenizer = load_tokenizer(base, config)
        encoded = encode_prompts(tokenizer, base, prompts)  # 重みを読む前に、トークナイザの間違いが分かる
        return tokenizer, load_model(base, adapter, config, device), encoded
    except Exception as e:  # 壊れた重み、足りないファイル、つながらない網: ライブラリごとに違う
        fail(f"{base}{f' と {adapter}' if adapter else ''} を読めません: {why_unreadable(base, e)}。")
