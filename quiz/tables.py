"""表の中身: 問題のファイルごと、分野ごとの行と、同じ問題を解いた行どうしの検定。"""

import csv
import math
from fractions import Fraction
from pathlib import Path

from quiz.files import read_text
from quiz.scores import holm, mcnemar, scores, wilson

PUBLISHED = Path(__file__).parents[1] / "data/published_scores.csv"


def make_row(run, records, latency):
    """表の 1 行。keys と hits は、検定のために問題の順をそろえた列。latency は秒。"""
    ordered, s = sorted(records, key=lambda r: r["key"]), scores(records)
    return {**run, **s, "latency": latency, "interval": wilson(sum(r["hit"] for r in records), s["n"]),
            "keys": tuple(r["key"] for r in ordered), "hits": [r["hit"] for r in ordered]}


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


def compare(rows):
    """同じ問題を解いた行どうしを比べる。行に best (最良の行)、base (学習前の行)、vs best と vs base (勝, 負, 補正した p 値) を入れる。"""
    groups = {}
    for row in rows:
        if all(row["keys"]):
            groups.setdefault(row["keys"], []).append(row)
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


def with_published(tables):
    """チュートリアルの表に、自分の表を点数の順に並べて加える。digits は元の桁のままの score と latency (秒)。"""
    text, published = read_text(PUBLISHED, "リポジトリから取り直してください: git checkout data/published_scores.csv"), {}
    for r in csv.DictReader(text.splitlines()):
        published.setdefault(r["genre"], []).append({
            "name": r["model"], "environment": r["environment"], "digits": (r["score"], r["latency"]), "score": float(r["score"]),
            "latency": float(r["latency"]), **dict.fromkeys(("unparsed", "likelihood", "chance"))})
    for rows in published.values():
        n = math.lcm(*(Fraction(row["score"]).limit_denominator(2000).denominator for row in rows))  # PUBLISHED_NOTE を参照
        for row in rows:
            row |= {"n": n, "interval": wilson(round(row["score"] * n), n)}
    for key, rows in tables.items():
        published[key] = sorted([*published.get(key, ()), *rows], key=lambda row: -row["score"])
    return published
