"""全問を見て回るページ。形は page.html にあり、ここではデータを埋め込むだけ。"""

import json
from dataclasses import replace
from pathlib import Path

from quiz.scoring.compare import find_base
from quiz.scoring.rows import make_row
from quiz.scoring.text import ends, percent, show

HTML = Path(__file__).with_name("page.html")


def page(results):
    """Result のリストから、ページを文字列で返す。

    page.html は、まとめの表の下に、25 問ずつ、1 問を 1 枚のカードにして表示し、
    文字はすべて textContent で入れる。
    """
    # 問題は 1 度だけ持ち、答えからは番号で指す (同じ文字でも、qid か、何度目かが違えば別)。
    # 行が持つ問題も番号にして、メモリを節約する
    questions = {}
    answers = {}
    for result in results:
        own = []
        row = make_row(result, result.answers)
        for (_, times), answer in row.answers.items():
            question = (*question_of(answer), answer.qid, times)
            q = questions.setdefault(question, len(questions))
            own.append([q, *fields_of(answer)])
        numbers = dict.fromkeys(q for q, *_ in own)
        answers[replace(row, answers=numbers)] = own

    # 点数の高い順に
    runs = []
    rows = sorted(answers, key=lambda row: -row.score)
    for row in rows:
        runs.append(summary(row, rows) | {"answers": answers[row]})
    data = {"runs": runs, "questions": list(questions)}
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))

    # </script> や <!-- が問題文にあっても、そこで終わりと読まれないようにする
    return HTML.read_text(encoding="utf-8").replace("DATA", text.replace("<", "\\u003c"))


def question_of(answer):
    """カードに出す、問題の項目。"""
    return (
        answer.genre,
        answer.question,
        answer.lines,
        answer.correct,
        answer.label,
        answer.shown,
    )


def fields_of(answer):
    """カードに出す、回答の項目。"""
    return (
        int(answer.hit),
        answer.answered,
        answer.said,
        answer.output,
        answer.probs,
    )


def summary(row, rows):
    """まとめの表の 1 行: 名前、学習前の結果の名前 (なければ空)、問題の数の左と右の欄。"""
    # 同じ問題を解いていない学習前の結果とは、比べない
    base = find_base(row, rows)
    compared = base and not row.untrained and base.questions & row.questions
    return {
        "name": row.name,
        "untrained": row.untrained,
        "base": base.name if compared else "",
        "before": [row.name, f"{row.score:.3f} (n={row.n})", show(row.chance)],
        "after": [ends(row.interval), show(row.likelihood, "{:.3f}"), percent(row.unparsed)],
    }
