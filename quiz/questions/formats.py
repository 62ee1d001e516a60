"""問題のファイルを 1 問ずつ SourceRow に読む。どの形かは、名前ではなく中身で見分ける。

クイズ王 (JAQKET v1) の JSON:
    {"qid": "...", "question": "...", "answer_entity": "正解", "answer_candidates": ["正解", ...]}
JCommonsenseQA の JSON (選択肢の順が公開されている):
    {"q_id": 7, "question": "...", "choice0": "駅", "choice1": "港", ..., "label": 0}
表計算の CSV と TSV: quiz/questions/sheet.py
"""

import re
from pathlib import Path

from quiz.files import fail, read_records, read_text
from quiz.questions.characters import one_line
from quiz.questions.converted import SOURCE, kind_of
from quiz.questions.sheet import read_sheet, sheet_text
from quiz.questions.source_row import FORMAT, SourceRow, required_text

# クイズ王の問題文の、穴埋めの印。英数字に挟まれた _ (read_csv など) は、問題の文字なので残す
GAP = re.compile(r"(?<![0-9A-Za-z])_+|_+(?![0-9A-Za-z])")
CHOICE = re.compile(r"choice(?:0|[1-9]\d*)")


def read_rows(paths):
    """どのファイルの問題も、順に SourceRow で返す。読めないものは、その場所を言って終わる。"""
    for path in paths:
        try:
            raw = Path(path).read_bytes()
        except FileNotFoundError:
            fail(f"{path} を読めません (そこにありません。今いるフォルダは {Path.cwd()})。"
                 f"README.md のあるフォルダで打つか、ファイルの場所を確かめてください。{FORMAT}")
        except OSError:
            read_text(path, FORMAT)  # フォルダなど。わけを言って終わる
        # 表計算か、JSON か
        text = sheet_text(path, raw)
        if text is None:
            yield from read_json(path)
        else:
            yield from read_sheet(path, text)


def read_json(path):
    """JSON の問題を、順に返す。"""
    for line, record in read_records(path, FORMAT):
        where = f"{path}:{line}"
        kind = kind_of(record)
        if kind not in (None, SOURCE):
            fail(f"{where}: {kind}のファイルです。変換する前の問題を指定してください "
                 "(例: data/train_questions.json)。")
        # どちらの形かは、項目の名前で分かる
        if any(map(CHOICE.fullmatch, record)):
            yield from_jcommonsenseqa(where, record)
        else:
            yield from_quiz_king(where, record)


def from_quiz_king(where, record):
    """クイズ王の 1 問。"""
    # 文字列でないものや空のものは、その項目を言って終わる
    question = GAP.sub("", required_text(where, record, "question"))
    answer = required_text(where, record, "answer_entity")

    key = "answer_candidates"
    candidates = record.get(key)
    if not isinstance(candidates, list):
        fail(f"{where}: 文字列の配列 {key} がありません。{FORMAT}")
    texts = [required_text(where, {key: candidate}, key) for candidate in candidates]

    return SourceRow(
        where,
        # 印だけの問題文は、空になる
        required_text(where, {"question": question}, "question"),
        answer,
        tuple(texts),
        record.get("qid"),
        one_line(str(record.get("genre"))),
    )


def from_jcommonsenseqa(where, record):
    """JCommonsenseQA の 1 問。選択肢の順はそのまま。"""
    # choice0 から始めて、間が抜けていれば、その名前を言って終わる
    n_choices = len(list(filter(CHOICE.fullmatch, record)))
    choices = [required_text(where, record, f"choice{k}") for k in range(n_choices)]

    # 正解は番号。true や 1.0 や "1" は、書き間違いとみなす
    label = record.get("label")
    if type(label) is not int or not 0 <= label < n_choices:
        fail(f"{where}: label が、0 から {n_choices - 1} までの番号ではありません ({label!r})。"
             f"{FORMAT}")
    return SourceRow(
        where,
        required_text(where, record, "question"),
        choices[label],
        tuple(choices),
        record.get("q_id"),
        one_line(str(record.get("genre"))),
        label,
    )
