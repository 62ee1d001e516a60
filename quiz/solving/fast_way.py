"""速い解き方: one_by_one.py と同じ答えを、まとめて出す。

1. どの問題にも共通するプロンプトの先頭 (prefix) は、1 度だけ計算する。
2. 残りは、長さをそろえてまとめて計算する。番号の確率が分かる (read)。
3. 学習したモデルの回答はほぼ「番号: 選択肢」なので、それを下書きとして 1 回で確かめる
   (kept。speculative decoding, Leviathan+ 2023)。
4. 外れた問題は、計算済みのキャッシュから、transformers の generate に続けさせる (go_on)。
"""

import copy
from os.path import commonprefix  # 文字列でなく、リストのリストでも、共通の先頭を返す
from typing import NamedTuple

import torch
from torch.nn.utils.rnn import pad_sequence

from quiz.prompt import likely_label
from quiz.solving.one_by_one import MAX_NEW_TOKENS, Output, first_line, generate


class Read(NamedTuple):
    """B 問のプロンプトと lead を計算したもの。T は、長さをそろえた列の数。"""

    # プロンプトの最後のトークンから先 (B, len(lead) + 1, V)
    logits: torch.Tensor
    # トークン (B, T)
    ids: torch.Tensor
    # 埋めた所が 0、ほかは 1 (B, T)
    mask: torch.Tensor
    # 計算済みのキーとバリュー (transformers の Cache)。predict と go_on は、これを書き換える
    cache: object


class FastWay:
    """prompts (トークン列のリスト) に共通する先頭を覚え、その中のいくつかずつに答える。"""

    def __init__(self, model, tokenizer, labels, prompts):
        self.model = model
        self.tokenizer = tokenizer
        self.labels = labels
        # どの問題にも 1 トークンは残す: 次のトークンの確率は、共通の先頭ではなく各行から求める
        self.prefix = commonprefix(prompts)[: min(map(len, prompts)) - 1]
        self.prefix_cache = None

    def answer(self, prompts, lines):
        """Output のリストを返す。lines[i][k] は i 問目の k 番の「番号: 選択肢」。"""
        read = self.read([prompt + self.labels.lead for prompt in prompts])

        # 最も確率の高い番号の「番号: 選択肢」で答えが終わる、というのが下書き
        label_probs = []
        answers = []
        for probs, choices in zip(self.labels.probabilities(read.logits), lines):
            probs = probs[: len(choices)]
            label_probs.append(probs)
            line = choices[likely_label(probs)]
            draft = self.tokenizer(line, add_special_tokens=False)["input_ids"]
            draft.append(self.tokenizer.eos_token_id)
            answers.append(draft[:MAX_NEW_TOKENS])

        # 下書きどおりでない問題だけ、答えを作る
        kept = self.kept(answers, read)
        wrong = [row for row in range(len(kept)) if not kept[row]]
        if wrong:
            for row, tokens in zip(wrong, self.go_on(wrong, read)):
                answers[row] = tokens
        texts = [first_line(self.tokenizer, tokens) for tokens in answers]
        return list(map(Output, texts, label_probs))

    def read(self, rows):
        """rows (プロンプトと lead のトークン列のリスト) を計算し、Read を返す。"""
        # 長さをそろえるために埋めるのは prefix の直後。
        # そうすれば、どの行も最後の列がその行の最後のトークンになる。
        shared = [row[: len(self.prefix)] for row in rows]
        shared = torch.tensor(shared, device=self.model.device, dtype=torch.long)
        shared_mask = torch.ones_like(shared)
        rest, rest_mask = self.pad([row[len(self.prefix) :] for row in rows], "left")
        ids = torch.cat([shared, rest], dim=1)
        mask = torch.cat([shared_mask, rest_mask], dim=1)

        # prefix は初めの 1 度だけ計算し、あとはその写しに、残りを続ける
        cache = None
        if self.prefix:
            if self.prefix_cache is None:
                output = self.forward(shared[:1], shared_mask[:1], None, 1)
                self.prefix_cache = output.past_key_values
            cache = copy.deepcopy(self.prefix_cache)
            cache.batch_repeat_interleave(len(rows))
        output = self.forward(rest, mask, cache, len(self.labels.lead) + 1)
        return Read(output.logits, ids, mask, output.past_key_values)

    def pad(self, rows, side):
        """長さをそろえた rows のトークン (B, t) と、side に埋めた所が 0 の mask (B, t)。"""
        tensors = [torch.tensor(row, device=self.model.device) for row in rows]
        ids = pad_sequence(tensors, batch_first=True, padding_value=-1, padding_side=side)
        return ids.clamp(min=0), (ids >= 0).long()

    def forward(self, ids, mask, cache, keep):
        """ids (B, t) を cache に続けて計算する。logits は最後の keep 列だけ (B, keep, V)。"""
        positions = (mask.cumsum(1) - 1).clamp(min=0)  # 埋めた所は位置に数えない
        return self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions[:, -ids.shape[1] :],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=keep,
        )

    def kept(self, drafts, read):
        """下書きが、貪欲法の答えと最後まで同じかどうか (B 個の bool)。"""
        # 番号まで: read で計算してある。lead どおりに答えない問題は、下書きを続けて計算できない。
        lead = self.labels.lead
        kept = []
        for draft, tokens in zip(drafts, read.logits.argmax(-1).tolist()):
            agreed = tokens == draft[: len(tokens)]
            kept.append(agreed and tokens[:-1] == lead)

        # 番号から後: 1 問でも見込みがあれば、まとめて計算する
        if any(kept):
            for row, tokens in enumerate(self.predict(drafts, read)):
                rest = drafts[row][len(lead) + 1 :]
                kept[row] = kept[row] and tokens[: len(rest)] == rest
        return kept

    def predict(self, drafts, read):
        """下書きを続けて計算し、番号より後の各トークンの代わりに、モデルが選ぶトークンを返す。

        下書きは、lead で始まり、番号の 1 トークンが続くものとする。短い行の終わりには余りが付く。
        """
        fed = [draft[len(self.labels.lead) : -1] for draft in drafts]
        ids, _ = self.pad(fed, "right")
        width = ids.shape[1]
        mask = torch.cat([read.mask, torch.ones_like(ids)], dim=1)
        logits = self.forward(ids, mask, read.cache, width).logits
        read.cache.crop(-width)  # 下書きの分は捨てる
        return logits.argmax(-1).tolist()

    def go_on(self, rows, read):
        """rows (行の番号のリスト) の問題だけを generate に続けさせ、回答のトークン列を返す。"""
        chosen = torch.tensor(rows, device=self.model.device)
        read.cache.batch_select_indices(chosen)
        # lead は、モデルが自分で選ぶ。generate は、まだ計算していない 1 トークンから続ける
        lead = len(self.labels.lead)
        read.cache.crop(-lead - 1)
        end = read.ids.shape[1] - lead
        ids = read.ids[chosen, :end]
        mask = read.mask[chosen, :end]
        return generate(self.model, self.tokenizer, ids, mask, read.cache)
