"""区間と検定。scipy は読み込みに時間がかかるので、使う関数の中で読む。"""

import math
from dataclasses import dataclass

ALPHA = 0.05  # 有意水準。区間は 95 %
Z = 1.959963984540054  # 標準正規分布の、両側 5 % の点


@dataclass
class Difference:
    """同じ問題を解いた 2 つ (自分と相手) の、正誤の差。"""

    won: int  # 自分だけが正解した問題の数
    lost: int  # 相手だけが正解した問題の数
    difference: float  # 正解率の差 (自分 - 相手)。-1 から 1
    interval: tuple  # その 95 % 区間 (下限, 上限)
    p: float  # McNemar の検定の p 値


def paired(mine, others):
    """同じ問題を同じ順に並べた、自分の正誤と相手の正誤のリストから、Difference を求める。

    問題が 1 つもないか、分からない正誤 (None) が 1 つでもあれば None。
    """
    if not mine or None in mine or None in others:
        return None
    pairs = list(zip(mine, others, strict=True))
    n = len(pairs)
    won = pairs.count((True, False))
    lost = pairs.count((False, True))
    return Difference(
        won=won,
        lost=lost,
        difference=(won - lost) / n,
        interval=paired_interval(won, lost, n),
        p=mcnemar(won, lost),
    )


def wilson(hits, n):
    """n 問中 hits 問正解のときの、正解率の 95 % 信頼区間 (下限, 上限)。0 から 1 (Wilson 1927)。"""
    from scipy.stats import binomtest

    return binomtest(hits, n).proportion_ci(1 - ALPHA, method="wilson")


def mcnemar(won, lost):
    """片方だけが正解した問題の数から、差がないとしたときの p 値。両側の正確検定 (McNemar 1947)。"""
    from scipy.stats import binomtest

    # 同じ数なら p は 1。どちらも 0 では、検定できない
    if won == lost:
        return 1.0
    return float(binomtest(won, won + lost).pvalue)


def paired_interval(won, lost, n):
    """正解率の差 (自分 - 相手) の 95 % 信頼区間 (下限, 上限)。-1 から 1 (Bonett と Price 2012)。

    n 問のうち、自分だけが正解した問題が won、相手だけが正解した問題が lost。
    """
    # どちらにも 1 問ずつ足す。差が 0 や ±1 のときにも、区間がつぶれない
    mine = (won + 1) / (n + 2)
    other = (lost + 1) / (n + 2)
    middle = mine - other
    variance = mine + other - middle**2
    half = Z * math.sqrt(variance / (n + 2))
    return max(-1.0, middle - half), min(1.0, middle + half)


def holm(p_values):
    """いくつも検定したときの補正をした p 値 (0 から 1) を、同じ順で返す (Holm 1979)。"""
    adjusted = {}
    largest = 0.0
    for rank, p in enumerate(sorted(p_values)):
        # 小さい順に、残りの検定の数を掛ける。順は入れ替わらず、同じ p は同じ値になる
        remaining = len(p_values) - rank
        largest = max(largest, min(1.0, p * remaining))
        adjusted[p] = largest
    return [adjusted[p] for p in p_values]
