"""回答の分だけの logits で求めた損失と、直した重みは、ふつうに求めたものと同じ。"""

import json
import os
from copy import deepcopy

import pytest
import torch
from axolotl.utils.collators import DataCollatorForSeq2Seq
from conftest import DEMO, FAST, read
from datasets import Dataset
from launch import together
from solving_helpers import random_model, uneven_questions
from transformers import Trainer, TrainingArguments

from quiz.model import load_tokenizer
from quiz.training.answer_loss import AnswerCollator, answers_only, can_keep_answers
from quiz.training.rows import expected_rows

# 落とす割合 (dropout) は 0 にする: 乱数は、列の数が違えば違う
FAMILIES = {
    "gpt_neox": {},
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 16},
    "gemma3_text": {"head_dim": 16},
    "mistral": {"sliding_window": 64},
    # 位置を足し込むモデル
    "gpt2": {"resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0},
    "opt": {"word_embed_proj_dim": 64, "ffn_dim": 128, "dropout": 0},
}


def make_rows(folder):
    """長さの大きく違う、学習の 13 行。"""
    tokenizer = load_tokenizer(DEMO / "model", FAST)
    rows = []
    for ids, labels in expected_rows(tokenizer, DEMO / "model", uneven_questions(folder, 13)):
        mask = [1] * len(ids)
        rows.append({"input_ids": list(ids), "attention_mask": mask, "labels": list(labels)})
    return rows


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return make_rows(tmp_path_factory.mktemp("rows"))


def make_trainer(model, rows, folder, answers=False):
    """rows を 4 行ずつ、2 回で 1 ステップとして、2 ステップ学習する。最後の組は半端になる。"""
    args = TrainingArguments(
        str(folder),
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        max_steps=2,
        optim="sgd",
        learning_rate=0.1,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    pad = DataCollatorForSeq2Seq(load_tokenizer(DEMO / "model", FAST), pad_to_multiple_of=8)
    collator = AnswerCollator(pad) if answers else pad
    return Trainer(model, args, train_dataset=Dataset.from_list(rows), data_collator=collator)


def losses_of(trainer):
    trainer.train()
    return [log["loss"] for log in trainer.state.log_history if "loss" in log]


def weights_of(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_step_learns_the_same(kind, rows, tmp_path):
    learned = {}
    for answers in (False, True):
        model = random_model(kind, **FAMILIES[kind])
        before = weights_of(model).clone()
        losses = losses_of(make_trainer(model, rows, tmp_path, answers))
        learned[answers] = losses, weights_of(model)
    losses, weights = learned[False]
    assert learned[True][0] == pytest.approx(losses, rel=1e-5)
    moved = (weights - before).norm()
    assert moved > 0 and (learned[True][1] - weights).norm() < 1e-3 * moved


def test_two_processes_learn_the_same(tmp_path):
    """行の数が半端でも、2 つのプロセスの損失は、どちらの求め方でも同じ。"""
    together(learn_both_ways, 2, tmp_path)
    plain, ours = read(tmp_path / "losses.json")
    assert ours == pytest.approx(plain, rel=1e-5) and len(set(plain)) == 2


def test_collator_keeps_the_answers_alone(rows):
    """左を埋め、最も長い回答と 1 列だけのラベルを残す。学習に使うトークナイザは変えない。"""
    tokenizer = load_tokenizer(DEMO / "model", FAST)
    collator = AnswerCollator(DataCollatorForSeq2Seq(tokenizer, pad_to_multiple_of=8))
    batch = collator(deepcopy(rows[:4]))
    answers = [[label for label in row["labels"] if label != -100] for row in rows[:4]]
    longest = max(map(len, answers))
    assert batch["labels"].shape == (4, longest + 1) and batch["logits_to_keep"] == longest + 1
    assert tokenizer.padding_side == "right"
    for row, answer, ids, mask, labels, positions in zip(
        rows,
        answers,
        *(batch[key].tolist() for key in ("input_ids", "attention_mask", "labels", "position_ids")),
    ):
        n = len(row["input_ids"])
        assert ids[-n:] == list(row["input_ids"]) and sum(mask) == n and mask[-n:] == [1] * n
        assert positions[-n:] == list(range(n)) and len(ids) % 8 == 0
        assert labels == [-100] * (longest + 1 - len(answer)) + answer



def test_model_whose_loss_changes_goes_as_before(rows, tmp_path, capsys):
    """左を埋めると損失が変わるモデルや、質問の部分も学習する設定では、何も変えない。"""
    trainer = make_trainer(random_model("gpt2", **FAMILIES["gpt2"]), rows, tmp_path)
    before = trainer.data_collator
    answers_only(trainer, trainer.model, {"train_on_inputs": True})
    answers_only(trainer, trainer.model, {"sample_packing": True})
    assert trainer.data_collator is before
    # 位置の番号を使わないモデルの代わり
    forward = trainer.model.forward

    def without_positions(position_ids=None, logits_to_keep=0, **inputs):
        return forward(logits_to_keep=logits_to_keep, **inputs)

    trainer.model.forward = without_positions
    assert can_keep_answers(trainer.model, {})
    answers_only(trainer, trainer.model, {})
    assert trainer.data_collator is before
    assert "すべての logits を求めます" in capsys.readouterr().out
    trainer.model.forward = forward
    answers_only(trainer, trainer.model, {})
    assert isinstance(trainer.data_collator, AnswerCollator)


def learn_both_ways(folder):
    """2 つのプロセスの 1 つ: ふつうの求め方と、ここの求め方で学習し、損失を書く。"""
    rank = os.environ["RANK"]
    own = folder / rank
    own.mkdir()
    rows = make_rows(own)
    losses = []
    for answers in (False, True):
        trainer = make_trainer(random_model("gpt_neox"), rows, own, answers)
        assert trainer.args.world_size == 2
        losses.append(losses_of(trainer))
    if rank == "0":
        (folder / "losses.json").write_text(json.dumps(losses))
