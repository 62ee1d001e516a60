"""解き方の定義: 1 問ずつ、いつも最も確率の高いトークンを選んで答える (貪欲法)。

速い方法 (fast_way.py) は、これと同じ答えを出さなければならない。
"""

from functools import cache
from typing import NamedTuple

import torch

from quiz.files import fail
from quiz.prompt import ANSWER

# 作るトークンの数の上限 (チュートリアルと同じ)。番号は先頭の数トークンで決まる。
MAX_NEW_TOKENS = 32


class Output(NamedTuple):
    """1 問に対するモデルの出力。"""

    # 回答の、空でない最初の行
    text: str
    # label_probs[k] は、プロンプトの直後に番号 k が来る確率
    label_probs: list[float]
    # 選択肢 k の文字が続く対数確率。--by-text のときだけ
    text_log_probs: list[float] | None = None


def answer_plainly(model, tokenizer, labels, prompt_ids):
    """トークン列 prompt_ids の問題に答え、Output を返す。"""
    # 回答: 1 トークンずつ、終わりの印か、文字のある行の終わりか、MAX_NEW_TOKENS まで作る
    prompt = torch.tensor([prompt_ids], device=model.device)
    (tokens,) = generate(model, tokenizer, prompt, torch.ones_like(prompt))

    # 番号の確率: プロンプトと、番号の手前のトークン (lead) に続けて
    (label_probs,) = labels.probabilities(logits_after(model, prompt_ids, labels.lead))
    return Output(first_line(tokenizer, tokens), label_probs)


def logits_after(model, prompt, answer):
    """トークン列 prompt に answer を続けた logits (1, len(answer) + 1, V)。

    プロンプトの最後のトークンから先の、次のトークンのもの。
    """
    ids = torch.tensor([prompt + answer], device=model.device)
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return logits[:, len(prompt) - 1 :]


def generate(model, tokenizer, ids, mask, computed=None):
    """ids (B, T) に続けて、貪欲法で作ったトークン (B, t)。computed は、初めの方の計算 (あれば)。"""

    # 読むのは空でない最初の行だけなので、それが終わった行は、先を作らない
    def complete(so_far, scores):
        rows = so_far[:, ids.shape[1] :].tolist()
        return torch.tensor([is_complete(tokenizer, row) for row in rows], device=ids.device)

    tokens = model.generate(
        input_ids=ids,
        attention_mask=mask,
        past_key_values=computed,
        do_sample=False,
        max_new_tokens=MAX_NEW_TOKENS,
        stopping_criteria=[complete],
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return tokens[:, ids.shape[1] :]


def first_line(tokenizer, tokens):
    """トークン列を文字に戻した、空でない最初の行。"""
    text = tokenizer.decode(tokens, skip_special_tokens=True)
    return text.strip().partition("\n")[0].strip()


def is_complete(tokenizer, tokens):
    """空でない最初の行の終わりの改行が、最後のトークンで出たか。"""
    # 行を文字に戻すのは時間がかかるので、改行を含むトークンが出たときだけ
    if "\n" not in text_of_token(tokenizer, tokens[-1]):
        return False
    return "\n" in tokenizer.decode(tokens, skip_special_tokens=True).lstrip()


@cache
def text_of_token(tokenizer, token):
    """1 つのトークンを文字に戻したもの。"""
    return tokenizer.decode([token])


class Labels:
    """番号のトークン。tokens[k] は、回答の先頭から番号 k までのトークン列。

    SentencePiece では「2: ...」の先頭が「▁」「2」の 2 トークンになる。
    手前の「▁」までは、どの番号でも同じはずで、これを lead とする (なければ空)。
    """

    def __init__(self, tokenizer, n):
        self.tokens = [tokens_of_label(tokenizer, label) for label in range(n)]
        self.lead = max(self.tokens, key=len)[:-1]

        # 手前がそろわないか、2 つの番号が同じトークンなら、確率を比べられない
        aligned = all(tokens[:-1] == self.lead[: len(tokens) - 1] for tokens in self.tokens)
        if not aligned or len(set(map(tuple, self.tokens))) < n:
            fail(
                f"このトークナイザでは番号のトークン列 {self.tokens} を比べられません。"
                "別のモデルを使ってください。"
            )

    def probabilities(self, logits):
        """番号ごとの確率 (B, n) のリスト。

        logits (B, len(lead) + 1, V) は、プロンプトの最後のトークンと lead から先のもの。
        番号の確率は、そこまでのトークンの確率の積。
        """
        log_probs = logits.float().log_softmax(-1)
        # 対数にして足す
        by_label = []
        for tokens in self.tokens:
            by_label.append(sum(log_probs[:, j, token] for j, token in enumerate(tokens)))
        return torch.stack(by_label, dim=1).exp().tolist()


def tokens_of_label(tokenizer, label):
    """回答「番号: 選択肢」の、番号までのトークン列。"""
    # 番号の次の文字 (:) まで入れてトークンにするのは、回答の中と同じ所で切れるように
    template = ANSWER.partition("{choice}")[0].rstrip()
    text = template.format(label=label)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    # 番号より後から始まるトークン (: など) は除く
    label_at = template.index("{label}")
    pairs = zip(encoded["input_ids"], encoded["offset_mapping"])
    return [token for token, (begin, _) in pairs if begin <= label_at]
