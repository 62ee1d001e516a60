"""書式: 読み戻し、回答の読み取り、書式を変えたときの全手順。"""

import json
import re
import shutil

import pytest
from conftest import DEMO, FAST, ROOT, edit_yaml, quiz_of, read, step, step_error, train

from quiz import prompt
from quiz.model import load_tokenizer
from quiz.prompt import Question, eval_record, read_label, read_question
from quiz.solving import one_by_one as plain


@pytest.mark.parametrize(
    "answer, label",
    [
        ("2: クリオネ", "2"),
        ("2:クリオネ", "2"),
        (" 2 : クリオネ", "2"),
        ("２：クリオネ", "2"),
        ("２: x", "2"),
        ("0: 1: x", "0"),
        ("10:05: 2: x", ""),
        ("-1: x", ""),
        ("12: x", ""),
        ("答えは 2: x", ""),
        ("クリオネ", ""),
        ("2", ""),
        ("2番", ""),
        ("", ""),
    ],
)
def test_label_is_read_from_the_start(answer, label):
    """番号は行の先頭の 1 桁だけ。全角の数字は半角にし、途中の数は読まない。"""
    assert read_label(answer) == label


@pytest.mark.parametrize("n", [2, 4, 5, 10])
def test_records_are_read_back(n):
    """学習用と評価用のどちらの 1 件からも、同じ問題に戻る。"""
    q = Question(
        "和名は? (注: 0: は番号)",
        tuple(f"{k}: 選択肢 " for k in range(n)),
        n - 1,
        {"qid": "q1", "genre": "学問"},
    )
    assert read_question(eval_record(q) | q.extra) == q
    assert read_question({"instruction": q.prompt, "output": q.answer} | q.extra) == q


@pytest.mark.parametrize(
    "change",
    [
        {"instruction": "答えてください"},
        {"input": ""},
        {"input": "0: あ\n\n\n"},
        {"input": "0: あ\n2: い\n\n\n"},
        {"input": "1: あ\n0: い\n\n\n"},
        {"input": "0: あ\n1: い\n"},
        {"output": "いいえ"},
        {"output": "1: ちがう"},
        {"output": "7: い"},
    ],
)
def test_another_format_is_refused(change):
    """書式と 1 文字でも違うもの、正解が選択肢にないものは ValueError。"""
    record = eval_record(Question("問い?", ("あ", "い"), 1))
    assert read_question(record)
    with pytest.raises(ValueError):
        read_question(record | change)


# 変える語と新しい語。番号の前に語を置く書式も試す。
WORDS = {"問題:": "問い:", "選択肢": "候補", "### 回答:": "## 答え:"}
NUMBERS = {"{label}: ": "答え{label}番 "}


@pytest.mark.parametrize("changes", [WORDS, NUMBERS], ids=["words", "numbers"])
def test_changed_format_goes_through_every_step(changes, llama, llama_run, tmp_path, monkeypatch):
    """quiz/prompt.py の語を変えると、手順1から5まで、分析もページも、その書式になる。

    前の書式のアダプタでは問わない。
    """
    shutil.copytree(
        ROOT / "quiz", tmp_path / "quiz"
    )  # 学習は別のプロセスなので、書き換えたファイルを置く (python -m は、ここを先に見る)
    source = (tmp_path / "quiz/prompt.py").read_text(encoding="utf-8")
    for name in (
        ("ANSWER",) if changes is NUMBERS else ("TRAIN_PROMPT", "EVAL_INSTRUCTION", "EVAL_INPUT")
    ):
        for old, new in changes.items():
            monkeypatch.setattr(prompt, name, getattr(prompt, name).replace(old, new))
            one_or_more_lines = rf"^{name} = (?:\((?:.|\n)*?\n\)|.*)$"
            source = re.sub(
                one_or_more_lines, lambda found: found[0].replace(old, new), source, flags=re.M
            )
    (tmp_path / "quiz/prompt.py").write_text(source, encoding="utf-8")
    monkeypatch.setattr(plain, "ANSWER", prompt.ANSWER)
    step("convert_train", DEMO / "train_questions.json", "--max-questions", "20", cwd=tmp_path)
    step("convert_eval", DEMO / "dev1_questions.json", "--max-questions", "6", cwd=tmp_path)
    seen = [new.format(label=0, choice="").rstrip() for new in changes.values()]
    assert all(
        word in r["instruction"] for r in read(tmp_path / "train-5-inst.json") for word in seen
    )
    edit_yaml(tmp_path / "qlora-opencalm.yml", llama, "./out")
    shutil.copytree(llama_run / "llama-qlora-out", tmp_path / "out")
    assert "別の書式で学習したアダプタ" in step_error("run_quiz", cwd=tmp_path)
    shutil.rmtree(tmp_path / "out")
    train(tmp_path, "--max_steps", "1")
    step("run_quiz", cwd=tmp_path)
    *records, _ = read(tmp_path / "result.json")
    questions = quiz_of(tmp_path / "quiz.json")
    assert [r["prompt"] for r in records] == [q.prompt for q in questions]
    assert all(word in r["prompt"] for r in records for word in seen)
    assert [read_label(q.answer) for q in questions] == [str(q.label) for q in questions]
    step("analysis", "--table", "--errors", "--html", "page.html", cwd=tmp_path)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    lines = json.dumps(questions[0].lines, ensure_ascii=False, separators=(",", ":"))
    assert f'"{questions[0].text}",{lines},' in page


@pytest.mark.parametrize(
    "answer", ["{label}: {choice}", "答え{label}番 {choice}", "({label}) {choice}"]
)
def test_probabilities_follow_the_format(answer, llama, monkeypatch):
    """番号の確率は、書式のとおりの回答の中で番号が来る所のもの。"""
    monkeypatch.setattr(plain, "ANSWER", answer)
    tokenizer = load_tokenizer(llama, FAST)
    labels = plain.Labels(tokenizer, 3)
    for k, tokens in enumerate(labels.tokens):
        text = answer.format(label=k, choice="クリオネ")
        whole = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert whole[: len(tokens)] == tokens
        before = answer[: answer.index("{")]
        assert tokenizer.decode(tokens).strip() == before + str(k)
