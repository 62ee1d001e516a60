"""回答だけを学習する (YAML の train_on_inputs: false)。logits も、回答の分だけを求める。

1 行は「問題のプロンプト、回答、終わりの記号」で、ラベルがあるのは回答と終わりだけである。
行の終わりを右にそろえれば、ラベルはどの行でも最後の何列かに集まる:

    ふつうは右を埋める                   ここでは左を埋める
    問 問 問 問 問 問 答 答 終           問 問 問 問 問 | 問 答 答 終
    問 問 問 問 答 終 ・ ・ ・           ・ ・ ・ 問 問 | 問 問 答 終

logits は語彙の大きさ (5 万から 26 万) の数の並びで、求めるのにも覚えておくのにも費用がかかる。
縦線より右 (最も長い回答 + 1 列) だけを求めても、損失も勾配も同じである。
"""

from copy import copy, deepcopy

import torch

from quiz.model import accepts, positions
from quiz.training.rows import IGNORED

# 損失の差の、丸めだけで起こりうる割合。半精度では、埋める側が違うだけでもこれほど変わる
EXACT = 1e-4
HALF = 0.03


def can_keep_answers(model, yaml):
    """model (transformers のモデル) と YAML の dict で、回答の logits だけを求められるか。"""
    # 質問の部分も学習するか、いくつかの問題を 1 行に詰めるなら、ラベルは行の終わりに集まらない
    if yaml.get("train_on_inputs") or yaml.get("sample_packing"):
        return False
    return accepts(model, "logits_to_keep", "position_ids")


class AnswerCollator:
    """学習の行をまとめ、回答の logits だけを求めさせる (Trainer の data_collator)。"""

    def __init__(self, pad):
        # 左を埋めるほかは、Axolotl の埋め方 pad のとおり
        self.pad = copy(pad)
        self.pad.tokenizer = copy(pad.tokenizer)
        self.pad.tokenizer.padding_side = "left"

    def __call__(self, rows):
        """行 (dict) のリストから、モデルに渡す dict を作る。

        input_ids、attention_mask、position_ids は (B, T)、labels は (B, logits_to_keep)。
        """
        batch = self.pad(rows)
        # 回答の最初のトークンは、その 1 つ前の列の logits が言い当てる。だから 1 列余分に求める
        answer_lengths = (batch["labels"] != IGNORED).sum(dim=1)
        keep = answer_lengths.max().item() + 1
        batch["labels"] = batch["labels"][:, -keep:]
        batch["logits_to_keep"] = keep
        # 埋めた所は位置に数えない
        batch["position_ids"] = positions(batch["attention_mask"])
        return batch


def answers_only(trainer, model, yaml):
    """trainer が回答の logits だけを求めるようにする。できないモデルなら、何も変えない。"""
    from axolotl.utils.collators import DataCollatorForSeq2Seq

    pad = trainer.data_collator
    if type(pad) is not DataCollatorForSeq2Seq or not can_keep_answers(model, yaml):
        return
    # 最も多く埋めることになる、最も短い行と最も長い行で、損失が変わらないことを確かめる
    dataset = trainer.train_dataset.select_columns(["input_ids", "attention_mask", "labels"])
    lengths = [len(ids) for ids in dataset["input_ids"]]
    rows = [dataset[lengths.index(length)] for length in (min(lengths), max(lengths))]
    ours = AnswerCollator(pad)
    expected = loss_of(trainer, pad(deepcopy(rows)))  # Axolotl は、渡した行を書き換える
    found = loss_of(trainer, ours(rows))
    allowed = HALF if trainer.args.bf16 or trainer.args.fp16 else EXACT
    if abs(found - expected) <= allowed * expected:
        trainer.data_collator = ours
    elif trainer.is_world_process_zero():
        print(
            f"注意: 回答の logits だけでは損失が違う ({found:.4f} と {expected:.4f}) ので、"
            "すべての logits を求めます。遅く、メモリも多く要ります。"
        )


@torch.no_grad()
def loss_of(trainer, batch):
    """batch の損失 (1 トークンの平均、nats)。"""
    model = trainer.model
    model.eval()
    with trainer.accelerator.autocast():
        loss = model(**batch.to(model.device)).loss.item()
    model.train()
    return loss
