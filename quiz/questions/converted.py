"""手順1と手順2で変換したファイルを、書き、Question に読み戻す。評価のために形を変える。"""

import shlex
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from quiz.files import fail, read_records, write_json
from quiz.prompt import Question, read_question
from quiz.questions.characters import normalize

# 何のファイルか
SOURCE = "変換する前の問題"
CONVERTED = "手順1か手順2で変換した問題"
# その名前の項目があれば、何のファイルか。初めに当てはまるもの
KINDS = {"answer_entity": SOURCE, "hit": "手順4の結果", "instruction": CONVERTED}


def kind_of(record):
    """記録 (dict) が、どの手順のファイルのものか。分からなければ None。"""
    for key in KINDS:
        if key in record:
            return KINDS[key]


def write_converted(path, records):
    """変換した records を書く。

    もうあるファイルは、同じ手順で作ったものだけを書き換える (元の問題や設定を壊さないように)。
    """
    todo = (f"{path} は、この手順で作ったファイルではないので、書き換えません。"
            "-o で別の名前にするか、要らなければ消してください。")
    if Path(path).is_file():
        _, before = next(read_records(path, todo), (1, {}))
        # 手順1、手順2、手順4のファイルは、項目の名前が違う。問題によってないのは qid と genre だけ
        if (before.keys() ^ records[0].keys()) - {"qid", "genre"}:
            fail(todo)
    write_json(path, records)


def read_converted(path, todo):
    """train-5-inst.json か quiz.json の問題を、順に Question で返す。

    書式が違えば、todo (次にすること) を言って終わる。
    """
    for line, record in read_records(path, todo):
        kind = kind_of(record)
        # 手順4の結果の output は、正解ではなくモデルの回答
        if kind not in (None, CONVERTED):
            fail(f"{path}:{line}: {kind}のファイルです。{todo}")
        # 項目の抜けも、書式にない文字も、選択肢にない正解も、ここで見つかる
        try:
            question = read_question(record)
        except (LookupError, ValueError, TypeError, AttributeError) as e:
            fail(f"{path}:{line}: 変換した問題として読めません ({e})。{todo}")
        # 手で直したファイルで、空の選択肢や、2 つの正解ができていないか
        if not all(map(str.strip, question.choices)):
            fail(f"{path}:{line}: 空の選択肢があります。{todo}")
        choices = list(map(normalize, question.choices))
        if choices.count(choices[question.label]) > 1:
            fail(f"{path}:{line}: 正解と同じ選択肢があります ({question.answer})。{todo}")
        yield question


def read_quiz(paths, max_questions=None):
    """quiz.json を読み、Question のリストを返す。input のない、学習用の書式の記録でもよい。"""
    questions = []
    for path in paths:
        questions += read_converted(path, remake(path))
    if not questions:
        fail(f"{' '.join(paths)}: 問題が 1 問もありません。{remake(paths[0])}")
    return questions[:max_questions]


def remake(path):
    """手順2で path を作るコマンド。"""
    return ("手順2で作ってください: python convert_eval.py "
            f"(別の問題なら、続けて 元の問題 -o {shlex.quote(str(path))})")


def rotate(questions):
    """どの問題も、選択肢を 1 つずつずらした N 通りにする。

    extra の rotation は、いくつずらしたか (0 から N-1)。
    """
    # ずらすと、どの選択肢も 1 度ずつ、どの番号にも来る
    rotated = []
    for q in questions:
        n = len(q.choices)
        for shift in range(n):
            choices = q.choices[shift:] + q.choices[:shift]
            label = (q.label - shift) % n
            rotated.append(Question(q.text, choices, label, q.extra | {"rotation": shift}))
    return rotated


def blank(questions):
    """問題文を空にする。これでも当てずっぽうより当たるなら、選択肢の作りが答えを教えている。"""
    return [replace(q, text="") for q in questions]


def spread_out(questions, n):
    """questions から、先頭に偏らないように、等間隔に n 問を選ぶ (n 問より少なければ、すべて)。"""
    n = min(n, len(questions))
    return [questions[i * len(questions) // n] for i in range(n)]


def questions_digest(questions):
    """問うこと (プロンプトと正解) の並びの印。16 桁の 16 進数。"""
    asked = [(q.prompt, q.answer) for q in questions]
    return sha256(repr(asked).encode()).hexdigest()[:16]
