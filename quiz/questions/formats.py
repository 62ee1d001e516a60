"""問題のファイルを 1 問ずつ SourceRow に読む。どの形かは、名前ではなく中身で見分ける。

クイズ王 (JAQKET v1) の JSON:
    {"qid": "...", "question": "...", "answer_entity": "正解", "answer_candidates": ["正解", ...]}
JCommonsenseQA の JSON (選択肢の順が公開されている):
    {"q_id": 7, "question": "...", "choice0": "駅", "choice1": "港", ..., "label": 0}
表計算の CSV と TSV: quiz/questions/sheet.py
"""

import re
from pathlib import Path

from quiz.files import fail, read_records, reason
from quiz.questions.characters import one_line
from quiz.questions.converted import SOURCE, kind_of
from quiz.questions.sheet import read_sheet, sheet_text
from quiz.questions.source_row import FORMAT, SourceRow

# クイズ王の問題文の、穴埋めの印。英数字に挟まれた _ (read_csv など) は、問題の文字なので残す
GAP = r"(?<![0-9A-Za-z])_+|_+(?![0-9A-Za-z])"
CHOICE = re.compile(r"choice(?:0|[1-9]\d*)")


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
        # どちらの形かは、項目の名前で分かる
        n_choices = len(list(filter(CHOICE.fullmatch, record)))
        if n_choices:
            yield from_jcommonsenseqa(where, record, n_choices)
        else:
            yield from_quiz_king(where, record)


def required_text(where, key, text):
    """key の値 text を 1 行にして返す。空でない文字列でなければ、その場所を言って終わる。"""
    # 数の 0 も、文字列ではない
    if not isinstance(text, str) or not text.strip():
        fail(f"{where}: {key} に、空でない文字列がありません (今は {str(text)[:20]}。"
             f'数や null も " で囲みます)。{FORMAT}')
    return one_line(text)


def from_quiz_king(where, record):
    """クイズ王の 1 問。"""
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


def from_jcommonsenseqa(where, record, n_choices):
    """JCommonsenseQA の 1 問。選択肢の順はそのまま。"""
    # choice0 から始めて、間が抜けていれば、その名前を言って終わる
    keys = [f"choice{k}" for k in range(n_choices)]
    choices = [required_text(where, key, record.get(key)) for key in keys]

    # 正解は番号。true や 1.0 は、書き間違いとみなす
    key = f"choice{record.get('label')}"
    if key not in keys:
        fail(f"{where}: label が、0 から {n_choices - 1} までの番号ではありません。{FORMAT}")
    label = keys.index(key)
    return SourceRow(
        where,
        required_text(where, "question", record.get("question")),
        choices[label],
        tuple(choices),
        record.get("q_id"),
        record.get("genre"),
        label,
    )
