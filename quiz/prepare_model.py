"""そのままでは学習できない形のモデルを、学習できる形のフォルダにする。

    python -m quiz.prepare_model rinna/nekomata-7b nekomata-7b
    # YAML は base_model: ./nekomata-7b

直すのは、次のどれかに当てはまるモデルだけである。
- Qwen 第 1 世代 (nekomata): 今の transformers では動かないが、Qwen2 が同じ関数を計算するので、
  重みの名前を付け替える。学習時の長さ (seq_length) を超えると第 1 世代だけが補正
  (dynamic NTK、log-n) をするので、そこまでを使える長さとする。
- 画像も読むモデル (gemma-3-4b、Qwen3.5 など): 中にある、文章のモデルだけを取り出す。
- tokenizer.json がなく、SentencePiece のファイル (tokenizer.model など) だけのモデル:
  tokenizer.json を作り、SentencePiece と同じトークン列になることを確かめる。
"""

import json
import re
import shutil
import tempfile
from pathlib import Path

from quiz.command import Parser, start
from quiz.files import fail
from quiz.model import empty_model, quiet, why_unreadable
from quiz.prompt import Question

# Qwen 第 1 世代の構造の名前
QWEN = "qwen"
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

# 重みのファイル: safetensors と、その前の形 (索引の .json も)
WEIGHT_FILES = "*.safetensors*", "pytorch_model*.bin*"

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

    # ほかの違い (偏りの項など) は、重みの名前と形に表れる
    if old["rotary_pct"] != 1:
        raise ValueError(f"Qwen2 の形に直せない設定です (rotary_pct: {old['rotary_pct']})")

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
    model = read_weights(Qwen2ForCausalLM, folder, config=qwen_config(config))

    replace_weights(folder, model)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=fast, eos_token=EOS, pad_token=EOS)
    tokenizer.save_pretrained(folder)


def read_weights(model_class, folder, **settings):
    """folder のモデルを読む。足りない重みか余る重みがあれば ValueError。"""
    model, found = model_class.from_pretrained(
        folder, dtype="auto", output_loading_info=True, trust_remote_code=False, **settings
    )
    # transformers は、足りない重みを黙って乱数で埋め、余る重みを黙って捨てる
    wrong = found["missing_keys"] | found["unexpected_keys"]
    if wrong:
        raise ValueError(f"重み {min(wrong)} が、足りないか余ります")
    return model


def replace_weights(folder, model):
    """folder の重みと設定を、model のものと置き換える。"""
    for pattern in WEIGHT_FILES:
        for path in folder.glob(pattern):
            path.unlink()
    model.save_pretrained(folder, save_original_format=False)


def some_logits(model):
    """決まったトークン列での logits。形は (1, トークン, 語彙)。"""
    import torch

    # 番号の小さいトークンは、画像などの記号かもしれない
    with torch.no_grad():
        return model(input_ids=torch.arange(1000, 1064)[None]).logits


def prepare_text_model(folder):
    """folder にある画像も読むモデルを、その場で、中の文章のモデルだけにする。

    文章のクラスで直に読むと、重みの名前が違い、黙って乱数になる。
    """
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    # 本来のクラスで読み、部品を文章のクラスに移す
    whole = read_weights(AutoModelForImageTextToText, folder)
    config = whole.config.get_text_config()
    config.tie_word_embeddings = whole.lm_head.weight is whole.get_input_embeddings().weight
    text = empty_model(config, {})
    text.model = whole.model.language_model
    text.lm_head = whole.lm_head
    expected = some_logits(whole)
    replace_weights(folder, text)

    # 読み直したものが、同じ値を出すか。メモリには 1 つだけ置く
    del whole, text
    made = read_weights(AutoModelForCausalLM, folder)
    if not some_logits(made).equal(expected):
        raise ValueError("取り出した文章のモデルが、元のモデルと同じ値を出しません")


