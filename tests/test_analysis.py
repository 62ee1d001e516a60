"""手順5: 正解率、表、検定、図、ページ。"""

import csv
import json
import math
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from html import unescape

import pytest
from conftest import ENV, ROOT, run, run_error
from scipy.optimize import brentq

import analysis


def record(hit, genre="学問", probs=(0.1, 0.2, 0.6, 0.1), out_str="2", answer="2: ロ"):
    return {"ID": 0, "instruction": "問", "input": "0: い\n1: は\n2: ロ\n3: に\n\n\n", "prompt": "", "output": "2: ロ", "genre": genre,
            "correct_answer": answer, "out_str": out_str, "hit": hit, "choice_probs": list(probs), "seconds": 0.1}


def write(path, records):
    path.write_text(json.dumps([*records, {"elapsed_time": 1.5}], ensure_ascii=False), encoding="utf-8")


def test_tutorial_line(tmp_path):
    """チュートリアルと同じ 1 行が出る。内訳は問題数、読み取れない回答、番号の確率、当てずっぽう。"""
    hits = [True] * 7 + [False] * 13
    records = [record(h) if h else record(False, "雑学", (0.7, 0.1, 0.1, 0.1), "") for h in hits]
    write(tmp_path / "result.json", records)
    lines = run("analysis.py", cwd=tmp_path).stdout.splitlines()
    assert lines[0] == "result.json" + " " * 49 + " : 0.35"
    assert lines[1].split() == ["20", "問", "読み取れない", "65.0", "%", "番号の確率", "0.35", "当てずっぽう", "0.25"]
    genres = run("analysis.py", "--genre", cwd=tmp_path).stdout
    assert "学問: 1.00 (7 問)" in genres and "雑学: 0.00 (13 問)" in genres


def test_likelihood_counts_the_right_label(tmp_path):
    """生成では書式を守れなくても、番号の確率が正しければ likelihood には数える。"""
    write(tmp_path / "r.json", [record(False, out_str=""), record(False, out_str="", probs=(0.9, 0, 0.1, 0)), record(True)])
    out = run("analysis.py", "r.json", cwd=tmp_path).stdout
    assert " : 0.3333" in out and "番号の確率 0.67" in out


def test_tutorial_era_file(tmp_path):
    """2024 年版の result.json (追加の項目なし、最後は elapsed_time だけ) も読める。"""
    old = [{k: v for k, v in record(i < 1).items() if k not in ("choice_probs", "seconds", "genre")} for i in range(4)]
    write(tmp_path / "result.json", old)
    out = run("analysis.py", cwd=tmp_path).stdout
    assert out.splitlines()[0].endswith(" : 0.25") and "番号の確率 -  当てずっぽう 0.25" in out


@pytest.mark.parametrize("text, where", [(None, "result*.json"), ("", "result.json:1"), ("[\n{", "result.json:2"),
                                         ("{}", "result.json:1"), ("[]", "result.json:1"), ('[{"a": 1}]', "result.json:1")])
def test_errors(tmp_path, text, where):
    if text is not None:
        (tmp_path / "result.json").write_text(text)
    assert where in run_error("analysis.py", cwd=tmp_path)


