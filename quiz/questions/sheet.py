"""表計算の CSV と TSV の問題を読む。1 行目が見出しで、列の順は問わない。

    問題,正解,誤答1,誤答2,誤答3,分野
    日本一高い山は?,富士山,北岳,槍ヶ岳,立山,地理

誤答はいくつでもよく、分野と qid はなくてもよい (英語なら question,answer,wrong1,...,genre)。
"""

import csv
import io
import re
from contextlib import suppress
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
ADVICE = ("1 行目の見出しを 問題、正解、誤答1、誤答2、... にし、正解は番号ではなく文字で"
          f"書いてください。{FORMAT}")

# 表計算が直した日付 (3-1 → 3月1日 や 2024/3/1 や 1-Mar) と、直されずに残るもの (2-0、13-1)
DATE = re.compile(
    r"\d{4}[/-]\d{1,2}[/-]\d{1,2}|\d{1,2}/\d{1,2}/\d{2,4}|\d{1,2}月\d{1,2}日"
    r"|\d{1,2}-[A-Z][a-z]{2}|[A-Z][a-z]{2}-\d{2}")
NOT_A_DATE = re.compile(r"\d{1,3}[/-]\d{1,3}")
# 表計算のエラー (LibreOffice なら Err:502) と、幅の足りないセル
ERROR = re.compile(r"#[A-Z/0]+[!?]|#N/A|#{4,}|Err:\d+")


def part_of(title):
    """見出しが title の列が、SourceRow のどこに入るか。使わない列なら ""。"""
    for part, pattern in HEADERS.items():
        if re.fullmatch(pattern, loosely(title)):
            return part
    return ""


def sheet_text(path, raw):
    """path の中身 raw (bytes) が表計算の CSV か TSV なら、その文字列。ほかの形なら None。

    文字コードは UTF-8 か、Excel の CP932。行によって違えば、その行を言って終わる。
    """
    # 文字コード → 初めて出た行
    found = {}
    for number, line in enumerate(raw.splitlines(), 1):
        found.setdefault(encoding_of(line), number)
    # 英数字だけの行は、どの文字コードでも同じ
    found.pop("ascii", None)
    encoding = next(iter(found), "ascii")
    text = raw.decode(encoding, errors="replace")
    # BOM のあるファイルを cat でつなぐと、途中の行の初めにも BOM がある
    text = re.sub(r"^\ufeff+", "", text, flags=re.MULTILINE)

    if has_header(text):
        if len(found) > 1 or "latin-1" in found:
            damaged = max(found.values())
            fail(f"{path}:{damaged}: 文字として読めません (途中で切れているか、文字コードの違う行が"
                 "混ざっています)。元の表から書き出し直してください。")
        return text
    if Path(path).suffix.lower() in (".csv", ".tsv", ".xlsx", ".xls"):
        # UTF-16 や Excel のままのファイルなら、そう言って終わる
        if "latin-1" in found or b"\0" in raw:
            read_text(path, f"表計算で「CSV UTF-8」として保存し直してください。{FORMAT}")
        fail(f"{path}:1: 1 行目に見出しがある CSV か TSV ではありません。{ADVICE}")
    return None


def encoding_of(line):
    """1 行 (bytes) の文字コード。UTF-8 でも CP932 でもなければ latin-1 (どんな bytes も読める)。"""
    for encoding in ("ascii", "utf-8", "cp932"):
        with suppress(UnicodeDecodeError):
            line.decode(encoding)
            return encoding
    return "latin-1"


def first_line(text):
    """空でない最初の行。"""
    return re.split(r"[\r\n]", text.lstrip())[0]


def has_header(text):
    """1 行目が表の見出しか。JSON の候補に「正解」があっても、見出しではない。"""
    line = first_line(text)
    if line.startswith(("[", "{")):
        return False
    parts = list(map(part_of, re.split(r'[,\t;"]', line)))
    return "question" in parts or "answer" in parts


