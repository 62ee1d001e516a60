"""学習が何を教えたか: 学習前のモデルへの聞き方を 1 段ずつ公平にして、学習後と比べる。

学習前の生成 → 番号の確率 (書式を守れなくてもよい) → 順の平均 (番号の偏りをならす) →
例を見せたときや、選択肢の文字 (番号で選べなくてもよい) → 学習後。どの段も、同じ問題で比べる。
"""

from dataclasses import dataclass
from statistics import fmean

from quiz.adapter import file_digest
from quiz.prompt import read_choice
from quiz.questions.converted import read_converted
from quiz.scoring.rows import make_row, mark
from quiz.scoring.statistics import Difference, paired, wilson

# 番号で聞く段。ほかの学習前の段は、番号で選べなくてもよい
BY_NUMBER = ("学習前 生成", "学習前 番号の確率", "学習前 順の平均")
TEXT = "学習前 文字 (1 文字あたり)"
# 段の順: (役, 正誤の項目, 名前)。役は role_of() の返すもの
STEPS = (
    ("before", "hit", BY_NUMBER[0]),
    ("before", "likely_hit", BY_NUMBER[1]),
    ("rotations", "hit", BY_NUMBER[2]),
    ("shots", "hit", "学習前 例つきの生成"),
    ("shots", "likely_hit", "学習前 例つきの番号の確率"),
    ("shots", "text_hit", "学習前 例つきの文字 (1 文字あたり)"),
    ("before", "text_sum_hit", "学習前 文字 (合計)"),
    ("before", "text_hit", TEXT),
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

    results: dict  # {役: Result}。初めは学習後 (なければ学習前) のもの
    answers: dict  # {役: GradedAnswer のリスト}。どの役も、同じ問題が同じ順に並ぶ


def role_of(result):
    """結果の役: before、rotations、shots、tuned。それらを 2 つ以上兼ねるものは、段にならない。"""
    ways = [name for name, used in zip(("rotations", "blank", "shots"), result.way) if used]
    if not result.untrained:
        ways.append("tuned")
    return "+".join(ways) or "before"


def find_cases(results):
    """Result のリストから Case のリスト。学習後の結果ごと (なければ学習前の結果ごと) に 1 つ。

    結果のそろっているものが先。
    """
    marked = {result.path: mark(result.answers, "problem") for result in results}
    for role in ("tuned", "before"):
        cases = []
        for result in sorted(results, key=lambda result: result.name):
            if role_of(result) == role:
                cases.append(make_case(result, results, marked))
        if cases:
            return sorted(cases, key=lambda case: -len(case.results))
    return []


def make_case(anchor, results, marked):
    """anchor と、同じモデルの学習前の結果のうち、役ごとに 1 つ。

    共通の問題が最も多いもの。同じ数なら、計算の条件が同じもの、文字でも聞いたもの、例の多いもの。
    marked は {結果のファイル: {問題の印: 答え}}。
    """
    chosen = {role_of(anchor): anchor}
    common = set(marked[anchor.path])
    same_model = [result for result in results if result.model == anchor.model]
    for role in ("before", "rotations", "shots"):
        found = [result for result in same_model if role_of(result) == role]
        if role in chosen or not found:
            continue
        ranks = {}
        for result in found:
            shared = common & marked[result.path].keys()
            with_text = result.answers[0].text_log_probs is not None
            alike = result.conditions == anchor.conditions
            ranks[len(shared), alike, with_text, result.way] = result, shared
        best, shared = ranks[max(ranks)]
        if shared:
            chosen[role] = best
            common = shared

    # どの役も、同じ問題を同じ順に
    keys = [key for key in marked[anchor.path] if key in common]
    answers = {}
    for role, result in chosen.items():
        answers[role] = [marked[result.path][key] for key in keys]
    return Case(chosen, answers)


def steps_of(case):
    """Case の Step のリスト。記録のない段はない。"""
    made = []
    for role, name, title in STEPS:
        hits = [getattr(answer, name) for answer in case.answers.get(role, [])]
        # 1 問でも分からなければ、ほかの段と比べられない
        if not hits or None in hits:
            continue
        difference = None
        if made:
            difference = paired(hits, made[-1].hits)
        n = len(hits)
        interval = wilson(sum(hits), n)
        step = Step(title, fmean(hits), interval, n, role, hits, difference)
        made.append(step)
    return made


def known_before(case):
    """学習前に知っていたかで分けた、split() の表。学習前の結果がなければ空。"""
    # 順を変えた結果があれば、番号の確率で、どの順でも正解したか、一部の順か、どの順でもないか
    if "rotations" in case.answers:
        levels = []
        for answer in case.answers["rotations"]:
            hits = answer.order_hits
            levels.append((not all(hits)) + (not any(hits)))
        return split(case, ORDERS, levels)
    # なければ、文字か (それもなければ) 番号の確率で正解したか
    for step in reversed(steps_of(case)):
        if step.name in (TEXT, BY_NUMBER[1]):
            names = (f"{step.name} 正解", f"{step.name} 不正解")
            return split(case, names, [not hit for hit in step.hits])
    return []


def seen_answers(case):
    """正解 (文字) が学習用の問題の正解だったかで分けた、split() の表。

    学習用のファイルがないか、学習のときと中身が違えば、空。
    """
    answers = set()
    for path, digest in case.results["tuned"].training.get("train_files", {}).items():
        if file_digest(path) != digest:
            return []
        for question in read_converted(path, REMAKE):
            answers.add(question.choices[question.label])
    unseen = [read_choice(answer.correct) not in answers for answer in case.answers["tuned"]]
    return split(case, SEEN, unseen) if answers else []


def split(case, names, levels):
    """問題の一部ごとの、(名前, 学習前の Row か None, 学習後の Row) のリスト。

    levels[i] は、問題 i の属するものの、names での番号。
    """
    made = []
    for k, name in enumerate(names):
        inside = [i for i, level in enumerate(levels) if level == k]
        rows = {}
        for role in ("before", "tuned"):
            if inside and role in case.answers:
                answers = [case.answers[role][i] for i in inside]
                rows[role] = make_row(case.results[role], answers)
        if rows:
            made.append((name, rows.get("before"), rows["tuned"]))
    return made