def test_errors_in_one_record(tmp_path):
    """1 件だけおかしいときは、その行を知らせる。出力のファイルは元のまま。"""
    (tmp_path / "page.html").write_text("前の結果")
    for change in ({"hit": None}, {"hit": "yes"}, {"choice_probs": []}, {"choice_probs": [1, "x"]}, {"choice_probs": [float("nan")] * 4},
                   {"correct_answer": "9: ロ"}, {"correct_answer": None}, {"prompt": 3}, {"seconds": "速い"}, {"qid": []}):
        text = json.dumps([record(True), {**record(True), **change}, {"elapsed_time": 1}], ensure_ascii=False, indent=1)
        (tmp_path / "result.json").write_text(text, encoding="utf-8")
        line = text[:text.index("{", text.index("{") + 1)].count("\n") + 1
        assert f"result.json:{line}: " in run_error("analysis.py", "--html", "page.html", cwd=tmp_path), change
    write(tmp_path / "result.json", [record(True)])
    before = (tmp_path / "result.json").read_bytes()
    # FILE を付け忘れると、次の引数の結果のファイルが FILE になる。
    assert ".html" in run_error("analysis.py", "--html", "result.json", cwd=tmp_path)
    assert ".png" in run_error("analysis.py", "--plot", "result.json", cwd=tmp_path)
    assert "none/page.html" in run_error("analysis.py", "--html", "none/page.html", cwd=tmp_path)
    assert "page.html/x.png" in run_error("analysis.py", "--plot", "page.html/x.png", cwd=tmp_path)
    (tmp_path / "page.html.tmp").mkdir()  # 隣に書けないときも、元のファイルには触らない
    assert "page.html に書けません" in run_error("analysis.py", "--html", "page.html", cwd=tmp_path)
    (tmp_path / "page.html.tmp").rmdir()
    assert (tmp_path / "result.json").read_bytes() == before and (tmp_path / "page.html").read_text() == "前の結果"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["page.html", "result.json"]


# --- 公開の表

PUBLISHED = """\
### Table for key: 芸能
| Model | Environment | Score | Latency |
| --- | --- | --- | --- |
| swallow-13b                    | dev5 | 0.562152133580705 | 584.5554900169373 |
| swallow-7b                     | dev5 | 0.5584415584415584 | 621.7504227161407 |
| calm2-7b                       | dev5 | 0.5306122448979592 | 528.282838344574 |
| stablelm-gamma-7b              | dev5 | 0.4712430426716141 | 819.9777934551239 |
| chatntq-7b                     | dev5 | 0.4582560296846011 | 542.4657855033875 |
| ELYZA-13b-fast-instruct        | dev5 | 0.4267161410018553 | 555.7631332874298 |
| karasu-7B                      | dev5 | 0.4174397031539889 | 561.0078446865082 |
| nekomata-7b-instruction        | dev5 | 0.38589981447124305 | 304.2966306209564 |
| Xwin-LM-7b                     | dev5 | 0.3562152133580705 | 552.5936434268951 |
| youri-7b                       | dev5 | 0.3525046382189239 | 556.2371628284454 |
| LLaMA-Pro-8B-Instruct          | dev5 | 0.33766233766233766 | 675.1720423698425 |
| ELYZA-7b-fast-instruct         | dev5 | 0.3209647495361781 | 641.4171378612518 |
| Mistral-7B                     | dev5 | 0.29313543599257885 | 813.7870280742645 |
| nekomata-7b                    | dev5 | 0.26159554730983303 | 347.97372341156006 |

### Table for key: 学問
"""
# 学問、雑学、アニメ、スポーツのモデルの順 (PUBLISHED の芸能の行の番号で)。
ORDERS = ["0 1 6 4 3 2 5 11 7 8 9 10 12 13", "0 1 4 2 3 6 5 11 8 9 10 7 12 13",
          "0 1 2 3 4 5 8 6 10 7 11 9 12 13", "0 1 4 3 2 6 5 11 7 8 9 10 12 13"]


def test_published_tables(tmp_path):
    """結果がなければ、チュートリアルの 5 つの表を、その順とその形のまま出す。桁もすべて残す。"""
    out = run("analysis.py", "--published", cwd=tmp_path).stdout
    assert out.startswith(PUBLISHED)
    assert out.endswith("| nekomata-7b                    | dev9 | 0.2321187584345479 | 205.74456930160522 |\n")
    assert re.findall("key: (.*)", out) == ["芸能", "学問", "雑学", "アニメ", "スポーツ"] and out.count("\n") == 5 * 18 - 1
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if "| dev" in line]
    models = [row[0] for row in rows[:14]]
    assert [[row[0] for row in rows[i:i + 14]] for i in range(14, 70, 14)] == [[models[int(k)] for k in o.split()] for o in ORDERS]
    assert [row[1] for row in rows] == [f"dev{5 + i // 14}" for i in range(70)]
    with (ROOT / "data/published_scores.csv").open(encoding="utf-8") as f:
        data = list(csv.reader(f))
    assert data[0] == ["genre", "model", "environment", "score", "latency"] and [row[1:] for row in data[1:]] == rows


