"""学習曲線: 学習の途中のモデルが、quiz.json をどれだけ解けるか。各エポックの終わりに、番号の確率での正解率を測る。"""

import torch
from transformers import TrainerCallback

from quiz.model import encode_prompts
from quiz.questions.converted import spread_out
from quiz.solving.one_by_one import Labels

MAX_QUESTIONS = 200
NAME = "eval_quiz_label_accuracy"  # TensorBoard では eval/quiz_label_accuracy


@torch.no_grad()
def label_accuracy(model, tokenizer, questions, prompts, rows):
    """prompts (questions のトークン列) の直後に来る確率が最大の番号が、正解である割合。rows 問ずつ計算する。"""
    labels, hits = Labels(tokenizer, max(len(q.choices) for q in questions)), 0
    for i in range(0, len(prompts), rows):
        batch = {"input_ids": [p + labels.lead for p in prompts[i:i + rows]]}
        batch = tokenizer.pad(batch, padding_side="left", return_tensors="pt").to(model.device)
        positions = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)  # 埋めた所は位置に数えない
        logits = model(**batch, position_ids=positions, use_cache=False).logits
        for question, probs in zip(questions[i:i + rows], labels.probabilities(logits[:, -len(labels.lead) - 1:])):
            probs = probs[:len(question.choices)]
            hits += probs.index(max(probs)) == question.label
    return hits / len(prompts)


class Curve(TrainerCallback):
    """学習の前と、各エポックの終わりに測り、学習の記録 (TensorBoard と trainer_state.json) に加える。"""

    def __init__(self, trainer, cfg, questions):
        self.trainer, self.rows = trainer, cfg.micro_batch_size  # 学習がメモリに入るなら、評価も入る
        questions = spread_out(questions, MAX_QUESTIONS)
        prompts = encode_prompts(trainer.processing_class, cfg.base_model, [q.prompt for q in questions])
        fitting = [(q, p) for q, p in zip(questions, prompts) if len(p) < cfg.sequence_len]
        self.questions, self.prompts = zip(*fitting) if fitting else ((), ())

    def measure(self, model):
        model.eval()
        # どのプロセスも同じ問題を解く: 重みを分けて持つ方法 (FSDP など) では、全員がそろわないと計算できない。
        with self.trainer.accelerator.autocast():
            accuracy = label_accuracy(model, self.trainer.processing_class, self.questions, self.prompts, self.rows)
        model.train()
        self.trainer.log({NAME: accuracy})

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        if self.prompts and state.global_step == 0:
            self.measure(model)

    def on_epoch_end(self, args, state, control, model=None, **kwargs):
        if self.prompts:
            self.measure(model)
            control.should_save = True  # 測った値も、チェックポイントに残す
