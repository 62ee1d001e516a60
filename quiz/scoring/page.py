"""全問を見て回るページ。形は page.html にあり、ここではデータを埋め込むだけ。"""

import json
from pathlib import Path

HTML = Path(__file__).with_name("page.html")


def page(results):
    """Result のリストから、ページを文字列で返す。

    page.html は 25 問ずつ、1 問を 1 枚のカードにして表示し、文字はすべて textContent で入れる。
    """
    # 問題は 1 度だけ持ち、答えからは番号で指す
    questions = {}
    runs = []
    for result in results:
        answers = []
        for a in result.answers:
            question = (a.genre, a.question, a.lines, a.correct, a.label, a.shown)
            q = questions.setdefault(question, len(questions))
            answers.append([q, int(a.hit), a.answered, a.said, a.output, a.probs])
        runs.append({"name": result.name, "answers": answers})
    data = {"runs": runs, "questions": list(questions)}
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))

    # </script> や <!-- が問題文にあっても、そこで終わりと読まれないようにする
    return HTML.read_text(encoding="utf-8").replace("DATA", text.replace("<", "\\u003c"))
