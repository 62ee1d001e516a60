"""ページ: 本物のブラウザで見えるもの。大きな結果のメモリ。"""

import json
import random
import re
import shutil
import subprocess
import sys
from html import unescape

import pytest
from conftest import ROOT, run, step
from samples import record, solved, write_result

from quiz.prompt import Question, eval_record

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
EVIL = (
    "</script><script>document.title='破られた'</script>"
    "<img src=x onerror=\"document.title='破られた'\">&amp;<!--"
)


def label_of(i):
    """問題 i の回答の番号の部分。10 問に 1 問は読み取れず、3 問に 1 問は正解。"""
    if i % 10 == 1:
        return ""
    return "2: " if i % 3 == 0 else "0: "


def browse(tmp_path, fragment="", script=""):
    """ページを本物の Chromium で開き (script があれば最後に実行し)、
    できあがった DOM の文字列を返す。
    """
    page = tmp_path / "opened.html"
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    page.write_text(
        html.replace("</body></html>", f"<script>{script}</script></body></html>"), encoding="utf-8"
    )
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-sync",
        "--disable-component-update",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    result = subprocess.run(
        [CHROMIUM, *flags, "--dump-dom", f"file://{page}{fragment}"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "<article" in result.stdout or "0 問" in result.stdout, result.stderr[-2000:]
    return result.stdout


def test_questions_of_one_text_are_all_there(tmp_path):
    """同じ文字列を 10 度問うても (--blank-question)、問題は 10 問ある。"""
    for name in ("a", "b"):
        rows = [record(i % 2 == 0) for i in range(10)]
        write_result(tmp_path / f"result-{name}.json", rows, adapter=name, blank_question=True)
    step("analysis", "--html", "page.html", cwd=tmp_path)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r"<script[^>]*data[^>]*>(.*?)</script>", text, re.S)[1])
    asked = [[answer[0] for answer in run["answers"]] for run in data["runs"]]
    assert len(data["questions"]) == 10 and asked == [list(range(10))] * 2


@pytest.mark.skipif(not CHROMIUM, reason="chromium がない (Debian なら apt-get install chromium)")
def test_page(tmp_path):
    """全問が見られ、分野、モデル、正誤で絞れる。問題文の HTML は文字のまま出る。"""
    for name, size in (("a", 120), ("b", 30)):
        write_result(
            tmp_path / f"result-{name}.json",
            [
                {
                    **record(
                        i % 3 == 0 and i % 10 != 1,
                        "雑学" if i % 4 else "学問",
                        output=f"{label_of(i)}{name}{i}番の回答{EVIL}",
                    ),
                    "qid": f"q{i}",
                    "prompt": Question(f"第{i}問{EVIL}", (f"い{EVIL}", "は", "ロ", "に"), 2).prompt,
                }
                for i in range(size)
            ],
        )
    step("analysis", "--html", "page.html", cwd=tmp_path)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert (
        not re.search(r"https?:|//[a-z]|@import|url\(|<link", text) and "default-src 'none'" in text
    )

    dom = browse(tmp_path, "#run=")
    assert (
        "120 問中 1 から 25" in dom
        and dom.count("<article") == 25
        and "<title>クイズの結果</title>" in dom
    )
    body = dom[dom.index("<main") : dom.index("</main>")]
    assert (
        "<img" not in body
        and "<script" not in body
        and f"第0問{EVIL}" in unescape(body)
        and f"0: い{EVIL}" in unescape(body)
    )
    card = unescape(body.split("</article>")[0])
    for part in (
        "○ 正解",
        "result-a",
        "result-b",
        "学問",
        "2: ロ  ← 正解",
        "60.00 %",
        "a0番の回答",
        "b0番の回答",
        "### 回答:",
    ):
        assert part in card, part

    # 3 問に 1 問が正解。ただし、読み取れない回答 (10 問に 1 問) は不正解。
    # 選んだ状態のページは、1 つのブラウザの中で、順に開く
    expected = {
        "run=result-a&hit=miss": 84,
        "run=result-a&hit=unparsed": 12,
        "run=result-b": 30,
        "run=result-b&genre=雑学&hit=hit": 6,
        "run=result-a&hit=hit&other=result-b&other_hit=miss": 0,
        "run=result-a&hit=hit&other=result-b&other_hit=hit": 9,
        "text=a11": 11,
        "text=b29番": 1,
    }
    opened = (
        f"const counts = {list(expected)}.map(hash => "
        "{ location.hash = hash; choose(); return parseInt($('count').textContent); });"
        "add(document.body, 'output', counts.join(' '));"
    )
    shown = browse(tmp_path, script=opened)
    counts = re.search("<output>(.*?)</output>", shown).group(1)
    assert counts == " ".join(map(str, expected.values()))

    # 手で選ぶ
    choose = "$('{0}').value = '{1}'; $('{0}').dispatchEvent(new Event('change'));"
    chosen = choose.format("run", "result-b") + choose.format("genre", "学問")
    assert ">8 問中" in browse(tmp_path, "#run=", script=chosen)
    last = browse(tmp_path, "#run=", script="for (let i = 0; i < 4; i++) $('next').click();")
    assert (
        "120 問中 101 から 120" in last
        and re.search(r'<button id="next" disabled', last)
        and "a119番の回答" in last
    )


