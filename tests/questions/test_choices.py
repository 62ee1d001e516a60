"""選択肢の引き方: 偏らない、前後の行に左右されない、違うものは違う、使えない問題は数える。"""

import json
import random
from collections import Counter

import pytest
from conftest import DEMO, read, step, write_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from quiz.questions.characters import normalize
from quiz.questions.choices import Unusable, draw_choices, draw_questions, sample_questions
from quiz.questions.formats import read_rows
from quiz.questions.source_row import SourceRow

LETTERS = st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])
LINE = st.text(LETTERS, max_size=30).map(lambda s: " ".join(s.split())).filter(bool)
CANDIDATES = st.lists(LINE, min_size=2, max_size=20, unique_by=normalize)
FIVE = ("駅", "港", "空", "山", "川")


def row(question="?", candidates=FIVE, answer=None, qid=None, label=None):
    answer = answer or candidates[0]
    return SourceRow("a.json:1", question, answer, tuple(candidates), qid, None, label)


def draw(row, num_choices=None, seed=0):
    """(選択肢の組, 正解の番号)。"""
    return draw_choices(row, num_choices, random.Random(seed))


def draw_all(rows):
    return draw_questions(rows, None, 0, None)


@given(LINE, CANDIDATES, st.integers(0, 3), st.integers(2, 10))
@settings(deadline=None)
def test_right_answer_is_always_among_the_choices(text, candidates, seed, n):
    n = min(n, len(candidates))
    source = row(text, candidates, answer=candidates[-1])
    choices, label = draw(source, n, seed)
    assert choices[label] == candidates[-1]
    assert len(set(map(normalize, choices))) == len(choices) == n
    assert draw(source, n, seed) == (choices, label)


def test_candidates_equal_but_for_width():
    """全角と半角だけが違う候補は、1 つの選択肢。正解の表記は answer のもの。"""
    candidates = ["ABC", "DEF", "ＤＥＦ", "GHI", "G H I", "JKL"]
    choices, label = draw(row(candidates=candidates, answer="ＡＢＣ"))
    assert sorted(choices) == ["DEF", "G H I", "GHI", "JKL", "ＡＢＣ"]
    assert choices[label] == "ＡＢＣ"


@pytest.mark.parametrize(
    "candidates",
    [
        ["2⁸", "28", "2¹⁵", "215", "4⁸"],
        ["①", "1", "一", "Ⅰ", "I"],
        ["m²", "m2", "m", "m³", "m3"],
        ["kg", "KG", "Kg", "㎏", "kG"],
    ],
)
def test_choices_that_differ_stay_different(candidates):
    choices, label = draw(row(candidates=candidates))
    assert sorted(choices) == sorted(candidates) and choices[label] == candidates[0]


def test_questions_that_differ_are_both_written():
    """「2³ = 8」と「23 = 8」は 2 問。全角と半角だけが違えば 1 問。"""
    rows = [row("2³ = 8 は正しい?"), row("23 = 8 は正しい?"), row("２3 = 8 は正しい?")]
    drawn = draw_all(rows)
    assert [q.text for q in drawn.questions] == ["2³ = 8 は正しい?", "23 = 8 は正しい?"]
    assert drawn.n_read == 3 and drawn.skipped == {"問題が重複": ["a.json:1"]}


def test_choices_do_not_depend_on_other_rows(tmp_path):
    """1 行を除いても、ほかの行の選択肢は変わらない。種を変えると変わる。"""
    lines = (DEMO / "dev1_questions.json").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "all.json").write_text("".join(lines), encoding="utf-8")
    (tmp_path / "less.json").write_text("".join(lines[:3] + lines[4:]), encoding="utf-8")
    step("convert_eval", "all.json", "-o", "out-all.json", cwd=tmp_path)
    step("convert_eval", "less.json", "-o", "out-less.json", cwd=tmp_path)
    step("convert_eval", "all.json", "--seed", "1", "-o", "seed1.json", cwd=tmp_path)
    whole = read(tmp_path / "out-all.json")
    assert read(tmp_path / "out-less.json") == whole[:3] + whole[4:]
    other = [a["input"] != b["input"] for a, b in zip(whole, read(tmp_path / "seed1.json"))]
    assert sum(other) > len(whole) * 0.9


@pytest.mark.parametrize("qid", ["第1回", 7, float("nan"), None])
def test_rows_that_share_a_qid(qid):
    """qid が同じ行でも、正解の位置は散らばる。NaN や空の qid は、ないのと同じ。"""
    rows = []
    for i in range(200):
        rows.append(row(f"{i} 番の駅は?", [f"{c}{i}" for c in FIVE], qid=qid))
    labels = Counter(q.label for q in draw_all(rows).questions)
    assert sorted(labels) == [0, 1, 2, 3, 4] and max(labels.values()) < 70


