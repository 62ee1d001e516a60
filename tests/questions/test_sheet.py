"""表計算の CSV と TSV。壊れた表は test_bad_inputs.py に。"""

import pytest
from conftest import read, step, step_error

HEADER = "問題,正解,誤答1,誤答2,誤答3,分野\n"
SHEET = (
    HEADER + "日本一高い山は?,富士山,北岳,槍ヶ岳,立山,地理\n"
    '"二つめ,\n改行つき?",read_csv,read_json,read_sql,,\n'
)
TABS = SHEET.replace(",", "\t").replace("二つめ\t", "二つめ,")
ENGLISH = SHEET.replace(HEADER, "Question,Answer,Wrong1,wrong 2,ＷＲＯＮＧ３,genre\n")


def converted(work, text, encoding="utf-8"):
    """text の表を手順2で変換した (記録のリスト, 表示)。"""
    (work / "sheet.csv").write_bytes(text.encode(encoding))
    shown = step("convert_eval", "sheet.csv", "-o", "quiz-own.json", cwd=work)
    return read(work / "quiz-own.json"), shown.stdout


def choices(record):
    """番号の順の選択肢。"""
    return [line.partition(": ")[2] for line in record["input"].strip().splitlines()]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932"])
@pytest.mark.parametrize("text", [SHEET, SHEET.replace("\n", "\r\n"), TABS, ENGLISH])
def test_sheet(encoding, text, tmp_path):
    """Excel、Google スプレッドシート、LibreOffice の書き出す形。

    4 択と 3 択が混ざり、文字は改行のほか変わらない。
    """
    (first, second), _ = converted(tmp_path, text, encoding)
    # 選択肢の後に 3 つ
    assert first["input"].count("\n") == 6 and second["input"].count("\n") == 5
    assert first["output"].endswith(": 富士山") and first["genre"] == "地理"
    assert "genre" not in second and second["output"].endswith(": read_csv")
    assert "問題: 二つめ, 改行つき?\n" in second["instruction"]


def test_wave_dash_and_full_width_space(tmp_path):
    """波ダッシュも全角の空白も、書いた人の文字のまま。"""
    text = (HEADER + "3〜5　の\u3000間?,４,6,7,8,\n").replace("〜", "～")
    (record,), _ = converted(tmp_path, text, "cp932")
    assert "問題: 3～5　の\u3000間?\n" in record["instruction"]


def test_underscore_is_a_letter_in_a_sheet(tmp_path):
    (record,), _ = converted(tmp_path, "問題,正解,誤答1\n穴_うめは?,あ,い\n")
    assert "問題: 穴_うめは?\n" in record["instruction"]


def test_old_mac_line_ends_are_read(tmp_path):
    text = (HEADER + "あ?,い,う,え,お,\nか?,き,く,け,こ,\n").replace("\n", "\r")
    assert len(converted(tmp_path, text)[0]) == 2


@pytest.mark.parametrize("answer", ["正答", "答え", "Answer", "正 解"])
def test_names_of_the_answer_column(answer, tmp_path):
    (record,), _ = converted(tmp_path, f"問題文,{answer},不正解1,誤答\nあ?,い,う,え\n")
    assert record["output"].endswith(": い") and sorted(choices(record)) == ["い", "う", "え"]


@pytest.mark.parametrize(
    "row",
    [
        "H₂O は?,H₂O,H²O,HO₂,OH",
        "単位は?,kg,KG,Kg,㎏",
        "丸は?,①,1,一,(1)",
        "コードは?,a  b,ab,A b,a b",
    ],
)
def test_choices_that_differ_stay_different(row, tmp_path):
    """読む人に違う選択肢は、違う選択肢。"""
    (record,), _ = converted(tmp_path, f"問題,正解,誤答1,誤答2,誤答3\n{row}\n")
    assert sorted(choices(record)) == sorted(row.split(",")[1:])


@pytest.mark.parametrize(
    "row",
    [
        "answer,答え,質問,宿題,例",
        "question,質問,答え,例,宿題",
        "ジャンル,genre,general,gender,gene",
        "質問,question,answer,wrong,genre",
        "問題,question,answer,wrong,test",
        "wrong,間違い,正解,答え,正しい",
        "question,問題,正解,答え,正答",
    ],
)
def test_words_that_are_also_headers(row, tmp_path):
    """英単語の問題は、見出しではない。"""
    (record,), _ = converted(tmp_path, f"問題,正解,誤答1,誤答2,誤答3\n{row}\n")
    question, answer, *_ = row.split(",")
    assert f"問題: {question}\n" in record["instruction"]
    assert record["output"].endswith(f": {answer}")