def test_published_beside_own(tmp_path):
    """自分の結果があれば、同じ分野の表に点数の順に入る。公開の行の n は、どの Score も (整数)/n になる数。"""
    write(tmp_path / "result-mine.json", [{**record(k < 5, "学問"), "qid": str(k)} for k in range(10)])
    out = run("analysis.py", "--published", cwd=tmp_path).stdout
    assert re.findall("key: (.*)", out) == ["芸能", "学問", "雑学", "アニメ", "スポーツ"]
    part = out.split("### ")[2].splitlines()
    names = [line.split("|")[1].strip() for line in part[3:18]]
    assert names[names.index("result-mine") - 1] == "calm2-7b" and names[names.index("result-mine") + 1] == "ELYZA-13b-fast-instruct"
    for rows in analysis.read_published().values():
        for row in rows:
            k = row["score"] * row["n"]
            assert 500 < row["n"] < 1000 and abs(k - round(k)) < 1e-9
            assert row["interval"] == pytest.approx(wilson_roots(round(k), row["n"]), abs=1e-9)


# --- 区間と検定: scipy の binomtest とは別の計算と比べる

def wilson_roots(hits, n):
    """スコア検定の統計量が ±1.96 になる 2 点を、方程式を解いて求める。"""
    z = 1.959963984540054

    def statistic(p):
        return (hits / n - p) ** 2 * n - z * z * p * (1 - p)

    # 0 と 1 は、n 問中 0 問や n 問のときの自明な解なので除く。
    low = 0.0 if hits == 0 else brentq(statistic, 0, hits / n if hits < n else 1 - 1e-9, xtol=1e-14)
    return low, 1.0 if hits == n else brentq(statistic, hits / n or 1e-9, 1, xtol=1e-14)


@pytest.mark.parametrize("hits, n", [(0, 1), (1, 1), (0, 5), (5, 5), (1, 20), (7, 20), (303, 539), (0, 13000), (13000, 13000)])
def test_wilson(hits, n):
    assert analysis.wilson(hits, n) == pytest.approx(wilson_roots(hits, n), abs=1e-9)


@pytest.mark.parametrize("won, lost", [(0, 0), (1, 0), (0, 1), (5, 5), (0, 6), (10, 2), (30, 12), (100, 141)])
def test_mcnemar(won, lost):
    """二項係数の和 (分数のまま) と同じ。どちらも正解、どちらも不正解の問題は、いくつあっても関係ない。"""
    expected = min(1, 2 * sum(math.comb(won + lost, k) for k in range(min(won, lost) + 1)) / 2 ** (won + lost))
    for same in (0, 50):
        hits = [True] * won + [False] * lost + [True, False] * same
        others = [False] * won + [True] * lost + [True, False] * same
        assert analysis.mcnemar(hits, others) == (won, lost, pytest.approx(expected, rel=1e-9))


def test_holm():
    """R の p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") と同じ。1 を超えず、順も入れ替わらない。"""
    assert analysis.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert analysis.holm([]) == [] and analysis.holm([0.2]) == [0.2] and analysis.holm([0.6, 0.5]) == [1, 1]
    p = [random.Random(i).random() ** 4 for i in range(19)]
    for level in (0.01, 0.05, 0.2):  # 定義どおりの手順: 小さい順に level/(m-k) と比べ、初めて超えた所でやめる
        order = sorted(range(19), key=lambda i: p[i])
        rejected = next((k for k, i in enumerate(order) if p[i] > level / (19 - k)), 19)
        assert {i for i, q in enumerate(analysis.holm(p)) if q <= level} == set(order[:rejected])


