"""区間と検定: scipy の binomtest とは別の計算と比べる。"""

import math
import random

import pytest
from samples import wilson_roots
from scipy.optimize import brentq

from quiz.scoring.statistics import holm, paired, paired_interval, wilson


@pytest.mark.parametrize(
    "hits, n",
    [(0, 1), (1, 1), (0, 5), (5, 5), (1, 20), (7, 20), (303, 539), (0, 13000), (13000, 13000)],
)
def test_wilson(hits, n):
    assert wilson(hits, n) == pytest.approx(wilson_roots(hits, n), abs=1e-9)


@pytest.mark.parametrize(
    "won, lost", [(0, 0), (1, 0), (0, 1), (5, 5), (0, 6), (10, 2), (30, 12), (100, 141)]
)
def test_mcnemar(won, lost):
    """二項係数の和 (分数のまま) と同じ。

    どちらも正解、どちらも不正解の問題は、いくつあっても関係ない。
    """
    expected = min(
        1, 2 * sum(math.comb(won + lost, k) for k in range(min(won, lost) + 1)) / 2 ** (won + lost)
    )
    for same in (0, 50) if won + lost else (50,):
        hits = [True] * won + [False] * lost + [True, False] * same
        others = [False] * won + [True] * lost + [True, False] * same
        found = paired(hits, others)
        assert (found.won, found.lost, found.p) == (won, lost, pytest.approx(expected, rel=1e-9))
        assert found.difference == (won - lost) / len(hits)


def test_holm():
    """R の p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") と同じ。1 を超えず、順も入れ替わらない。"""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.2]) == [0.2] and holm([0.6, 0.5]) == [1, 1]
    p = [random.Random(i).random() ** 4 for i in range(19)]
    for level in (
        0.01,
        0.05,
        0.2,
    ):  # 定義どおりの手順: 小さい順に level/(m-k) と比べ、初めて超えた所でやめる
        order = sorted(range(19), key=lambda i: p[i])
        rejected = next((k for k, i in enumerate(order) if p[i] > level / (19 - k)), 19)
        assert {i for i, q in enumerate(holm(p)) if q <= level} == set(order[:rejected])


def test_unknown_answers_are_not_compared():
    """分からない正誤が 1 つでもあれば、比べない (残りだけを比べて n を小さくしない)。"""
    assert paired([True, None], [False, True]) is None
    assert paired([True, True], [False, None]) is None


def tango(won, lost, n):
    """
    同じ区間の、別の求め方: 差を仮定したときのスコア検定の統計量が ±1.96 になる 2 点 (Tango 1998)。
    """

    def statistic(d):
        a, b, c = 2 * n, -won - lost + (2 * n - won + lost) * d, -lost * d * (1 - d)
        q = (math.sqrt(max(0, b * b - 4 * a * c)) - b) / (2 * a)
        variance = n * (2 * q + d * (1 - d))
        return (
            (won - lost - n * d) / math.sqrt(variance)
            if variance > 1e-15
            else math.copysign(99, won - lost - n * d)
        )

    middle, z = (won - lost) / n, 1.959963984540054
    return (
        brentq(lambda d: statistic(d) - z, -1 + 1e-9, middle - 1e-9),
        brentq(lambda d: statistic(d) + z, middle + 1e-9, 1 - 1e-9),
    )


@pytest.mark.parametrize(
    "won, lost, n",
    [(30, 12, 200), (5, 5, 500), (20, 0, 179), (80, 20, 200), (60, 90, 995), (178, 0, 179)],
)
def test_paired_interval(won, lost, n):
    """別の求め方 (Tango) とほぼ同じ。相手と入れ替えれば、符号が変わるだけ。"""
    low, high = paired_interval(won, lost, n)
    assert (low, high) == pytest.approx(tango(won, lost, n), abs=0.012)
    assert paired_interval(lost, won, n) == pytest.approx((-high, -low), abs=1e-12)


def test_paired_interval_at_the_edges():
    """0 問対 n 問、n 問対 0 問、1 問、まったく同じ、どれも壊れず、-1 から 1 に収まり、差を含む。"""
    for won, lost, n in (
        (5, 0, 5),
        (0, 5, 5),
        (0, 0, 5),
        (0, 0, 1),
        (1, 0, 1),
        (0, 1, 1),
        (2, 2, 4),
    ):
        low, high = paired_interval(won, lost, n)
        assert -1 <= low <= (won - lost) / n <= high <= 1 and low < high, (won, lost, n)
    low, high = paired_interval(0, 0, 100)
    assert low == pytest.approx(-high) and high < 0.06  # 同じ結果どうしの差は 0 のまわり


def test_paired_interval_covers_the_truth():
    """本当の差を、およそ 95 % の確率で含む。"""
    rng = random.Random(0)
    for mine, other in ((0.2, 0.1), (0.5, 0.02), (0.03, 0.03)):
        covered = 0
        for _ in range(600):
            draws = rng.choices((1, -1, 0), (mine, other, 1 - mine - other), k=100)
            low, high = paired_interval(draws.count(1), draws.count(-1), 100)
            covered += low <= mine - other <= high
        assert 0.93 <= covered / 600 <= 0.99, (mine, other)
