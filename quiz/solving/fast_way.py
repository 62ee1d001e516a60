"""速い解き方: one_by_one.py と同じ答えを、まとめて出す。

1. どの問題にも共通するプロンプトの先頭 (prefix) は、1 度だけ計算する。
2. 残りは、長さをそろえてまとめて計算する。番号の確率が分かる (read)。
3. 学習したモデルの回答はほぼ「番号: 選択肢」なので、それを下書きとして 1 回で確かめる
   (verify。speculative decoding, Leviathan+ 2023)。
4. 外れた問題は、計算済みのキャッシュから、transformers の generate に続けさせる (go_on)。
"""

import copy
from os.path import commonprefix  # 文字列でなく、リストのリストでも、共通の先頭を返す
from typing import NamedTuple

import torch

from quiz.prompt import likely_label
from quiz.solving.one_by_one import MAX_NEW_TOKENS, Output, first_line, greedy


class Read(NamedTuple):
    """B 問のプロンプトと lead を計算したもの。T は、長さをそろえた列の数。"""

    logits: torch.Tensor  # プロンプトの最後のトークンから先 (B, len(lead) + 1, V)
    ids: torch.Tensor  # トークン (B, T)
    mask: torch.Tensor  # 埋めた所が 0、ほかは 1 (B, T)
    cache: object  # 計算済みのキーとバリュー (transformers の Cache)。verify と go_on で変わる


class FastWay:
    """prompts (トークン列のリスト) に共通する先頭を覚え、その中のいくつかずつに答える。"""

    def __init__(self, model, tokenizer, labels, prompts):
        self.model = model
        self.tokenizer = tokenizer
        self.labels = labels
        # どの問題にも 1 トークンは残す: 次のトークンの確率は、共通の先頭ではなく各行から求める
        shortest = min(map(len, prompts))
        self.prefix = commonprefix(prompts)[: shortest - 1]
        self.prefix_cache = None

    def answer(self, prompts, lines):
        """Output のリストを返す。lines[i][k] は i 問目の k 番の「番号: 選択肢」。"""
        read = self.read([prompt + self.labels.lead for prompt in prompts])

        # 最も確率の高い番号の「番号: 選択肢」を、下書きにする
        label_probs = []
        answers = []
        for probs, choices in zip(self.labels.probabilities(read.logits), lines):
            probs = probs[: len(choices)]
            label_probs.append(probs)
            answers.append(self.draft(choices[likely_label(probs)]))

        # 下書きどおりでない問題だけ、答えを作る
        wrong = self.wrong_drafts(answers, read)
        if wrong:
            for row, tokens in zip(wrong, self.go_on(wrong, read)):
                answers[row] = tokens
        texts = [first_line(self.tokenizer, tokens) for tokens in answers]
        return list(map(Output, texts, label_probs))

    def draft(self, line):
        """「番号: 選択肢」と答えて終わるときの、回答のトークン列。"""
        tokens = self.tokenizer(line, add_special_tokens=False)["input_ids"]
        return [*tokens, self.tokenizer.eos_token_id][:MAX_NEW_TOKENS]

    def read(self, rows):
        """rows (プロンプトと lead のトークン列のリスト) を計算し、Read を返す。"""
        # 長さをそろえるために埋めるのは prefix の直後。
        # そうすれば、どの行も最後の列がその行の最後のトークンになる。
        shared = len(self.prefix)
        width = max(map(len, rows))
        ids = []
        mask = []
        for row in rows:
            hole = width - len(row)
            padding = [self.tokenizer.pad_token_id] * hole
            ids.append(row[:shared] + padding + row[shared:])
            mask.append([1] * shared + [0] * hole + [1] * (len(row) - shared))
        ids = torch.tensor(ids, device=self.model.device)
        mask = torch.tensor(mask, device=self.model.device)

        cache = self.copy_of_prefix(len(rows)) if shared else None
        keep = len(self.labels.lead) + 1
        logits, cache = self.forward(ids[:, shared:], mask, cache, keep)
        return Read(logits, ids, mask, cache)

    def copy_of_prefix(self, rows):
        """prefix を計算したキャッシュの、rows 行分の写し。計算するのは初めの 1 度だけ。"""
        if self.prefix_cache is None:
            ids = torch.tensor([self.prefix], device=self.model.device)
            _, self.prefix_cache = self.forward(ids, torch.ones_like(ids), None, 1)
        cache = copy.deepcopy(self.prefix_cache)
        cache.batch_repeat_interleave(rows)
        return cache

    def forward(self, ids, mask, cache, keep):
        """ids (B, t) を cache に続けて計算する。

        最後の keep 列の logits (B, keep, V) と、伸びた cache を返す。
        """
        # 埋めた所は位置に数えない
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        output = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions[:, -ids.shape[1] :],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=keep,
        )
        return output.logits, output.past_key_values

    def wrong_drafts(self, drafts, read):
        """下書きが貪欲法の答えと違う問題の、行の番号のリスト。"""
        # 番号まで: read で計算してある。lead どおりに答えない問題は、下書きを続けて計算できない。
        agreed = []
        for draft, predicted in zip(drafts, read.logits.argmax(-1).tolist()):
            *lead, _ = predicted
            agreed.append(lead == self.labels.lead and draft[: len(predicted)] == predicted)

        # 番号から後: 1 問でも見込みがあれば、まとめて計算する
        right = self.verify(drafts, read) if any(agreed) else agreed
        return [row for row in range(len(drafts)) if not (agreed[row] and right[row])]

    def verify(self, drafts, read):
        """drafts が、番号より後も貪欲法の答えと最後まで同じかどうか (B 個の bool) を返す。

        下書きは、どれも lead で始まり、番号の 1 トークンが続くものとする。
        """
        verdicts = []
        for draft, predicted in zip(drafts, self.predict(drafts, read)):
            rest = draft[len(self.labels.lead) + 1 :]
            verdicts.append(predicted == rest)
        return verdicts

    def predict(self, drafts, read):
        """drafts の番号のトークンから先、各トークンの次に最も確率の高いトークンのリストを返す。

        最後のトークンの次は要らないので、draft[len(lead) + 1 :] と同じ長さになる。
        """
        fed = [draft[len(self.labels.lead) : -1] for draft in drafts]
        width = max(map(len, fed))
        pad = self.tokenizer.pad_token_id
        ids = [row + [pad] * (width - len(row)) for row in fed]
        ids = torch.tensor(ids, device=self.model.device)
        mask = torch.cat([read.mask, torch.ones_like(ids)], dim=1)
        logits, _ = self.forward(ids, mask, read.cache, width)
        read.cache.crop(-width)  # 下書きの分は捨てる
        best = logits.argmax(-1).tolist()
        return [tokens[: len(row)] for tokens, row in zip(best, fed)]

    def go_on(self, rows, read):
        """rows (行の番号) の問題だけを generate に続けさせ、回答のトークン列を返す。"""
        chosen = torch.tensor(rows, device=self.model.device)
        end = read.ids.shape[1] - len(self.labels.lead)
        read.cache.batch_select_indices(chosen)
        # generate は、まだ計算していない 1 トークン (プロンプトの最後) から続ける
        read.cache.crop(-len(self.labels.lead) - 1)
        tokens = self.model.generate(
            input_ids=read.ids[chosen, :end],
            attention_mask=read.mask[chosen, :end],
            past_key_values=read.cache,
            **greedy(self.tokenizer),
        )
        return tokens[:, end:]
