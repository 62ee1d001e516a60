"""そのままでは学習できない形のモデルを、学習できる形のフォルダにする。

    python -m quiz.prepare_model rinna/nekomata-7b nekomata-7b
    # YAML は base_model: ./nekomata-7b

直すのは、次のどちらかに当てはまるモデルだけである。
- Qwen 第 1 世代 (nekomata): 今の transformers では動かないが、Qwen2 が同じ関数を計算するので、
  重みの名前を付け替える。学習時の長さ (seq_length) を超えると第 1 世代だけが補正
  (dynamic NTK、log-n) をするので、そこまでを使える長さとする。
- tokenizer.json がないモデル: 今あるファイルを正しく読めるクラスで読んで、tokenizer.json にする。
  SentencePiece のファイル (tokenizer.model など) だけのモデルでは、クラスによって、空白や BOS や
  語の切り方が黙って変わる。いくつかの直し方を試し、SentencePiece と同じトークン列になるものを使う。
"""

import json
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from quiz.command import Parser, start
from quiz.files import fail, reason
from quiz.model import quiet
from quiz.prompt import Question

# Qwen 第 1 世代の分かち方。数字は 1 字ずつ。
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
EOS = "<|endoftext|>"
SPECIAL = [EOS, "<|im_start|>", "<|im_end|>", *(f"<|extra_{i}|>" for i in range(205))]
# 重みの名前: 第 1 世代での名前と、Qwen2 での名前
NAMES = {
    "transformer.wte": "model.embed_tokens",
    "transformer.ln_f": "model.norm",
    "transformer.h": "model.layers",
    "ln_1": "input_layernorm",
    "ln_2": "post_attention_layernorm",
    "attn.c_proj": "self_attn.o_proj",
    "mlp.w1": "mlp.up_proj",
    "mlp.w2": "mlp.gate_proj",
    "mlp.c_proj": "mlp.down_proj",
}

# トークン列を比べる文。全角、漢字の拡張面、絵文字、続く空白、記号を含む。
SAMPLES = [
    Question("和名は? ＡＢ１２ 𠮷 😀", ("クリオネ", "x  y"), 0).prompt,
    Question("2³ = 8 は「正しい」か、\tそれとも…?", ("はい", "いいえ"), 1).prompt,
    "### 回答:\n2: クリオネ",
    "3: Café (1998年)",
]


def qwen_config(old):
    """Qwen の config.json (dict) から Qwen2Config を作る。

    同じ関数にならない設定なら ValueError。
    """
    from transformers import Qwen2Config

    # 第 1 世代でだけ変えられた設定が、Qwen2 と同じ値か
    head_size = old["hidden_size"] // old["num_attention_heads"]
    needed = {"no_bias": True, "rotary_pct": 1.0, "kv_channels": head_size}
    for key, value in needed.items():
        if old.get(key) != value:
            raise ValueError(f"Qwen2 の形に直せない設定です ({key}: {old.get(key)})")

    # そのまま写す設定と、名前や数え方を直す設定
    kept = (
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "tie_word_embeddings",
    )
    return Qwen2Config(
        **{key: old[key] for key in kept},
        num_key_value_heads=old["num_attention_heads"],
        max_position_embeddings=old["seq_length"],
        # 第 1 世代の値は、二つの枝を合わせた幅
        intermediate_size=old["intermediate_size"] // 2,
        rms_norm_eps=old["layer_norm_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": float(old["rotary_emb_base"])},
        architectures=["Qwen2ForCausalLM"],
        bos_token_id=None,
        eos_token_id=None,
    )


def prepare_qwen(folder, config):
    """folder にある Qwen 第 1 世代のモデルを、その場で Qwen2 の形に直す。"""
    from tokenizers import normalizers
    from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM
    from transformers.conversion_mapping import register_checkpoint_conversion_mapping
    from transformers.convert_slow_tokenizer import TikTokenConverter
    from transformers.core_model_loading import Chunk, WeightConverter, WeightRenaming

    # トークナイザ
    vocabulary = str(folder / "qwen.tiktoken")
    fast = TikTokenConverter(vocabulary, pattern=PATTERN, extra_special_tokens=SPECIAL).converted()
    fast.normalizer = normalizers.NFC()

    # 重みの名前。第 1 世代では、注意の q、k、v の重みが 1 つにつながっている
    changes = [WeightRenaming(rf"(?<=\b){re.escape(old)}(?=\.)", new) for old, new in NAMES.items()]
    parts = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]
    changes.append(WeightConverter("attn.c_attn", parts, [Chunk(dim=0)]))
    register_checkpoint_conversion_mapping("qwen2", changes, overwrite=True)
    model, found = Qwen2ForCausalLM.from_pretrained(
        folder, config=qwen_config(config), dtype="auto", output_loading_info=True
    )
    # transformers は、ない重みを黙って乱数で埋める
    if found["missing_keys"]:
        raise ValueError(f"重み {min(found['missing_keys'])} がありません")

    # 元の重みと置き換える
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    model.save_pretrained(folder, save_original_format=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=fast, eos_token=EOS, pad_token=EOS)
    tokenizer.save_pretrained(folder)


