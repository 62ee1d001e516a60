"""手順5: 結果のファイルから、正解率、表、図、間違いの一覧を作る。

    python analysis.py                                    # ここにある result*.json すべて
    python analysis.py result-base.json result.json --genre
    python analysis.py --table                            # 分野ごとの Markdown の表。区間と検定つき
    python analysis.py --table --published                # チュートリアルの 70 行と並べる
    python analysis.py --errors                           # 番号の偏り、確信度と正解率、自信のある間違い
    python analysis.py --plot figure.png --html page.html # 図と、全問を見て回るページ

読むもの: run_quiz.py の result.json。2024 年版のチュートリアルの result.json (hit と out_str だけ) でもよい。
1 行目はチュートリアルと同じ「ファイル名 : 正解率」。2 行目はその内訳:
    result.json                                                  : 0.35
        100 問  読み取れない 2.0 %  番号の確率 0.36  当てずっぽう 0.20
「番号の確率」は確率が最大の番号を答えとした正解率。生成の正解率より高ければ、知ってはいるが書式を守れていない。
"""

import argparse
import contextlib
import csv
import gc
import json
import math
import os
import re
import sys
from collections import Counter
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from statistics import fmean

PUBLISHED = Path(__file__).parent / "data/published_scores.csv"
ALPHA = 0.05  # 有意水準。区間は 95 %
TEXT = (str, type(None))
TYPES = {"hit": (bool, int), "choice_probs": (list, type(None)), "seconds": (int, float, type(None)), "qid": (int, *TEXT),
         **dict.fromkeys(("prompt", "instruction", "input", "genre", "correct_answer", "output"), TEXT)}  # 記録の項目の型
COLORS = {"モデル": "#6aa5dc", "学習前のモデル": "#f3bd7e", "公開の表": "#b8b8b8"}
INTERVAL = "{:.3f}-{:.3f}"
REDO = "手順4をやり直してください: python run_quiz.py"
NOTE = f"""\
Score: 生成した回答の正解率。95% CI: その Wilson の信頼区間。Unparsed: 番号を読み取れない回答。Likelihood: 番号の確率での正解率。
Chance: 当てずっぽうの正解率。vs best、vs base: 同じ問題を解いた最良のモデル、学習前のモデルとの比較。+a -b は自分だけが正解した問題が
a 問、相手だけが正解した問題が b 問。p は McNemar の正確検定 (同じ表の同じ列の中で Holm の補正)。≈ は最良と区別できない (p ≥ {ALPHA})。"""
PUBLISHED_NOTE = """\
公開の表 (dev5 から dev9) とは問題も計算機も違うので、Score や Latency の差は目安。公開の表に n はないので、Score がすべて
整数/n になる最小の n を使った。"""


def fail(message):
    """エラーを 1 行で stderr に出し、終了コード 1 で終わる。"""
    sys.exit(f"エラー: {' '.join(str(message).split())}")


