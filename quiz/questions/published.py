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
from quiz.questions.source_row import FORMAT, SourceRow, is_given, required_text

# JMMLU の、選択肢ごとの記号
LETTERS = list("ABCD")
# 選択肢が 1 つずつの項目にある形: その名前 ({} が番号)、初めの番号、正解の項目
NUMBERED = (
    ("choice{}", 0, ["label", "answer_index"]),
    ("choice_{}", 1, ["answer"]),
)
# 正解の項目の、どれかの形での名前
ANSWERS = ["label", "answer_index", "answer", "answerKey"]


@dataclass(frozen=True)
class Listed:
    """並んだ選択肢と、正解の書き方。"""

    name: str  # 選択肢の項目の名前 ({} があれば marks の 1 つ)
    texts: list  # 選択肢
    marks: list[str]  # 正解の項目に書かれる、選択肢ごとの番号か記号
    answers: list[str]  # 正解の項目の名前。値のある初めのもの


def listed_choices(record):
    """記録 (dict) にある選択肢を Listed で返す。上のどの形でもなければ None。"""
    # すべての選択肢が 1 つの項目にあり、正解は番号か、label の記号
    choices = record.get("choices")
    if isinstance(choices, list):
        return Listed("choices", choices, numbers(0, len(choices)), ["answer"])
    if isinstance(choices, dict):
        texts = choices.get("text")
        marks = choices.get("label")
        both = isinstance(texts, list) and isinstance(marks, list)
        if both and len(texts) == len(marks):
            return Listed("choices", texts, list(map(str, marks)), ["answerKey"])

    for name, first, answers in NUMBERED:
        pattern = re.compile(name.format(r"(0|[1-9]\d*)"))
        found = list(filter(pattern.fullmatch, record))
        if found:
            marks = numbers(first, len(found))
            # 間の番号が抜けていれば、その値は None になる
            texts = [record.get(name.format(mark)) for mark in marks]
            return Listed(name, texts, marks, answers)


def numbers(first, n):
    """first からの n 個の番号の文字列。"""
    return [str(k) for k in range(first, first + n)]


def named(record, names):
    """names のうち、記録に値のある初めの名前。どれにもなければ、names の初め。"""
    for name in names:
        if is_given(record.get(name)):
            return name
    return names[0]


def from_published(where, record):
    """公開の問題集の 1 問。上のどの形でもなければ None。"""
    listed = listed_choices(record)
    if listed is None:
        return None
    # どの選択肢も、空でない文字列か
    choices = []
    for mark, text in zip(listed.marks, listed.texts):
        choices.append(required_text(where, listed.name.format(mark), text))

    label = read_answer(where, record, listed)
    question = required_text(where, "question", record.get("question"))
    qid = named(record, ["qid", "q_id", "id"])
    genre = named(record, ["genre", "category", "subject"])
    return SourceRow(
        where,
        question,
        choices[label],
        tuple(choices),
        record.get(qid),
        record.get(genre),
        label,
    )


def read_answer(where, record, listed):
    """正解の番号 (0 から)。読めないか、正解の項目どうしが食い違えば、その場所を言って終わる。"""
    # 正解は番号か記号。true や 1.0 は、書き間違いとみなす
    name = named(record, listed.answers)
    answer = str(record.get(name)).strip()
    if listed.marks.count(answer) != 1:
        marks = " から ".join(listed.marks[:1] + listed.marks[-1:])
        fail(f"{where}: {name} が、{marks} のどれでもありません (今は {answer[:20]})。{FORMAT}")
    label = listed.marks.index(answer)

    # ほかの正解の項目は、0 からの番号か、A からの記号か、選択肢の文字
    same = [str(label), chr(ord("A") + label), listed.texts[label].strip()]
    for other in ANSWERS:
        value = str(record.get(other)).strip()
        if other != name and is_given(value) and value not in same:
            fail(f"{where}: {name} の {answer} と、{other} の {value[:20]} は、別の選択肢です。"
                 "正しいほうだけを残してください。")
    return label