def read_sheet(path, text):
    """表の問題を SourceRow のリストで返す。間違いは、行と列を言って終わる。"""
    (where, header), *lines = read_lines(path, text)
    # pandas は、見出しのない列に Unnamed: 3 のような名前を付ける
    titles = [re.sub(r"Unnamed: \d+", "", title.strip()) for title in header]
    # 見出しのない 1 列目は、pandas の書いた行の番号
    titles[0] = titles[0] or "見出しのない 1 列目"
    parts = read_header(where, titles)
    rows = [read_cells(where, titles, parts, cells) for where, cells in lines]

    # 日付やエラーの形の選択肢は、そういう問題かもしれないので読むが、知らせる
    for pattern, what in ((DATE, "日付"), (ERROR, "表計算のエラー")):
        places = [row.where for row in rows if any(map(pattern.fullmatch, row.candidates))]
        if places:
            print(f"注意: {what}の形の選択肢が {len(places)} 問にあります ({places[0]} など)。"
                  "表計算に直されたものでないか確かめてください。")
    return rows


def read_lines(path, text):
    """空でない行を、(場所, セルのリスト) のリストで返す。"""
    # 区切りは、見出しの行にいちばん多い記号
    marks = re.findall(r"[\t,;]", first_line(text)) or [","]
    delimiter = max(marks, key=marks.count)
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
    """列ごとに SourceRow のどこに入るか。要る列が 1 つずつなければ、そう言って終わる。"""
    parts = list(map(part_of, titles))
    for part, name in (("question", "問題"), ("answer", "正解"), ("wrong", "誤答1")):
        if part not in parts:
            fail(f"{where}: 見出しに {name} の列がありません ({'、'.join(titles)})。{ADVICE}")
    for title, part in zip(titles, parts):
        if part not in ("", "wrong") and parts.count(part) > 1:
            fail(f"{where}: 見出しの {title} と同じ列が 2 度あります。1 つにしてください。")

    # 書いたのに使わない列は、書き間違いかもしれない
    unused = [title for title, part in zip(titles, parts) if title and not part]
    if unused:
        print(f"{where}: 使わない列: {'、'.join(unused)}")
    return parts


def read_cells(where, titles, parts, cells):
    """表の 1 行 cells を SourceRow にする。titles は列ごとの見出し、parts は HEADERS の名前。"""
    # 文中の , でセルが分かれると、列がずれる
    extra = cells[len(titles):]
    if any(map(str.strip, extra)):
        fail(f"{where}: セルが見出しより {len(extra)} 個多くあります。"
             '文中に , があるセルは " で囲んでください (見出しが足りなければ、足してください)。')
    # 短い行の足りないセルは、空
    texts = [*map(one_line, cells), *[""] * len(titles)]
    columns = list(zip(titles, parts, texts))
    for title, part, text in columns:
        if part in ("question", "answer") and not text:
            fail(f"{where}: 「{title}」の列が空です。行ごと消すか、書いてください。")
        # 結合した「誤答」の続きか、見出しを忘れた分野か、分からない
        if text and not title:
            fail(f"{where}: 見出しのない列に「{text}」があります。見出し (誤答2、分野など) を"
                 "書いてください (結合したセルは、結合を解いて)。")

    # 項目ごとの中身。誤答はいくつもある
    found = {part: text for _, part, text in columns}
    answer = found["answer"]
    wrong = [text for _, part, text in columns if part == "wrong" and text]
    row = SourceRow(
        where,
        found["question"],
        answer,
        (answer, *wrong),
        found.get("qid"),
        found.get("genre", ""),
    )

    # 見出し、同じ選択肢、表計算が壊したセルを、問題にしない
    check_words(row, texts)
    for title, part, text in columns:
        if part == "wrong" and normalize(text) == normalize(answer):
            fail(f"{where}: 「{title}」の列に、正解と同じ「{answer}」があります。"
                 "別の誤答にしてください。")
        if part and ERROR.fullmatch(text):
            check_error(row, title, text)
    check_dates(row)
    return row


def check_words(row, texts):
    """texts (1 行のセル) が 2 つ目の見出しの行なら、そう言って終わる。

    英単語の問題 (問題が「question」で正解が「質問」) は、見出しではない。
    """
    parts = list(map(part_of, filter(None, texts)))
    # 列の順が違う見出しなら、どのセルも見出しの言葉
    whole = "" not in parts and parts.count("question") == parts.count("answer") == 1
    same_order = part_of(row.question) == "question" and part_of(row.answer) == "answer"
    if whole or same_order:
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
