"""学習が何を教えたか: 学習前のモデルへの聞き方を 1 段ずつ公平にして、学習後と比べる。

学習前の生成 → 番号の確率 (書式を守れなくてもよい) → 順の平均 (番号の偏りをならす) →
選択肢の文字や、例を見せたとき (番号で選べなくてもよい) → 学習後。どの段も、同じ問題で比べる。
"""

from dataclasses import dataclass
from statistics import fmean

from quiz.adapter import file_digest
from quiz.prompt import read_choice
from quiz.questions.converted import read_converted
from quiz.scoring.rows import mark, mean
from quiz.scoring.statistics import Difference, paired, wilson

LABEL = "学習前 番号の確率"
TEXT = "学習前 文字 (1 文字あたり)"
SHOTS = "学習前 例つきの生成"
# 段の順: (役, 正誤の項目, 名前)。役は role() の返すもの
STEPS = (
    ("before", "hit", "学習前 生成"),
    ("before", "likely_hit", LABEL),
    ("rotations", "hit", "学習前 順の平均"),
    ("before", "text_hit", TEXT),
    ("before", "text_sum_hit", "学習前 文字 (合計)"),
    ("shots", "hit", SHOTS),
    ("shots", "likely_hit", "学習前 例つきの番号の確率"),
    ("tuned", "hit", "学習後 生成"),
    ("tuned", "likely_hit", "学習後 番号の確率"),
    ("tuned", "text_hit", "学習後 文字 (1 文字あたり)"),
)
# 問題の分け方
ORDERS = ("学習前 どの順でも正解", "学習前 一部の順で正解", "学習前 どの順でも不正解")
SEEN = ("正解が学習用の問題の正解にある", "正解が学習用の問題の正解にない")
REMAKE = "手順1で作り直してください: python convert_train.py"


@dataclass(frozen=True)
class Step:
    """1 つの段: ある聞き方での正解率 (0 から 1)。"""

    name: str
    accuracy: float
    interval: tuple  # その 95 % 区間 (下限, 上限)
    n: int  # 問題の数。どの段も同じ問題
    role: str  # どの結果か (before、rotations、shots、tuned)
    hits: list  # 問題ごとの正誤
    difference: Difference | None  # 前の段との差 (この段 - 前の段)。初めの段では None


@dataclass(frozen=True)
class Case:
    """1 つの学習したモデルと、同じモデルの学習前の結果のうち、同じ問題への答え。"""

    results: dict  # {役: Result}
    answers: dict  # {役: GradedAnswer のリスト}。どの役も、同じ問題が同じ順に並ぶ
    orders: list  # rotations の結果があれば、問題ごとの N 通りの GradedAnswer のリスト


def role(result):
    """結果が、どの段のものか。どれでもなければ None。"""
    rotated, blank, shots = result.way
    if blank or (rotated and shots):
        return None
    if result.untrained:
        if shots:
            return "shots"
        return "rotations" if rotated else "before"
    return None if rotated or shots else "tuned"


def find_cases(results):
    """Result のリストから Case のリスト。学習後の結果ごと (なければ学習前の結果ごと) に 1 つ。

    結果のそろっているものが先。
    """
    # 同じ問題の印を付けておく。名前の順に
    entries = []
    for result in sorted(results, key=lambda result: result.name):
        entries.append((role(result), result, mark(result.answers, "problem")))
    for kind in ("tuned", "before"):
        cases = [make_case(entry, entries) for entry in entries if entry[0] == kind]
        if cases:
            return sorted(cases, key=lambda case: -len(case.results))
    return []