def prepare_tokenizer(folder):
    """folder の SentencePiece のファイルから tokenizer.json を作る。

    SentencePiece と同じトークン列にならなければ ValueError。
    """
    from sentencepiece import SentencePieceProcessor
    from tokenizers import decoders, normalizers
    from transformers import PreTrainedTokenizerFast

    path = next(folder.glob("*.model"), None)
    if path is None:
        raise ValueError("SentencePiece のファイル (tokenizer.model など) がありません")

    # 正しいトークン列: BOS (付けるモデルなら) と、SentencePiece そのものの結果
    original = SentencePieceProcessor(model_file=str(path))
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    of_llama = "Llama" in config.get("tokenizer_class", "Llama")
    start = [original.bos_id()] if config.get("add_bos_token", of_llama) else []
    expected = [start + original.encode(text) for text in SAMPLES]

    # 文の初めに空白を足すモデルでは、ライブラリの直したものに、それを加える
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    backend = tokenizer.backend_tokenizer
    if original.encode("a", out_type=str)[0].startswith("▁"):
        space = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        backend.normalizer = normalizers.Sequence([backend.normalizer, *space])
        backend.decoder = decoders.Sequence([backend.decoder, decoders.Strip(" ", 1, 0)])
    tokenizer.save_pretrained(folder)

    # 読み直したものと比べる
    made = PreTrainedTokenizerFast.from_pretrained(folder)
    if [made(text)["input_ids"] for text in SAMPLES] != expected:
        raise ValueError(f"{path.name} を同じトークン列の tokenizer.json に直せませんでした")


def why_prepare(base, config):
    """base (モデル名か、手元のフォルダ) を直さなければならない理由。そのまま使えるなら None。

    config は、その config.json の dict。
    """
    from transformers.utils import cached_file

    if config.get("model_type") == QWEN:
        return "は Qwen 第 1 世代の形で、今の transformers では動きません"
    if "text_config" in config:
        return "は画像も読むモデルで、このままではアダプタが画像の部分にも付きます"
    if cached_file(base, "tokenizer.json", _raise_exceptions_for_missing_entries=False) is None:
        return "には tokenizer.json がありません"
    return None


def fetch(source, folder):
    """source (Hub の名前か、手元のフォルダ) を folder に写す。"""
    from huggingface_hub import list_repo_files, snapshot_download

    if Path(source).is_dir():
        shutil.copytree(source, folder)
        return
    # 重みは、どちらの形もあれば safetensors だけ。consolidated は、同じ重みの別の書き方
    weights, other = WEIGHT_FILES
    if weights[1:-1] not in str(list_repo_files(source)):
        weights = other
    wanted = ["*.json", "*.tiktoken", "*.model", weights]
    snapshot_download(
        source, local_dir=folder, allow_patterns=wanted, ignore_patterns="consolidated*"
    )


def prepare(source, folder):
    """source を folder に写して直す。直すところがなければ 1 行で終わる。"""
    from transformers import PreTrainedConfig

    config, _ = PreTrainedConfig.get_config_dict(source)
    if not why_prepare(source, config):
        fail(f"{source} に直すところはありません。base_model にそのまま書いてください。")
    fetch(source, folder)

    if config.get("model_type") == QWEN:
        prepare_qwen(folder, config)
    elif "text_config" in config:
        prepare_text_model(folder)
    if not (folder / "tokenizer.json").exists():
        prepare_tokenizer(folder)


def main():
    parser = Parser(__doc__)
    parser.add_argument("source", help="hugging face のモデル名、または手元のフォルダ")
    parser.add_argument("output", type=Path, help="書き出すフォルダ (まだないもの)")
    args = parser.parse_args()
    place = args.output.absolute().parent
    if args.output.exists() or not place.is_dir():
        fail(f"{args.output} は、もうあるか、置くフォルダがありません。別の名前にしてください。")
    quiet(args.source)

    # 途中で止まっても、書きかけのフォルダを残さない
    with tempfile.TemporaryDirectory(dir=place, prefix=f".{args.output.name}-") as work:
        made = Path(work, "model")
        try:
            prepare(args.source, made)
        except Exception as e:  # つながらない網、壊れた重み、メモリ: ライブラリごとに違う
            file = Path(getattr(e, "filename", None) or "").name
            why = why_unreadable(args.source, e)
            fail(f"{args.source} を直せません: {file} {why}。")
        made.rename(args.output)
    print(
        f"{args.output} に書きました。qlora-opencalm.yml の 1 行目を base_model: {args.output} "
        "にしてください。"
    )


if __name__ == "__main__":
    start(main)
