"""全問を解く: 速い方法 (fast.py) が使えるモデルかを確かめ、長さの近い問題をまとめ、メモリに入らなければ分ける。"""

import math

import torch

from quiz.files import fail
from quiz.model import OUT_OF_MEMORY
from quiz.solving.fast_way import FastWay
from quiz.solving.one_by_one import MAX_NEW_TOKENS, Labels, answer_plainly

TOKEN_BUDGET = {"cuda": 16384, "cpu": 3072}  # 1 回に計算するトークンの数 (問題数 × 長さ)


class Solver:
    """model に questions (Question のリスト) を解かせる。prompts はそのトークン列。問題は、リストの中の番号 (ID) で指す。"""

    def __init__(self, model, tokenizer, questions, prompts):
        self.model, self.tokenizer, self.questions, self.prompts = model, tokenizer, questions, prompts
        self.labels = Labels(tokenizer, max(len(q.choices) for q in questions))
        self.by_length = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
        longest, limit = self.by_length[0], getattr(model.config.get_text_config(), "max_position_embeddings", None) or math.inf
        if len(prompts[longest]) + MAX_NEW_TOKENS > limit:
            fail(f"問題「{questions[longest].text[:40]}」と回答が、モデルの扱える {limit} トークンに収まりません。除いてください。")
        self.fast, self.why_plain = FastWay(model, tokenizer, self.labels, prompts), None
        self.why_plain = self.compare()  # すべてを 1 問ずつ解く理由。速い方法で解くなら None

    def compare(self):
        """最も短い問題を両方の方法で解く。答えが違うか、速い方法が使えなければ、その理由を返す。"""
        i, exact = self.by_length[-1], self.model.dtype == torch.float32
        try:
            text, probs = self.answer([i, self.by_length[0]])[0]  # 最も長い問題とまとめると、埋める所が最も多い
        except Exception as e:  # キャッシュの作りによって、どんな例外も起こりうる
            return f"このモデルはまとめて解けない ({type(e).__name__})"
        expected, expected_probs = self.answer_one(i)
        # 半精度では、丸めだけで同点に近いトークンが入れ替わるので、確率は大まかに、回答は比べない。
        same = all(abs(p - q) <= (min(1e-4, 1e-3 * p + 1e-9) if exact else 0.5 * p + 0.01) for p, q in zip(probs, expected_probs))
        return None if same and (text == expected or not exact) else "このモデルはまとめて解くと答えが変わる"

    def batches(self, indices, budget=None, max_rows=None):
        """長さの近い問題を、(問題数 × 最大の長さ) が budget を超えないようにまとめる。長いものから先に解く。"""
        budget, batches, size = budget or TOKEN_BUDGET[self.model.device.type], [], 0
        for i in filter(set(indices).__contains__, self.by_length):
            if not batches or len(batches[-1]) >= size:
                size = min(max_rows or math.inf, max(1, budget // len(self.prompts[i] + self.labels.lead)))
                batches.append([])
            batches[-1].append(i)
        return batches

    def answer(self, indices):
        """(回答の文字列, 番号の確率のリスト) のリストを返す。メモリに入らなければ、二つに分けて解く。"""
        try:
            with torch.inference_mode():
                if self.why_plain:
                    return [self.answer_one(i) for i in indices]
                return self.fast.answer([self.prompts[i] for i in indices], [self.questions[i].lines for i in indices])
        except (RuntimeError, MemoryError) as e:
            if not isinstance(e, MemoryError) and not any(words in str(e) for words in OUT_OF_MEMORY):
                raise
        # 例外はテンソルを握っているので、except を抜けてからやり直す。
        if len(indices) == 1:
            fail("1 問ずつでもメモリが足りません。小さいモデルを使うか、YAML の load_in_4bit を true にしてください。")
        torch.cuda.empty_cache()
        half = len(indices) // 2
        return self.answer(indices[:half]) + self.answer(indices[half:])

    @torch.inference_mode()
    def answer_one(self, i):
        """1 問を plain.py のとおりに解く。"""
        text, probs = answer_plainly(self.model, self.tokenizer, self.labels, self.prompts[i])
        return text, probs[:len(self.questions[i].choices)]
