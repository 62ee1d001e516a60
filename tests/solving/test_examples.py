"""例を見せて問う (--shots): どの例を選び、どこに置き、何を残すか。"""

import dataclasses
import json
import shutil

import pytest
import torch
from conftest import DEMO, FAST, read, step
from solving_helpers import converted_demo

from quiz.model import load_model, load_tokenizer
from quiz.prompt import Question, eval_record
from quiz.questions.converted import read_quiz, write_converted
from quiz.solving.examples import draw_examples, shown
from quiz.solving.one_by_one import MAX_NEW_TOKENS

TRAIN = {"datasets": [{"path": "train.json"}]}


@pytest.fixture
def training(tmp_path, monkeypatch):
    """8 問の学習用ファイルのあるフォルダと、その問題。"""
    monkeypatch.chdir(tmp_path)
    questions = [Question(f"問い{i}は何?", ("あ", "い"), i % 2) for i in range(8)]
    save("train.json", questions)
    save("quiz.json", [Question("別の問い?", ("あ", "い"), 0)])
    return questions


def save(path, questions):
    write_converted(path, [eval_record(question) for question in questions])


def draw(n):
    return draw_examples(n, TRAIN, ["quiz.json"])


def test_always_the_same_examples(training):
    """いつも同じ例を選ぶ。数を増やせば、後に足される。"""
    four = draw(4)
    assert four == draw(4) == draw(8)[:4]
    assert four != training[:4] and all(example in training for example in four)
    assert draw_examples(0, {}, ["quiz.json"]) == []


def test_no_example_stands_in_the_quiz(training):
    """評価の問題と同じものは、空白や全角の違いがあっても、選択肢が違っても、例にしない。"""
    first, second, *others = draw(8)
    asked = [
        dataclasses.replace(first, text=first.text.replace("?", " ？")),
        dataclasses.replace(second, choices=("う", "え")),
    ]
    save("quiz.json", asked)
    assert draw(6) == others
    with pytest.raises(SystemExit, match="例に使えるのは 6 問"):
        draw(7)


def test_repeated_question_is_shown_once(training):
    """学習用ファイルに 2 度ある問題も、例には 1 度だけ使う。"""
    save("train.json", training * 2)
    assert len({shown([example]) for example in draw(8)}) == 8
    with pytest.raises(SystemExit, match="例に使えるのは 8 問"):
        draw(9)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """例を 2 問見せて、12 問を解いたフォルダ。"""
    folder = converted_demo(tmp_path_factory.mktemp("shots"))
    step("run_quiz", "--base", "--shots", "2", "--max-questions", "12", cwd=folder)
    return folder


def test_answers_follow_the_examples(work):
    """例は結果に 1 度だけ残り、回答は、それとプロンプトをつないだものに続けた generate と同じ。"""
    *records, summary = read(work / "result-base-shots2.json")
    examples = summary["shots_text"]
    assert summary["shots"] == examples.count("### 回答:\n") == 2
    assert len(summary["shots_sha256"]) == 16 and summary["name"] is None
    train = (work / "train-5-inst.json").read_text(encoding="utf-8")
    for part in examples.split("\n\n以下の")[1:]:
        assert part.split("問題: ")[1].split(" \n")[0] in train

    asked = [question.prompt for question in read_quiz([work / "quiz.json"], 12)]
    assert [record["prompt"] for record in records] == asked
    tokenizer = load_tokenizer(DEMO / "model", FAST)
    model = load_model(DEMO / "model", None, {}, "cpu")
    greedy = {"do_sample": False, "eos_token_id": 0, "pad_token_id": 1}
    labels = [tokenizer(str(k))["input_ids"][0] for k in range(5)]
    for record in records[:6]:
        ids = tokenizer(examples + record["prompt"], return_tensors="pt")
        with torch.inference_mode():
            tokens = model.generate(**ids, max_new_tokens=MAX_NEW_TOKENS, **greedy)
            probs = model(**ids).logits[0, -1].softmax(-1)[labels].tolist()
        text = tokenizer.decode(tokens[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
        assert record["output"] == text.strip().partition("\n")[0].strip()
        assert record["choice_probs"] == pytest.approx(probs, abs=1e-4)


def test_other_examples_are_not_mixed(work, tmp_path):
    """例を見せた結果には、例の数の違う結果を上書きせず、例の違う途中結果の続きにもしない。"""
    folder = shutil.copytree(work, tmp_path / "work")
    name = "result-base-shots2.json"
    options = "--base", "--max-questions", "12", "-o", name
    assert "shots: 2 → 0" in step("run_quiz", *options, cwd=folder, status=1).stderr

    *_, summary = read(folder / name)
    (folder / name).rename(folder / f"{name}.part0")
    changed = summary | {"shots_sha256": "0" * 16, "shots_text": "別の例", "name": "山田"}
    (folder / f"{name}.part0").write_text(json.dumps(changed), encoding="utf-8")
    error = step("run_quiz", *options, "--shots", "2", cwd=folder, status=1).stderr
    assert "shots_sha256: 0000" in error and "shots_text" not in error and "name" not in error