@pytest.mark.skipif(not CHROMIUM, reason="chromium がない")
def test_one_card_tells_models_apart(tmp_path):
    """A だけが正解した問題、番号と文字の食い違う回答を選べる。"""
    for name, outs in (("a", ["2", "2", "0"]), ("b", ["0", "2", "2"])):
        write_result(
            tmp_path / f"result-{name}.json",
            [
                {**record(k == "2", output=f"{k}: ロ", text=f"問い{i}?"), "qid": f"q{i}"}
                for i, k in enumerate(outs)
            ],
        )
    step("analysis", "--html", "page.html", cwd=tmp_path)
    dom = browse(tmp_path, "#run=result-a&hit=hit&other=result-b&other_hit=miss")
    assert "1 問中 1 から 1" in dom and "問い0?" in dom
    dom = browse(tmp_path, "#run=result-a&hit=split")
    assert (
        "1 問中 1 から 1" in dom
        and "問い2?" in dom
        and "番号と文字が違う" in dom[dom.index("<main") :]
    )


@pytest.mark.skipif(not CHROMIUM, reason="chromium がない")
def test_opens_on_what_the_training_changed(tmp_path):
    """まとめの表が上にあり、開くと、学習したモデルの間違いだけが並ぶ。"""
    records = solved(tmp_path / "result-base.json", [0, 0, 0, 1], None, key="text")
    for silent in records[:3]:
        silent |= {"output": "", "choice_probs": (0.001, 0.002, 0.006, 0.001)}
    more = {"model": "calm", "quiz": ["quiz.json"]}
    write_result(tmp_path / "result-base.json", records, adapter=None, **more)
    solved(tmp_path / "result.json", [1, 0, 0, 1], key="text")
    # ほかの問題を解いた学習前のモデルとは、比べない
    solved(tmp_path / "result-dev2.json", [0] * 5, key="text", prompt="別の問題")
    step("analysis", "--html", "page.html", cwd=tmp_path)

    dom = browse(tmp_path)
    assert "2 問中 1 から 2" in dom
    table = dom[dom.index('id="summary"') : dom.index("</table>")]
    rows = [re.sub("<.*?>", "|", row) for row in table.split("<tr>")]
    assert "|result|" in rows[2] and "|0.500 (n=4)|" in rows[2] and "|0.25|" in rows[2]
    assert "|result-base|" in rows[3] and "|0.250 (n=4)|" in rows[3] and "|75.0 %|" in rows[3]
    links = re.findall(r'<a href="(#run=result(?:-dev2)?&amp;[^"]*)">(\d)</a>', table)
    assert [int(n) for _, n in links] == [2, 1, 0, 5]

    # 学習で正解になった問題へのリンク。学習前は、何も書けなくても、番号の確率を見せる
    dom = browse(tmp_path, unescape(links[1][0]))
    assert "1 問中 1 から 1" in dom
    first, second = re.findall("<tr>.*?</tr>", dom[dom.index("<article") :])
    assert "result</td>" in first and "result-base</td>" in second
    assert "(空の回答)" in second and "2: 60.00 %" in second
    # 選んだモデルの行が先
    dom = browse(tmp_path, "#run=result-base")
    assert "result-base</td>" in re.search("<tr>.*?</tr>", dom[dom.index("<article") :])[0]
    # 学習前の結果だけなら、すべての問題
    step("analysis", "result-base.json", "--html", "page.html", cwd=tmp_path)
    assert "4 問中 1 から 4" in browse(tmp_path)


def test_twenty_large_files(tmp_path):
    """13,000 問の結果 20 個から、すべてを 1 GB 以内のメモリで作る。ページも開ける。"""
    questions = [
        Question(
            f"第{i}問、" + "長い問題文" * 12, tuple(f"選択肢{i}の{j}" for j in range(5)), i % 5
        )
        for i in range(13000)
    ]
    shown = [
        {
            "ID": i,
            "qid": f"Q{i}",
            "genre": ("学問", "雑学", "芸能")[i % 3],
            **eval_record(q),
            "prompt": q.prompt,
            "correct_answer": q.answer,
            "seconds": 0.01,
        }
        for i, q in enumerate(questions)
    ]
    for f in range(2):
        rng, records = random.Random(f), []
        for q, r in zip(questions, shown):
            k = rng.randrange(5)
            records.append(
                {
                    **r,
                    "output": q.lines[k],
                    "out_str": str(k),
                    "hit": k == q.label,
                    "choice_probs": [round(rng.random() / 5, 6) for _ in range(5)],
                }
            )
        summary = {
            "elapsed_time": 130.0,
            "model": "m",
            "adapter": None if f else "a",
            "quiz": ["quiz.json"],
        }
        text = json.dumps([*records, summary], ensure_ascii=False)
        for copy in range(10):
            (tmp_path / f"result-{f}-{copy}.json").write_text(text, encoding="utf-8")
    script = (
        "import resource, subprocess, sys; "
        "code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode; "
        "print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)"
    )
    options = ["--table", "--errors", "--plot", "a.png", "--html", "page.html"]
    out = run(
        sys.executable, "-c", script, sys.executable, ROOT / "analysis.py", *options, cwd=tmp_path
    ).stdout
    code, megabytes = map(int, out.split())
    assert code == 0 and megabytes < 1000
    if CHROMIUM:
        assert "13000 問中 1 から 25" in browse(tmp_path, "#run=")
