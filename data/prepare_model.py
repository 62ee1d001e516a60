"""そのままでは学習できない形のモデルを、学習できる形のフォルダにする (どちらかに当てはまるモデルだけ)。

    python data/prepare_model.py rinna/nekomata-7b nekomata-7b     # YAML は base_model: ./nekomata-7b

- Qwen 第 1 世代 (nekomata): モデルに付いてくるプログラム (remote code) でしか読めず、それは今の transformers では動かない。
  Qwen2 は同じ関数を計算するので、重みの名前を付け替え、q、k、v をまとめた行列を三つに分ける。学習時の長さ (seq_length) を
  超えると第 1 世代だけが補正 (dynamic NTK、log-n) をするので、そこまでを使える長さとする。qwen.tiktoken は tokenizer.json に直す。
- tokenizer.json がなく tokenizer.model (SentencePiece) だけの Llama: transformers 5 の PreTrainedTokenizerFast は、
  先頭の空白と BOS を黙って落とす。正しく読める LlamaTokenizer で読んで、tokenizer.json にする。
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from convert_train import TRAIN_INSTRUCTION, fail  # noqa: E402
from run_quiz import quiet  # noqa: E402

# Qwen 第 1 世代の分かち方。数字は 1 字ずつ。
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
EOS = "<|endoftext|>"
SPECIAL = [EOS, "<|im_start|>", "<|im_end|>", *(f"<|extra_{i}|>" for i in range(205))]
NAMES = {
    r"transformer\.wte\.": "model.embed_tokens.", r"transformer\.ln_f\.": "model.norm.", r"transformer\.h\.": "model.layers.",
    r"\.ln_1\.": ".input_layernorm.", r"\.ln_2\.": ".post_attention_layernorm.", r"\.attn\.c_proj\.": ".self_attn.o_proj.",
    r"\.mlp\.w1\.": ".mlp.up_proj.", r"\.mlp\.w2\.": ".mlp.gate_proj.", r"\.mlp\.c_proj\.": ".mlp.down_proj.",
}


def convert_config(old):
    """Qwen の config.json (dict) から Qwen2Config を作る。同じ関数にならない設定なら ValueError。"""
    from transformers import Qwen2Config

    expected = {"no_bias": True, "rotary_pct": 1.0, "kv_channels": old.get("hidden_size", 0) // old.get("num_attention_heads", 1)}
    different = [f"{k}: {old.get(k)}" for k, v in expected.items() if old.get(k) != v]
    if different:
        raise ValueError(f"Qwen2 の形に直せない設定です ({', '.join(different)})")
    return Qwen2Config(
        vocab_size=old["vocab_size"], hidden_size=old["hidden_size"], num_hidden_layers=old["num_hidden_layers"],
        num_attention_heads=old["num_attention_heads"], num_key_value_heads=old["num_attention_heads"],
        intermediate_size=old["intermediate_size"] // 2,  # 第 1 世代の値は、二つの枝を合わせた幅
        max_position_embeddings=old["seq_length"], rms_norm_eps=old["layer_norm_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": float(old["rotary_emb_base"])},
        tie_word_embeddings=old.get("tie_word_embeddings", False), architectures=["Qwen2ForCausalLM"],
        bos_token_id=None, eos_token_id=None)


def convert_weights(tensors):
    """Qwen の重み {名前: テンソル} を Qwen2 の名前にする。q、k、v をまとめた c_attn (3H, ...) は三つに分ける。"""
    result = {}
    for name, tensor in tensors.items():
        if name.endswith("rotary_emb.inv_freq"):
            continue
        for old, new in NAMES.items():
            name = re.sub(old, new, name)
        if ".attn.c_attn." in name:
            for part, piece in zip("qkv", tensor.chunk(3)):
                result[name.replace(".attn.c_attn.", f".self_attn.{part}_proj.")] = piece.contiguous()
        else:
            result[name] = tensor
    return result


def prepare_qwen(folder):
    """folder にある Qwen 第 1 世代のモデルを、その場で Qwen2 の形に直す。重みは 1 ファイルずつ読む。"""
    from safetensors.torch import load_file, save_file
    from tokenizers import normalizers
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import TikTokenConverter

    shards = sorted(folder.glob("*.safetensors"))
    if not shards or not (folder / "qwen.tiktoken").exists():
        raise ValueError("*.safetensors と qwen.tiktoken がそろっていません")
    config = convert_config(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    where = {}
    for shard in shards:
        tensors = convert_weights(load_file(shard))
        save_file(tensors, shard, metadata={"format": "pt"})
        where |= dict.fromkeys(tensors, shard.name)
    if len(shards) > 1:
        size = sum(s.stat().st_size for s in shards)
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {"total_size": size}, "weight_map": where}), encoding="utf-8")
    fast = TikTokenConverter(str(folder / "qwen.tiktoken"), pattern=PATTERN, extra_special_tokens=SPECIAL).converted()
    fast.normalizer = normalizers.NFC()
    config.dtype = next(iter(tensors.values())).dtype
    config.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=fast, eos_token=EOS, pad_token=EOS).save_pretrained(folder)


def prepare_sentencepiece(folder):
    """folder の tokenizer.model を tokenizer.json に直し、SentencePiece そのものと同じトークン列になることを確かめる。"""
    from sentencepiece import SentencePieceProcessor
    from transformers import LlamaTokenizer, PreTrainedTokenizerFast

    LlamaTokenizer.from_pretrained(folder).save_pretrained(folder)
    original = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    text = TRAIN_INSTRUCTION.format(labels="0, 1", question="和名は? ＡＢ１２ 𠮷 😀", choices="0: クリオネ\n1: x  y")
    if tokenizer(text)["input_ids"] != [original.bos_id(), *original.encode(text)]:
        raise ValueError("tokenizer.model を同じトークン列の tokenizer.json に直せませんでした")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="hugging face のモデル名、または手元のフォルダ")
    parser.add_argument("output", type=Path, help="書き出すフォルダ (まだないもの)")
    args = parser.parse_args()
    if args.output.exists():
        fail(f"{args.output} はもうあります。消すか、別の名前にしてください。")
    quiet(args.source)
    from huggingface_hub import list_repo_files, snapshot_download

    with tempfile.TemporaryDirectory(dir=args.output.absolute().parent, prefix=f".{args.output.name}-") as work:
        folder = Path(work) / "model"
        try:
            if Path(args.source).is_dir():
                shutil.copytree(args.source, folder)
            else:
                safe = any(name.endswith(".safetensors") for name in list_repo_files(args.source))
                snapshot_download(args.source, local_dir=folder, allow_patterns=[
                    "*.json", "*.tiktoken", "tokenizer.model", "*.safetensors" if safe else "pytorch_model*.bin"])
            if json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"] == "qwen":
                prepare_qwen(folder)
            elif (folder / "tokenizer.model").exists() and not (folder / "tokenizer.json").exists():
                prepare_sentencepiece(folder)
            else:
                fail(f"{args.source} に直すところはありません。base_model にそのまま書いてください。")
        except (OSError, ValueError, KeyError) as e:
            fail(f"{args.source}: {str(e).strip() or type(e).__name__}。モデル名、ネットワーク、空き容量を確かめてください。")
        folder.rename(args.output)
    print(f"{args.output} に書きました。qlora-opencalm.yml の base_model をこのフォルダにしてください。")


if __name__ == "__main__":
    main()
