"""問題のファイルを 1 行ずつ読む: クイズ王の JSON、JCommonsenseQA の JSON、表計算の CSV と TSV。どれかは、中身で見分ける。

どの形も、クイズ王と同じ項目の dict にする:
    {"question": "問題文", "answer_entity": "正解", "answer_candidates": [正解と誤答], "qid": "...", "genre": "分野"}
JCommonsenseQA は選択肢の順が公開されているので、"choices" (その順) と "label" (正解の番号) も付ける。
"""

import csv
import io
import re
import unicodedata
from contextlib import suppress
from pathlib import Path

from quiz.files import fail, read_records

FORMAT = "クイズ王の形式と入手方法は data/README.md、自分の問題の形は docs/own_questions.md へ。"
# 見出しの名前 (全角と半角、大文字と小文字、空白の違いは問わない) と、その項目
HEADERS = {"問題": "question", "問題文": "question", "question": "question", "正解": "answer_entity", "answer": "answer_entity",
           "分野": "genre", "ジャンル": "genre", "genre": "genre", "qid": "qid"}
WRONG = re.compile(r"(誤答|wrong|不正解)\d*")
DATE = re.compile(r"\d{4}[/-]\d{1,2}[/-]\d{1,2}|\d{1,2}月\d{1,2}日|\d{1,2}-[A-Z][a-z]{2}")
ERROR = re.compile(r"#[A-Z/0]+[!?]|#N/A|#{4,}")  # 表計算のエラー
CHOICE = re.compile(r"choice(\d)")


def one_line(text):
    """改行やタブを空白 1 つにし、前後の空白を除く。ほかの文字は変えない (プロンプトは 1 行に 1 つの選択肢なので)。"""
    return re.sub(r"[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]+", " ", text).strip()


def normalize(text):
    """全角と半角、空白の違いを除いた、比べるための文字列。「？」と「?」は同じ。"""
    return "".join(unicodedata.normalize("NFKC", text).split())


def name_of(header):
    """見出しの名前を、比べるための形にする (大文字と小文字の違いも除く)。"""
    return normalize(header).lower()


def read_rows(path):
    """(場所, row) を順に返す。場所は「ファイル:行」。読めない形なら、その場所を言って終わる。"""
    text = sheet_text(path)
    if text is not None:
        yield from read_sheet(path, text)
        return
    if Path(path).suffix.lower() in (".csv", ".tsv", ".xlsx", ".xls") and Path(path).is_file():
        fail(f"{path}:1: 1 行目に見出し (問題、正解、誤答1、...) がある CSV か TSV ではありません。{FORMAT}")
    for line, record in read_records(path, FORMAT):
        yield f"{path}:{line}", from_jcommonsenseqa(f"{path}:{line}", record) if "choice0" in record else from_quiz_king(record)


def from_quiz_king(record):
    """クイズ王の 1 問。問題文の _ は穴埋めの印なので除く。英数字に挟まれた _ (read_csv など) は、問題の文字なので残す。"""
    if not isinstance(record.get("question"), str):
        return record
    return record | {"question": re.sub(r"(?<![0-9A-Za-z])_+|_+(?![0-9A-Za-z])", "", record["question"])}


def from_jcommonsenseqa(where, record):
    """JCommonsenseQA の 1 問 (q_id, question, choice0, choice1, ..., label)。選択肢の順はそのまま。"""
    choices = [record[key] for key in sorted(filter(CHOICE.fullmatch, record))]
    label = record.get("label")
    if not isinstance(label, int) or isinstance(label, bool) or not 0 <= label < len(choices):
        fail(f"{where}: label が、0 から {len(choices) - 1} までの番号ではありません ({label!r})。{FORMAT}")
    row = {"question": record.get("question"), "answer_entity": choices[label], "answer_candidates": choices,
           "choices": choices, "label": label}
    return row | ({"qid": record["q_id"]} if "q_id" in record else {})