def write(path, data):
    """data (bytes) を隣に書いてから改名するので、途中で止まっても元のファイルは残る。"""
    temporary = Path(f"{path}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as e:
        with contextlib.suppress(OSError):
            temporary.unlink()
        fail(f"{path} に書けません ({e.strerror})。別の場所を指定してください。")


def clean(record):
    """result.json の 1 件を、ここで使う項目だけの dict にする。古いファイルにない項目は None。おかしければ ValueError。

    question: qid か問題文 (同じ問題の印)  label: 正解の番号  answered: 答えた番号 (読み取れなければ -1)  choices: 選択肢の数
    probs: 番号ごとの確率 (0 から 1)  likely: 確率が最大の番号  seconds: 秒
    """
    for key, kinds in TYPES.items():
        if not isinstance(record.get(key), kinds):
            raise ValueError(f"{key} の値が正しくありません" if key in record else f"{key} がありません")
    correct, probs, out_str = record.get("correct_answer") or "", record.get("choice_probs"), record.get("out_str")
    # 問題文はどの結果でも同じなので intern して 1 つだけ持つ。20 個のファイルでもメモリが足りるように。
    text = sys.intern(record.get("prompt") or (record.get("instruction") or "") + (record.get("input") or ""))
    label, answered = re.match(r"\d+", correct), re.search(r"\d+", str(out_str or ""))
    try:
        valid = probs is None or math.isfinite(sum(probs)) and int(label[0]) < len(probs)
    except TypeError:  # 数でないもの、正解の番号がないもの
        valid = False
    if not valid:
        raise ValueError("choice_probs が、正解の番号を含む数のリストではありません")
    return {"question": sys.intern(str(record.get("qid") or text)), "text": text, "genre": record.get("genre") or None,
            "hit": bool(record["hit"]), "output": record.get("output") or "", "correct_answer": sys.intern(correct),
            "label": label and int(label[0]), "answered": int(answered[0]) if answered else None if out_str is None else -1,
            "probs": probs, "likely": probs and probs.index(max(probs)), "seconds": record.get("seconds"),
            "choices": len(probs or re.findall(r"^\d+: ", record.get("input") or text, re.MULTILINE)) or None}


def line_of(text, index):
    """JSON の配列 text の index 番目の要素が始まる行 (1 から)。"""
    end = text.index("[") + 1
    for _ in range(index + 1):
        start = re.compile(r"[\s,]*").match(text, end).end()
        end = json.JSONDecoder().raw_decode(text, start)[1]
    return text.count("\n", 0, start) + 1


def read_result(path):
    """result.json を読み、(clean した記録のリスト, 最後の要素) を返す。"""
    try:
        text = Path(path).read_bytes().decode("utf-8")
        data = json.loads(text)
    except (OSError, UnicodeDecodeError) as e:
        fail(f"{path} を読めません ({e})。先に手順4を実行してください: python run_quiz.py")
    except json.JSONDecodeError as e:
        fail(f"{path}:{e.lineno}: JSON として読めません ({e.msg})。{REDO}")
    if not isinstance(data, list) or not all(isinstance(r, dict) for r in data):
        fail(f"{path}:1: result.json の形ではありません。{REDO}")
    summary = data.pop() if data and "elapsed_time" in data[-1] else {}
    if not data:
        fail(f"{path}:1: hit のある記録がありません。{REDO}")
    records = []
    for i, record in enumerate(data):
        try:
            records.append(clean(record))
        except ValueError as e:
            fail(f"{path}:{line_of(text, i)}: {e}。{REDO}")
    return records, summary


def scores(records):
    """正解率などの dict を返す。n 以外の値はどれも 0 から 1。古いファイルで計算できないものは None。

    score: 生成した回答の正解率  unparsed: 番号を読み取れない回答の割合
    likelihood: 番号の確率での正解率  chance: 当てずっぽうの正解率 (1/選択肢の数 の平均)
    """
    def mean(values):
        return sum(values) / len(records) if None not in values else None

    return {"n": len(records), "score": mean([r["hit"] for r in records]),
            "unparsed": mean([None if r["answered"] is None else r["answered"] < 0 for r in records]),
            "likelihood": mean([r["probs"] and r["likely"] == r["label"] for r in records]),
            "chance": mean([r["choices"] and 1 / r["choices"] for r in records])}


def wilson(hits, n):
    """n 問中 hits 問正解のときの、正解率の 95 % 信頼区間 (下限, 上限)。0 から 1 (Wilson 1927)。"""
    from scipy.stats import binomtest

    return tuple(binomtest(hits, n).proportion_ci(1 - ALPHA, method="wilson"))


def mcnemar(hits, others):
    """同じ問題の正誤の列 2 つから (自分だけ正解の数, 相手だけ正解の数, p 値) を返す (McNemar 1947、二項分布による両側の正確検定)。"""
    from scipy.stats import binomtest

    won, lost = sum(a and not b for a, b in zip(hits, others)), sum(b and not a for a, b in zip(hits, others))
    return won, lost, float(binomtest(won, won + lost).pvalue) if won + lost else 1.0


def holm(p_values):
    """いくつも検定したときの補正をした p 値 (0 から 1) を、同じ順で返す (Holm 1979)。"""
    adjusted, largest = [None] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, p_values[i] * (len(p_values) - rank)))
        adjusted[i] = largest
    return adjusted


