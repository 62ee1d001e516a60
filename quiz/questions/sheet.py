"""表計算の CSV と TSV の問題を読む。1 行目が見出しで、列の順は問わない。

    問題,正解,誤答1,誤答2,誤答3,分野
    日本一高い山は?,富士山,北岳,槍ヶ岳,立山,地理

誤答はいくつでもよく、分野と qid はなくてもよい (英語なら question,answer,wrong1,...,genre)。
"""

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from quiz.files import fail, read_text
from quiz.questions.characters import loosely, normalize, one_line
from quiz.questions.source_row import FORMAT, SourceRow

# 見出し (全角と半角、大文字と小文字、空白の違いは問わない) と、SourceRow のどこに入るか
HEADERS = {
    "question": "問題|問題文|question",
    "answer": "正解|正答|答え|answer",
    "wrong": r"(誤答|不正解|wrong)\d*",
    "genre": "分野|ジャンル|genre",
    "qid": "qid",
}
ADVICE = f"1 行目の見出しを 問題、正解、誤答1、誤答2、... にしてください。{FORMAT}"

# 表計算が直した日付 (3-1 → 3月1日 や 2024/3/1 や 1-Mar) と、直されずに残るもの (2-0、13-1)
DATE = re.compile(
    r"\d{4}[/-]\d{1,2}[/-]\d{1,2}|\d{1,2}/\d{1,2}/\d{2,4}|\d{1,2}月\d{1,2}日"
    r"|\d{1,2}-[A-Z][a-z]{2}|[A-Z][a-z]{2}-\d{2}")
NOT_A_DATE = re.compile(r"\d{1,3}[/-]\d{1,3}")
# 表計算のエラー (LibreOffice なら Err:502) と、幅の足りないセル
ERROR = re.compile(r"#[A-Z/0]+[!?]|#N/A|#{4,}|Err:\d+")


@dataclass(frozen=True)
class Column:
    """表の 1 列。"""

    title: str  # 見出し
    part: str  # HEADERS の名前。使わない列なら ""


def column_of(title):
    """見出しが title の列。"""
    for part, pattern in HEADERS.items():
        if re.fullmatch(pattern, loosely(title)):
            return Column(title.strip(), part)
    # pandas は、見出しのない列に Unnamed: 3 のような名前を付ける
    return Column(re.sub(r"^Unnamed: \d+$", "", title.strip()), "")


def sheet_text(path):
    """表計算の CSV か TSV なら、その文字列。ほかの形なら None。Excel の CP932 も読む。"""
    if not Path(path).is_file():
        return None
    raw = Path(path).read_bytes()
    for encoding in ("utf-8", "cp932"):
        text = raw.decode(encoding, errors="replace")
        # BOM のあるファイルを cat でつなぐと、途中の行の初めにも BOM がある
        text = re.sub(r"^\ufeff+", "", text, flags=re.MULTILINE)
        if has_header(text):
            check_characters(path, text)
            return text

    if Path(path).suffix.lower() in (".csv", ".tsv", ".xlsx", ".xls"):
        # UTF-16 や Excel のままのファイルなら、そう言って終わる
        if "\ufffd" in text:
            read_text(path, f"表計算で「CSV UTF-8」として保存し直してください。{FORMAT}")
        fail(f"{path}:1: 1 行目に見出しがある CSV か TSV ではありません。{ADVICE}")
    return None


def first_line(text):
    return re.split(r"[\r\n]", text.lstrip())[0]


def has_header(text):
    """1 行目が表の見出しか。JSON の候補に「正解」があっても、見出しではない。"""
    line = first_line(text)
    titles = re.split(r"[,\t;]", line)
    parts = {column_of(title.strip('"')).part for title in titles}
    return not line.startswith(("[", "{")) and not parts.isdisjoint({"question", "answer"})


def check_characters(path, text):
    """文字でないもの (\ufffd に置き換えられている) があれば、その行を言って終わる。"""
    before, mark, after = text.partition("\ufffd")
    if mark:
        line = before.count("\n") + 1
        why = "文字として読めません (文字コードの違う行が混ざっています)"
        if not after:
            why = "ファイルが途中で切れています"
        fail(f"{path}:{line}: {why}。元の表から「CSV UTF-8」として書き出し直してください。")


def read_sheet(path, text):
    """表の問題を SourceRow のリストで返す。間違いは、行と列を言って終わる。"""
    (where, titles), *lines = read_lines(path, text)
    columns = read_header(where, titles)
    rows = [read_cells(where, columns, cells) for where, cells in lines]

    # 日付やエラーの形の選択肢は、そういう問題かもしれないので読むが、知らせる
    for pattern, what in ((DATE, "日付"), (ERROR, "表計算のエラー")):
        places = [row.where for row in rows if any(map(pattern.fullmatch, row.candidates))]
        if places:
            print(f"注意: {what}の形の選択肢が {len(places)} 問にあります ({places[0]} など)。"
                  "表計算に直されたものでないか確かめてください。")
    return rows


