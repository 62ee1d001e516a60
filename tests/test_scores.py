"""区間と検定: scipy の binomtest とは別の計算と比べる。"""

import math
import random

import pytest
from samples import wilson_roots

from quiz.scores import holm, mcnemar, wilson


@pytest.mark.parametrize("hits, n", [(0, 1), (1, 1), (0, 5), (5, 5), (1, 20), (7, 20), (303, 539), (0, 13000), (13000, 13000)])
def test_wilson(hits, n):
    assert wilson(hits, n) == pytest.approx(wilson_roots(hits, n), abs=1e-9)


@pytest.mark.parametrize("won, lost", [(0, 0), (1, 0), (0, 1), (5, 5), (0, 6), (10, 2), (30, 12), (100, 141)])
def test_mcnemar(won, lost):
    """二項係数の和 (分数のまま) と同じ。どちらも正解、どちらも不正解の問題は、いくつあっても関係ない。"""
    expected = min(1, 2 * sum(math.comb(won + lost, k) for k in range(min(won, lost) + 1)) / 2 ** (won + lost))
    for same in (0, 50):
        hits = [True] * won + [False] * lost + [True, False] * same
        others = [False] * won + [True] * lost + [True, False] * same
        assert mcnemar(hits, others) == (won, lost, pytest.approx(expected, rel=1e-9))


def test_holm():
    """R の p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") と同じ。1 を超えず、順も入れ替わらない。"""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.2]) == [0.2] and holm([0.6, 0.5]) == [1, 1]
    p = [random.Random(i).random() ** 4 for i in range(19)]
    for level in (0.01, 0.05, 0.2):  # 定義どおりの手順: 小さい順に level/(m-k) と比べ、初めて超えた所でやめる
        order = sorted(range(19), key=lambda i: p[i])
        rejected = next((k for k, i in enumerate(order) if p[i] > level / (19 - k)), 19)
        assert {i for i, q in enumerate(holm(p)) if q <= level} == set(order[:rejected])