def make_row(run, records, latency):
    """表の 1 行。questions と hits は、検定のために問題の順をそろえた列。latency は秒。"""
    ordered, s = sorted(records, key=lambda r: r["question"]), scores(records)
    return {**run, **s, "latency": latency, "interval": wilson(sum(r["hit"] for r in records), s["n"]),
            "questions": tuple(r["question"] for r in ordered), "hits": [r["hit"] for r in ordered]}


def make_tables(runs):
    """{表の名前: 行のリスト} を返す。表は、問題のファイルごと (分野が 1 つだけなら省く) と、分野ごと。"""
    whole, by_genre = {}, {}
    for run in runs:
        genres = {}
        for r in run["records"]:
            genres.setdefault(r["genre"], []).append(r)
        if len(genres) > 1 or None in genres:
            elapsed = run["summary"].get("elapsed_time")
            row = make_row(run, run["records"], elapsed if isinstance(elapsed, (int, float)) else None)
            whole.setdefault("全問" if run["environment"] == "-" else run["environment"], []).append(row)
        for genre in filter(None, genres):
            seconds = [r["seconds"] for r in genres[genre]]
            by_genre.setdefault(genre, []).append(make_row(run, genres[genre], None if None in seconds else sum(seconds)))
    return whole | by_genre


def compare(rows):
    """同じ問題を解いた行どうしを比べる。行に best (最良の行)、base (学習前の行)、vs best と vs base (勝, 負, 補正した p 値) を入れる。"""
    groups = {}
    for row in rows:
        if all(row["questions"]):
            groups.setdefault(row["questions"], []).append(row)
    for group in groups.values():
        bases = {str(s["model"]): row for row in group if "model" in (s := row["summary"]) and s.get("adapter", "") is None}
        best = max(group, key=lambda row: row["score"])
        for row in group:
            row["best"], row["base"] = best if len(group) > 1 else None, bases.get(str(row["summary"].get("model")))
        for name in ("best", "base"):
            pairs = [row for row in group if row[name] and row[name] is not row]
            tests = [mcnemar(row["hits"], row[name]["hits"]) for row in pairs]
            for row, (won, lost, _), p in zip(pairs, tests, holm([p for _, _, p in tests])):
                row[f"vs {name}"] = won, lost, p


def read_published():
    """チュートリアルの表を {分野: 行のリスト} で返す。digits は元の桁のままの score と latency (秒)。"""
    try:
        lines = PUBLISHED.read_text(encoding="utf-8").splitlines()
    except OSError as e:
        fail(f"{PUBLISHED} を読めません ({e.strerror})。リポジトリから取り直してください: git checkout data/published_scores.csv")
    tables = {}
    for r in csv.DictReader(lines):
        tables.setdefault(r["genre"], []).append({
            "name": r["model"], "environment": r["environment"], "digits": (r["score"], r["latency"]), "score": float(r["score"]),
            "latency": float(r["latency"]), **dict.fromkeys(("unparsed", "likelihood", "chance"))})
    for rows in tables.values():
        n = math.lcm(*(Fraction(row["score"]).limit_denominator(2000).denominator for row in rows))  # PUBLISHED_NOTE を参照
        for row in rows:
            row |= {"n": n, "interval": wilson(round(row["score"] * n), n)}
    return tables


def show(value, pattern="{:.2f}"):
    return "-" if value is None else pattern.format(value)


def percent(value):
    return show(value, "{:.1%}").replace("%", " %")


def cells(row):
    """拡張した表の 1 行のうち、Latency より後の文字列のリスト。"""
    def versus(name):
        if f"vs {name}" not in row:
            return name if row.get(name) is row else "-"
        won, lost, p = row[f"vs {name}"]
        return f"+{won} -{lost} {f'p={p:.3f}' if p >= 0.001 else 'p<0.001'}{' ≈' if name == 'best' and p >= ALPHA else ''}"

    return [str(row["n"]), INTERVAL.format(*row["interval"]), percent(row["unparsed"]), show(row["likelihood"], "{:.4f}"),
            show(row["chance"]), versus("best"), versus("base")]


