"""選択肢の順を変えて解かせた結果: まとめ方。"""

import json

import pytest
from conftest import step, step_error
from samples import record_of, write_result

from quiz.prompt import Question
from quiz.questions.converted import rotate
from quiz.scoring.read_results import read_result

QUESTIONS = [
    Question("1?", ("あ", "い", "う"), 1, {"qid": "a"}),
    Question("2?", ("か", "き"), 0, {"qid": "b"}),
]


def solve(path, answer):
    """answer(問題) が答える番号と確率で、並べ替えた全問の結果を書き、手順5として読む。"""
    records = []
    for q in rotate(QUESTIONS):
        label, probs = answer(q)
        records.append(record_of(q, q.lines[label], probs))
    write_result(path, records, model="m", adapter="a", quiz=["quiz.json"])
    return read_result(str(path))


def test_one_who_knows_and_one_who_looks_at_the_position(tmp_path):
    """知っているモデルは、どの順でも正解。

    いつも 0 番を選ぶモデルは、順を変えると当てずっぽうで、同じ選択肢を選ばない。
    """

    def know(q):
        return q.label, [0.9 if k == q.label else 0.01 for k in range(len(q.choices))]

    def first(q):
        return 0, [0.9] + [0.01] * (len(q.choices) - 1)

    result = solve(tmp_path / "result-know.json", know)
    assert [a.hit for a in result.answers] == [True, True] and len(result.answers) == 2
    solve(tmp_path / "result-first.json", first)
    lines = step("analysis", cwd=tmp_path).stdout.splitlines()
    shown = {
        line.split()[0]: lines[i + 2] for i, line in enumerate(lines) if line.startswith("result")
    }
    assert (
        "正解率 1.00  どの順でも正解 1.00  どの順でも同じ選択肢 1.00" in shown["result-know.json"]
    )
    records = json.loads((tmp_path / "result-know.json").read_text(encoding="utf-8"))
    unsure = [{**record, "choice_probs": None} for record in records[:-1]]
    # 途中の並びが欠けたもの、2 問の同じ並びを入れ替えたもの、確率のないもの
    for cut in (
        records[1:],
        [*records[:-2], records[-1]],
        [records[3], *records[1:3], records[0], *records[4:]],
        [*unsure, records[-1]],
    ):
        (tmp_path / "result-cut.json").write_text(
            json.dumps(cut, ensure_ascii=False), encoding="utf-8"
        )
        assert "result-cut.json" in step_error("analysis", "result-cut.json", cwd=tmp_path)
    assert (
        "正解率 0.42  どの順でも正解 0.00  どの順でも同じ選択肢 0.00" in shown["result-first.json"]
    )  # (1/3 + 1/2) / 2


def test_answer_is_that_of_the_averaged_probabilities(tmp_path):
    """1 問の答えは、番号の確率を選択肢ごとに平均して最大のもの。"""
    tables = {
        0: [0.5, 0.4, 0.1],
        1: [0.2, 0.5, 0.3],
        2: [0.6, 0.1, 0.3],
    }  # 並べ替え r での、番号ごとの確率

    def answer(q):
        probs = tables[q.extra["rotation"]][: len(q.choices)]
        return 0, probs

    averaged = solve(tmp_path / "result.json", answer).answers[0]
    # あ: 0.5, 0.3, 0.1  い: 0.4, 0.2, 0.3  う: 0.1, 0.5, 0.6 (並べ替えの 0, 1, 2)
    assert (
        averaged.probs == pytest.approx([0.3, 0.3, 0.4])
        and averaged.answered == 2
        and not averaged.hit
    )
