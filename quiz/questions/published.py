"""選択肢の順が公開されている問題。順はそのままにし、正解は番号か記号で分かる。

JCommonsenseQA: {"q_id": 7, "question": "...", "choice0": "駅", "choice1": "港", ..., "label": 0}
JamC-QA:        {"qid": "...", "category": "文化", "question": "...", "choice0": ...,
                 "answer_index": 0}
abc (4 択):     {"qid": "...", "question": "...", "choice_1": ..., "choice_4": ..., "answer": 1}
CommonsenseQA:  {"id": "...", "question": "...",
                 "choices": {"label": ["A", "B", ...], "text": ["...", ...]}, "answerKey": "A"}
MMLU:           {"question": "...", "subject": "...", "choices": ["...", ...], "answer": 0}
JMMLU (見出しのない CSV): 問題,選択肢,選択肢,選択肢,選択肢,A
"""

import re
from dataclasses import dataclass

from quiz.files import fail
from quiz.questions.source_row import FORMAT, SourceRow, required_text

# JMMLU の、選択肢ごとの記号
LETTERS = list("ABCD")
# 選択肢が 1 つずつの項目にある形: 項目の名前の番号の前、初めの番号、正解の項目
NUMBERED = (
    ("choice", 0, ("label", "answer_index")),
    ("choice_", 1, ("answer",)),
)


@dataclass(frozen=True)
class Listed:
    """並んだ選択肢と、正解の書き方。"""

    names: list[str]  # 選択肢ごとの、項目の名前
    texts: list  # 選択肢
    marks: list[str]  # 正解の項目に書かれる、選択肢ごとの番号か記号
    answer: str  # 正解の項目の名前


def listed_choices(record):
    """記録 (dict) にある選択肢を Listed で返す。上のどの形でもなければ None。"""
    # すべての選択肢が 1 つの項目にあり、正解は番号か、label の記号
    choices = record.get("choices")
    if isinstance(choices, list):
        n = len(choices)
        return Listed(["choices"] * n, choices, numbers(0, n), "answer")
    if isinstance(choices, dict):
        texts = choices.get("text")
        marks = choices.get("label")
        both = isinstance(texts, list) and isinstance(marks, list)
        if both and len(texts) == len(marks):
            n = len(texts)
            return Listed(["choices"] * n, texts, list(map(str, marks)), "answerKey")

    # 間の番号が抜けていれば、その値は None になる
    for prefix, first, answers in NUMBERED:
        name = re.compile(rf"{prefix}(?:0|[1-9]\d*)")
        n = len(list(filter(name.fullmatch, record)))
        if n:
            marks = numbers(first, n)
            names = [f"{prefix}{mark}" for mark in marks]
            texts = list(map(record.get, names))
            answer = named(record, answers) or answers[0]
            return Listed(names, texts, marks, answer)


def numbers(first, n):
    """first からの n 個の番号の文字列。"""
    return [str(k) for k in range(first, first + n)]


def named(record, names):
    """names のうち、記録にある初めの名前。なければ None。"""
    return next(filter(record.__contains__, names), None)


def from_published(where, record):
    """公開の問題集の 1 問。上のどの形でもなければ None。"""
    listed = listed_choices(record)
    if listed is None:
        return None
    # どの選択肢も、空でない文字列か
    choices = []
    for name, text in zip(listed.names, listed.texts):
        choices.append(required_text(where, name, text))

    # 正解は番号か記号。true や 1.0 は、書き間違いとみなす
    answer = str(record.get(listed.answer)).strip()
    if listed.marks.count(answer) != 1:
        marks = " から ".join(listed.marks[:1] + listed.marks[-1:])
        fail(f"{where}: {listed.answer} が、{marks} のどれでもありません "
             f"(今は {answer[:20]})。{FORMAT}")
    label = listed.marks.index(answer)
    question = required_text(where, "question", record.get("question"))
    qid = record.get(named(record, ("qid", "q_id", "id")))
    genre = record.get(named(record, ("genre", "category", "subject")))
    return SourceRow(where, question, choices[label], tuple(choices), qid, genre, label)