def grid(header, rows):
    """Markdown の表の行のリスト。"""
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]


def markdown(key, rows, full):
    """チュートリアルと同じ形の表。full なら n から右の列も付ける。"""
    header = ["Model", "Environment", "Score", "Latency"] + full * ["n", "95% CI", "Unparsed", "Likelihood", "Chance", "vs best", "vs base"]
    width = max(len(row["environment"]) for row in rows)
    lines = [[f"{row['name']:<30}", f"{row['environment']:<{width}}",
              *([f"{row['score']:.4f}", show(row["latency"], "{:.1f}"), *cells(row)] if full else row["digits"])] for row in rows]
    return "\n".join([f"### Table for key: {key}", *grid(header, lines), ""])


def errors(run):
    """番号の偏り、確信度と正解率、自信のある間違いを、Markdown の文字列で返す。"""
    records = run["records"]
    answered, right = Counter(r["answered"] for r in records), Counter(r["label"] for r in records)
    hits = Counter(r["label"] for r in records if r["hit"])
    labels = range(max(max(r["choices"] or 0, -1 if r["label"] is None else r["label"] + 1) for r in records))

    def rate(*answers):
        return percent(None if answered[None] else sum(answered[k] for k in answers) / len(records))

    positions = [[str(k), rate(k), percent(right[k] / len(records)), show(hits[k] / right[k] if right[k] else None)] for k in labels]
    positions += [["ほかの番号", rate(*(answered.keys() - {None, -1, *labels})), "-", "-"], ["読み取れない", rate(-1), "-", "-"]]
    lines = [f"### {run['name']} ({len(records)} 問)", "", "番号の偏り。その番号を答えた割合、それが正解である割合、そのときの正解率", "",
             *grid(["番号", "答えた", "正解", "正解率"], positions), ""]
    rated = [(max(r["probs"]) / (sum(r["probs"]) or 1), r) for r in records if r["probs"]]
    if not rated:
        return "\n".join([*lines, "番号の確率の記録がないので、確信度は出せません。", ""])
    bins = {}
    for confidence, r in rated:
        bins.setdefault(min(int(confidence * 10), 9), []).append((confidence, r["likely"] == r["label"]))
    calibration = []
    for k, values in sorted(bins.items()):
        n, good = len(values), sum(hit for _, hit in values)
        calibration.append([f"{k / 10:.1f}-{(k + 1) / 10:.1f}", str(n), f"{sum(c for c, _ in values) / n:.3f}", f"{good / n:.3f}",
                            INTERVAL.format(*wilson(good, n))])
    lines += ["確信度 (最大の番号の確率 / 番号の確率の合計) と、その番号の正解率。正解率の方が低ければ自信過剰", "",
              *grid(["確信度", "問題数", "確信度の平均", "正解率", "95% CI"], calibration), "",
              "自信のある間違い (確信度の高い順に 10 問まで)。確信度、問題、モデルの回答、正解", ""]
    misses = [(confidence, r) for confidence, r in rated if not r["hit"] and r["likely"] != r["label"]]
    for confidence, r in sorted(misses, key=lambda miss: -miss[0])[:10]:
        question = re.sub(r"^.*?問題: *|\s*\n\s*(選択肢|\d+: ).*", "", r["text"], flags=re.DOTALL)
        lines.append(f"- {confidence:.3f} {' '.join(question.split())} → {' '.join(r['output'].split())[:40]} (正解 {r['correct_answer']})")
    return "\n".join([*lines, ""])


