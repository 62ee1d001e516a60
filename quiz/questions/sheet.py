"""表計算の CSV と TSV の問題を読む。1 行目が見出しで、列の順は問わない。

    問題,正解,誤答1,誤答2,誤答3,分野
    日本一高い山は?,富士山,北岳,槍ヶ岳,立山,地理

誤答はいくつでもよく、分野と qid はなくてもよい (英語なら question,answer,wrong1,...,genre)。
見出しが choice_1 や choice0 の表 (abc など) と、見出しのない JMMLU の CSV は、
quiz/questions/published.py の形として読む。
"""

import csv
import io
import re
from collections import defaultdict
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path

from quiz.files import fail
from quiz.questions.characters import loosely, one_line
from quiz.questions.published import LETTERS, from_published, listed_choices
from quiz.questions.source_row import FORMAT, SourceRow
from quiz.questions.suspicious import ADVICE, DAMAGED, ODDITIES, notice

# 列の種類と、その見出し (全角と半角、大文字と小文字、空白の違いは問わない)
HEADERS = (
    "(?P<問題>問題|問題文|question)"
    "|(?P<正解>正解|正答|答え|answer)"
    r"|(?P<誤答>(?:誤答|不正解|wrong)\d*)"
    "|(?P<分野>分野|ジャンル|genre)"
    "|(?P<qid>qid)"
    # 見出しのない列。pandas は Unnamed: 3 のような名前を付ける
    r"|(?:unnamed[1-9]\d*)?"
)
SWALLOWED = '1 つのセルに、何行もの表が入っています。" が閉じているか確かめてください。'
# 見出しのない JMMLU の 1 行: 6 列で、終わりが正解の記号
LETTERED = r"(?m),(?:[^,\n]*,){4}[A-D]\s*$"


def part_of(title):
    """見出しが title の列の種類 (HEADERS の名前)。見出しがなければ None、使わない列なら ""。"""
    match = re.fullmatch(HEADERS, loosely(title))
    return match.lastgroup if match else ""


def sheet_text(path, raw):
    """path の中身 raw (bytes) が表計算の CSV か TSV なら、その文字列。ほかの形なら None。

    文字コードは UTF-8 か、Excel の CP932。行によって違えば、その行を言って終わる。
    """
    # 文字コード → 初めて出た行。英数字だけの行は、どの文字コードでも同じ
    found = {}
    for number, line in enumerate(raw.splitlines(), 1):
        if not line.isascii():
            found.setdefault(encoding_of(line), number)
    text = raw.decode(next(iter(found), "ascii"), "replace")
    # BOM のあるファイルを cat でつなぐと、途中の行の初めにも BOM がある
    text = re.sub(r"(?m)^\ufeff+", "", text)

    # JSON か HTML か、空のファイルか、UTF-16 や Excel のまま (NUL がある)
    header = first_line(text)
    if re.match(r"[\[{<]|$", header) or b"\0" in raw:
        return None
    if len(found) > 1 or "latin-1" in found:
        fail(f"{path}:{found.get('latin-1', max(found.values()))}: 文字として読めません "
             "(途中で切れているか、文字コードの違う行が混ざっています)。"
             "元の表から書き出し直してください。")
    if not has_titles(text) and not re.search(LETTERED, text):
        fail(f"{path}:1: JSON でも、1 行目に見出しがある CSV か TSV でもありません。{ADVICE}")
    return text


def encoding_of(line):
    """1 行 (bytes) の文字コード。UTF-8 でも CP932 でもなければ latin-1 (どんな bytes も読める)。"""
    for encoding in ("utf-8", "cp932"):
        with suppress(UnicodeDecodeError):
            line.decode(encoding)
            return encoding
    return "latin-1"


def first_line(text):
    """空でない最初の行。"""
    return re.match(r"\s*([^\r\n]*)", text)[1]


def has_titles(text):
    """最初の行に、見出しの言葉があるか。"""
    return any(map(part_of, re.split(r'[,\t;"]', first_line(text))))


def read_sheet(path, text):
    """表の問題を SourceRow のリストで返す。間違いは、行を言って終わる。"""
    if not has_titles(text):
        lines = read_lines(path, text, ",")
        rows = [read_lettered(place, cells) for place, cells in lines]
        notice(rows, [DAMAGED])
        return rows

    # 区切りは、見出しの行にいちばん多い記号
    delimiter = max(",\t;", key=first_line(text).count)
    lines = read_lines(path, text, delimiter)
    where, header = lines[0]
    for place, cells in lines:
        check_swallowed(place, cells, delimiter, len(header) - 1)
    titles = list(map(one_line, header))
    if listed_choices(dict.fromkeys(titles)):
        rows = [read_titled(place, titles, cells) for place, cells in lines[1:]]
        notice(rows, [DAMAGED])
        return rows
    parts = read_header(where, header)
    rows = [read_cells(place, parts, cells) for place, cells in lines[1:]]
    notice(rows, ODDITIES)
    return rows


