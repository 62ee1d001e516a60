"""そのままでは学習できない形のモデルを、学習できる形のフォルダにする (どちらかに当てはまるモデルだけ)。

    python -m quiz.prepare_model rinna/nekomata-7b nekomata-7b     # YAML は base_model: ./nekomata-7b

- Qwen 第 1 世代 (nekomata): 今の transformers では動かないが、Qwen2 が同じ関数を計算するので、重みの名前を付け替える。学習時の長さ
  (seq_length) を超えると第 1 世代だけが補正 (dynamic NTK、log-n) をするので、そこまでを使える長さとする。
- tokenizer.json がないモデル: 今あるファイルを正しく読めるクラスで読んで、tokenizer.json にする。tokenizer.model (SentencePiece) だけの
  Llama では、PreTrainedTokenizerFast は先頭の空白と BOS を黙って落とすので、SentencePiece そのものの結果と比べる。
"""

import json
import re
import shutil
import tempfile
from pathlib import Path

from quiz.command import Parser, start
from quiz.files import fail, reason
from quiz.model import quiet
from quiz.prompt import Question

# Qwen 第 1 世代の分かち方。数字は 1 字ずつ。
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
EOS = "<|endoftext|>"
SPECIAL = [EOS, "<|im_start|>", "<|im_end|>", *(f"<|extra_{i}|>" for i in range(205))]
NAMES = {  # 重みの名前の、第 1 世代での並びと Qwen2 での並び
    "transformer.wte": "model.embed_tokens", "transformer.ln_f": "model.norm", "transformer.h": "model.layers",
    "ln_1": "input_layernorm", "ln_2": "post_attention_layernorm", "attn.c_proj": "self_attn.o_proj",
    "mlp.w1": "mlp.up_proj", "mlp.w2": "mlp.gate_proj", "mlp.c_proj": "mlp.down_proj"}


def qwen_config(old):
    """Qwen の config.json (dict) から Qwen2Config を作る。同じ関数にならない設定なら ValueError。"""
    from transformers import Qwen2Config

    for key, value in {"no_bias": True, "rotary_pct": 1.0, "kv_channels": old["hidden_size"] // old["num_attention_heads"]}.items():
        if old.get(key) != value:
            raise ValueError(f"Qwen2 の形に直せない設定です ({key}: {old.get(key)})")
    same = {k: old[k] for k in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "tie_word_embeddings")}
    return Qwen2Config(
        **same, num_key_value_heads=old["num_attention_heads"], max_position_embeddings=old["seq_length"],
        intermediate_size=old["intermediate_size"] // 2,  # 第 1 世代の値は、二つの枝を合わせた幅
        rms_norm_eps=old["layer_norm_epsilon"], rope_parameters={"rope_type": "default", "rope_theta": float(old["rotary_emb_base"])},
        architectures=["Qwen2ForCausalLM"], bos_token_id=None, eos_token_id=None)


def prepare_qwen(folder, config):
    """folder にある Qwen 第 1 世代のモデルを、その場で Qwen2 の形に直す。"""
    from tokenizers import normalizers
    from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM
    from transformers.conversion_mapping import register_checkpoint_conversion_mapping
    from transformers.convert_slow_tokenizer import TikTokenConverter
    from transformers.core_model_loading import Chunk, WeightConverter, WeightRenaming

    fast = TikTokenConverter(str(folder / "qwen.tiktoken"), pattern=PATTERN, extra_special_tokens=SPECIAL).converted()
    fast.normalizer = normalizers.NFC()
    split = WeightConverter("attn.c_attn", [f"self_attn.{part}_proj" for part in "qkv"], [Chunk(dim=0)])
    renames = [WeightRenaming(rf"(?<=\b){re.escape(old)}(?=\.)", new) for old, new in NAMES.items()]
    register_checkpoint_conversion_mapping("qwen2", [*renames, split], overwrite=True)
    model, found = Qwen2ForCausalLM.from_pretrained(folder, config=qwen_config(config), dtype="auto", output_loading_info=True)
    if found["missing_keys"]:  # transformers は、ない重みを黙って乱数で埋める
        raise ValueError(f"重み {sorted(found['missing_keys'])[0]} がありません")
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    model.save_pretrained(folder, save_original_format=False)
    PreTrainedTokenizerFast(tokenizer_object=fast, eos_token=EOS, pad_token=EOS).save_pretrained(folder)