def plot(tables, suffix):
    """表と同じ数字の棒グラフを bytes で返す。棒は正解率 (0 から 1)、ひげは 95 % 区間、破線は当てずっぽう。

    学習前のモデルの棒は、同じモデルの学習後の棒のすぐ下に置く。
    """
    import matplotlib_fontja  # noqa: F401  読み込むだけで日本語のフォント (IPAex ゴシック) になる
    from matplotlib.figure import Figure

    every, panels = [row for rows in tables.values() for row in rows], []
    average = {name: fmean(row["score"] for row in every if row["name"] == name) for name in {row["name"] for row in every}}
    for rows in tables.values():
        befores = {id(row["base"]) for row in rows if row.get("base") and row["base"] is not row}
        # どの分野でも同じ順に並べる。
        panels.append(sorted((row for row in rows if id(row) not in befores), key=lambda row: -average[row["name"]]))
    columns = min(3, len(panels))
    heights = [max(map(len, panels[i:i + columns])) for i in range(0, len(panels), columns)]  # 段ごとの、棒の組の数
    figure = Figure(figsize=(5 * columns + 1, 0.6 + sum(0.9 + 0.34 * h for h in heights)), layout="constrained")
    axes = figure.subplots(len(heights), columns, squeeze=False, height_ratios=[h + 0.6 for h in heights])
    handles, limit = {}, max(row["interval"][1] for row in every) + 0.1
    for i, (ax, key, rows) in enumerate(zip(axes.flat, tables, panels)):
        for y, row in enumerate(rows):
            before = row["base"] if row.get("base") and row["base"] is not row else None
            for bar, at in ((row, y - 0.2), (before, y + 0.2)) if before else ((row, y),):
                label = "公開の表" if "digits" in bar else "学習前のモデル" if bar.get("base") is bar else "モデル"
                low, high = bar["interval"]  # n 問中 0 問や n 問で、丸めの誤差から負の長さにならないように max を取る
                handles[label] = ax.barh(at, bar["score"], 0.4 if before else 0.6, color=COLORS[label], capsize=1.5,
                                         xerr=[[max(0, bar["score"] - low)], [max(0, high - bar["score"])]], error_kw={"linewidth": 0.9})
                ax.text(high + 0.012 * limit, at, f"{bar['score']:.2f}", va="center", fontsize=7)
            if row["chance"]:
                handles["当てずっぽう"] = ax.vlines(row["chance"], y - 0.5, y + 0.5, color="#c53030", linestyle="--", linewidth=1)
        # 同じ段では棒の太さをそろえ、上から詰める。
        ax.set(title=key, xlim=(0, limit), ylim=(heights[i // columns] - 0.4, -0.6), yticks=range(len(rows)))
        ax.set_yticklabels([row["name"] for row in rows], fontsize=8)
    for ax in axes.flat[len(panels):]:
        ax.remove()
    figure.supxlabel("正解率 (ひげは 95 % 区間)", fontsize=9)
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=4, frameon=False)
    image = BytesIO()
    figure.savefig(image, format=suffix, dpi=130)
    return image.getvalue()


def page(runs):
    """全問を見て回るページを bytes で返す。問題文は 1 度だけ持ち、表示は 50 問ずつ作る。文字はすべて textContent で入れる。"""
    def embed(value):
        # </script> や <!-- が問題文にあっても、そこで終わりと読まれないようにする。
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c").encode("utf-8", "replace")

    questions, parts = {}, []
    for run in runs:
        parts.append(embed({"name": run["name"], "answers": [
            [questions.setdefault((r["genre"] or "", r["text"], r["correct_answer"]), len(questions)),
             int(r["hit"]), r["answered"], r["output"], r["probs"]] for r in run["records"]]}))
    head, tail = PAGE.encode().split(b"DATA")
    return b"".join([head, b'{"runs":[', b",".join(parts), b'],"questions":', embed(list(questions)), b"}", tail])


PAGE = r"""<!doctype html>
<html lang="ja"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>クイズの結果</title><style>
body { font-family: sans-serif; max-width: 50rem; margin: auto; padding: 0 1rem; line-height: 1.5 }
nav { position: sticky; top: 0; background: #fff; padding: .5rem 0; border-bottom: 1px solid #999 }
select { max-width: 16rem; margin-right: .8rem } label, #count { white-space: nowrap } h1 { font-size: 1.3rem; margin: .6rem 0 0 }
article { border-left: .4rem solid #c53030; margin: 1rem 0; padding: .1rem .8rem; background: #f6f6f6 }
article.hit { border-color: #2f855a }
h2, p { font-size: 1rem; margin: .3rem 0 } h2 { font-weight: normal; color: #555 }
td { padding: 0 .6rem 0 0 } .answer { font-weight: bold; color: #22543d } meter { width: 8rem }
pre { white-space: pre-wrap; background: #fff; padding: .5rem }
</style></head><body><h1>クイズの結果</h1>
<nav><label>モデル <select id="run"><option value="">すべて</select></label>
<label>分野 <select id="genre"><option value="">すべて</select></label>
<label>正誤 <select id="hit"><option value="">すべて<option value="hit">正解<option value="miss">不正解
<option value="unparsed">読み取れない</select></label>
<button id="back">前の 50 問</button> <button id="next">次の 50 問</button> <span id="count"></span></nav>
<main id="list"></main>
<script type="application/json" id="data">DATA</script><script>
const $ = id => document.getElementById(id), {runs, questions} = JSON.parse($("data").textContent), SIZE = 50;
const add = (parent, tag, text, name) => {
  const node = parent.appendChild(document.createElement(tag));
  if (text !== undefined) node.textContent = text;
  if (name) node.className = name;
  return node;
};
let found = [], start = 0;
function show(run, [q, hit, answered, output, probs]) {
  const [genre, text, correct] = questions[q], box = add($("list"), "article", undefined, hit ? "hit" : "miss");
  add(box, "h2", `${hit ? "○ 正解" : answered === -1 ? "× 読み取れない" : "× 不正解"}  ${run.name}  ${genre}`);
  add(box, "p", (text.match(/問題: *(.*)/) || [, text])[1]);
  const table = add(box, "table");
  for (const [, k, choice] of text.matchAll(/^(\d+): (.*)$/gm)) {
    const row = add(table, "tr"), right = parseInt(correct) === +k, p = probs && probs[k];
    add(row, "td", (right ? "正解 " : "") + (answered === +k ? "回答" : ""));
    add(row, "td", `${k}: ${choice}`, right ? "answer" : "");
    if (p >= 0) { add(add(row, "td"), "meter").value = p; add(row, "td", `${(100 * p).toFixed(2)} %`); }
  }
  add(box, "p", `モデルの回答: ${output}`);
  add(box, "p", `正解: ${correct}`);
  const details = add(box, "details");
  add(details, "summary", "プロンプト"); add(details, "pre", text);
}
function draw() {
  $("list").replaceChildren();
  for (const [run, answer] of found.slice(start, start + SIZE)) show(run, answer);
  $("count").textContent = found.length ? `${found.length} 件中 ${start + 1} から ${Math.min(start + SIZE, found.length)}` : "0 件";
  $("back").disabled = start === 0; $("next").disabled = start + SIZE >= found.length;
}
function filter() {
  const [name, genre, hit] = ["run", "genre", "hit"].map(id => $(id).value);
  found = []; start = 0;
  for (const run of runs) if (!name || run.name === name) for (const answer of run.answers)
    if ((!genre || questions[answer[0]][0] === genre) && (!hit || (hit === "unparsed" ? answer[2] === -1 : answer[1] === +(hit === "hit"))))
      found.push([run, answer]);
  draw();
}
for (const {name} of runs) add($("run"), "option", name).value = name;
for (const genre of new Set(questions.map(q => q[0]))) if (genre) add($("genre"), "option", genre).value = genre;
// page.html#run=result&hit=miss のように、選んだ状態で開ける。
for (const [id, value] of new URLSearchParams(location.hash.slice(1))) if ($(id)) $(id).value = value;
for (const id of ["run", "genre", "hit"]) $(id).onchange = filter;
for (const [id, step] of [["back", -SIZE], ["next", SIZE]]) $(id).onclick = () => { start += step; draw(); scrollTo(0, 0); };
filter();
</script></body></html>
"""


def print_lines(run, by_genre):
    """チュートリアルと同じ 1 行と、その内訳を表示する。"""
    def rates(s):
        return f"番号の確率 {show(s['likelihood'])}  当てずっぽう {show(s['chance'])}"

    s = scores(run["records"])
    print(f"{run['path']:<60} : {round(s['score'], 4)}")
    print(f"    {s['n']} 問  読み取れない {percent(s['unparsed'])}  {rates(s)}")
    for genre in sorted({r["genre"] for r in run["records"] if r["genre"]}) if by_genre else ():
        g = scores([r for r in run["records"] if r["genre"] == genre])
        print(f"    {genre}: {g['score']:.2f} ({g['n']} 問)  {rates(g)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="*", help="結果のファイル (既定: ここにある result*.json すべて)。"
                        "表のモデル名は、ファイル名から .json を除いたもの")
    parser.add_argument("--genre", action="store_true", help="分野 (genre) ごとの正解率も出す")
    parser.add_argument("--table", action="store_true", help="分野ごとの表を、95 %% 区間、学習前や最良のモデルとの検定も付けて出す")
    parser.add_argument("--published", action="store_true", help="チュートリアルの公開の表を出す。結果のファイルがあれば並べる")
    parser.add_argument("--errors", action="store_true", help="番号の偏り、確信度と正解率、自信のある間違いを出す")
    parser.add_argument("--plot", metavar="FILE", help="モデルと分野ごとの棒グラフ (.png、.svg、.pdf)")
    parser.add_argument("--html", metavar="FILE", help="全問を見て回るページ (.html)。ネットワークは使わない")
    args = parser.parse_args()
    paths = args.results or sorted(map(str, Path().glob("result*.json")))
    if not paths and (not args.published or args.errors or args.html):
        fail("result*.json がありません。先に手順4を実行してください: python run_quiz.py")
    for option, path, suffixes in (("--plot", args.plot, (".png", ".svg", ".pdf")), ("--html", args.html, (".html",))):
        if path and Path(path).suffix not in suffixes:  # 結果のファイルを書きつぶさないためでもある
            fail(f"{option} {path}: ファイル名の終わりは {' か '.join(suffixes)} にしてください。")

    gc.disable()  # 何十万もの記録を作るだけで、循環する参照はない
    # ファイル名が同じで場所だけ違うものがあれば、場所も付けて区別する。
    unique = len({Path(path).stem for path in paths}) == len(paths)
    runs = []
    for path in paths:
        records, summary = read_result(path)
        quiz = summary.get("quiz") if isinstance(summary.get("quiz"), list) else []
        runs.append({"path": path, "name": Path(path).stem if unique else path.removesuffix(".json"), "records": records,
                     "summary": summary, "environment": "+".join(Path(str(q)).stem for q in quiz) or "-"})
    try:
        tables = make_tables(runs) if args.table or args.published or args.plot else {}
        for rows in tables.values():
            rows.sort(key=lambda row: -row["score"])
            compare(rows)
        if args.published:
            published = read_published()
            for key, rows in tables.items():
                published[key] = sorted([*published.get(key, ()), *rows], key=lambda row: -row["score"])
            tables = published
        outputs = {args.plot: plot(tables, Path(args.plot).suffix[1:])} if args.plot else {}
    except ImportError as e:
        fail(f"{e.name} がありません。pip install -r requirements.txt を実行してください。")
    if args.html:
        outputs[args.html] = page(runs)
    for path, data in outputs.items():
        write(path, data)

    if args.table or args.published:
        full = bool(args.table or runs)
        print("\n".join(markdown(key, rows, full) for key, rows in tables.items()), end="")
        if full:
            print("\n" + NOTE + ("\n" + PUBLISHED_NOTE if args.published else ""))
    for run in runs:
        if args.errors:
            print(errors(run))
        elif not (args.table or args.published):
            print_lines(run, args.genre)
    for path in outputs:
        print(f"{path} を書きました")


if __name__ == "__main__":
    main()
