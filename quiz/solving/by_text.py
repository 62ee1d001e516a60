"""選択肢の文字の確率 (--by-text): 選択肢を見せず、番号もなしに、その文字が答えとして続く確率。

番号で答える形を知らない、学習前のモデルの知識も見える。lm-evaluation-harness が同じプロンプトで
比べる対数確率と同じで、合計が最大の選択肢を選べば acc、1 文字あたりなら acc_norm になる。
"""

from itertools import zip_longest

import torch

from quiz.prompt import TEXT_ANSWER, TEXT_PROMPT
from quiz.solving.batch_reader import BatchReader
from quiz.solving.examples import BETWEEN
from quiz.solving.one_by_one import logits_after


class ByText:
    """questions (Question のリスト) の、選択肢の文字の確率。examples は、前に置く例の問題。"""

    def __init__(self, model, tokenizer, questions, examples):
        self.model = model
        # 例も、同じ書式で見せる
        before = ""
        for example in examples:
            answer = TEXT_ANSWER.format(choice=example.choices[example.label])
            before += example.fill(TEXT_PROMPT) + answer + BETWEEN

        # 問題ごとの、プロンプトのトークン列と、選択肢ごとの続きのトークン列のリスト
        self.prompts = []
        self.choices = []
        for question in questions:
            prompt = before + question.fill(TEXT_PROMPT)
            tokens = tokenizer(prompt)["input_ids"]
            # つないだものをトークンにして、先頭の、プロンプトのトークンを除く
            # (lm-evaluation-harness と同じ)
            texts = [prompt + TEXT_ANSWER.format(choice=choice) for choice in question.choices]
            whole = tokenizer(texts)["input_ids"]
            self.prompts.append(tokens)
            self.choices.append([row[len(tokens) :] for row in whole])
        self.reader = BatchReader(model, self.prompts)

    def plainly(self, i):
        """定義: i 問目の選択肢ごとの、対数確率 (自然対数) の合計のリスト。"""
        sums = []
        for answer in self.choices[i]:
            ids, mask = self.reader.pad([answer], "right")
            # 次のトークンの確率は、1 つ前のトークンの所にある
            logits = logits_after(self.model, self.prompts[i], answer)[:, :-1]
            sums += totals(logits, ids, mask).tolist()
        return sums

    def together(self, indices):
        """indices の問題の plainly のリスト。プロンプトは、1 問に 1 度だけ計算する。"""
        prompts = [self.prompts[i] for i in indices]
        read = self.reader.read(prompts, 1)
        chosen = [self.choices[i] for i in indices]
        # どの問題にも、まず 0 番の選択肢を続け、それを捨てて 1 番を続け、…
        # 選択肢の少ない問題には、代わりのものを続け、その値は後で捨てる
        columns = []
        for answers in zip_longest(*chosen, fillvalue=[0]):
            ids, mask = self.reader.pad(answers, "right")
            after = self.reader.extend(ids, read)
            logits = torch.cat([read.logits, after[:, :-1]], dim=1)
            columns.append(totals(logits, ids, mask))
        rows = torch.stack(columns, dim=1).tolist()
        return [row[: len(choices)] for row, choices in zip(rows, chosen)]


def totals(logits, ids, mask):
    """logits (B, t, V) から求めた、トークン ids (B, t) の対数確率の、行ごとの合計 (B)。

    mask (B, t) が 0 の所は数えない。
    """
    log_probs = logits.float().log_softmax(-1)
    chosen = log_probs.gather(-1, ids[..., None]).squeeze(-1)
    sums = (chosen * mask).sum(1)
    return sums.double().round(decimals=5)
