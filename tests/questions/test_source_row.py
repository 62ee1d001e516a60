"""変換する前の 1 問: 空の文字列、qid、分野。"""

import pytest

from quiz.questions.source_row import SourceRow, required_text


def row(**given):
    return SourceRow("a.json:1", "山は?", "富士山", ("富士山", "北岳"), **given)


@pytest.mark.parametrize("nothing", [None, float("nan"), " ", "NaN", "null"])
def test_nothing_is_not_written(nothing):
    """NaN や空の qid と分野は、ないのと同じ。"""
    assert row(qid=nothing, genre=nothing).extra == {}


@pytest.mark.parametrize("qid", ["q1", 7, 0])
def test_qid_is_kept_as_it_is(qid):
    assert row(qid=qid, genre="地理").extra == {"qid": qid, "genre": "地理"}


def test_required_text():
    assert required_text("a.json:1", "question", " あ\nい ") == "あ い"
    with pytest.raises(SystemExit, match=r"a.json:1: choice4 に、空でない文字列が.*今は None"):
        required_text("a.json:1", "choice4", None)
