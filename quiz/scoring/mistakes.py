"""間違いの傾向: 番号の偏り、番号と文字の食い違い、確信度と正解率、自信のある間違い。"""

from collections import Counter
from itertools import chain
from statistics import fmean

from quiz.scoring.read_results import UNREAD, one_line
from quiz.scoring.statistics import wilson
from quiz.scoring.text import ends, grid, line, percent

POSITIONS = "| 番号 | 答えた | 正解 | 正解率 |"
CALIBRATION = "| 確信度 | 問題数 | 確信度の平均 | 正解率 | 95% CI |"
CONFIDENCE = (
    "確信度 (最大の番号の確率 / 番号の確率の合計) と、その番号の正解率。"
    "正解率の方が低ければ自信過剰"
)
SCORES = (
    "\nECE {:.3f}: 上の 10 個の範囲での、確信度の平均と正解率の差を、問題数で重み付けした平均。"
    "0 が最良\n\nBrier {:.3f}: 番号の確率 (合計を 1 にする) と、正解だけが 1 との差の 2 乗の和の"
    "平均。0 が最良、どの番号も同じ確率なら {:.3f}"
)


def mistakes(result):
    """間違いの傾向を、Markdown の文字列で返す。"""
    # 選択肢の順を変えた結果なら、まとめる前の、実際の答えのすべて
    answers = list(chain(*result.rotations)) or result.answers
    lines = [
        f"### {result.name} ({len(answers)} 問)\n",
        "番号の偏り。その番号を答えた割合、それが正解である割合、そのときの正解率\n",
        *grid(POSITIONS, positions(answers)),
        f"\n番号と文字: {agreement(answers)} (採点するのは番号)\n",
    ]

    # 2024 年版の結果には、番号の確率がない
    rated = [answer for answer in answers if answer.probs]
    if not rated:
        return "\n".join([*lines, "番号の確率の記録がないので、確信度は出せません。\n"])
    rows, error = calibration(rated)
    uniform = fmean(1 - 1 / a.n_choices for a in rated)
    lines += [
        f"{CONFIDENCE}\n",
        *grid(CALIBRATION, rows),
        SCORES.format(error, fmean(map(brier, rated)), uniform),
        "\n自信のある間違い (確信度の高い順に 10 問まで)。確信度、問題、モデルの回答、正解\n",
        *confident_misses(rated),
        "",
    ]
    return "\n".join(lines)


def positions(answers):
    """番号ごとの行: その番号を答えた割合、それが正解である割合、そのときの正解率。"""
    # 答えた番号、正解の番号、当たった番号の数
    answered = Counter(a.answered for a in answers)
    correct = Counter(a.label for a in answers)
    hits = Counter(a.label for a in answers if a.hit)

    # 選択肢の番号と、選択肢にないのに答えた番号ごとに 1 行。読み取れない回答は、最後に
    n = len(answers)
    labels = {*range(max(a.n_choices for a in answers)), *answered, *correct}
    rows = []
    for label in sorted(labels - {UNREAD}):
        accuracy = "-"
        if label in correct:
            accuracy = f"{hits[label] / correct[label]:.2f}"
        share = percent(correct[label] / n)
        rows.append(line(label, percent(answered[label] / n), share, accuracy))
    rows.append(line("読み取れない", percent(answered[UNREAD] / n), "-", "-"))
    return rows


def agreement(answers):
    """番号の読み取れた回答のうち、文字もその番号の選択肢である割合と、食い違いの数。"""
    # 食い違いは、「2: カリウム」と答えたがカリウムは 3 番、というような回答
    read = [a for a in answers if not a.unread]
    same = sum(a.said == a.answered for a in read)
    rate = percent(same / len(read)) if read else "-"
    # 採点するのは番号。文字の方が合っていたことも数える
    split = [a for a in read if a.said not in (None, a.answered)]
    number = sum(a.hit for a in split)
    text = sum(a.said == a.label for a in split)
    neither = len(split) - number - text
    return (
        f"一致 {rate} (番号の読み取れた {len(read)} 問のうち {same} 問)。食い違い {len(split)} 問: "
        f"番号だけが正解 {number}、文字だけが正解 {text}、どちらも不正解 {neither}"
    )


def calibration(rated):
    """確信度を 0.1 ごとに分けた表の行 (範囲、問題数、確信度の平均、正解率、区間) と、ECE。

    ECE は、範囲ごとの確信度の平均と正解率の差を、問題数で重み付けした平均 (Guo 2017)。
    """
    # 確信度 1 は、最後の 0.9-1.0 に入れる
    tenths = {}
    for a in rated:
        tenth = min(int(a.confidence * 10), 9)
        tenths.setdefault(tenth, []).append(a)

    # その範囲の確信度の平均と、確率が最大の番号の正解率
    rows = []
    error = 0
    for tenth, same in sorted(tenths.items()):
        n = len(same)
        confidence = fmean(a.confidence for a in same)
        right = sum(a.likely_hit for a in same)
        interval = ends(wilson(right, n))
        bounds = f"{tenth / 10:.1f}-{(tenth + 1) / 10:.1f}"
        rows.append(line(bounds, n, f"{confidence:.3f}", f"{right / n:.3f}", interval))
        error += abs(confidence - right / n) * n / len(rated)
    return rows, error


def brier(answer):
    """番号の確率 (合計を 1 にする) と、正解だけが 1 との差の 2 乗の和。0 から 2 (Brier 1950)。"""
    total = sum(answer.probs) or 1
    squares = sum(p * p for p in answer.probs) / total**2
    return squares - 2 * answer.probs[answer.label] / total + 1


def confident_misses(rated):
    """生成でも番号の確率でも間違えた問題のうち、確信度の高い 10 問まで。"""
    # 書式を守れなかっただけの (番号の確率では正解した) 問題は除く
    misses = [a for a in rated if not a.hit and not a.likely_hit]
    misses.sort(key=lambda a: -a.confidence)
    lines = []
    for a in misses[:10]:
        # 長い回答や、改行のある問題でも 1 行に
        output = one_line(a.output)[:40]
        lines.append(f"- {a.confidence:.3f} {one_line(a.question)} → {output} (正解 {a.correct})")
    return lines