def sheet_text(path):
    """表計算の CSV か TSV なら、その文字列。ほかの形なら None。Excel の CP932 も読む。"""
    with suppress(OSError):
        raw = Path(path).read_bytes()
        for encoding in ("utf-8-sig", "cp932"):
            with suppress(UnicodeDecodeError):
                text = raw.decode(encoding)
                first = re.split(r"[\r\n]", text.lstrip())[0]
                names = [name_of(cell.strip('"')) for cell in re.split(r"[,\t;]", first)]
                return text if {"問題", "問題文", "question", "正解", "answer"} & set(names) else None
    return None


def read_sheet(path, text):
    """CSV か TSV の行。見出しは 問題、正解、誤答1、誤答2、...、分野 (英語なら question, answer, wrong1, ..., genre)。"""
    first = re.split(r"[\r\n]", text.lstrip())[0]
    delimiter = next((mark for mark in "\t,;" if mark in first), ",")
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header, where = None, f"{path}:1"
    try:
        for cells in rows:
            where = f"{path}:{rows.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = read_header(where, cells)
            else:
                yield where, from_cells(where, header, cells)
    except csv.Error as e:
        fail(f'{where} の次の行から: 表として読めません。" で始めたセルが閉じているか確かめてください ({e})。')
    if header is None:
        fail(f"{path}:1: 見出しの行がありません。{FORMAT}")


def read_header(where, cells):
    """列ごとの (見出し, 項目の名前か wrong か None) のリスト。"""
    header = [(cell.strip(), HEADERS.get(name_of(cell)) or ("wrong" if WRONG.fullmatch(name_of(cell)) else None)) for cell in cells]
    keys = [key for _, key in header]
    for key, name in (("question", "問題"), ("answer_entity", "正解"), ("wrong", "誤答1")):
        if key not in keys:
            fail(f"{where}: 見出しに {name} の列がありません ({'、'.join(title for title, _ in header)})。{FORMAT}")
    twice = [title for title, key in header if key and key != "wrong" and keys.count(key) > 1]
    if twice:
        fail(f"{where}: 見出しの {'、'.join(twice)} が同じ列を 2 度言っています。1 つにしてください。")
    unused = [title for title, key in header if title and not key]
    if unused:
        print(f"{where}: 使わない列: {'、'.join(unused)}")
    return header


def from_cells(where, header, cells):
    """表の 1 行。間違いは、行と列を言って終わる。"""
    if any(cell.strip() for cell in cells[len(header):]):
        fail(f'{where}: セルが見出しより {len(cells) - len(header)} 個多くあります。文中に , があるセルは " で囲んでください。')
    row, wrong = {}, []
    for (title, key), cell in zip(header, [*cells, *[""] * (len(header) - len(cells))]):
        value = one_line(cell)
        if ERROR.fullmatch(value):
            fail(f"{where}: 「{title}」の列が、表計算のエラー ({value}) です。元の表を直してください。")
        if key in ("question", "answer_entity") and not value:
            fail(f"{where}: 「{title}」の列が空です。行ごと消すか、書いてください。")
        if key == "question" and name_of(value) in HEADERS:
            fail(f"{where}: 見出しの行が 2 つあります。1 つにしてください。")
        if key == "wrong" and value:
            wrong.append((title, value))
        elif key and key != "wrong" and value:
            row[key] = value
    same = [title for title, value in wrong if name_of(value) == name_of(row["answer_entity"])]
    if same:
        fail(f"{where}: 「{same[0]}」の列に、正解と同じ「{row['answer_entity']}」があります。別の誤答にしてください。")
    values = [row["answer_entity"], *(value for _, value in wrong)]
    dates = [value for value in values if DATE.fullmatch(value)]
    if 0 < len(dates) < len(values):
        fail(f"{where}: 「{dates[0]}」だけが日付です。表計算に直されていないか確かめ、セルの書式を文字列にしてください。")
    return row | {"answer_candidates": values}