@pytest.mark.parametrize("qid", ["第1回", None])
def test_rows_that_share_a_qid_and_a_question(qid):
    """「カタカナはどれ?」のように問題文まで同じでも、散らばる。"""
    rows = [row("駅はどれ?", [f"{c}{i}" for c in FIVE], qid=qid) for i in range(200)]
    drawn = draw_all(rows)
    labels = Counter(q.label for q in drawn.questions)
    assert drawn.n_repeated == 199
    assert sorted(labels) == [0, 1, 2, 3, 4] and max(labels.values()) < 70


def test_first_row_of_a_qid_keeps_its_choices():
    """qid が 1 度しか出ない行と、初めて出た行の選択肢は、前の版のまま (種は seed と qid だけ)。"""
    alone = row("a", qid="x")
    again = row("b", qid="x")
    first, second = draw_all([alone, again]).questions
    assert (first.choices, first.label) == draw(alone, None, "0:x")
    assert (second.choices, second.label) == draw(again, None, f"0:x:b:{FIVE}")
    # 前の版 (8cbe62f) の draw_choices が、qid "x" の候補から引いたもの
    assert first.choices == ("空", "港", "川", "山", "駅")


def test_answer_positions_and_distractors(tmp_path):
    """正解の位置は偏らず、誤答は候補から選ばれて重ならない。"""
    out = step("convert_train", DEMO / "train_questions.json", cwd=tmp_path).stdout
    records = read(tmp_path / "train-5-inst.json")
    lines = (DEMO / "train_questions.json").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    counts = [sum(r["output"].startswith(f"{k}:") for r in records) for k in range(5)]
    assert sum(counts) == len(rows) == len(records) and min(counts) > len(rows) / 5 * 0.7
    assert "  ".join(f"{k}: {n}" for k, n in enumerate(counts)) in out
    for source, record in zip(rows, records):
        shown = record["instruction"].split("選択肢\n\n")[1].split("\n")[:5]
        choices = [line.partition(": ")[2] for line in shown]
        assert len(set(choices)) == 5 and set(choices) <= set(source["answer_candidates"])
        assert choices[int(record["output"][0])] == source["answer_entity"] == record["output"][3:]


@pytest.mark.parametrize(
    "source, reason",
    [
        (row(candidates=["あ"]), "候補が足りない"),
        (row(candidates=["ABC", "ＡＢＣ"]), "候補が足りない"),
        (row(answer="候補にない"), "正解が候補にない"),
        (row(candidates=["あ"], label=0), "候補が足りない"),
        (row(candidates=["あ", "い", "あ"], label=2), "正解と同じ選択肢がある"),
    ],
)
def test_row_that_cannot_be_used_is_counted(source, reason):
    drawn = draw_all([row("使える?"), source, row("これも?")])
    assert drawn.skipped == {reason: ["a.json:1"]}
    assert (drawn.n_read, len(drawn.questions)) == (3, 2)


def test_too_few_candidates_for_the_number():
    with pytest.raises(Unusable, match="候補が足りない"):
        draw(row(), 6)


def test_two_answers_to_one_question():
    """同じ問題で正解だけが違う行は、重複とは別に数える。"""
    rows = [row(answer="駅"), row(answer="港"), row(answer="駅")]
    assert list(draw_all(rows).skipped) == ["同じ問題で正解が違う", "問題が重複"]


def test_published_order_is_kept():
    """順の公開された選択肢は、数が同じなら、そのまま。"""
    source = row(answer="空", label=2)
    assert draw(source) == draw(source, 5, 9) == (FIVE, 2)
    choices, label = draw(source, 3)
    assert len(choices) == 3 and choices[label] == "空"


def test_duplicate_qids_are_separate_questions(tmp_path):
    lines = (DEMO / "dev1_questions.json").read_text(encoding="utf-8").splitlines()[:3]
    write_rows(tmp_path / "source.json", *(json.loads(line) | {"qid": "same"} for line in lines))
    shown = step("convert_eval", "source.json", cwd=tmp_path).stdout
    assert len(read(tmp_path / "quiz.json")) == 3
    assert "注意: 2 問は、qid (なければ問題文) が前の問題と同じです" in shown


def test_sample_is_drawn_from_the_whole():
    """--max-questions は、先頭からではなく、全体から引く。順は元のまま、同じ種なら同じ問題。"""
    questions = draw_all(read_rows([DEMO / "train_questions.json"])).questions
    chosen = sample_questions(questions, 200, 0)
    assert chosen == sample_questions(questions, 200, 0) != sample_questions(questions, 200, 1)
    assert [q for q in questions if q in chosen] == chosen and len(chosen) == 200
    # 分野ごとに並んでいるファイルでも、どの分野も 5 分の 1 ほど
    genres = Counter(q.extra["genre"] for q in chosen)
    assert len(genres) == 5 and min(genres.values()) > 25 and max(genres.values()) < 55
    assert sample_questions(questions, None, 0) == questions == sample_questions(questions, 9999, 0)
