"""表の中身: 問題のファイルごと、分野ごとの行と、同じ問題を解いた行どうしの検定。"""

import csv
import math
from fractions import Fraction
from pathlib import Path

from quiz.files import read_text
from quiz.scoring.statistics import crossed, holm, mcnemar, newcombe, questions_needed, scores, wilson

PUBLISHED = Path(__file__).parents[2] / "data/published_scores.csv"
# 公開の表のうち、ファイルの分かるものの問題数。ほかは、桁の多い Score がすべて 整数/n になる最小の n とする
QUESTIONS = {"AI王 dev1": 995, "AI王 dev2": 997, "JcommonsenseQA-v1.1 valid dev3": 1119, "JcommonsenseQA-v1.1 train dev4": 8939}
# 自分の問題のファイルの名前と、それを並べる公開の表
SAME_FILE = dict(zip(("quiz", "quiz-dev2", "quiz-dev3", "quiz-dev4"), QUESTIONS))


def make_row(run, records, latency):
    """表の 1 行。answers は {同じ問題の印: 正誤} (印のない古いファイルでは空)、qids はその問題の qid。latency は秒。"""
    s, answers = scores(records), {r["key"]: r["hit"] for r in records}
    return {**run, **s, "latency": latency, "interval": wilson(sum(r["hit"] for r in records), s["n"]),
            "answers": {} if "" in answers else answers, "qids": {r["qid"] for r in records} - {""},
            "untrained": "model" in run["summary"] and run["summary"].get("adapter", "") is None}


def make_tables(runs):
    """read_run の dict のリストから {表の名前: 点数の順の行} を作る。表は、問題のファイルごと (分野が 1 つなら省く) と、分野ごと。"""
    whole, by_genre = {}, {}
    for run in runs:
        genres = {}
        for r in run["records"]:
            genres.setdefault(r["genre"], []).append(r)
        if len(genres) > 1 or None in genres:
            row = make_row(run, run["records"], s if isinstance(s := run["summary"].get("elapsed_time"), (int, float)) else None)
            whole.setdefault("全問" if run["environment"] == "-" else run["environment"], []).append(row)
        for genre in filter(None, genres):
            seconds = [r["seconds"] for r in genres[genre]]
            by_genre.setdefault(genre, []).append(make_row(run, genres[genre], None if None in seconds else sum(seconds)))
    tables = whole | by_genre
    for rows in tables.values():
        rows.sort(key=lambda row: -row["score"])
        compare(rows)
    return tables


def by_training(rows):
    """種だけが違う学習の結果を 1 つにまとめた {"names", "seeds", crossed の値} のリスト。rows は 1 つの表の行。"""
    groups = {}
    for row in rows:
        training = row.get("summary", {}).get("training") or {}  # 公開の表の行には summary がない
        if row.get("answers") and training.get("seed") is not None:
            same = row["summary"].get("model"), frozenset(row["answers"]), training.get("questions"), training.get("steps_done")
            groups.setdefault(same, {}).setdefault(training["seed"], row)
    made = []
    for seeds in (group for group in groups.values() if len(group) > 1):
        keys = list(next(iter(seeds.values()))["answers"])
        made.append({"names": [row["name"] for row in seeds.values()], "seeds": sorted(seeds), "n": len(keys),
                     **crossed([[row["answers"][key] for key in keys] for row in seeds.values()])})
    return made


def compare(rows):
    """行に best (最良の行)、base (同じモデルの学習前の行) を入れ、それぞれとの比較を vs best と vs base (pair の dict) に入れる。

    最良は、表に 1 つ: 同じ問題を解いた行が最も多い組の、学習した行のうち、点数が最も高いもの。
    """
    groups = {}
    for row in rows:
        groups.setdefault(frozenset(row["answers"]), []).append(row)
    largest = max(groups.values(), key=lambda group: (bool(group[0]["answers"]), len(group), group[0]["n"]))
    best = max((row for row in largest if not row["untrained"]), key=lambda row: row["score"], default=None)
    bases = [row for row in rows if row["untrained"]]
    for row in rows:
        row["best"] = best if len(rows) > 1 else None
        same = [b for b in bases if b["summary"]["model"] == row["summary"].get("model")]
        row["base"] = max(same, key=lambda b: len(b["answers"].keys() & row["answers"].keys()), default=None)
    for name in ("best", "base"):
        pairs = {id(row): pair(row, row[name]) for row in rows if row[name] and row[name] is not row}
        tested = [p for p in pairs.values() if p["n"]]
        for p, corrected in zip(tested, holm([p["p"] for p in tested])):
            p["p"] = corrected
        for row in rows:
            row[f"vs {name}"] = pairs.get(id(row))


def pair(row, other):
    """2 つの行の比較。モデルに見せたもの (問題、選択肢、その順) と正解が同じ問題だけを比べる。

    n: 比べた問題の数 (0 なら、ほかは why だけ)  won、lost: 片方だけが正解した問題の数  difference: 正解率の差  interval: その区間
    p: 検定の p 値  needed: その差を見つけるのに要る問題の数  why: 比べていない問題があれば、その説明
    """
    common = row["answers"].keys() & other["answers"].keys()
    hits, others = ([r["answers"][key] for key in common] for r in (row, other))
    left, qids = row["n"] + other["n"] - 2 * len(common), len(row["qids"] & other["qids"])
    if not common:
        why = f"qid は {qids} 問が同じだが、選択肢かその順が違う" if qids else "同じ問題が 1 問もない"
        return {"n": 0, "why": why if row["answers"] and other["answers"] else "どの問題か分からない古いファイル"}
    won, lost, p = mcnemar(hits, others)
    return {"n": len(common), "won": won, "lost": lost, "p": p, "difference": (won - lost) / len(common),
            "interval": newcombe(hits, others), "needed": questions_needed(won, lost, len(common)),
            "why": f"共通でない {left} 問を除いた" if left else ""}


def with_published(tables):
    """チュートリアルの表に、自分の表を点数の順に並べて加える。digits は元の桁のままの score と latency (秒)。"""
    text, published = read_text(PUBLISHED, "リポジトリから取り直してください: git checkout data/published_scores.csv"), {}
    for r in csv.DictReader(text.splitlines()):
        published.setdefault(r["genre"], []).append({
            "name": r["model"], "environment": r["environment"], "digits": (r["score"], r["latency"]), "score": float(r["score"]),
            "latency": float(r["latency"]), "source": r["source"], "unparsed": None, "likelihood": None,
            "chance": 1 / 5 if r["environment"] < "dev5" else 1 / 4})  # dev1 から dev4 は 5 択、dev5 から dev9 は 4 択
    for key, rows in published.items():
        rows.sort(key=lambda row: -row["score"])
        fractions = [Fraction(row["score"]).limit_denominator(2000) for row in rows if len(row["digits"][0]) > 5]
        n = QUESTIONS.get(key) or math.lcm(*(fraction.denominator for fraction in fractions))
        for row in rows:
            row |= {"n": n, "interval": wilson(round(row["score"] * n), n)}
    for key, rows in tables.items():
        for row in rows:
            published.setdefault(same_file(key, row) or key, []).append(row)
    return {key: sorted(rows, key=lambda row: -row["score"]) for key, rows in published.items()}


def same_file(key, row):
    """row が、公開の表と同じファイルの全問を、ふつうに解いた結果なら、その表の名前。数と名前で見分けるので、確かではない。"""
    target, summary = SAME_FILE.get(key), row["summary"]
    odd = summary.get("rotations") or summary.get("blank_question")
    return target if target and not odd and 0.97 * QUESTIONS[target] <= row["n"] <= QUESTIONS[target] else None