def prepare_sentencepiece(folder):
    """folder の tokenizer.model を tokenizer.json に直し、SentencePiece そのものと同じトークン列になることを確かめる。"""
    from sentencepiece import SentencePieceProcessor
    from transformers import LlamaTokenizer, PreTrainedTokenizerFast

    LlamaTokenizer.from_pretrained(folder).save_pretrained(folder)
    original = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    text = Question("和名は? ＡＢ１２ 𠮷 😀", ("クリオネ", "x  y"), 0).prompt
    if PreTrainedTokenizerFast.from_pretrained(folder)(text)["input_ids"] != [original.bos_id(), *original.encode(text)]:
        raise ValueError("tokenizer.model を同じトークン列の tokenizer.json に直せませんでした")


def why_prepare(base):
    """base (hugging face のモデル名、または手元のフォルダ) を直さなければならない理由。そのまま使えるなら None。"""
    from transformers import PreTrainedConfig
    from transformers.utils import cached_file

    if PreTrainedConfig.get_config_dict(base)[0].get("model_type") == "qwen":
        return "は Qwen 第 1 世代の形で、今の transformers では動きません"
    return None if cached_file(base, "tokenizer.json", _raise_exceptions_for_missing_entries=False) else "には tokenizer.json がありません"


def prepare(source, folder):
    """source を folder に写して直す。直すところがなければ 1 行で終わる。"""
    from huggingface_hub import list_repo_files, snapshot_download
    from transformers import AutoTokenizer

    if not why_prepare(source):
        fail(f"{source} に直すところはありません。base_model にそのまま書いてください。")
    if Path(source).is_dir():
        shutil.copytree(source, folder)
    else:
        weights = "*.safetensors" if ".safetensors" in str(list_repo_files(source)) else "pytorch_model*.bin"
        snapshot_download(source, local_dir=folder, allow_patterns=["*.json", "*.tiktoken", "tokenizer.model", "merges.txt", weights])
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("model_type") == "qwen":
        prepare_qwen(folder, config)
    elif (folder / "tokenizer.model").exists():
        prepare_sentencepiece(folder)
    else:  # GPT-2 の形の vocab.json と merges.txt など
        AutoTokenizer.from_pretrained(folder).save_pretrained(folder)
    if not (folder / "tokenizer.json").exists():
        raise ValueError("このトークナイザは tokenizer.json に直せません")


def main():
    parser = Parser(__doc__)
    parser.add_argument("source", help="hugging face のモデル名、または手元のフォルダ")
    parser.add_argument("output", type=Path, help="書き出すフォルダ (まだないもの)")
    args = parser.parse_args()
    if args.output.exists() or not args.output.absolute().parent.is_dir():
        fail(f"{args.output} は、もうあるか、置くフォルダがありません。別の名前にしてください。")
    quiet(args.source)
    from httpx import HTTPError

    with tempfile.TemporaryDirectory(dir=args.output.absolute().parent, prefix=f".{args.output.name}-") as work:
        try:
            prepare(args.source, Path(work, "model"))
        except (OSError, ValueError, KeyError, HTTPError) as e:
            lost = not Path(args.source).is_dir() and isinstance(e, (OSError, HTTPError))
            what = f"{Path(e.filename).name} が{reason(e)}" if isinstance(e, OSError) and e.filename else reason(e)
            fail(f"{args.source}: {'取得できません' if lost else what}。モデル名、ネットワーク、空き容量を確かめてください。")
        Path(work, "model").rename(args.output)
    print(f"{args.output} に書きました。qlora-opencalm.yml の 1 行目を base_model: {args.output} にしてください。")


if __name__ == "__main__":
    start(main)
