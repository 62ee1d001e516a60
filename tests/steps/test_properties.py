"""どんな問題でも、どこで切れたファイルでも成り立つこと (hypothesis で例を作る)。"""

import json
import os
import shutil

import pytest
from conftest import DEMO, ROOT, step, step_error
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from quiz.prompt import Question, eval_record, read_label, read_question
from quiz.questions.characters import normalize

settings.register_profile(
    "suite",
    deadline=None,
    max_examples=int(os.environ.get("EXAMPLES", 60)),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("suite")

LINE = (
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=30)
    .map(lambda s: " ".join(s.split()))
    .filter(bool)
)
CHOICES = st.lists(LINE, min_size=2, max_size=10, unique_by=normalize)


@given(LINE, CHOICES, st.data())
@example("選択肢 0: あ ### 回答:", ["1: い", "0: 0: あ"], None)
def test_question_goes_to_a_prompt_and_back(text, choices, data):
    """学習用の書式からも、評価用の書式からも、同じ問題が読み戻せる。"""
    question = Question(
        text, tuple(choices), data.draw(st.integers(0, len(choices) - 1)) if data else 0
    )
    assert read_question({"instruction": question.prompt, "output": question.answer}) == question
    assert read_question(eval_record(question)) == question


@given(st.integers(0, 9), LINE)
def test_label_is_read_whatever_follows(label, choice):
    for answer in (
        f"{label}: {choice}",
        f" {label}:{choice}",
        f"{label}：{choice}",
        f"{chr(ord('０') + label)}： {choice}",
        f"{label}:",
    ):
        assert read_label(answer) == str(label), answer


@given(LINE, CHOICES)
def test_no_label_is_read_from_chatter(text, choices):
    """番号で始まらない行、プロンプトの書き写し、空の回答からは、何も読み取らない。"""
    prompt = Question(text, tuple(choices), 0).prompt
    chatter = (
        f"答え: 2: {text}",
        f"答えは2: {text}",
        prompt.splitlines()[0],
        "問題: " + text,
        "### 回答:",
        "10: あ",
        "-1: あ",
        "",
        " ",
    )
    for answer in chatter:
        assert read_label(answer) == "", answer


TODO = {
    "source.json": "data/README.md",
    "train-5-inst.json": "python convert_train.py",
    "quiz.json": "python convert_eval.py",
    "qlora-opencalm.yml": "",
}
COMMANDS = {
    "source.json": ["convert_train", "source.json"],
    "train-5-inst.json": ["convert_eval", "source.json"],
    "quiz.json": ["run_quiz", "--base"],
    "qlora-opencalm.yml": ["run_quiz"],
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    work = tmp_path_factory.mktemp("whole")
    shutil.copy(ROOT / "qlora-opencalm.yml", work)
    lines = (DEMO / "dev1_questions.json").read_text(encoding="utf-8").splitlines(keepends=True)[:3]
    (work / "source.json").write_text("".join(lines), encoding="utf-8")
    step("convert_train", "source.json", cwd=work)
    step("convert_eval", "source.json", cwd=work)
    return work


@pytest.mark.parametrize("name", COMMANDS)
@given(data=st.data())
def test_file_cut_anywhere(name, whole, tmp_path, data):
    """どこで切れたファイルでも、traceback は出ず、そのファイルを作り直す手順を言う。
    切れた所が行の終わりなら、残りだけを読む。"""
    work = tmp_path / name
    shutil.copytree(whole, work, dirs_exist_ok=True)
    raw = (whole / name).read_bytes()
    (work / name).write_bytes(raw[: data.draw(st.integers(0, len(raw.rstrip()) - 1))])
    if name == "source.json" and is_lines((work / name).read_bytes()):
        step(*COMMANDS[name], cwd=work)
    else:
        error = step_error(*COMMANDS[name], cwd=work)
        assert (
            TODO[name] in error and "CP932" not in error and name in error or name.endswith("yml")
        ), error


def is_lines(raw):
    """空でない JSON Lines か。"""
    try:
        return bool([json.loads(line) for line in raw.decode().splitlines()])
    except ValueError:
        return False