def with_prefix(folder):
    """文の初めに空白を足す SentencePiece (Llama の形) として読んだトークナイザ。"""
    from tokenizers import normalizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    backend = tokenizer.backend_tokenizer
    changes = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    backend.normalizer = normalizers.Sequence([backend.normalizer, *changes])
    return tokenizer


def prepare_sentencepiece(folder, path):
    """path (SentencePiece のファイル) を tokenizer.json に直す。

    SentencePiece と同じトークン列にならなければ ValueError。
    """
    from sentencepiece import SentencePieceProcessor
    from transformers import LlamaTokenizer, PreTrainedTokenizerFast

    # 正しいトークン列: BOS (付けるモデルなら) と、SentencePiece そのものの結果
    original = SentencePieceProcessor(model_file=str(path))
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    of_llama = "Llama" in config.get("tokenizer_class", "Llama")
    start = [original.bos_id()] if config.get("add_bos_token", of_llama) else []
    expected = [start + original.encode(text) for text in SAMPLES]

    ways = LlamaTokenizer.from_pretrained, PreTrainedTokenizerFast.from_pretrained, with_prefix
    for way in ways:
        # その読み方では読めないファイルもあり、例外はクラスによって違う
        with suppress(Exception):
            way(folder).save_pretrained(folder)
            made = PreTrainedTokenizerFast.from_pretrained(folder)
            if [made(text)["input_ids"] for text in SAMPLES] == expected:
                return
        # 次の直し方は、元のファイルから始める
        (folder / "tokenizer.json").unlink(missing_ok=True)
        (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    raise ValueError(f"{path.name} を同じトークン列の tokenizer.json に直せませんでした")


def why_prepare(base):
    """base (モデル名か、手元のフォルダ) を直さなければならない理由。そのまま使えるなら None。"""
    from transformers import PreTrainedConfig
    from transformers.utils import cached_file

    config, _ = PreTrainedConfig.get_config_dict(base)
    if config.get("model_type") == "qwen":
        return "は Qwen 第 1 世代の形で、今の transformers では動きません"
    if cached_file(base, "tokenizer.json", _raise_exceptions_for_missing_entries=False) is None:
        return "には tokenizer.json がありません"
    return None


def fetch(source, folder):
    """source (Hub の名前か、手元のフォルダ) を folder に写す。"""
    from huggingface_hub import list_repo_files, snapshot_download

    if Path(source).is_dir():
        shutil.copytree(source, folder)
        return
    # 重みは、どちらの形もあれば safetensors だけ
    weights = "*.safetensors"
    if weights[1:] not in str(list_repo_files(source)):
        weights = "pytorch_model*.bin"
    wanted = ["*.json", "*.tiktoken", "*.model", "merges.txt", weights]
    snapshot_download(source, local_dir=folder, allow_patterns=wanted)


def prepare(source, folder):
    """source を folder に写して直す。直すところがなければ 1 行で終わる。"""
    from transformers import AutoTokenizer

    if not why_prepare(source):
        fail(f"{source} に直すところはありません。base_model にそのまま書いてください。")
    fetch(source, folder)

    # 直し方は 3 つ
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    sentencepiece = next(folder.glob("*.model"), None)
    if config.get("model_type") == "qwen":
        prepare_qwen(folder, config)
    elif sentencepiece:
        prepare_sentencepiece(folder, sentencepiece)
    else:
        # GPT-2 の形の vocab.json と merges.txt など
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        tokenizer.save_pretrained(folder)
        check_round_trip(tokenizer)
    if not (folder / "tokenizer.json").exists():
        raise ValueError("このトークナイザは tokenizer.json に直せません")


def check_round_trip(tokenizer):
    """トークン列を文字に戻すと、元の文になるか。ならなければ ValueError。"""
    for text in SAMPLES:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if tokenizer.decode(ids) != text:
            raise ValueError("このトークナイザは、問題の文を元のとおりに読めません")


def main():
    parser = Parser(__doc__)
    parser.add_argument("source", help="hugging face のモデル名、または手元のフォルダ")
    parser.add_argument("output", type=Path, help="書き出すフォルダ (まだないもの)")
    args = parser.parse_args()
    place = args.output.absolute().parent
    if args.output.exists() or not place.is_dir():
        fail(f"{args.output} は、もうあるか、置くフォルダがありません。別の名前にしてください。")
    quiet(args.source)
    from httpx import HTTPError

    # 途中で止まっても、書きかけのフォルダを残さない
    with tempfile.TemporaryDirectory(dir=place, prefix=f".{args.output.name}-") as work:
        made = Path(work, "model")
        try:
            prepare(args.source, made)
        except (OSError, HTTPError) as e:
            file = Path(getattr(e, "filename", None) or "").name
            fail(
                f"{args.source}: 取得できません ({file} {reason(e)})。モデル名、ネットワーク、"
                "空き容量を確かめてください。"
            )
        except (ValueError, KeyError) as e:
            fail(f"{args.source}: {reason(e)}。docs/models.md の表のモデルを使ってください。")
        made.rename(args.output)
    print(
        f"{args.output} に書きました。qlora-opencalm.yml の 1 行目を base_model: {args.output} "
        "にしてください。"
    )


if __name__ == "__main__":
    start(main)