# --- 表

def solved(path, hits, adapter="./out", model="calm", key="qid", **extra):
    """hits[i] が問題 i の正誤である結果のファイルを書く。"""
    records = [{**record(bool(h)), key: f"q{i}", "seconds": 0.5, "genre": "学問" if i % 2 else "雑学", **extra} for i, h in enumerate(hits)]
    path.write_text(json.dumps([*records, {"elapsed_time": 9.5, "model": model, "adapter": adapter, "quiz": ["quiz.json"]}],
                               ensure_ascii=False), encoding="utf-8")
    return records


def table_of(out, key):
    """表を {モデル: {列: 値}} にする。"""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.split(f"key: {key}\n")[1].split("\n\n")[0].splitlines()]
    return {row[0]: dict(zip(lines[0], row)) for row in lines[2:]}


@pytest.mark.parametrize("key", ["qid", "prompt"])
def test_table(tmp_path, key):
    """点数の順に並び、区間、学習前と最良との検定が付く。最良と区別できないものには ≈。問題の順は違ってもよい。"""
    solved(tmp_path / "result-base.json", [1] * 20 + [0] * 60, None, key=key)
    solved(tmp_path / "result-good.json", [0] * 5 + [1] * 60 + [0] * 15, key=key)
    path = tmp_path / "result-near.json"
    records = solved(path, [0] * 8 + [1] * 60 + [0] * 12, key=key, hit=False)
    for r, h in zip(records, [0] * 8 + [1] * 55 + [0] * 17):
        r["hit"] = bool(h)
    summary = {"elapsed_time": 1, "model": "calm", "adapter": "./b", "quiz": ["quiz.json"]}
    path.write_text(json.dumps([*records[::-1], summary], ensure_ascii=False), encoding="utf-8")
    solved(tmp_path / "result-other.json", [1, 0, 1], None, "swallow", key=key)  # 問題が違うので比べない
    out = run("analysis.py", "--table", cwd=tmp_path).stdout
    assert re.findall("key: (.*)", out) == ["quiz", "雑学", "学問"]
    table = table_of(out, "quiz")
    assert list(table) == ["result-good", "result-near", "result-other", "result-base"]
    good, near, other, base = table.values()
    assert good == {"Model": "result-good", "Environment": "quiz", "Score": "0.7500", "Latency": "9.5", "n": "80", "95% CI": "0.645-0.832",
                    "Unparsed": "0.0 %", "Likelihood": "1.0000", "Chance": "0.25", "vs best": "best", "vs base": "+45 -5 p<0.001"}
    # near は good と 0 勝 5 敗なので p = 2 × 2**-5 = 0.0625。2 つの検定のうち大きい方なので、Holm の補正でも変わらない。
    assert near["vs best"] == "+0 -5 p=0.062 ≈" and base["vs best"] == "+5 -45 p<0.001" and base["vs base"] == "base"
    assert other["vs best"] == "-" and other["vs base"] == "base" and other["n"] == "3"
    assert table_of(out, "学問")["result-good"]["n"] == "40" and table_of(out, "学問")["result-good"]["Latency"] == "20.0"
    assert "Wilson" in out and "Holm" in out


def test_table_corrects_for_many_comparisons(tmp_path):
    """0 勝 6 敗は 1 回の検定なら p = 2 × 2**-6 = 0.031。2 つの検定なら 2 倍になり、最良と区別できない。"""
    for name, missed in (("best", ()), ("left", range(6)), ("right", range(10, 16))):
        solved(tmp_path / f"result-{name}.json", [i not in missed for i in range(20)])
    table = table_of(run("analysis.py", "--table", cwd=tmp_path).stdout, "quiz")
    assert [row["vs best"] for row in table.values()] == ["best", "+0 -6 p=0.062 ≈", "+0 -6 p=0.062 ≈"]
    (tmp_path / "result-right.json").unlink()
    assert table_of(run("analysis.py", "--table", cwd=tmp_path).stdout, "quiz")["result-left"]["vs best"] == "+0 -6 p=0.031"


