"""解き方の定義: 1 問ずつ、いつも最も確率の高いトークンを選んで答える (貪欲法)。fast.py は、同じ答えを速く出す。"""

import torch

from quiz.files import fail
from quiz.prompt import ANSWER

MAX_NEW_TOKENS = 32  # チュートリアルと同じ。番号は先頭の数トークンで決まる


def answer_plainly(model, tokenizer, labels, prompt_ids):
    """トークン列 prompt_ids の問題に答え、(新しいトークンの最初の行, 直後に番号 0, 1, ... が来る確率のリスト) を返す。"""
    prompt = torch.tensor([prompt_ids], device=model.device)
    output = model.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), **greedy(tokenizer))
    prompt = torch.tensor([prompt_ids + labels.lead], device=model.device)
    logits = model(input_ids=prompt, attention_mask=torch.ones_like(prompt)).logits
    return first_line(tokenizer, output[0, len(prompt_ids):]), labels.probabilities(logits[:, -len(labels.lead) - 1:])[0]


def greedy(tokenizer):
    """generate に渡す、貪欲法の設定。"""
    return dict(do_sample=False, max_new_tokens=MAX_NEW_TOKENS, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)


def first_line(tokenizer, tokens):
    """トークン列を文字に戻した、空でない最初の行。"""
    return tokenizer.decode(tokens, skip_special_tokens=True).strip().partition("\n")[0].strip()


class Labels:
    """回答の先頭から番号までのトークン列 (tokens。番号 0..n-1 の順) と、そのうち番号の手前の共通の部分 (lead)。

    SentencePiece では「2: ...」の先頭が「▁」「2」の 2 トークンになる。手前の「▁」までは、どの番号でも同じはずである。
    """

    def __init__(self, tokenizer, n):
        self.tokens, start = [], ANSWER.index("{label}")
        for label in range(n):  # 番号の次の文字まで入れるのは、回答の中と同じ所で切れるように
            text = ANSWER.partition("{choice}")[0].format(label=label).rstrip()
            encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            self.tokens.append([i for i, (begin, _) in zip(encoded["input_ids"], encoded["offset_mapping"]) if begin <= start])
        self.lead = max((t[:-1] for t in self.tokens), key=len)
        if any(t[:-1] != self.lead[:len(t) - 1] for t in self.tokens) or len(set(map(tuple, self.tokens))) < n:
            fail(f"このトークナイザでは番号のトークン列 {self.tokens} を比べられません。別のモデルを使ってください。")

    def probabilities(self, logits):
        """プロンプトと lead に続く logits (B, len(lead) + 1, V) から、番号ごとの確率 (B, n) のリスト。"""
        log_probs = logits.float().log_softmax(-1)
        return torch.stack([sum(log_probs[:, j, t] for j, t in enumerate(label)) for label in self.tokens], dim=1).exp().tolist()
