"""正解率、区間、検定。"""

ALPHA = 0.05  # 有意水準。区間は 95 %


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


def holm(p_values):
    """いくつも検定したときの補正をした p 値 (0 から 1) を、同じ順で返す (Holm 1979)。"""
    adjusted, largest = [None] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, p_values[i] * (len(p_values) - rank)))
        adjusted[i] = largest
    return adjusted
