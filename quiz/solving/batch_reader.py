"""長さの違うプロンプトを、まとめて計算する。どれにも共通する先頭 (例など) は、1 度だけ計算する。"""

import copy
from os.path import commonprefix  # 文字列でなく、リストのリストでも、共通の先頭を返す
from typing import NamedTuple

import torch
from torch.nn.utils.rnn import pad_sequence

from quiz.model import positions


class Read(NamedTuple):
    """B 行を計算したもの。T は、長さをそろえた列の数。"""

    # 最後の keep 列 (B, keep, V)
    logits: torch.Tensor
    # トークン (B, T)
    ids: torch.Tensor
    # 埋めた所が 0、ほかは 1 (B, T)
    mask: torch.Tensor
    # 計算済みのキーとバリュー (transformers の Cache)
    cache: object


class BatchReader:
    """prompts (トークン列のリスト) の、共通の先頭を覚え、その中のいくつかずつを計算する。"""

    def __init__(self, model, prompts):
        self.model = model
        # どの問題にも 1 トークンは残す: 次のトークンの確率は、共通の先頭ではなく各行から求める
        self.prefix = commonprefix(prompts)[: min(map(len, prompts)) - 1]
        self.prefix_cache = None

    def read(self, rows, keep):
        """rows (prompts の先頭で始まるトークン列のリスト) を計算し、Read を返す。"""
        # 長さをそろえるために埋めるのは prefix の直後。
        # そうすれば、どの行も最後の列がその行の最後のトークンになる。
        prefix = torch.tensor([self.prefix], device=self.model.device, dtype=torch.long)
        shared = prefix.expand(len(rows), -1)
        rest, rest_mask = self.pad([row[len(self.prefix) :] for row in rows], "left")
        ids = torch.cat([shared, rest], dim=1)
        mask = torch.cat([torch.ones_like(shared), rest_mask], dim=1)

        # prefix は初めの 1 度だけ計算し、あとはその写しに、残りを続ける
        cache = None
        if self.prefix:
            if self.prefix_cache is None:
                output = self.forward(prefix, torch.ones_like(prefix), None, 1)
                self.prefix_cache = output.past_key_values
            cache = copy.deepcopy(self.prefix_cache)
            cache.batch_repeat_interleave(len(rows))
        output = self.forward(rest, mask, cache, keep)
        return Read(output.logits, ids, mask, output.past_key_values)

    def extend(self, ids, read):
        """read に ids (B, t) を続けた logits (B, t, V)。計算したものは捨て、read を元に戻す。"""
        mask = torch.cat([read.mask, torch.ones_like(ids)], dim=1)
        logits = self.forward(ids, mask, read.cache, ids.shape[1]).logits
        read.cache.crop(-ids.shape[1])
        return logits

    def pad(self, rows, side):
        """長さをそろえた rows のトークン (B, t) と、side に埋めた所が 0 の mask (B, t)。"""
        tensors = [torch.tensor(row, device=self.model.device) for row in rows]
        ids = pad_sequence(tensors, batch_first=True, padding_value=-1, padding_side=side)
        return ids.clamp(min=0), (ids >= 0).long()

    def forward(self, ids, mask, cache, keep):
        """ids (B, t) を cache に続けて計算する。logits は最後の keep 列だけ (B, keep, V)。"""
        return self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions(mask)[:, -ids.shape[1] :],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=keep,
        )
