"""選択肢の順を変えて解かせること: 並べ方と、コマンド。"""

from conftest import read, step

from quiz.prompt import Question
from quiz.questions.converted import blank, rotate

QUESTIONS = [
    Question("1?", ("あ", "い", "う"), 1, {"qid": "a"}),
    Question("2?", ("か", "き"), 0, {"qid": "b"}),
]


def test_every_choice_comes_to_every_label():
    rotated = rotate(QUESTIONS)
    assert [q.choices for q in rotated[:3]] == [
        ("あ", "い", "う"),
        ("い", "う", "あ"),
        ("う", "あ", "い"),
    ] and len(rotated) == 5
    assert [q.label for q in rotated] == [1, 0, 2, 0, 1] and all(
        q.choices[q.label] in "いか" for q in rotated
    )
    assert [q.extra["rotation"] for q in rotated] == [0, 1, 2, 0, 1]
    assert (
        "問題:  \n" in blank(QUESTIONS)[0].prompt
        and blank(QUESTIONS)[0].choices == QUESTIONS[0].choices
    )


def test_rotations_and_blank_question_by_command(llama_run):
    """コマンドで解かせる。並べ替えは途中からも続き、分析は 1 問 1 件として読む。"""
    step("run_quiz", "--rotations", "--max-questions", "4", cwd=llama_run)
    *records, summary = read(llama_run / "result-rotations.json")
    assert [r["rotation"] for r in records] == [0, 1, 2, 3, 4] * 4 and len(
        {r["qid"] for r in records}
    ) == 4
    assert len({(r["qid"], r["correct_answer"].partition(": ")[2]) for r in records}) == 4
    step("run_quiz", "--blank-question", "--max-questions", "4", cwd=llama_run)
    assert all("問題:  \n" in r["prompt"] for r in read(llama_run / "result-blank.json")[:-1])
    out = step("analysis", "--table", "result-rotations.json", "result.json", cwd=llama_run).stdout
    assert "| result-rotations (順の平均)" in out and "| 4 |" in out and "p<" not in out
