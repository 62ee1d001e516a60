"""正解率、区間、検定。"""

import math

ALPHA = 0.05  # 有意水準。区間は 95 %
POWER = 0.8  # 検出力: 本当に差があるとき、検定がそれを見つける確率


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
            "chance": mean([r["n_choices"] and 1 / r["n_choices"] for r in records])}


def wilson(hits, n):
    """n 問中 hits 問正解のときの、正解率の 95 % 信頼区間 (下限, 上限)。0 から 1 (Wilson 1927)。"""
    from scipy.stats import binomtest  # 読み込みに時間がかかるので、使うときだけ

    return tuple(binomtest(hits, n).proportion_ci(1 - ALPHA, method="wilson"))


def mcnemar(hits, others):
    """同じ問題の正誤の列 2 つから (自分だけ正解の数, 相手だけ正解の数, p 値) を返す (McNemar 1947、二項分布による両側の正確検定)。"""
    from scipy.stats import binomtest

    won, lost = sum(a and not b for a, b in zip(hits, others)), sum(b and not a for a, b in zip(hits, others))
    return won, lost, float(binomtest(won, won + lost).pvalue) if won + lost else 1.0


def newcombe(hits, others):
    """同じ問題の正誤の列 2 つの、正解率の差 (自分 - 相手) の 95 % 信頼区間 (下限, 上限)。-1 から 1。

    Newcombe 1998 の方法 10: それぞれの Wilson の区間を、2 つの正誤の相関 phi を見込んで合わせる。
    """
    n, pairs = len(hits), list(zip(map(bool, hits), map(bool, others)))
    both, won, lost, neither = (pairs.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False)))
    right, other = both + won, both + lost
    (low, high), (other_low, other_high) = wilson(right, n), wilson(other, n)
    product, margins = both * neither - won * lost, right * (n - right) * other * (n - other)
    phi = (max(product - n / 2, 0) if product > 0 else product) / math.sqrt(margins) if margins else 0.0
    down, up, other_down, other_up = right / n - low, high - right / n, other / n - other_low, other_high - other / n
    lower = math.sqrt(max(0, down**2 - 2 * phi * down * other_up + other_up**2))
    upper = math.sqrt(max(0, up**2 - 2 * phi * up * other_down + other_down**2))
    return (right - other) / n - lower, (right - other) / n + upper


def questions_needed(won, lost, n):
    """n 問で片方だけが正解した問題が won 問と lost 問だったとき、その差を McNemar の検定が検出力 POWER で見つけるのに要る問題数。

    Connor 1987 の式。差がなければ None。
    """
    from scipy.stats import norm

    apart, difference = (won + lost) / n, abs(won - lost) / n
    if not difference:
        return None
    spread = norm.ppf(1 - ALPHA / 2) * math.sqrt(apart) + norm.ppf(POWER) * math.sqrt(max(0, apart - difference**2))
    return math.ceil((spread / difference) ** 2)


def crossed(hits):
    """hits[s][q] が、s 番の学習の、問題 q の正誤のとき、平均の正解率とその揺れの dict を返す (学習は 2 つ以上)。

    mean: 平均  spread: 学習ごとの正解率の標準偏差  questions、trainings: 問題と学習の選ばれ方による平均の標準誤差
    interval: 両方の揺れを合わせた 95 % 区間 (正規近似)。分散の成分は、繰り返しのない二元配置の分散分析から求める (Brennan 2001, 3 章)
    """
    import numpy as np

    x = np.asarray(hits, float)
    trainings, n = x.shape
    mean, rows, columns = x.mean(), x.mean(1), x.mean(0)
    between_trainings, between_questions = n * rows.var(ddof=1), trainings * columns.var(ddof=1) if n > 1 else 0.0
    residual = x - rows[:, None] - columns[None, :] + mean
    error = (residual**2).sum() / max(1, (trainings - 1) * (n - 1))
    parts = {"trainings": max(0.0, between_trainings - error) / x.size, "questions": max(0.0, between_questions - error) / x.size}
    half = 1.959963984540054 * math.sqrt(sum(parts.values()) + error / x.size)
    return {"mean": float(mean), "spread": float(rows.std(ddof=1)), **{k: math.sqrt(v) for k, v in parts.items()},
            "interval": (max(0.0, float(mean) - half), min(1.0, float(mean) + half))}


def holm(p_values):
    """いくつも検定したときの補正をした p 値 (0 から 1) を、同じ順で返す (Holm 1979)。"""
    adjusted, largest = [None] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, p_values[i] * (len(p_values) - rank)))
        adjusted[i] = largest
    return adjusted
