"""速い解き方: one_by_one.py と同じ答えを、まとめて出す。

1. プロンプトを、まとめて計算する (batch_reader.py)。番号の確率が分かる (read_labels)。
2. 学習したモデルの回答はほぼ「番号: 選択肢」なので、それを下書きとして 1 回で確かめる
   (kept。speculative decoding, Leviathan+ 2023)。
3. 外れた問題は、計算済みのキャッシュから、transformers の generate に続けさせる (go_on)。
"""

import torch

from quiz.prompt import likely_label
from quiz.solving.batch_reader import BatchReader
from quiz.solving.one_by_one import (
    MAX_NEW_TOKENS,
    Output,
    first_line,
    generate,
    text_of_token,
)


class FastWay(BatchReader):
    """prompts (トークン列のリスト) の、いくつかずつに答える。"""

    def __init__(self, model, tokenizer, labels, prompts):
        super().__init__(model, prompts)
        self.tokenizer = tokenizer
        self.labels = labels

    def answer(self, prompts, lines):
        """Output のリストを返す。lines[i][k] は i 問目の k 番の「番号: 選択肢」。"""
        read = self.read_labels(prompts)

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
        wrong = [row for row, right in enumerate(kept) if not right]
        if wrong:
            for row, tokens in zip(wrong, self.go_on(wrong, read)):
                answers[row] = tokens
        texts = [first_line(self.tokenizer, tokens) for tokens in answers]
        return list(map(Output, texts, label_probs))

    def read_labels(self, prompts):
        """prompts と lead を計算する。logits は、プロンプトの最後から先 (B, len(lead) + 1, V)。"""
        lead = self.labels.lead
        return self.read([prompt + lead for prompt in prompts], len(lead) + 1)

    def kept(self, drafts, read):
        """下書きが、貪欲法の答えと最後まで同じかどうか (B 個の bool)。"""
        # 番号まで: read で計算してある。lead どおりに答えない問題は、下書きを続けて計算できない。
        lead = self.labels.lead
        kept = []
        for draft, tokens in zip(drafts, read.logits.argmax(-1).tolist()):
            kept.append(tokens[:-1] == lead and tokens == draft[: len(tokens)])

        # 番号から後: 1 問でも見込みがあれば、まとめて計算する
        if any(kept):
            for row, tokens in enumerate(self.predict(drafts, read)):
                rest = drafts[row][len(lead) + 1 :]
                said = [self.end_if_newline(token) for token in tokens[: len(rest)]]
                kept[row] = kept[row] and said == rest
        return kept

    def end_if_newline(self, token):
        """改行なら、終わりの印。例をまねるモデルは、終わりの印の代わりに、行を改める。"""
        if text_of_token(self.tokenizer, token).startswith("\n"):
            return self.tokenizer.eos_token_id
        return token

    def predict(self, drafts, read):
        """下書きを続けて計算し、番号より後の各トークンの代わりに、モデルが選ぶトークンを返す。

        下書きは、lead で始まり、番号の 1 トークンが続くものとする。短い行の終わりには余りが付く。
        """
        fed = [draft[len(self.labels.lead) : -1] for draft in drafts]
        ids, _ = self.pad(fed, "right")
        return self.extend(ids, read).argmax(-1).tolist()

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
