"""書き間違いらしい表: ほとんどの問題がそうなら断り、数問なら読んで知らせる。"""

import pytest
from conftest import read, step, step_error

from quiz.questions.source_row import SourceRow
from quiz.questions.suspicious import answers_by_mark, has_wrong_answers_in_one

HEADER = "問題,正解,誤答1,誤答2,誤答3\n"
GOOD = "".join(f"問 {k}?,あ{k},い{k},う{k},え{k}\n" for k in range(3))


def row(*candidates):
    return SourceRow("a.csv:2", "問?", candidates[0], candidates, "", "")


@pytest.mark.parametrize("answer", ["2", "２", "②", "(2)", "B", "ｂ", "イ", "0"])
def test_answer_by_number(answer):
    """正解の列の、番号や記号。"""
    assert answers_by_mark(row(answer, "北岳", "富士山", "立山"))


@pytest.mark.parametrize(
    "candidates",
    [
        ("2", "3", "4", "5"),
        ("8", "16", "32", "64"),
        ("2", "3", "いくつも", "ない"),
        ("B", "A", "AB", "O"),
        ("C", "H", "酸素", "窒素"),
        ("イ", "ロ", "ハ", "ニ"),
        ("20", "北岳", "富士山", "立山"),
        ("2 つ", "ない", "たくさん", "決まらない"),
        ("い", "北岳", "富士山", "立山"),
    ],
)
def test_answers_that_are_numbers(candidates):
    """番号や記号を問う問題。"""
    assert not answers_by_mark(row(*candidates))


@pytest.mark.parametrize(
    "wrong", [("1853年", "1868年", "1889年"), ("1 回", "2 回", "3 回"), ("O₂", "CO₂", "H₂O")]
)
def test_digits_in_wrong_answers_do_not_excuse(wrong):
    """数字の混ざった誤答があっても、正解の「2」は番号。"""
    assert answers_by_mark(row("2", *wrong))


@pytest.mark.parametrize("mark", ["、", "，", ",", "､", "; ", "；", "/", "／"])
def test_wrong_answers_in_one_cell(mark):
    assert has_wrong_answers_in_one(row("富士山", mark.join(("北岳", "槍", "立山"))))
    # 正解も並びか、ほかにも誤答がある
    assert not has_wrong_answers_in_one(row(f"東{mark}西", f"北{mark}南"))
    assert not has_wrong_answers_in_one(row("富士山", f"北岳{mark}槍", "立山"))
    assert not has_wrong_answers_in_one(row("富士山", "北岳"))


ODD = {
    "a number as the answer": (
        "山は?,2,北岳,富士山,立山\n川は?,1,利根川,信濃川,石狩川\n", "番号や記号"),
    "wrong answers in one cell": (
        '山は?,富士山,"北岳、槍、立山",,\n川は?,信濃川,利根川；石狩川,,\n', "いくつもの誤答"),
}


@pytest.mark.parametrize("name", ODD)
def test_most_rows_or_a_few(name, tmp_path):
    odd, said = ODD[name]
    path = tmp_path / "a.csv"
    # 半分より多ければ断る
    path.write_text(HEADER + odd + GOOD[: GOOD.index("問 1")], encoding="utf-8")
    error = step_error("convert_eval", "a.csv", cwd=tmp_path)
    assert "a.csv:2: 3 問のうち 2 問は、" in error and said in error and "誤答1、誤答2" in error
    assert not (tmp_path / "quiz.json").exists()
    # 半分以下なら、読んで知らせる
    path.write_text(HEADER + GOOD + odd, encoding="utf-8")
    shown = step("convert_eval", "a.csv", cwd=tmp_path).stdout
    assert "注意: 2 問 (初めは a.csv:5) は、" in shown and said in shown
    assert len(read(tmp_path / "quiz.json")) == 5


def test_wrong_answers_on_lines_of_one_cell(tmp_path):
    """セルの中で改行して並べた誤答は、そのまま 1 つの選択肢にはしない。"""
    path = tmp_path / "a.csv"
    path.write_text(HEADER + GOOD + '山は?,富士山,"北岳\n槍\n立山",,\n', encoding="utf-8")
    error = step_error("convert_eval", "a.csv", cwd=tmp_path)
    assert "a.csv:7: 1 つのセルに、いくつもの誤答" in error
    # ほかにも誤答があれば、改行のある 1 つの誤答
    path.write_text(HEADER + '山は?,富士山,"北岳\n(南アルプス)",槍,\n', encoding="utf-8")
    step("convert_eval", "a.csv", cwd=tmp_path)
    assert "北岳 (南アルプス)\n" in read(tmp_path / "quiz.json")[0]["input"]


TITLES = "question,choice_1,choice_2,choice_3,choice_4,answer\n"


@pytest.mark.parametrize(
    "text, line",
    [
        (TITLES + "山は?,北岳,富士山,槍,立山,2\nスコアは?,3月1日,2-0,1-0,4-4,1\n", 3),
        (TITLES + "山は?,#REF!,富士山,槍,立山,2\n", 2),
        ("山は?,北岳,富士山,槍,#N/A,B\nスコアは?,あ,い,う,え,C\n", 1),
        ("山は?,北岳,富士山,槍,立山,B\nスコアは?,2-0,2024/3/1,1-0,4-4,C\n", 2),
    ],
)
def test_damaged_cells_of_a_published_table(text, line, tmp_path):
    """公開の問題集の形の表も、表計算に壊されていれば断る。"""
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    error = step_error("convert_eval", "a.csv", cwd=tmp_path)
    assert f"a.csv:{line}: 「" in error and "表計算が直した日付か" in error