def test_identical_runs(tmp_path):
    """同じ結果どうしなら p = 1 で、どちらが上とも言わない。"""
    for name in "ab":
        solved(tmp_path / f"result-{name}.json", [1, 0, 1, 1])
    assert table_of(run("analysis.py", "--table", cwd=tmp_path).stdout, "quiz")["result-b"]["vs best"] == "+0 -0 p=1.000 ≈"


def test_same_file_name_in_two_folders(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        solved(tmp_path / name / "result.json", [1, 0])
    out = run("analysis.py", "--table", "a/result.json", "b/result.json", cwd=tmp_path).stdout
    assert list(table_of(out, "quiz")) == ["a/result", "b/result"]


def test_old_files_everywhere(tmp_path):
    """2024 年版のファイルでも、どのオプションも動く。分からない値は - 。"""
    old = [{"ID": i, "hit": i < 1, "out_str": "2"} for i in range(4)]
    write(tmp_path / "result.json", old)
    write(tmp_path / "result2.json", [{k: v for k, v in record(True).items() if k not in ("choice_probs", "seconds", "genre")}])
    write(tmp_path / "result3.json", [{"hit": False}])
    out = run("analysis.py", "--table", "--errors", "--plot", "a.svg", "--html", "a.html", cwd=tmp_path)
    table = table_of(out.stdout, "全問")
    assert list(table["result"].values()) == ["result", "-", "0.2500", "1.5", "4", "0.046-0.699", "0.0 %", "-", "-", "-", "-"]
    assert table["result2"]["Chance"] == "0.25" and table["result3"]["Unparsed"] == "-" and not out.stderr
    assert out.stdout.count("確信度は出せません") == 3 and (tmp_path / "a.svg").exists()


# --- 何を間違えたか

def test_errors_report(tmp_path):
    """番号の偏り、確信度と正解率、自信のある間違いの数が、数え直したものと同じ。"""
    rng, records = random.Random(1), []
    for i in range(200):
        probs = [rng.random() ** 3 * 0.01 for _ in range(4)]  # 合計は 1 よりずっと小さい (学習前のモデルはこうなる)
        k, label = probs.index(max(probs)), rng.randrange(4)
        records.append({**record(k == label, probs=probs, out_str="" if i < 20 else "77" if i < 30 else str(k), answer=f"{label}: ロ"),
                        "output": f"{k}: い", "prompt": f"前置き\n\n問題: 第{i}問? \n選択肢\n\n0: い\n1: は\n2: ロ\n3: に\n"})
        records[-1]["hit"] &= i >= 30
    write(tmp_path / "result.json", records)
    out = run("analysis.py", "--errors", cwd=tmp_path).stdout
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("|")]
    answered, right = Counter(r["out_str"] for r in records), Counter(r["correct_answer"][0] for r in records)
    for k in "0123":
        rate = sum(r["hit"] for r in records if r["correct_answer"][0] == k) / right[k]
        assert [k, f"{answered[k] / 2:.1f} %", f"{right[k] / 2:.1f} %", f"{rate:.2f}"] in rows
    assert ["読み取れない", "10.0 %", "-", "-"] in rows and ["ほかの番号", "5.0 %", "-", "-"] in rows
    confidence = [max(r["choice_probs"]) / sum(r["choice_probs"]) for r in records]
    right = [r["choice_probs"].index(max(r["choice_probs"])) == int(r["correct_answer"][0]) for r in records]
    for low in range(2, 10):
        inside = [(c, h) for c, h in zip(confidence, right) if low <= c * 10 < low + 1]
        if inside:
            n, k = len(inside), sum(h for _, h in inside)
            interval = "{:.3f}-{:.3f}".format(*wilson_roots(k, n))
            assert [f"{low / 10}-{(low + 1) / 10}", str(n), f"{sum(c for c, _ in inside) / n:.3f}", f"{k / n:.3f}", interval] in rows
    misses = sorted(((c, i) for i, (c, h) in enumerate(zip(confidence, right)) if not h), reverse=True)[:10]
    assert re.findall(r"^- (\S+) 第(\d+)問\? → \d: い \(正解 \d: ロ\)$", out, re.M) == [(f"{c:.3f}", str(i)) for c, i in misses]