@pytest.mark.parametrize(
    "row",
    [
        "うるう年だけの日は?,2月29日,2月30日,ない,2月の終わりの次の日",
        "祝日でないのは?,七夕,1月1日,5月3日,11月3日",
        "戦争が終わった日は?,1945/8/15,1945/8/6,1945/8/9,同じ年の冬",
        "値がないと出るのは?,#N/A,#REF!,#NAME?,#VALUE!",
        "見出し 4 は?,####,###,##,#",
        "Calc の式の誤りは?,Err:502,Err:508,#REF!,#NAME?",
    ],
)
def test_dates_and_errors_that_are_asked(row, tmp_path):
    """日付やエラーの形を問う問題は、書いて、知らせる。"""
    (record,), shown = converted(tmp_path, f"問題,正解,誤答1,誤答2,誤答3\n{row}\n")
    assert sorted(choices(record)) == sorted(row.split(",")[1:])
    assert "注意: 1 問 (初めは sheet.csv:2) は、日付や表計算のエラーの形の選択肢" in shown
    assert "確かめてください" in shown


def test_column_that_is_not_used_may_be_damaged(tmp_path):
    """使わない列は、名前を言う。エラーがあってもかまわない。"""
    records, shown = converted(tmp_path, "問題,正解,誤答1,備考\nあ?,い,う,#N/A\n")
    assert len(records) == 1 and "使わない列: 備考" in shown


@pytest.mark.parametrize("first", ["", "Unnamed: 0"])
def test_row_numbers_of_pandas(first, tmp_path):
    """見出しのない 1 列目は、pandas の行の番号。使わないと言う。後ろの空の列は、問わない。"""
    text = f"{first},問題,正解,誤答1,,\n0,あ?,い,う,,\n1,か?,き,く,,\n"
    records, shown = converted(tmp_path, text)
    assert len(records) == 2 and f"使わない列: {first or '見出しのない 1 列目'}" in shown


@pytest.mark.parametrize("mark", ["\ufeff", "\ufeff\ufeff"])
def test_marks_at_the_beginning(mark, tmp_path):
    assert len(converted(tmp_path, mark + SHEET)[0]) == 2
    # 見出しを除いてつないだ 2 つ目のファイルの BOM は、問題文の文字ではない
    records, _ = converted(tmp_path, f"{HEADER}あ?,い,う,え,お,\n{mark}か?,き,く,け,こ,\n")
    assert "問題: か?\n" in records[1]["instruction"]


def test_empty_qid_and_genre(tmp_path):
    """空や nan の qid と分野は、ないのと同じ。"""
    (first, second), _ = converted(
        tmp_path, "qid,問題,正解,誤答1,分野\n,あ?,い,う,nan\nq2,か?,き,く, 地理 \n"
    )
    assert not {"qid", "genre"} & first.keys()
    assert (second["qid"], second["genre"]) == ("q2", "地理")


def test_equal_choices_are_merged_and_said(tmp_path):
    """同じ選択肢 (全角と半角も問わない) は 1 つにし、何問あるかを 1 度だけ言う。"""
    text = HEADER + "あ?,い,う,う,え,\nか?,ABC,ＡＢＣ,き,く,\nさ?,し,す,せ,そ,\nた?,ち,つ,ﾂ,ツ,\n"
    records, shown = converted(tmp_path, text)
    assert [len(choices(record)) for record in records] == [3, 3, 4, 3]
    assert sorted(choices(records[0])) == ["い", "う", "え"]
    assert records[1]["output"].endswith(": ABC")
    assert "注意: 3 問 (初めは sheet.csv:2) は、同じ選択肢があるので、1 つにします" in shown


def test_nothing_is_said_of_an_ordinary_sheet(tmp_path):
    _, shown = converted(tmp_path, SHEET)
    assert "注意" not in shown


def test_blank_rows_and_two_genres(tmp_path):
    """空の行は飛ばす。分野の列が 2 つあれば、つなぐ。"""
    text = "問題,正解,誤答1,分野,ジャンル\n,,,,\nあ?,い,う,理科,物理\n\n"
    (record,), _ = converted(tmp_path, text)
    assert record["genre"] == "理科 物理"


def test_control_characters_become_a_blank(tmp_path):
    (record,), _ = converted(tmp_path, "問題,正解,誤答1\nベル\x07の音は?,い,う\n")
    assert "問題: ベル の音は?\n" in record["instruction"]


@pytest.mark.parametrize(
    "text",
    [
        '問題,正解,誤答1,誤答2\nA?,a,b,"c\nB?,a,b,c\nC?,a,b,c"\nD?,a,b,c\n',
        '問題,正解,誤答1,誤答2\n"A?,a,b,c\nB?,a,b,c\nC?",a,b,c\n',
    ],
)
def test_quote_that_swallows_rows(text, tmp_path):
    """閉じていない " が、何行もの問題を 1 つのセルにしてしまわない。"""
    (tmp_path / "sheet.csv").write_text(text, encoding="utf-8")
    assert "何行もの表" in step_error("convert_eval", "sheet.csv", cwd=tmp_path)
    (tmp_path / "sheet.csv").write_text('問題,正解,誤答1\n"2 行の\n問題?",a,b\n', encoding="utf-8")
    step("convert_eval", "sheet.csv", cwd=tmp_path)
