"""書く前に表示する数と、その確かめ。"""

import re

import pytest
from conftest import DEMO, step

from quiz.prompt import Question
from quiz.questions.choices import Drawn
from quiz.questions.overview import overview


def questions_with(labels, n_choices=5):
    """正解の位置が labels の問題。"""
    choices = tuple("あいうえお"[:n_choices])
    return [Question(f"{i}?", choices, label) for i, label in enumerate(labels)]


def shown(questions):
    return "\n".join(overview(["a.json"], Drawn(len(questions), questions, {}, 0, 0)))


def test_what_a_teacher_wants_to_know(tmp_path):
    """選択肢の数、正解の長さ、問題文の中の正解、重複 (全角と半角は問わない) と行を言う。

    使わない列も言う。
    """
    rows = (
        "富士山は何山?,富士山,丘,谷,x\nＡは?,とても長い正解,短い,短,\n"
        "Aは?,とても長い正解,短い,短,\n二択は?,はい,いいえ,,\n"
    )
    (tmp_path / "sheet.csv").write_text("問題,正解,誤答1,誤答2,備考\n" + rows, encoding="utf-8")
    out = step("convert_train", "sheet.csv", cwd=tmp_path).stdout
    for part in (
        "使わない列: 備考",
        "読んだ 4 問 / 書く 3 問 / 飛ばした 1 問, 問題が重複 1 (初めは sheet.csv:4)",
        "選択肢の数: 2 択: 1  3 択: 2",
        "正解が最も長い選択肢: 66.7 % (当てずっぽうは 38.9 %",
        "注意: 1 問は、正解が問題文の中にあります",
    ):
        assert part in out, (part, out)


@pytest.mark.parametrize(
    "labels, n_choices", [([0] * 20, 2), ([1] * 12, 5), ([0] * 30 + [1, 2, 3, 4] * 5, 5)]
)
def test_answers_at_one_place_are_said(labels, n_choices):
    """正解が 1 つの位置に偏れば、位置だけで当てられると言う。"""
    out = shown(questions_with(labels, n_choices))
    assert f"問は、正解が {max(labels, key=labels.count)} 番です" in out


@pytest.mark.parametrize(
    "labels, n_choices", [([0, 0, 0], 5), ([0] * 11 + [1] * 9, 2), ([0] * 16 + [1, 2, 3, 4] * 6, 5)]
)
def test_chance_is_not_said(labels, n_choices):
    """くじでよくある偏りでは、言わない。"""
    assert "注意" not in shown(questions_with(labels, n_choices))


@pytest.mark.parametrize("labels", [[1, 2, 3, 4] * 20, [0, 1, 2, 3] * 20])
def test_answers_counted_from_the_other_number_are_said(labels):
    """正解の番号の数え始めを取り違えると、端の選択肢が正解の問題がない。"""
    said = "最初か最後の選択肢が正解の問題が、1 問もありません"
    assert said in shown(questions_with(labels))
    # 1 問でもあるか、数問だけなら、言わない
    assert said not in shown(questions_with([*labels, 0, 4]))
    assert said not in shown(questions_with(labels[:20]))


def test_demo_is_not_warned(tmp_path):
    for name in ("train", "dev1", "dev2"):
        for seed in range(2):
            source = DEMO / f"{name}_questions.json"
            assert "注意" not in step("convert_train", source, "--seed", seed, cwd=tmp_path).stdout


def test_counts_must_add_up():
    """読んだ数が、書く数と飛ばした数に合わなければ、書かない。"""
    questions = questions_with([0, 1, 2])
    skipped = {"問題が重複": ["a.json:2", "a.json:9"]}
    with pytest.raises(SystemExit, match="数が合いません"):
        overview(["a.json"], Drawn(6, questions, skipped, 0, 0))
    out = overview(["a.json"], Drawn(7, questions, skipped, 2, 0))[0]
    assert "読んだ 7 問 / 書く 3 問 / 飛ばした 2 問, 問題が重複 2 (初めは a.json:2)" in out


def test_nothing_usable():
    with pytest.raises(SystemExit, match="使える問題が 1 問もありません .*a.json: .*問題が重複 1"):
        overview(["a.json"], Drawn(1, [], {"問題が重複": ["a.json:2"]}, 0, 0))


def test_genres_of_a_sample(tmp_path):
    """--max-questions なら、引いた問題の分野ごとの数を言う。"""
    command = ("convert_train", DEMO / "train_questions.json", "--max-questions", "200")
    out = step(*command, cwd=tmp_path).stdout
    assert "読んだ 895 問 / 書く 200 問 / 飛ばした 0 問" in out
    line = next(line for line in out.splitlines() if line.startswith("引かなかった 695 問"))
    counts = [int(n) for n in re.findall(r": (\d+)", line)]
    assert sum(counts) == 200 and len(counts) == 5 and min(counts) > 20