def read_lines(path, text, delimiter):
    """空でない行を、(場所, セルのリスト) のリストで返す。"""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    where = f"{path}:1"
    lines = []
    try:
        for cells in reader:
            where = f"{path}:{reader.line_num}"
            if any(cells):
                lines.append((where, cells))
    except csv.Error as e:
        fail(f'{where} の次の行から: 表として読めません。'
             f'" で始めたセルが閉じているか確かめてください ({e})。')
    return lines


def read_lettered(where, cells):
    """見出しのない JMMLU の 1 行。分野は、ファイルの名前 (科目)。"""
    if len(cells) != 6:
        fail(f"{where}: 問題、選択肢 4 つ、A から D の 6 列ではありません "
             f"(今は {len(cells)} 列)。文中に , があるセルは \" で囲みます。")
    question, *texts, answer = cells
    # 閉じていない " が、次の行を 1 つのセルにしていないか
    if any(re.search(LETTERED, cell) for cell in cells):
        fail(f'{where}: {SWALLOWED}')
    subject = Path(where.rpartition(":")[0]).stem
    choices = {"label": LETTERS, "text": texts}
    return from_published(where, {
        "question": question, "choices": choices, "answerKey": answer, "subject": subject})


def read_titled(where, titles, cells):
    """見出しが公開の問題集の項目の名前の、1 行。"""
    record = dict(zip(titles, cells))
    if not len(titles) == len(cells) == len(record):
        fail(f"{where}: 列の数 {len(cells)} が見出しの数 {len(titles)} と違うか、"
             f"同じ見出しが 2 つあります。{FORMAT}")
    return from_published(where, record)


def check_swallowed(where, cells, delimiter, n_delimiters):
    """閉じていない " が、次の " までの何行かを 1 つのセルにしていれば、そう言って終わる。"""
    for cell in cells:
        # セルの中の 2 行目からが、見出しと同じ数の区切りを持つ、表の行の形
        swallowed = [line.count(delimiter) for line in cell.splitlines()[1:]]
        if n_delimiters and n_delimiters in swallowed:
            fail(f"{where}: {SWALLOWED}")


def read_header(where, header):
    """列ごとの種類のリスト。要る列がなければ、そう言って終わる。"""
    parts = list(map(part_of, header))
    if parts.count("問題") != 1 or parts.count("正解") != 1 or "誤答" not in parts:
        fail(f"{where}: 見出しには、問題と正解の列が 1 つずつと、誤答の列が要ります "
             f"(今は {'、'.join(header)})。{ADVICE}")
    # 見出しのない 1 列目は、pandas の書いた行の番号
    parts[0] = parts[0] or ""
    # 書いたのに使わない列は、書き間違いかもしれない
    unused = [title or "見出しのない 1 列目" for title, part in zip(header, parts) if part == ""]
    if unused:
        print(f"{where}: 使わない列: {'、'.join(unused)}")
    return parts


def read_cells(where, parts, cells):
    """表の 1 行 cells を SourceRow にする。parts は列ごとの種類。"""
    # 書いた人が改行で並べた誤答は、この後では分からなくなる
    wrong = [cell.strip() for part, cell in zip(parts, cells) if part == "誤答" and cell.strip()]
    if len(wrong) == 1 and len(wrong[0].splitlines()) > 1:
        fail(f"{where}: 1 つのセルに、いくつもの誤答があるようです。{ADVICE}")

    # 列の種類 → 空でないセル。見出しより右のセルも、見出しのない列 (None)
    found = defaultdict(list)
    for part, text in zip_longest(parts, map(one_line, cells)):
        if text:
            found[part].append(text)
    # 文中の , でずれたか、結合した「誤答」の続きか、見出しを忘れた分野か、分からない
    if found[None]:
        fail(f"{where}: 見出しのない列に「{found[None][0]}」があります。文中に , があるセルは "
             '" で囲み、見出し (誤答2、分野など) が足りなければ書いてください。')
    for part in ("問題", "正解"):
        if not found[part]:
            fail(f"{where}: 「{part}」の列が空です。行ごと消すか、書いてください。")

    row = SourceRow(
        where,
        found["問題"][0],
        found["正解"][0],
        (*found["正解"], *found["誤答"]),
        " ".join(found["qid"]),
        " ".join(found["分野"]),
    )
    check_header_again(row)
    return row


def check_header_again(row):
    """2 つ目の見出しの行 (表をつなぐとできる) なら、そう言って終わる。

    英単語の問題 (問題が「question」で正解が「質問」) は、見出しではない。
    """
    parts = list(map(part_of, [row.question, *row.candidates, row.genre]))
    # 列の順が違う見出しなら、どのセルも見出しの言葉
    whole = "" not in parts and parts.count("問題") == parts.count("正解") == 1
    if whole or parts[:2] == ["問題", "正解"]:
        fail(f"{row.where}: 見出しの行が 2 つあります。1 つにしてください。")