def read_lines(path, text):
    """空でない行を、(場所, セルのリスト) のリストで返す。"""
    marks = re.findall(r"[\t,;]", first_line(text)) or [","]
    delimiter = max(set(marks), key=marks.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    where = f"{path}:1"
    lines = []
    try:
        for cells in reader:
            where = f"{path}:{reader.line_num}"
            if any(map(str.strip, cells)):
                lines.append((where, cells))
    except csv.Error as e:
        fail(f'{where} の次の行から: 表として読めません。'
             f'" で始めたセルが閉じているか確かめてください ({e})。')
    return lines


def read_header(where, titles):
    """列ごとの Column のリスト。要る列が 1 つずつなければ、そう言って終わる。"""
    columns = [column_of(title) for title in titles]
    # 見出しのない 1 列目は、pandas の行の番号
    if not columns[0].title:
        columns[0] = Column("見出しのない 1 列目", "")
    parts = [column.part for column in columns]
    for part, name in (("question", "問題"), ("answer", "正解"), ("wrong", "誤答1")):
        if part not in parts:
            fail(f"{where}: 見出しに {name} の列がありません ({'、'.join(titles)})。{ADVICE}")
    for column in columns:
        if column.part not in ("", "wrong") and parts.count(column.part) > 1:
            fail(f"{where}: 見出しの {column.title} と同じ列が 2 度あります。1 つにしてください。")

    unused = [column.title for column in columns if not column.part]
    if any(unused):
        print(f"{where}: 使わない列: {'、'.join(filter(None, unused))}")
    return columns


def read_cells(where, columns, cells):
    """表の 1 行。"""
    if any(map(str.strip, cells[len(columns):])):
        fail(f"{where}: セルが見出しより {len(cells) - len(columns)} 個多くあります。"
             '文中に , があるセルは " で囲んでください (見出しが足りなければ、足してください)。')
    # 短い行の足りないセルは、空
    texts = [one_line(cell) for cell in cells] + [""] * len(columns)
    named = list(zip(columns, texts))
    for column, text in named:
        if column.part in ("question", "answer") and not text:
            fail(f"{where}: 「{column.title}」の列が空です。行ごと消すか、書いてください。")
        # 結合した「誤答」の続きか、見出しを忘れた分野か、分からない
        if text and not column.title:
            fail(f"{where}: 見出しのない列に「{text}」があります。見出し (誤答2、分野など) を"
                 "書いてください (結合したセルは、結合を解いて)。")

    found = {column.part: text for column, text in named}
    answer = found["answer"]
    wrong = [text for column, text in named if column.part == "wrong" and text]
    row = SourceRow(
        where,
        found["question"],
        answer,
        (answer, *wrong),
        found.get("qid"),
        found.get("genre", ""),
    )
    check_header_words(row, texts)
    for column, text in named:
        if column.part == "wrong" and normalize(text) == normalize(answer):
            fail(f"{where}: 「{column.title}」の列に、正解と同じ「{answer}」があります。"
                 "別の誤答にしてください。")
        if column.part and ERROR.fullmatch(text):
            check_error(row, column.title, text)
    check_dates(row)
    return row


def check_header_words(row, texts):
    """texts (1 行のセル) が 2 つ目の見出しの行なら、そう言って終わる。

    英単語の問題 (問題が「question」で正解が「質問」) は、見出しではない。
    """
    parts = [column_of(text).part for text in texts if text]
    whole = "" not in parts and parts.count("question") == parts.count("answer") == 1
    question = column_of(row.question).part
    answer = column_of(row.answer).part
    if whole or (question, answer) == ("question", "answer"):
        fail(f"{row.where}: 見出しの行が 2 つあります。1 つにしてください。")


def check_error(row, title, text):
    """表計算のエラーの形のセルなら終わる。候補がどれもその形なら、そういう問題なので読む。"""
    if not all(candidate.startswith(("#", "Err:")) for candidate in row.candidates):
        fail(f"{row.where}: 「{title}」の列が、表計算のエラー ({text}) です。"
             "元の表を直してください。")


def check_dates(row):
    """2-0 や 1-1 の中の 2024/3/1 は、3-1 が表計算に直されたもの。"""
    dates = [text for text in row.candidates if DATE.fullmatch(text)]
    if dates and any(map(NOT_A_DATE.fullmatch, row.candidates)):
        fail(f"{row.where}: 「{dates[0]}」だけが日付です。表計算に直されていないか確かめ、"
             "セルの書式を文字列にしてください。")
