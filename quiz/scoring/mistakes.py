"""間違いの傾向: 番号の偏り、番号と文字の食い違い、確信度と正解率、自信のある間違い。"""

from collections import Counter
from statistics import fmean

from quiz.scoring.text import INTERVAL, grid, percent, show
from quiz.scoring.statistics import wilson


def mismatch(records):
    """番号と文字の食い違う回答の数: (番号だけが正解, 文字だけが正解, どちらも不正解)。"""
    split = [r for r in records if r["said"] is not None and r["answered"] not in (None, r["said"])]
    right, text = sum(r["hit"] for r in split), sum(r["said"] == r["label"] for r in split)
    return right, text, len(split) - right - text


def mistakes(run):
    """番号の偏り、確信度と正解率、自信のある間違いを、Markdown の文字列で返す。"""
    records = [r for group in run["rotations"] for r in group] or run["records"]  # 順を変えたなら、実際の答えのすべて
    lines = [f"### {run['name']} ({len(records)} 問)", "", "番号の偏り。その番号を答えた割合、それが正解である割合、そのときの正解率", "",
             *grid(["番号", "答えた", "正解", "正解率"], positions(records)), ""]
    label, text, neither = mismatch(records)
    lines += [f"番号と文字の食い違う回答: 番号だけが正解 {label}、文字だけが正解 {text}、どちらも不正解 {neither} (採点するのは番号)", ""]
    rated = [(max(r["probs"]) / (sum(r["probs"]) or 1), r) for r in records if r["probs"]]
    if not rated:
        return "\n".join([*lines, "番号の確率の記録がないので、確信度は出せません。", ""])
    lines += ["確信度 (最大の番号の確率 / 番号の確率の合計) と、その番号の正解率。正解率の方が低ければ自信過剰", "",
              *grid(["確信度", "問題数", "確信度の平均", "正解率", "95% CI"], calibration(rated)), "",
              "自信のある間違い (確信度の高い順に 10 問まで)。確信度、問題、モデルの回答、正解", ""]
    misses = [(confidence, r) for confidence, r in rated if not r["hit"] and r["likely"] != r["label"]]
    for confidence, r in sorted(misses, key=lambda miss: -miss[0])[:10]:
        question, output = " ".join(r["question"].split()), " ".join(r["output"].split())[:40]
        lines.append(f"- {confidence:.3f} {question} → {output} (正解 {r['correct_answer']})")
    return "\n".join([*lines, ""])


def positions(records):
    """番号ごとの [番号, 答えた割合, 正解である割合, 正解率]。"""
    answered, right = Counter(r["answered"] for r in records), Counter(r["label"] for r in records)
    hits = Counter(r["label"] for r in records if r["hit"])
    labels = range(max(max(r["n_choices"] or 0, -1 if r["label"] is None else r["label"] + 1) for r in records))

    def rate(*answers):
        return percent(None if answered[None] else sum(answered[k] for k in answers) / len(records))

    rows = [[str(k), rate(k), percent(right[k] / len(records)), show(hits[k] / right[k] if right[k] else None)] for k in labels]
    return [*rows, ["ほかの番号", rate(*(answered.keys() - {None, -1, *labels})), "-", "-"], ["読み取れない", rate(-1), "-", "-"]]


def calibration(rated):
    """確信度を 0.1 ごとに分けた [範囲, 問題数, 確信度の平均, 正解率, 区間]。rated は (確信度, 記録) のリスト。"""
    bins, rows = {}, []
    for confidence, r in rated:
        bins.setdefault(min(int(confidence * 10), 9), []).append((confidence, r["likely"] == r["label"]))
    for k, values in sorted(bins.items()):
        n, mean, good = len(values), fmean(c for c, _ in values), sum(hit for _, hit in values)
        rows.append([f"{k / 10:.1f}-{(k + 1) / 10:.1f}", str(n), f"{mean:.3f}", f"{good / n:.3f}", INTERVAL.format(*wilson(good, n))])
    return rows
