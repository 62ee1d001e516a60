"""トークナイザ、モデル、アダプタを、学習 (Axolotl) と同じ形で読む。"""

import inspect
import logging
import os
import sys
import warnings
from pathlib import Path

from quiz.adapter import WEIGHTS, check_files
from quiz.files import REASONS, fail, reason

# メモリが足りないときの例外の言い方。GPU とライブラリによって違う。
OUT_OF_MEMORY = (
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_NOT_SUPPORTED",
    "DefaultCPUAllocator",
)


def is_out_of_memory(error):
    """メモリ不足の例外か。ライブラリによって、種類も言い方も違う。"""
    return isinstance(error, MemoryError) or any(words in str(error) for words in OUT_OF_MEMORY)


class AdapterMismatch(ValueError):
    """アダプタのテンソルが、モデルの置き場所と合わない。"""


def no_gpu_parts():
    """GPU がなければ、GPU のための部品 (flash-linear-attention) を使わせない。

    transformers は、入っていれば CPU でもそれを使い、Qwen3.5 などが「0 active drivers」で止まる。
    どちらを使うかは、モデルのプログラムを読み込むときに決まるので、それより先に呼ぶ。
    """
    import torch

    if not torch.cuda.is_available():
        sys.modules["fla"] = None


def quiet(base):
    """利用状況の送信と、学生に関係のない警告を止める。ライブラリを読み込むより先に呼ぶ。

    base が手元のフォルダなら、ネットワークも使わせない。
    """
    os.environ |= {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DISABLE_SAFETENSORS_CONVERSION": "1",
        "HF_HUB_VERBOSITY": "error",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    if Path(base).is_dir():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    for name in ("bitsandbytes", "torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="bitsandbytes")
    no_gpu_parts()
    # transformers は、ここでは使わない scikit-learn も読み込む (1 秒を超える)。ないことにする
    sys.modules.setdefault("sklearn", None)
    import transformers

    # 重みを読み込む進み具合は隠し、取得の進み具合は見せる
    transformers.logging.disable_progress_bar()


def load_tokenizer(base, config):
    """学習と同じトークナイザを読む。YAML の tokenizer_type と trust_remote_code に従う。"""
    import transformers

    # トークナイザのクラスが違えば、同じファイルからでもトークン列が変わる
    tokenizer_class = getattr(transformers, config.get("tokenizer_type") or "AutoTokenizer")
    trust = bool(config.get("trust_remote_code"))
    tokenizer = tokenizer_class.from_pretrained(base, trust_remote_code=trust)
    # Axolotl も、pad がなければ EOS で詰める
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return tokenizer


def encode_prompts(tokenizer, base, prompts):
    """プロンプトをトークン列のリストにする。

    モデルの tokenizer.json そのものの結果と違えば終わる。
    """
    from tokenizers import Tokenizer
    from transformers.utils import cached_file

    # 長さのそろえ方や切り方が書いてあっても、使わない
    raw = Tokenizer.from_file(cached_file(base, "tokenizer.json"))
    raw.no_padding()
    raw.no_truncation()
    expected = [e.ids for e in raw.encode_batch_fast(prompts, add_special_tokens=False)]
    if tokenizer(prompts, add_special_tokens=False)["input_ids"] != expected:
        fail(
            f"{base} のトークン列が tokenizer.json と違います。"
            "tokenizer_type を PreTrainedTokenizerFast にして学習してください。"
        )
    return tokenizer(prompts)["input_ids"]


def precision(bf16, fp16, capability):
    """計算の精度。

    bf16 と fp16 は YAML の値、capability は GPU の compute capability (CPU なら None)。
    """
    if capability is None or (bf16 is False and fp16 is not True):
        return "float32"
    # torch.cuda.is_bf16_supported() は、T4 のように遅い代用しかない GPU でも True を返す
    if fp16 is True or capability < (8, 0):
        return "float16"
    return "bfloat16"


def attention(config, model_config):
    """注意の計算のしかた (transformers の attn_implementation)。config は YAML の dict。

    Gemma 2 は注意の値を softcapping で抑える。sdpa はこれを黙って省き、別の答えになるので、
    eager にする。
    """
    if getattr(model_config.get_text_config(), "attn_logit_softcapping", None):
        return "eager"
    return config.get("attn_implementation") or "sdpa"


def accepts(model, *names):
    """transformers の model の計算が、names の引数をすべて受け取るか。"""
    return inspect.signature(model.forward).parameters.keys() >= set(names)


def positions(mask):
    """mask (B, T) の、埋めた所を数えないトークンの位置 (B, T)。埋めた所は 0。"""
    return (mask.cumsum(1) - 1).clamp(min=0)


def compute_exactly(model):
    """CPU の評価でも、学習と同じ精度で計算させる。

    bitsandbytes は、評価では重みを並べ替え、bf16 で近似することがある。
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def multiply_once(model):
    """logits を、大きな行列の積 1 つで求めさせる。答えは変わらない。

    最後の何列かだけを切り出した隠れ状態は、メモリの中で飛び飛びである。PyTorch は、
    飛び飛びの (B, t, d) と動かない重み (V, d) の積を B 個に分け、重みを B 回読む。
    並べ直せば、1 度で済む。
    """

    def side_by_side(head, inputs):
        return (inputs[0].contiguous(),)

    # モデルに付いてくるプログラムには、出力の層を教えないものがある
    head = model.get_output_embeddings()
    if head is not None:
        head.register_forward_pre_hook(side_by_side)


def read_model_config(base, config):
    """モデルの設定 (config.json)。"""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(base, trust_remote_code=bool(config.get("trust_remote_code")))


def empty_model(model_config, config):
    """手順4が読むのと同じ形の、重みのないモデル (meta デバイス)。大きさや名前を調べるため。

    できない attn_implementation なら、ライブラリの例外。
    """
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(
            model_config,
            attn_implementation=attention(config, model_config),
            trust_remote_code=bool(config.get("trust_remote_code")),
        )


def load_model(base, adapter, config, device):
    """モデルを学習と同じ精度で device に読み、アダプタがあれば付ける。

    load_in_4bit なら nf4 に量子化する。
    """
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig, GenerationConfig

    device = torch.device(device)
    capability = None
    if device.type == "cuda":
        # LoRA は fp32 で計算する。Ampere 以降では TF32 の方がずっと速い
        torch.set_float32_matmul_precision("high")
        capability = torch.cuda.get_device_capability(device)
    dtype = getattr(torch, precision(config.get("bf16"), config.get("fp16"), capability))

    # 量子化は、Axolotl が学習のときに使う設定と同じ
    quantization = None
    if config.get("load_in_4bit"):
        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )

    # 重み
    model_config = read_model_config(base, config)
    model, found = AutoModelForCausalLM.from_pretrained(
        base,
        dtype=dtype,
        quantization_config=quantization,
        device_map={"": device},
        attn_implementation=attention(config, model_config),
        output_loading_info=True,
        trust_remote_code=bool(config.get("trust_remote_code")),
    )
    # transformers は、ない重みを黙って乱数で埋める
    if found["missing_keys"]:
        raise ValueError(f"重み {min(found['missing_keys'])} がありません")

    compute_exactly(model)
    multiply_once(model)
    # モデルに付いてくる生成の設定 (温度、繰り返しの罰など) は、貪欲法の答えを変えてしまう
    model.generation_config = GenerationConfig()
    if adapter:
        model = attach_adapter(model, adapter)
    return model.eval()


def adapter_tensors(model):
    """アダプタの付いたモデルの、アダプタのテンソルを、保存されるときの名前で返す。"""
    from peft import get_peft_model_state_dict

    return get_peft_model_state_dict(model, save_embedding_layers=False)


def attach_adapter(model, adapter):
    """アダプタを付ける。どのテンソルにも置き場所があり、どの置き場所も埋まったことを確かめる。

    PEFT は、置き場所のないテンソルも、埋まらない置き場所も、警告だけで済ませる。そのまま問えば、
    学習前のモデルの点を、学習後の点として出してしまう。違えば AdapterMismatch。
    """
    import torch
    from peft import PeftConfig, PeftModel
    from safetensors.torch import load_file

    # dropout は、解くときには使わない。MoE のモデルには、0 でないと付けられない
    lora = PeftConfig.from_pretrained(adapter)
    lora.lora_dropout = 0.0
    model = PeftModel.from_pretrained(model, adapter, config=lora)

    # 名前: ファイルにあるものと、モデルの置き場所
    saved = load_file(Path(adapter, WEIGHTS))
    placed = adapter_tensors(model)
    homeless = saved.keys() - placed.keys()
    empty = placed.keys() - saved.keys()
    if homeless:
        raise AdapterMismatch(f"{min(homeless)} などのテンソルの置き場所がない")
    if empty:
        raise AdapterMismatch(f"{min(empty)} などのテンソルが足りない")

    # 中身
    for name, tensor in saved.items():
        there = placed[name].cpu()
        if not torch.equal(there, tensor.to(there.dtype)):
            raise AdapterMismatch(f"{name} が読み込まれていない")
    return model


def why_unreadable(base, error):
    """モデルを読めない理由と、次にすること。

    base は手元のフォルダか Hub の名前、error はライブラリの例外。
    """
    from httpx import HTTPError

    is_folder = Path(base).is_dir()
    if str(base).startswith((".", "/")) and not is_folder:
        return "そのフォルダはありません。場所を確かめてください"
    # つながらないときの例外はいろいろで、RuntimeError (閉じた接続) のこともある。
    # REASONS にあるのは、手元のファイルのこと (空き容量など)
    local = is_folder or getattr(error, "errno", None) in REASONS
    if isinstance(error, (OSError, HTTPError, RuntimeError)) and not local:
        return (
            "Hub から取得できません。名前 (手元のフォルダならその場所) とネットワークを確かめて、"
            "同じコマンドをもう一度実行してください (モデルによっては承認が要ります: hf auth login)"
        )
    return f"{reason(error)}。モデルの名前とファイルを確かめてください"


def load(base, adapter, config, device, prompts):
    """(tokenizer, model, prompts のトークン列のリスト) を返す。読めなければ 1 行で終わる。"""
    # 名前が同じでも、中身の違うモデルかもしれない
    if adapter:
        check_files(base, adapter)
    # transformers は、モデルのフォルダにあるアダプタを、何も言わずに付ける
    if Path(base, "adapter_config.json").exists():
        fail(f"モデルの {base} にアダプタ (adapter_config.json) も入っています。分けてください。")
    try:
        # 重みを読む前に、トークナイザの間違いが分かる
        tokenizer = load_tokenizer(base, config)
        encoded = encode_prompts(tokenizer, base, prompts)
        model = load_model(base, adapter, config, device)
    except AdapterMismatch as e:
        fail(
            f"{adapter} は {base} に合わないアダプタです ({e})。"
            "学習したときのモデルとアダプタに戻すか、手順3をやり直してください。"
        )
    except Exception as e:
        # 壊れた重み、足りないファイル、つながらない網: 例外はライブラリごとに違う
        both = f"{base} と {adapter}" if adapter else base
        fail(f"{both} を読めません: {why_unreadable(base, e)}。")
    return tokenizer, model, encoded
