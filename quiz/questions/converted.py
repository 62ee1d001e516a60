"""手順1と手順2で変換したファイルを、書き、Question に読み戻す。評価のために、選択肢の順や問題文を変える。"""

import json
from dataclasses import replace
from hashlib import sha256
from itertools import islice
from pathlib import Path

from quiz.files import fail, read_records, write_json
from quiz.prompt import read_question

QUIZ = "手順2で作ってください: python convert_eval.py"
# その名前の項目があれば、何のファイルか。初めに当てはまるもの
KINDS = {"answer_entity": "変換する前の問題", "hit": "手順4の結果", "elapsed_time": "手順4の結果",
         "instruction": "手順1か手順2で変換した問題"}


def kind_of(record):
    """記録が、どの手順のファイルのものか。分からなければ None。"""
    return next((kind for key, kind in KINDS.items() if key in record), None)


def read_converted(path, todo):
    """train-5-inst.json か quiz.json の問題を、順に Question で返す。書式が違えば、todo (次にすること) を言って終わる。"""
    for line, record in read_records(path, todo):
        if kind_of(record) in ("変換する前の問題", "手順4の結果"):  # 手順4の結果の output は、正解ではなくモデルの回答
            fail(f"{path}:{line}: {kind_of(record)}のファイルです。{todo}")
        try:
            yield read_question(record)
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            fail(f"{path}:{line}: {f'{e} がありません' if isinstance(e, KeyError) else e}。{todo}")


def write_converted(path, records):
    """records を書く。もうあるファイルは、同じ手順で作ったものだけを書き換える (元の問題や設定を壊さないように)。"""
    try:
        before = json.loads(Path(path).read_text(encoding="utf-8"))[0].keys() if Path(path).is_file() else records[0].keys()
    except (ValueError, LookupError, TypeError, AttributeError, OSError):
        before = ()
    if [key in before for key in ("input", "hit")] != ["input" in records[0], False] or "instruction" not in before:
        fail(f"{path} は、この手順で作ったファイルではないので、書き換えません。-o で別の名前にするか、要らなければ消してください。")
    write_json(path, records)


def read_quiz(paths, max_questions=None):
    """quiz.json を読み、Question のリストを返す。input のない、学習用の書式の記録でもよい。"""
    def todo(path):
        return QUIZ if str(path) == "quiz.json" else f"手順2で作ってください: python convert_eval.py 元の問題 -o {path}"

    questions = list(islice((q for path in paths for q in read_converted(path, todo(path))), max_questions))
    if not questions:
        fail(f"{' '.join(map(str, paths))}: 問題が 1 問もありません。{QUIZ}")
    return questions


def rotate(questions):
    """どの問題も、選択肢を 1 つずつずらした N 通りにする。extra の rotation は、いくつずらしたか。"""
    return [replace(q, choices=q.choices[r:] + q.choices[:r], label=(q.label - r) % len(q.choices), extra=q.extra | {"rotation": r})
            for q in questions for r in range(len(q.choices))]


def blank(questions):
    """問題文を空にする。これでも当てずっぽうより当たるなら、選択肢の作りが答えを教えている。"""
    return [replace(q, text="") for q in questions]


def spread_out(questions, n):
    """questions から、先頭に偏らないように、等間隔に n 問を選ぶ (n 問より少なければ、すべて)。"""
    n = min(n, len(questions))
    return [questions[i * len(questions) // n] for i in range(n)]


def questions_digest(questions):
    """問うこと (プロンプトと正解) の並びの印。"""
    asked = [(q.prompt, q.answer) for q in questions]
    return sha256(repr(asked).encode()).hexdigest()[:16]
