"""問題をまとめて解く: 速い方法が使えるかを確かめ、メモリに入らなければ分け、だめなら 1 問ずつ。"""

import sys
from math import isfinite

import torch
from tqdm import tqdm

from quiz.files import fail
from quiz.model import is_out_of_memory
from quiz.solving.fast_way import FastWay
from quiz.solving.fast_way_check import INSTEAD, why_not_fast
from quiz.solving.one_by_one import MAX_NEW_TOKENS, Labels, answer_plainly

# 1 回に計算するトークンの数 (問題数 × 長さ) の、既定の上限
TOKEN_BUDGET = {"cuda": 16384, "cpu": 3072}


class Solver:
    """model に questions (Question のリスト) を解かせる。問題は、リストの中の番号 (ID) で指す。

    prompts は問題ごとのトークン列、name は間違いを言うときのモデルの呼び名。
    by_text (ByText) があれば、選択肢の文字の確率も求める。
    """

    def __init__(self, model, tokenizer, questions, prompts, name="このモデル", by_text=None):
        self.model = model
        self.tokenizer = tokenizer
        self.questions = questions
        self.prompts = prompts
        self.name = name
        self.by_text = by_text
        self.labels = Labels(tokenizer, max(len(q.choices) for q in questions))
        self.by_length = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
        self.check_length(self.by_length[0])

        # 最も短い問題と最も長い問題を、定義のとおりに解いたものと、速い方法で解いたものを比べる
        pair = [self.by_length[-1], self.by_length[0]]
        self.fast = FastWay(model, tokenizer, self.labels, prompts)
        self.why_plain = "速い方法をまだ確かめていない"  # 1 問ずつ解く理由。速く解くなら None
        expected = self.answer(pair)
        self.why_plain = why_not_fast(self.fast, [prompts[i] for i in pair], expected)

    def check_length(self, longest):
        """最も長い問題と回答が、モデルの扱える長さに収まらなければ終わる。"""
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        if limit and len(self.prompts[longest]) + MAX_NEW_TOKENS > limit:
            fail(
                f"問題「{self.questions[longest].text[:40]}」と回答が、"
                f"モデルの扱える {limit} トークンに収まりません。"
                "その問題を除くか、--shots を減らしてください。"
            )

    def batches(self, indices, budget=None, max_rows=None):
        """長さの近い問題を、(問題数 × 最大の長さ) が budget を超えないようにまとめる。

        長いものから先に解く (メモリが足りなければ、初めに分かる)。
        """
        # 長い順に並んでいるので、1 回分の行数は、その最初の問題で決まる
        budget = budget or TOKEN_BUDGET[self.model.device.type]
        waiting = [i for i in self.by_length if i in indices]
        batches = []
        while waiting:
            longest = len(self.prompts[waiting[0]] + self.labels.lead)
            rows = max(1, budget // longest)
            if max_rows:
                rows = min(rows, max_rows)
            batches.append(waiting[:rows])
            waiting = waiting[rows:]
        return batches

    @torch.inference_mode()
    def answer(self, indices):
        """indices の問題の Output のリストを返す。メモリに入らなければ、二つに分けて解く。"""
        try:
            outputs = self.attempt(indices)
            self.check_finite(outputs)
            return outputs
        except Exception as error:
            no_memory = is_out_of_memory(error)
            if self.why_plain and not no_memory:
                raise  # 定義のとおりにも解けない
            kind = type(error).__name__

        # 例外はテンソルを握っているので、except を抜けてからやり直す
        if no_memory:
            return self.answer_halves(indices)
        self.why_plain = f"まとめて解く途中で間違い ({kind}) が起きた{INSTEAD}"
        tqdm.write(f"注意: {self.why_plain}", file=sys.stderr)
        return self.answer(indices)

    def attempt(self, indices):
        """速い方法か、定義のとおりに解く。"""
        if self.why_plain:
            return [self.answer_one(i) for i in indices]
        prompts = [self.prompts[i] for i in indices]
        outputs = self.fast.answer(prompts, [self.questions[i].lines for i in indices])
        if self.by_text:
            sums = self.by_text.together(indices)
            outputs = [o._replace(text_log_probs=s) for o, s in zip(outputs, sums)]
        return outputs

    def answer_one(self, i):
        """1 問を定義 (one_by_one.py) のとおりに解き、Output を返す。"""
        output = answer_plainly(self.model, self.tokenizer, self.labels, self.prompts[i])
        # 番号は、その問題の選択肢の分だけ
        output = output._replace(label_probs=output.label_probs[: len(self.questions[i].choices)])
        if self.by_text:
            output = output._replace(text_log_probs=self.by_text.plainly(i))
        return output

    def answer_halves(self, indices):
        """メモリに入らなかった問題を、半分ずつ解く。1 問でも入らなければ終わる。"""
        if len(indices) == 1:
            fail(
                "1 問ずつでもメモリが足りません。小さいモデルを使うか、"
                "YAML の load_in_4bit を true にしてください。"
            )
        # 失敗した計算の残りを空けてから
        torch.cuda.empty_cache()
        half = len(indices) // 2
        return self.answer(indices[:half]) + self.answer(indices[half:])

    def check_finite(self, outputs):
        """確率が数でなければ終わる。そのようなモデルの答えには、意味がない。"""
        for output in outputs:
            if not all(map(isfinite, output.label_probs)):
                fail(
                    f"{self.name} が計算した確率は数ではありません (NaN)。重みが壊れているか、"
                    "学習が発散したか、精度が足りません。--base で基のモデルを確かめ、"
                    "基のモデルもそうなら重みを入れ直すか YAML の fp16 を false にし、"
                    "そうでなければ学習し直してください。"
                )
