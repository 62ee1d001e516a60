"""学習曲線: 学習の途中のモデルが、quiz.json をどれだけ解けるか。

学習の前と、各エポックの終わりに測る。最後の値は、学習したモデルが自分に問うた結果 (self_check)
として記録に残る。手順4は、同じ問題を同じ精度で解いたとき、これと比べて、学習したモデルに
問うているかを確かめる。
"""

import math
from statistics import fmean

import torch
from transformers import TrainerCallback

from quiz.files import fail
from quiz.model import accepts, encode_prompts, positions
from quiz.prompt import likely_label
from quiz.questions.converted import questions_digest, spread_out
from quiz.solving.one_by_one import Labels

MAX_QUESTIONS = 200
# TensorBoard では eval/quiz_label_accuracy と eval/quiz_label_probability
ACCURACY = "eval_quiz_label_accuracy"
PROBABILITY = "eval_quiz_label_probability"


class Curve(TrainerCallback):
    """学習の前と、各エポックの終わりに測り、学習の記録に加える。

    記録は TensorBoard と trainer_state.json。
    """

    def __init__(self, trainer, cfg, questions, dtype):
        self.trainer = trainer
        self.tokenizer = trainer.processing_class
        # 学習がメモリに入るなら、評価も入る
        self.rows = cfg.micro_batch_size
        questions = spread_out(questions, MAX_QUESTIONS)
        prompts = encode_prompts(self.tokenizer, cfg.base_model, [q.prompt for q in questions])
        # 学習の行より長い問題は、測らない (モデルもメモリも、その長さを確かめていない)
        pairs = zip(questions, prompts)
        self.asked = [(q, prompt) for q, prompt in pairs if len(prompt) < cfg.sequence_len]
        self.n_left = len(questions) - len(self.asked)
        # 手順4が、同じ条件で解いたのかを見分けるもの
        self.about = {
            "questions": questions_digest([q for q, _ in self.asked]),
            "n": len(self.asked),
            "dtype": f"torch.{dtype}",
        }

    @torch.no_grad()
    def measure(self, model):
        """測って、記録に加える。確率が数でなければ、1 行で終わる。

        どのプロセスも同じ問題を解く: 重みを分けて持つ方法 (FSDP など) では、全員がそろわないと
        計算できない。
        """
        labels = Labels(self.tokenizer, max(len(q.choices) for q, _ in self.asked))
        width = len(labels.lead) + 1  # 番号までのトークンの数
        # 最後の何列かの logits しか要らない。語彙の大きいモデルでは、全部を求めるとずっと遅い
        keep = {}
        if accepts(model.get_base_model(), "logits_to_keep"):
            keep["logits_to_keep"] = width

        model.eval()
        hits = 0
        total = 0.0
        for i in range(0, len(self.asked), self.rows):
            # 左を詰めて長さをそろえる。詰めた所は位置に数えない
            some = self.asked[i : i + self.rows]
            batch = {"input_ids": [prompt + labels.lead for _, prompt in some]}
            batch = self.tokenizer.pad(batch, padding_side="left", return_tensors="pt")
            batch = batch.to(model.device)
            batch["position_ids"] = positions(batch["attention_mask"])
            with self.trainer.accelerator.autocast():
                logits = model(**batch, use_cache=False, **keep).logits

            # 選択肢の少ない問題もあるので、その問題の番号だけを比べる
            probabilities = labels.probabilities(logits[:, -width:])
            for (question, _), probs in zip(some, probabilities):
                probs = probs[: len(question.choices)]
                hits += likely_label(probs) == question.label
                total += probs[question.label]
        model.train()

        if not math.isfinite(total):
            fail(
                "モデルの出す確率が数ではありません (NaN)。base_model が壊れているか、"
                "計算の精度が合っていません。"
                "別のモデルにするか、bf16: false と fp16: false にしてください。"
            )
        n = len(self.asked)
        self.trainer.log({ACCURACY: hits / n, PROBABILITY: total / n})

    def guessed(self, accuracy):
        """accuracy が当てずっぽうより高いと言えなければ、そう言う文。

        二項分布の片側の検定 (2.5 %)。言えるか、問題が少なすぎれば None。
        """
        from scipy.stats import binomtest

        n = len(self.asked)
        chance = fmean(1 / len(question.choices) for question, _ in self.asked)
        p = binomtest(round(accuracy * n), n, chance, alternative="greater").pvalue
        # 高いと言える。または、全問に正解してもそう言えないほど、問題が少ない
        if p <= 0.025 or chance**n > 0.025:
            return None
        return (
            f"この正解率は、当てずっぽう ({chance:.2f}) より高いとは言えません。損失が下がって"
            "いても、覚えたのは書式だけかもしれません (docs/trouble.md の「当てずっぽう」)。"
        )

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        if self.asked and state.global_step == 0:
            self.measure(model)

    def on_epoch_end(self, args, state, control, model=None, **kwargs):
        if self.asked:
            self.measure(model)
            # 測った値も、チェックポイントに残す
            control.should_save = True


def points(history):
    """Trainer の記録 (log_history) から、測った値のリストを取り出す。"""
    found = []
    for log in history:
        if ACCURACY in log:
            found.append(
                {
                    "epoch": round(log.get("epoch", 0), 2),
                    "step": log["step"],
                    "accuracy": log[ACCURACY],
                    "probability": log.get(PROBABILITY),  # 前の版のチェックポイントにはない
                }
            )
    return found
