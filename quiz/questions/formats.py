"""問題のファイルを 1 問ずつ SourceRow に読む。どの形かは、名前ではなく中身で見分ける。

クイズ王 (JAQKET v1) の JSON:
    {"qid": "...", "question": "...", "answer_entity": "正解", "answer_candidates": ["正解", ...]}
選択肢の順が公開されている JSON (JCommonsenseQA など): quiz/questions/published.py
表計算の CSV と TSV: quiz/questions/sheet.py
"""

import re
from pathlib import Path

from quiz.files import fail, read_records, reason
from quiz.questions.converted import SOURCE, kind_of
from quiz.questions.published import from_published
from quiz.questions.sheet import read_sheet, sheet_text
from quiz.questions.source_row import FORMAT, SourceRow, required_text

# クイズ王の問題文の、穴埋めの印。英数字に挟まれた _ (read_csv など) は、問題の文字なので残す
GAP = r"(?<![0-9A-Za-z])_+|_+(?![0-9A-Za-z])"


def read_rows(paths):
    """どのファイルの問題も、順に SourceRow で返す。読めないものは、その場所を言って終わる。"""
    for path in paths:
        try:
            raw = Path(path).read_bytes()
        except OSError as e:
            fail(f"{path} を読めません ({reason(e)}。今いるフォルダは {Path.cwd()})。"
                 f"README.md のあるフォルダで打つか、ファイルの場所を確かめてください。{FORMAT}")
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
        # どの形かは、項目の名前で分かる
        row = from_published(where, record) or from_quiz_king(where, record)
        if row is None:
            fail(f"{where}: 読める形ではありません (項目は {'、'.join(record)[:80]})。{FORMAT}")
        yield row


def from_quiz_king(where, record):
    """クイズ王の 1 問。その形でなければ None。"""
    if not {"answer_entity", "answer_candidates"} & record.keys():
        return None
    question = required_text(where, "question", record.get("question"))
    answer = required_text(where, "answer_entity", record.get("answer_entity"))

    candidates = record.get("answer_candidates")
    if not isinstance(candidates, list):
        fail(f"{where}: 文字列の配列 answer_candidates がありません。{FORMAT}")
    texts = [required_text(where, "answer_candidates", candidate) for candidate in candidates]

    return SourceRow(
        where,
        # 印だけの問題文は、そのまま
        re.sub(GAP, "", question) or question,
        answer,
        tuple(texts),
        record.get("qid"),
        record.get("genre"),
    )