# --- 図

@pytest.mark.parametrize("models", [1, 5, 20])
def test_plot(tmp_path, models):
    """日本語のフォントがない、文字がない、といった警告なしに PNG ができる。"""
    for i in range(models):
        solved(tmp_path / f"result-{i}.json", [j % (i // 2 + 2) == 0 for j in range(40)], None if i % 2 else "./a", f"モデル{i // 2}")
    result = run("analysis.py", "--plot", "図.png", "--published", cwd=tmp_path)
    assert not result.stderr and (tmp_path / "図.png").read_bytes().startswith(b"\x89PNG") and "図.png を書きました" in result.stdout
    tables = analysis.make_tables([{"name": "学習後のモデル", "environment": "quiz", "summary": {"elapsed_time": 1},
                                    "records": analysis.read_result(tmp_path / "result-0.json")[0]}])
    svg = analysis.plot(tables, "svg").decode()
    assert svg.count("<!-- 学習後のモデル -->") == len(tables) and "<!-- 雑学 -->" in svg and "<!-- 当てずっぽう -->" in svg


def test_light_imports(tmp_path):
    """オプションがなければ、重いライブラリは読まない。"""
    write(tmp_path / "result.json", [record(True)])
    code = "import sys, analysis; sys.argv = ['analysis.py']; analysis.main(); print({'scipy', 'matplotlib'} & set(sys.modules))"
    env = {**ENV, "PYTHONPATH": f"{ROOT}:{ENV.get('PYTHONPATH', '')}"}
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True).stdout.endswith("set()\n")


# --- ページ

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
EVIL = "</script><script>document.title='破られた'</script><img src=x onerror=\"document.title='破られた'\">&amp;<!--"


def browse(tmp_path, fragment="", script=""):
    """ページを本物の Chromium で開き (script があれば最後に実行し)、できあがった DOM の文字列を返す。"""
    page = tmp_path / "opened.html"
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    page.write_text(html.replace("</body></html>", f"<script>{script}</script></body></html>"), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync",
             "--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}"]
    result = subprocess.run([CHROMIUM, *flags, "--dump-dom", f"file://{page}{fragment}"], capture_output=True, text=True, timeout=120)
    assert "<article" in result.stdout or "0 件" in result.stdout, result.stderr[-2000:]
    return result.stdout


@pytest.mark.skipif(not CHROMIUM, reason="chromium がない (Debian なら apt-get install chromium)")
def test_page(tmp_path):
    """全問が見られ、分野、モデル、正誤で絞れる。問題文の HTML は文字のまま出る。"""
    for name, size in (("a", 120), ("b", 30)):
        write(tmp_path / f"result-{name}.json", [
            {**record(i % 3 == 0, "雑学" if i % 4 else "学問", out_str="" if i % 10 == 1 else "2" if i % 3 == 0 else "0"), "qid": f"q{i}",
             "output": f"{name}{i}番の回答{EVIL}",
             "prompt": f"前置き\n\n問題: 第{i}問{EVIL} \n選択肢\n\n0: い{EVIL}\n1: は\n2: ロ\n3: に\n\n### 回答:\n"}
            for i in range(size)])
    run("analysis.py", "--html", "page.html", cwd=tmp_path)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<link", text) and "default-src 'none'" in text

    dom = browse(tmp_path)
    assert "150 件中 1 から 50" in dom and dom.count("<article") == 50 and "<title>クイズの結果</title>" in dom
    body = dom[dom.index("<main"):dom.index("</main>")]
    assert "<img" not in body and "<script" not in body and f"第0問{EVIL}" in unescape(body) and f"0: い{EVIL}" in unescape(body)
    article = unescape(body.split("</article>")[0])
    for part in ("○ 正解", "result-a", "学問", "正解 回答", "60.00 %", "モデルの回答: a0番の回答", "正解: 2: ロ", "前置き\n\n問題"):
        assert part in article, part

    def count(*fragments, script=""):
        return int(re.search(r'id="count">(\d+) 件', browse(tmp_path, *fragments, script=script)).group(1))

    assert count("#hit=miss") == 80 + 20 and count("#hit=hit") == 50 and count("#hit=unparsed") == 15
    assert count("#run=result-b") == 30 and count("#run=result-b&genre=雑学&hit=hit") == 7
    choose = "$('{0}').value = '{1}'; $('{0}').dispatchEvent(new Event('change'));"
    assert count(script=choose.format("run", "result-b") + choose.format("genre", "学問")) == 8
    last = browse(tmp_path, script="$('next').click(); $('next').click();")
    assert "150 件中 101 から 150" in last and re.search(r'<button id="next" disabled', last) and "b29番の回答" in last


# --- 速さ

def test_twenty_large_files(tmp_path):
    """13,000 問の結果 20 個の表が CPU 時間 10 秒、すべてを作ってもメモリ 1 GB に収まる。ページも開ける。"""
    prompt = "以下の問題について、0, 1, 2, 3, 4の選択肢から選んで答えてください。\n\n問題: 第{}問、" + "長い問題文" * 12 + "? \n選択肢\n\n"
    for f in range(20):
        rng = random.Random(f)
        records = []
        for i in range(13000):
            label, k = i % 5, rng.randrange(5)
            choices = "\n".join(f"{j}: 選択肢{i}の{j}" for j in range(5)) + "\n\n\n"
            records.append({"ID": i, "qid": f"Q{i}", "genre": ("学問", "雑学", "芸能")[i % 3],
                            "instruction": prompt.format(i), "input": choices, "prompt": prompt.format(i) + choices + "### 回答:\n",
                            "output": f"{k}: 選択肢{i}の{k}", "correct_answer": f"{label}: 選択肢{i}の{label}", "out_str": str(k),
                            "hit": k == label, "choice_probs": [round(rng.random() / 5, 6) for _ in range(5)], "seconds": 0.01})
        summary = {"elapsed_time": 130.0, "model": f"m{f // 2}", "adapter": None if f % 2 else "a", "quiz": ["quiz.json"]}
        (tmp_path / f"result-{f}.json").write_text(json.dumps([*records, summary], ensure_ascii=False, indent=2), encoding="utf-8")
    script = ("import resource, subprocess, sys; code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode; "
              "u = resource.getrusage(resource.RUSAGE_CHILDREN); print(code, u.ru_utime + u.ru_stime, u.ru_maxrss // 1024)")
    for limit, options in ((10, ["--table"]), (20, ["--table", "--errors", "--plot", "a.png", "--html", "page.html"])):
        command = [sys.executable, "-c", script, sys.executable, ROOT / "analysis.py", *options]
        out = subprocess.run(command, cwd=tmp_path, env=ENV, capture_output=True, text=True).stdout
        code, seconds, megabytes = map(float, out.split())
        assert code == 0 and seconds < limit and megabytes < 1000, (options, out)
    if CHROMIUM:
        assert "260000 件中 1 から 50" in browse(tmp_path)
