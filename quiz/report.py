"""結果を文字で見せる: チュートリアルの 1 行、Markdown の表、間違いの一覧。"""

from collections import Counter
from statistics import fmean

from quiz.scores import ALPHA, scores, wilson

COLUMNS = ["Model", "Environment", "Score", "Latency"]
MORE_COLUMNS = ["n", "95% CI", "Unparsed", "Likelihood", "Chance", "vs best", "vs base"]
INTERVAL = "{:.3f}-{:.3f}"
NOTE = f"""\
Score: 生成した回答の正解率。95% CI: その Wilson の信頼区間。Unparsed: 番号を読み取れない回答。Likelihood: 番号の確率での正解率。
Chance: 当てずっぽうの正解率。vs best、vs base: 同じ問題を解いた最良のモデル、学習前のモデルとの比較。+a -b は自分だけが正解した問題が
a 問、相手だけが正解した問題が b 問。p は McNemar の正確検定 (同じ表の同じ列の中で Holm の補正)。≈ は最良と区別できない (p ≥ {ALPHA})。
"""
PUBLISHED_NOTE = """\
公開の表 (dev5 から dev9) とは問題も計算機も違うので、Score や Latency の差は目安。公開の表に n はないので、Score がすべて
整数/n になる最小の n を使った。
"""


def show(value, pattern="{:.2f}"):
    return "-" if value is None else pattern.format(value)


def percent(value):
    return show(value and 100 * value, "{:.1f} %")


def versus(row, name):
    """行 row の vs best か vs base の欄。"""
    if f"vs {name}" not in row:
        return name if row.get(name) is row else "-"
    won, lost, p = row[f"vs {name}"]
    return f"+{won} -{lost} {f'p={p:.3f}' if p >= 0.001 else 'p<0.001'}{' ≈' if name == 'best' and p >= ALPHA else ''}"


def grid(header, rows):
    """Markdown の表の行のリスト。"""
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]


def markdown(tables, full, published):
    """チュートリアルと同じ形の表。full なら n から右の列と、その読み方も付ける。"""
    parts = []
    for key, rows in tables.items():
        width, lines = max(len(row["environment"]) for row in rows), []
        for row in rows:
            cells = [f"{row['score']:.4f}", show(row["latency"], "{:.1f}"), str(row["n"]), INTERVAL.format(*row["interval"]),
                     percent(row["unparsed"]), show(row["likelihood"], "{:.4f}"), show(row["chance"]), versus(row, "best"),
                     versus(row, "base")]
            lines.append([f"{row['name']:<30}", f"{row['environment']:<{width}}", *(cells if full else row["digits"])])
        parts.append("\n".join([f"### Table for key: {key}", *grid(COLUMNS + (MORE_COLUMNS if full else []), lines), ""]))
    return "\n".join([*parts, NOTE + (PUBLISHED_NOTE if published else "")] if full else parts)


def summary_lines(run, by_genre):
    """チュートリアルと同じ 1 行と、その内訳。"""
    lines = []
    for genre in [None, *sorted({r["genre"] for r in run["records"] if r["genre"]} if by_genre else ())]:
        s = scores([r for r in run["records"] if genre in (None, r["genre"])])
        head = f"{genre}: {s['score']:.2f} ({s['n']} 問)" if genre else f"{s['n']} 問  読み取れない {percent(s['unparsed'])}"
        lines.append(f"    {head}  番号の確率 {show(s['likelihood'])}  当てずっぽう {show(s['chance'])}")
    return "\n".join([f"{run['path']:<60} : {round(scores(run['records'])['score'], 4)}", *lines])


def mistakes(run):
    """番号の偏り、確信度と正解率、自信のある間違いを、Markdown の文字列で返す。"""
    records = run["records"]
    lines = [f"### {run['name']} ({len(records)} 問)", "", "番号の偏り。その番号を答えた割合、それが正解である割合、そのときの正解率", "",
             *grid(["番号", "答えた", "正解", "正解率"], positions(records)), ""]
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
