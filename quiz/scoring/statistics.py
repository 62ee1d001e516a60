"""区間と検定。scipy は読み込みに時間がかかるので、使う関数の中で読む。"""

import math
from collections import Counter
from dataclasses import dataclass
from itertools import chain

ALPHA = 0.05  # 有意水準。区間は 95 %


@dataclass
class Difference:
    """同じ問題を解いた 2 つ (自分と相手) の、正誤の差。"""

    won: int  # 自分だけが正解した問題の数
    lost: int  # 相手だけが正解した問題の数
    difference: float  # 正解率の差 (自分 - 相手)。-1 から 1
    interval: tuple  # その 95 % 区間 (下限, 上限)
    p: float  # McNemar の検定の p 値


def paired(pairs):
    """同じ問題の (自分の正誤, 相手の正誤) のリストから、Difference を求める。

    組が 1 つもないか、分からない正誤 (None) が 1 つでもあれば None。
    """
    if not pairs or None in chain(*pairs):
        return None
    # 2 × 2 の表: 自分が正解か、相手が正解か
    n = len(pairs)
    cells = Counter(pairs)
    won = cells[True, False]
    lost = cells[False, True]
    interval = newcombe(cells[True, True], won, lost, cells[False, False])
    return Difference(won, lost, (won - lost) / n, interval, mcnemar(won, lost))


def wilson(hits, n):
    """n 問中 hits 問正解のときの、正解率の 95 % 信頼区間 (下限, 上限)。0 から 1 (Wilson 1927)。"""
    from scipy.stats import binomtest

    return binomtest(hits, n).proportion_ci(1 - ALPHA, method="wilson")


def mcnemar(won, lost):
    """片方だけが正解した問題の数から、差がないとしたときの p 値。両側の正確検定 (McNemar 1947)。"""
    from scipy.stats import binomtest

    # どの問題でも正誤が同じなら (どちらも 0)、検定するまでもない
    if won == lost:
        return 1.0
    return float(binomtest(won, won + lost).pvalue)


def newcombe(both, won, lost, neither):
    """正解率の差 (自分 - 相手) の 95 % 信頼区間 (下限, 上限)。-1 から 1。

    引数は、両方が正解、自分だけ正解、相手だけ正解、両方が不正解の問題の数。
    Newcombe 1998 の方法 10: それぞれの Wilson の区間を、2 つの正誤の相関を見込んで合わせる。
    """
    # 上限は、自分と相手を入れ替えた差の下限
    return lower_end(both, won, lost, neither), -lower_end(both, lost, won, neither)


def lower_end(both, won, lost, neither):
    """newcombe() の下限。"""
    n = both + won + lost + neither
    mine = both + won
    other = both + lost

    # 2 つの正誤の相関。正のときだけ、連続性の補正をする。margins が 0 なら、product も 0
    product = both * neither - won * lost
    if product > 0:
        product = max(product - n / 2, 0)
    margins = math.sqrt(mine * (n - mine) * other * (n - other))
    phi = product / (margins or 1)

    # 差が最も小さいのは、自分が区間の下の端で、相手が上の端のとき
    down = mine / n - wilson(mine, n).low
    up = wilson(other, n).high - other / n
    return (won - lost) / n - math.sqrt(down**2 - 2 * phi * down * up + up**2)


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