def make_case(anchor, entries):
    """anchor の結果と、同じモデルで、共通の問題が最も多い結果を役ごとに 1 つ。"""
    kind, result, answers = anchor
    chosen = {kind: (result, answers)}
    common = set(answers)
    for wanted in ("before", "rotations", "shots"):
        found = []
        for other_kind, other, marked in entries:
            if other_kind == wanted and wanted != kind and other.model == result.model:
                found.append((other, marked))
        # 問題が同じだけあれば、文字の確率のある結果
        best = max(found, key=lambda x: closeness(common, *x), default=None)
        if best and common & best[1].keys():
            chosen[wanted] = best
            common &= best[1].keys()

    # どの役も、同じ問題を同じ順に
    keys = [key for key in answers if key in common]
    orders = []
    if "rotations" in chosen:
        rotated, marked = chosen["rotations"]
        groups = dict(zip(marked, rotated.rotations))
        orders = [groups[key] for key in keys]
    return Case(
        results={kind: result for kind, (result, _) in chosen.items()},
        answers={kind: [marked[key] for key in keys] for kind, (_, marked) in chosen.items()},
        orders=orders,
    )


def closeness(common, result, marked):
    """結果を選ぶ順: common の問題が多く、文字の確率がある。"""
    return len(common & marked.keys()), bool(result.summary.get("by_text"))


def steps(results):
    """Result のリストから、初めの Case の Step のリスト。比べるものがなければ空。"""
    cases = find_cases(results)
    return steps_of(cases[0]) if cases else []


def steps_of(case):
    """Case の Step のリスト。記録のない段はない。"""
    made = []
    for kind, name, title in STEPS:
        hits = [getattr(answer, name) for answer in case.answers.get(kind, [])]
        # 1 問でも分からなければ、ほかの段と比べられない
        if not hits or None in hits:
            continue
        difference = None
        if made:
            difference = paired(list(zip(hits, made[-1].hits)))
        n = len(hits)
        interval = wilson(sum(hits), n)
        made.append(Step(title, fmean(hits), interval, n, kind, hits, difference))
    return made


@dataclass(frozen=True)
class Part:
    """問題の一部での、学習前と学習後。割合は 0 から 1。分からないものは None。"""

    name: str
    n: int
    before: float | None  # 学習前の、番号の確率での正解率
    tuned: float  # 学習後の生成の正解率
    interval: tuple  # その 95 % 区間 (下限, 上限)
    confidence: float | None  # 学習後の確信度の平均


def known_before(case):
    """学習前に知っていたかで分けた Part のリスト。学習前の結果がなければ空。"""
    # 順を変えた結果があれば、番号の確率で、どの順でも正解したか、一部の順か、どの順でもないか
    levels = []
    for same in case.orders:
        hits = [answer.likely_hit for answer in same]
        levels.append((not all(hits)) + (not any(hits)))
    if levels:
        return parts_of(case, ORDERS, levels)

    # なければ、文字か (それもなければ) 番号の確率で正解したか
    for step in reversed(steps_of(case)):
        if step.name in (TEXT, LABEL):
            names = (f"{step.name} 正解", f"{step.name} 不正解")
            return parts_of(case, names, [int(not hit) for hit in step.hits])
    return []


def seen_answers(case):
    """正解 (文字) が学習用の問題の正解だったかで分けた Part のリスト。分からなければ空。"""
    answers = training_answers(case.results["tuned"].training)
    if not answers:
        return []
    levels = [int(read_choice(a.correct) not in answers) for a in case.answers["tuned"]]
    return parts_of(case, SEEN, levels)


def training_answers(training):
    """学習用の問題の正解 (文字) の集合。ファイルがないか、学習のときと中身が違えば、空。"""
    answers = set()
    for path, digest in (training.get("train_files") or {}).items():
        if file_digest(path) != digest:
            return set()
        for question in read_converted(path, REMAKE):
            answers.add(question.choices[question.label])
    return answers


def parts_of(case, names, levels):
    """問題を分けた Part のリスト。levels[i] は、問題 i の属するものの、names での番号。"""
    parts = []
    for k, name in enumerate(names):
        inside = [i for i, level in enumerate(levels) if level == k]
        if not inside:
            continue
        tuned = [case.answers["tuned"][i] for i in inside]
        before = None
        if "before" in case.answers:
            before = mean([case.answers["before"][i] for i in inside], "likely_hit")
        n = len(inside)
        hits = sum(answer.hit for answer in tuned)
        confidence = mean(tuned, "confidence")
        parts.append(Part(name, n, before, hits / n, wilson(hits, n), confidence))
    return parts
