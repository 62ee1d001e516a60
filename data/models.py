"""モデルの表を出す。YAML を渡すと、そのモデルで手順3の学習ができるかを、数秒で確かめる。

    python data/models.py                        # data/models.csv のモデルの表 (Markdown)
    python data/models.py qlora-opencalm.yml     # この YAML で学習できるか (モデルの取得は設定とトークナイザだけ)

表の形 (hidden_size など) からモデルの枠だけを作り (重みは作らない)、4 ビットで学習、評価するときの GPU メモリを見積もる。
"""

import argparse
import csv
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import run_quiz  # noqa: E402
from convert_train import fail, read_records  # noqa: E402

GIB = 2**30
NF4_BYTES = 0.5 + (1 + 4 / 256) / 64  # 重み 1 個。64 個ごとの倍率は 8 ビットで、その倍率 256 個ごとに fp32 が 1 つ (QLoRA, 2023, §3)
ROW = 256  # 表で仮定する 1 行のトークン数 (デモの最長は 113)
TRAINED_BYTES = 16  # LoRA の 1 個。fp32 の重みと勾配、AdamW の 2 つの平均


def estimate(config, yaml, length, device="cuda"):
    """(パラメータ数, 学習の GiB, 評価の GiB) を返す。config は transformers の設定、yaml は YAML の dict。

    学習は length トークンの行が micro_batch_size 個並ぶとき。評価は既定の量 (TOKEN_BUDGET) で、足りなければ run_quiz.py が減らす。
    活性は、層ごとの入力 (勾配チェックポイント) と、計算し直す 1 層、logits の分を数えた概算。CUDA そのものの約 0.5 GiB は含まない。
    """
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    half = 4 if device == "cpu" else 2  # CPU では fp32 で計算する
    head = model.get_output_embeddings()
    linears = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    quantized = {id(m.weight): m for m in linears} if yaml.get("load_in_4bit") else {}
    train = evaluate = 0
    for name, p in model.named_parameters():  # 共有の埋め込みは 1 度だけ出る
        nf4 = p.numel() * NF4_BYTES if id(p) in quantized else None
        evaluate += nf4 or p.numel() * half
        # Axolotl は、埋め込みと lm_head のほかの量子化しない重みを fp32 に直してから学習する。
        train += nf4 or p.numel() * (half if "embed_tokens" in name or "lm_head" in name else 4)
    adapter = sum(yaml["lora_r"] * (m.in_features + m.out_features) for m in linears)
    layers, hidden = config.num_hidden_layers, config.hidden_size
    layer = max(sum(m.in_features + m.out_features for m in linears) / layers, 1)  # 1 層の線形層の入出力
    tokens = yaml["micro_batch_size"] * length
    kept = layers * hidden + layer if yaml.get("gradient_checkpointing") else layers * layer
    train += adapter * TRAINED_BYTES + tokens * (2 * half * kept + config.vocab_size * (2 * half + 8))
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    cache = 2 * layers * heads * (hidden // config.num_attention_heads)
    evaluate += adapter * 4 + run_quiz.TOKEN_BUDGET[device] * half * (cache + layer)
    return sum(p.numel() for p in model.parameters()), train / GIB, evaluate / GIB


def table(path, yaml):
    """models.csv の表を Markdown にする。"""
    run_quiz.quiet(".")
    from transformers import AutoConfig

    columns = "名前", "base_model", "構造", "種類", "パラメータ", "ライセンス", "学習", "評価", "ほかに要るもの", "確かめた範囲"
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    with open(path, encoding="utf-8", newline="") as f:
        for row in csv.DictReader(f):
            shape = {k: int(v) for k, v in row.items() if v.isdigit()}
            n, train, evaluate = estimate(AutoConfig.for_model(row["model_type"], **shape), yaml, ROW)
            values = (row["name"], row["hub"], row["model_type"], row["kind"], f"{n / 1e9:.2f} B", row["licence"],
                      f"{train:.1f}", f"{evaluate:.1f}", row["needs"], row["checked"])
            lines.append(f"| {' | '.join(values)} |")
    return "\n".join(lines)


def check(path):
    """YAML のモデルで学習できるかを確かめ、できなければ fail()。"""
    yaml = run_quiz.read_config(path)
    base, train_file = yaml["base_model"], yaml["datasets"][0]["path"]
    rows = [r for _, r in read_records(train_file)]
    run_quiz.quiet(base)
    import psutil
    import torch
    import transformers
    from transformers import AutoConfig, PreTrainedConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    from transformers.utils import cached_file

    try:
        kind = PreTrainedConfig.get_config_dict(base)[0].get("model_type")
    except OSError:
        fail(f"{path}: base_model {base} を取得できません。名前 (手元のフォルダならその場所) とネットワークを確かめてください。"
             "承認の要るモデルは、先に hf auth login が要ります。")
    if kind == "qwen":
        fail(f"{path}: {base} は Qwen 第 1 世代で、今の transformers では動きません。"
             f"python data/prepare_model.py {base} {Path(base).name} で直し、base_model をそのフォルダにしてください。")
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not yaml.get("trust_remote_code"):
        fail(f"{path}: {base} の構造 {kind} を、今の transformers は知りません。README の表のモデルを使ってください。")
    attention = yaml.get("attn_implementation")
    if attention == "flash_attention_2" and not transformers.utils.is_flash_attn_2_available():
        fail(f"{path}: attn_implementation が flash_attention_2 ですが、flash-attn か GPU がありません。sdpa にしてください。")
    if not cached_file(base, "tokenizer.json", _raise_exceptions_for_missing_entries=False):
        fail(f"{path}: {base} には tokenizer.json がありません。python data/prepare_model.py {base} {Path(base).name} で作り、"
             "base_model をそのフォルダにしてください。")
    try:
        config = AutoConfig.from_pretrained(base, trust_remote_code=bool(yaml.get("trust_remote_code")))
        tokenizer = run_quiz.load_tokenizer(base, yaml)
        prompts = run_quiz.encode_prompts(tokenizer, base, [r["instruction"] for r in rows])
    except (OSError, ValueError) as e:
        fail(f"{path}: {base} を読めません ({str(e).strip().splitlines()[0]})。README の表のモデルを使ってください。")
    if tokenizer.eos_token is None:
        fail(f"{path}: {base} には終わりの記号 (eos_token) がなく、回答の終わりを教えられません。別のモデルを使ってください。")
    answers = tokenizer([r["output"] for r in rows], add_special_tokens=False)["input_ids"]
    lengths = [len(p) + len(a) + 1 for p, a in zip(prompts, answers)]
    limit = getattr(config, "max_position_embeddings", None) or yaml["sequence_len"]
    if yaml["sequence_len"] > limit:
        fail(f"{path}: sequence_len {yaml['sequence_len']} は、{base} の扱える長さ {limit} を超えています。{limit} 以下にしてください。")
    if max(lengths) > yaml["sequence_len"]:
        long = sum(n > yaml["sequence_len"] for n in lengths)
        fail(f"{path}: {train_file} の {long} 問が sequence_len {yaml['sequence_len']} トークンを超え (最長 {max(lengths)})、"
             "Axolotl に黙って捨てられます。sequence_len を増やすか、--num-choices を減らして手順1からやり直してください。")

    device = "cuda" if torch.cuda.is_available() else "cpu"
    memory = torch.cuda.get_device_properties(0).total_memory if device == "cuda" else psutil.virtual_memory().available
    n, train, _ = estimate(config, yaml, max(lengths), device)
    if train > memory / GIB:
        fail(f"{path}: {base} の学習には約 {train:.1f} GiB 要りますが、{'GPU' if device == 'cuda' else '使えるメモリ'}は "
             f"{memory / GIB:.1f} GiB です。micro_batch_size を減らすか、小さいモデルにしてください。")
    print(f"{base}: {kind}、{n / 1e6:,.0f} M パラメータ。{train_file}: {len(rows)} 問、最長 {max(lengths)} トークン。"
          f"学習に約 {train:.1f} GiB ({device} {memory / GIB:.1f} GiB)\n次は: accelerate launch -m axolotl.cli.train {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("yaml", nargs="?", help="確かめる YAML (なければモデルの表を出す)")
    args = parser.parse_args()
    if args.yaml:
        check(args.yaml)
    else:
        here = Path(__file__).parent
        print(table(here / "models.csv", run_quiz.read_config(here.parent / "qlora-opencalm.yml")))


if __name__ == "__main__":
    main()
