"""速い解き方: plain.py と同じ答えを、まとめて出す。

1. どの問題にも共通するプロンプトの先頭 (prefix) は、1 度だけ計算する。
2. 残りは、長さをそろえてまとめて計算する。番号の確率が分かる (read)。
3. 学習したモデルの回答はほぼ「番号: 選択肢」なので、それを下書きとして 1 回で確かめる (check。speculative decoding, Leviathan+ 2023)。
4. 外れた問題は、計算済みのキャッシュから、transformers の generate に続けさせる (go_on)。
"""

import copy
from os.path import commonprefix  # 文字列でなく、リストのリストでも、共通の先頭を返す

import torch

from quiz.solving.one_by_one import MAX_NEW_TOKENS, first_line, greedy


class FastWay:
    """prompts (トークン列のリスト) に共通する先頭を覚え、その中のいくつかずつに答える。"""

    def __init__(self, model, tokenizer, labels, prompts):
        self.model, self.tokenizer, self.labels = model, tokenizer, labels
        # どの問題にも 1 トークンは残す: 次のトークンの確率は、共通の先頭ではなく各行から求める。
        self.prefix, self.prefix_cache = commonprefix(prompts)[:min(map(len, prompts)) - 1], None

    def answer(self, prompts, lines):
        """(回答の文字列, 番号の確率のリスト) のリストを返す。lines[i][k] は i 問目の k 番の「番号: 選択肢」。"""
        logits, ids, mask, cache = self.read([prompt + self.labels.lead for prompt in prompts])
        probs = [p[:len(choices)] for p, choices in zip(self.labels.probabilities(logits), lines)]
        drafts = [self.tokenizer(choices[p.index(max(p))], add_special_tokens=False)["input_ids"] for p, choices in zip(probs, lines)]
        drafts = [(draft + [self.tokenizer.eos_token_id])[:MAX_NEW_TOKENS] for draft in drafts]
        # 下書きが、番号まで貪欲法と同じか (agreed)、最後まで同じか (right)。どちらでもない問題が left。
        agreed = [best[:-1] == self.labels.lead and draft[:len(best)] == best for draft, best in zip(drafts, logits.argmax(-1).tolist())]
        right = self.check(drafts, mask, cache) if any(agreed) else agreed
        left = [row for row in range(len(prompts)) if not (agreed[row] and right[row])]
        texts = [first_line(self.tokenizer, draft) for draft in drafts]
        for row, tokens in zip(left, self.go_on(left, ids, mask, cache) if left else ()):
            texts[row] = first_line(self.tokenizer, tokens)
        return list(zip(texts, probs))

    def forward(self, ids, mask, cache, keep):
        """ids (B, t) を cache に続けて計算し、最後の keep 列の logits (B, keep, V) と cache を返す。"""
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1]:]  # 埋めた所は位置に数えない
        out = self.model(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True,
                         logits_to_keep=keep)
        return out.logits, out.past_key_values

    def read(self, rows):
        """rows を計算し、プロンプトの最後から先の logits (B, len(lead) + 1, V)、ids (B, T)、埋めた所が 0 の mask (B, T)、cache を返す。"""
        # 長さをそろえるために埋めるのは prefix の直後: そうすれば、どの行も最後の列がその行の最後のトークンになる。
        n, width, device = len(self.prefix), max(map(len, rows)), self.model.device
        ids = torch.tensor([row[:n] + [self.tokenizer.pad_token_id] * (width - len(row)) + row[n:] for row in rows], device=device)
        mask = torch.tensor([[1] * n + [0] * (width - len(row)) + [1] * (len(row) - n) for row in rows], device=device)
        if n and self.prefix_cache is None:
            self.prefix_cache = self.forward(ids[:1, :n], mask[:1, :n], None, 1)[1]
        cache = copy.deepcopy(self.prefix_cache)
        if n:
            cache.batch_repeat_interleave(len(rows))
        logits, cache = self.forward(ids[:, n:], mask, cache, len(self.labels.lead) + 1)
        return logits, ids, mask, cache

    def check(self, drafts, mask, cache):
        """下書きを 1 度に計算し、貪欲法の答えと最後まで同じかどうかのリストを返す。lead の次の 1 つは、もう確かめてある。"""
        fed = [draft[len(self.labels.lead):-1] for draft in drafts]
        width = max(map(len, fed))
        ids = torch.tensor([row + [self.tokenizer.pad_token_id] * (width - len(row)) for row in fed], device=mask.device)
        logits, _ = self.forward(ids, torch.cat([mask, torch.ones_like(ids)], dim=1), cache, width)
        cache.crop(-width)
        return [best[:len(row)] == row[1:] + draft[-1:] for best, row, draft in zip(logits.argmax(-1).tolist(), fed, drafts)]

    def go_on(self, rows, ids, mask, cache):
        """rows の問題だけを generate に続けさせ、回答のトークン列を返す。"""
        chosen, end = torch.tensor(rows, device=ids.device), ids.shape[1] - len(self.labels.lead)
        cache.batch_select_indices(chosen)
        cache.crop(-len(self.labels.lead) - 1)  # generate は、まだ計算していない 1 トークンから続ける
        return self.model.generate(input_ids=ids[chosen, :end], attention_mask=mask[chosen, :end], past_key_values=cache,
                                   **greedy(self.tokenizer))[:, end:]
