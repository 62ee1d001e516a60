"""選択肢の順を変えて解かせた結果 (run_quiz.py --rotations) を、1 問ずつにまとめる。"""

from dataclasses import replace
from statistics import fmean

from quiz.prompt import likely_label, read_choice


def group(answers):
    """答えを、問題ごとの N 通りに分けたリスト (N は選択肢の数)。

    順を変えていない結果なら、空のリスト。どれかの順か確率が欠けているか、別の問題が混じれば None。
    """
    if answers[0].rotation is None:
        return []
    # 1 問の N 通りは、ずらした数 0, 1, ..., N-1 の順に並んでいる
    groups = []
    for answer in answers:
        if answer.rotation == 0 or not groups:
            groups.append([])
        groups[-1].append(answer)
    for same in groups:
        turned = [answer.rotation for answer in same if answer.probs]
        problems = {(answer.qid, read_choice(answer.correct)) for answer in same}
        if turned != list(range(same[0].n_choices)) or len(problems) > 1:
            return None
    return groups


def collapse(same):
    """1 問の N 通りの答えを 1 つにする: 番号の確率を選択肢ごとに平均し、最大のもの。

    1 問に答えが 1 つなので、検定に使える。
    """
    # 番号の確率の平均。選択肢の番号は、並べ替える前のもの
    first = same[0]
    n = len(same)
    probs = []
    for k in range(n):
        # r だけずらした順では、選択肢 k の番号は k - r
        probs.append(fmean(a.probs[(k - a.rotation) % n] for a in same))
    # 選択肢の番号と文字は、並べ替える前 (初めの 1 つ) のとおり
    likely = likely_label(probs)
    return replace(
        first,
        probs=probs,
        answered=likely,
        said=likely,
        output=first.lines[likely],
        hit=likely == first.label,
        seconds=sum(a.seconds or 0 for a in same),
        order_hits=tuple(a.likely_hit for a in same),
    )


def summary_line(groups):
    """順を変えた全体の、正解率と、どの順でも正解した問題、同じ選択肢を選んだ問題の割合の 1 行。"""
    accuracies = []
    consistent = 0
    for same in groups:
        accuracies.append(fmean(a.hit for a in same))
        # どの順でも、読み取れた同じ選択肢を答えたか
        choices = set(map(chosen, same))
        consistent += len(choices) == 1 and choices != {None}
    n = len(groups)
    always = accuracies.count(1)
    return (
        f"選択肢の順を変えた全体: 正解率 {fmean(accuracies):.2f}  どの順でも正解 {always / n:.2f}  "
        f"どの順でも同じ選択肢 {consistent / n:.2f}"
    )


def chosen(answer):
    """答えた選択肢の、並べ替える前の番号。読み取れないか、選択肢にない番号なら None。"""
    if not 0 <= answer.answered < answer.n_choices:
        return None
    return (answer.answered + answer.rotation) % answer.n_choices
