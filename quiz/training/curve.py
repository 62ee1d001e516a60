"""学習曲線: 学習の途中のモデルが、quiz.json をどれだけ解けるか。

学習の前と、各エポックの終わりに測る。最後の値は、学習したモデルが自分に問うた結果 (self_check)
として記録に残る。手順4は、同じ問題を同じ精度で解いたとき、これと比べて、学習したモデルに
問うているかを確かめる。
"""

import inspect
import math

import torch
from transformers import TrainerCallback

from quiz.files import fail
from quiz.model import encode_prompts
from quiz.questions.converted import questions_digest, spread_out
from quiz.solving.one_by_one import Labels

MAX_QUESTIONS = 200
# TensorBoard では eval/quiz_label_accuracy と eval/quiz_label_probability
ACCURACY = "eval_quiz_label_accuracy"
PROBABILITY = "eval_quiz_label_probability"


@torch.no_grad()
def label_scores(model, tokenizer, questions, prompts, rows):
    """(番号の確率での正解率, 正解の番号の確率の平均) を返す。どちらも 0 から 1。

    prompts は questions のトークン列。rows 問ずつ計算する。
    """
    labels = Labels(tokenizer, max(len(q.choices) for q in questions))
    width = len(labels.lead) + 1  # 番号までのトークンの数
    # 最後の何列かの logits しか要らない。語彙の大きいモデルでは、全部を求めるとずっと遅い。
    accepted = inspect.signature(model.get_base_model().forward).parameters
    keep = {"logits_to_keep": width} if "logits_to_keep" in accepted else {}
    hits = 0
    total = 0.0
    for i in range(0, len(prompts), rows):
        batch = {"input_ids": [prompt + labels.lead for prompt in prompts[i : i + rows]]}
        batch = tokenizer.pad(batch, padding_side="left", return_tensors="pt").to(model.device)
        # 埋めた所は位置に数えない。
        positions = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
        logits = model(**batch, position_ids=positions, use_cache=False, **keep).logits
        probabilities = labels.probabilities(logits[:, -width:])
        for question, probs in zip(questions[i : i + rows], probabilities):
            probs = probs[: len(question.choices)]
            hits += probs.index(max(probs)) == question.label
            total += probs[question.label]
    return hits / len(prompts), total / len(prompts)


class Curve(TrainerCallback):
    """学習の前と、各エポックの終わりに測り、学習の記録 (TensorBoard と trainer_state.json)
    に加える。
    """

    def __init__(self, trainer, cfg, questions, dtype):
        self.trainer = trainer
        self.rows = cfg.micro_batch_size  # 学習がメモリに入るなら、評価も入る
        tokenizer = trainer.processing_class
        questions = spread_out(questions, MAX_QUESTIONS)
        prompts = encode_prompts(tokenizer, cfg.base_model, [q.prompt for q in questions])
        # 学習の行より長い問題は、測らない。
        fitting = [(q, p) for q, p in zip(questions, prompts) if len(p) < cfg.sequence_len]
        self.questions = [q for q, _ in fitting]
        self.prompts = [p for _, p in fitting]
        self.about = {
            "questions": questions_digest(self.questions),
            "n": len(fitting),
            "dtype": f"torch.{dtype}",
        }

    def measure(self, model):
        """測って、記録に加える。確率が数でなければ、1 行で終わる。"""
        model.eval()
        # どのプロセスも同じ問題を解く: 重みを分けて持つ方法 (FSDP など) では、
        # 全員がそろわないと計算できない。
        with self.trainer.accelerator.autocast():
            accuracy, probability = label_scores(
                model, self.trainer.processing_class, self.questions, self.prompts, self.rows
            )
        model.train()
        if not math.isfinite(probability):
            fail(
                "モデルの出す確率が数ではありません (NaN)。base_model が壊れているか、"
                "計算の精度が合っていません。"
                "別のモデルにするか、bf16: false と fp16: false にしてください。"
            )
        self.trainer.log({ACCURACY: accuracy, PROBABILITY: probability})

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        if self.prompts and state.global_step == 0:
            self.measure(model)

    def on_epoch_end(self, args, state, control, model=None, **kwargs):
        if self.prompts:
            self.measure(model)
            control.should_save = True  # 測った値も、チェックポイントに残す


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
                    "probability": log.get(PROBABILITY),
                }
            )
    return found
