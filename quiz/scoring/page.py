"""全問を見て回るページ。形は page.html にあり、ここではデータを埋め込むだけ。"""

import json
from pathlib import Path


def page(runs):
    """ページを文字列のリストで返す。問題は 1 度だけ持つ。

    page.html は 25 問ずつ、1 問を 1 枚のカードにして表示し、文字はすべて textContent で入れる。
    """
    def embed(value):  # </script> や <!-- が問題文にあっても、そこで終わりと読まれないようにする
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")

    questions, parts = {}, []
    for run in runs:
        answers = []
        for r in run["records"]:
            question = r["genre"] or "", r["question"], r["lines"], r["correct_answer"], r["label"], r["shown"]
            k = r["answered"] if r["answered"] is not None and r["answered"] < len(r["lines"]) else -1
            output = 0 if k >= 0 and r["output"] == r["lines"][k] else r["output"]  # ほとんどは選択肢のとおりなので、書かない
            said = -1 if r["said"] is None else r["said"]
            answers.append([questions.setdefault(question, len(questions)), int(r["hit"]), r["answered"], said, output, r["probs"]])
        parts.append(embed({"name": run["name"], "answers": answers}))
    head, tail = Path(__file__).with_name("page.html").read_text(encoding="utf-8").split("DATA")
    return [head, '{"runs":[', ",".join(parts), '],"questions":', embed(list(questions)), "}", tail]
