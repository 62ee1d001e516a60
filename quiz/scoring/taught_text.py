"""学習が何を教えたか (taught.py) を、表と、日本語の 2 つの文にする。"""

import shlex

from quiz.scoring.rows import mean
from quiz.scoring.statistics import paired
from quiz.scoring.taught import BY_NUMBER, TEXT, known_before, seen_answers, steps_of
from quiz.scoring.text import below, ends, grid, line, percent, show, with_interval

STEPS = "| 段 | 正解率 | 95% CI | 前の段との差 | 差の 95% CI | 結果 (その問題の数) |"
PARTS = "| 問題 | n | 学習前 番号の確率 | 学習後 生成 | その 95% CI | 学習後 確信度の平均 |"
# 役ごとの、結果を作るコマンドの引数と、それで分かること
COMMANDS = {
    "before": (" --base --by-text", "学習前の番号の確率と、選択肢の文字"),
    "rotations": (" --base --rotations", "番号の偏りをならした、学習前の答え"),
    "shots": (" --base --shots 4", "例を見せたときの、学習前の答え"),
    "tuned": ("", "学習後の答え"),
}
TODO = "まだない結果と、それを作るコマンド (手順4で --config を付けたなら、それも)"
NOT_SEEN = (
    "正解が学習用の問題の正解にあったかは、出せません "
    "(学習用のファイルがここにないか、学習のときと中身が違う)。"
)
# 学習前より高いとき、区別できないとき、低いときの意味
CHOOSING = (
    "で、学習は書式のほかに、番号で選ぶことも教えました。",
    "で、学習が書式のほかに、番号で選ぶことを教えたとは言えません。",
    "で、番号で選ぶ力は、学習前より下がりました。",
)
KNOWLEDGE = (
    "ですが、増えたのが知識かは分かりません (学習前に当たらない問題も、知らないとは限りません)。",
    "なので、知識が増えたとは言えません (学習前の別の聞き方と、この問題の数では区別できません)。",
    "ですが、知識が消えたとは言えません (番号で選ぶ形が身についていないだけかもしれません)。",
)
NOT_SEPARATED = (
    "学習が教えたのが書式だけか、番号で選ぶこともかは、分けられません "
    "(学習前の番号の確率の記録がない)。"
)
NOT_ASKED = "知識が増えたか。学習前に、文字でも例つきでも聞いていません (番号で選べないだけかも)。"
UNUSED = "使わなかった結果 (別のモデル、別の問題、段にない聞き方か、同じ段の結果がほかにある)"
NOTE = """\
差は、同じ問題での差 (この段 - 前の段)。区間は、正解率が Wilson、差が Bonett と Price。
学習前の聞き方: 番号の確率 (書式を守れなくてよい)、順の平均 (番号の偏りをならす)、例つき (書式を
見せる)、文字 (番号で選べなくてよい。合計では短い選択肢ほど有利なので、1 文字あたりを見る)。
下の表の「どの順でも」は、--rotations の番号の確率での正誤。確信度が正解率より高ければ、自信過剰。
1 回の学習と、この問題だけの値。どちらを替えても変わる。
"""


def report(cases, results):
    """Case のリストから、それぞれの表と文を、Markdown の文字列で返す。results は読んだすべて。"""
    lines = []
    unused = {result.path: f"- {result.name}" for result in results}
    for case in cases:
        steps = steps_of(case)
        first, *_ = case.results.values()
        lines.append(f"### 学習が教えたもの: {first.name} (同じ {steps[0].n} 問)\n")
        lines += grid(STEPS, [step_line(case, step) for step in steps])
        lines += part_lines(case) + conclusions(case, steps) + missing(case, steps) + [""]
        for result in case.results.values():
            unused.pop(result.path, None)
    return "\n".join([*lines, *below([UNUSED], unused.values()), NOTE])


def step_line(case, step):
    """段の表の 1 行。"""
    difference = ["-", "-"]
    if step.difference:
        difference = with_interval(step.difference)
    result = case.results[step.role]
    source = f"{result.name} ({len(result.answers)} 問)"
    first, *_ = case.results.values()
    if result.conditions != first.conditions:
        source += " 計算の条件が違う (load_in_4bit、dtype)"
    return line(step.name, f"{step.accuracy:.3f}", ends(step.interval), *difference, source)


def part_lines(case):
    """問題を分けた表: 学習前に知っていたか、正解が学習用の問題の正解にあったか。"""
    if "tuned" not in case.results:
        return []
    rows = []
    seen = seen_answers(case)
    for name, before, tuned in known_before(case) + seen:
        likely = show(before and before.likelihood, "{:.3f}")
        confidence = show(mean(list(tuned.answers.values()), "confidence"), "{:.3f}")
        score = f"{tuned.score:.3f}"
        rows.append(line(name, tuned.n, likely, score, ends(tuned.interval), confidence))
    lines = below(grid(PARTS, []), rows)
    return lines if seen else [*lines, "", NOT_SEEN]


def conclusions(case, steps):
    """表の意味の 1 文と、言えないことの 1 文。学習前か学習後の結果がなければ空。"""
    by_number = [step for step in steps if step.name in BY_NUMBER]
    knew = [step for step in steps if step.role != "tuned" and step not in by_number]
    tuned = [step for step in steps if step.role == "tuned"]
    if not tuned or not by_number + knew:
        return []
    # 書式と選び方: 学習前に、番号で聞いた段と比べる
    lines = []
    chance = mean(case.answers["tuned"], "chance")
    low, high = tuned[0].interval
    if chance is not None and low <= chance:
        found = "と区別できません。"
        if high < chance:
            unread = percent(mean(case.answers["tuned"], "unread"))
            found = f"より低い (読み取れない回答が {unread}。番号の偏りは --errors で分かる)。"
        lines += ["", f"意味: {tuned[0].name} は当てずっぽう ({chance:.2f}) {found}"]
    elif by_number[1:]:
        lines += ["", f"意味: {verdict(tuned[0], by_number, CHOOSING)}"]
    elif by_number:
        # 生成だけでは、書式を守れないのか、選べないのか分からない
        lines += ["", f"意味: {NOT_SEPARATED}"]
    # 知識: 番号で選べなくてもよい聞き方と比べる
    unknown = NOT_ASKED
    if knew:
        unknown = verdict(tuned[0], knew, KNOWLEDGE)
    return [*lines, "", f"言えないこと: {unknown}"]


def verdict(after, before, meanings):
    """before のうち最も高い段と after の差と、その意味 (meanings の 1 つ) の文。"""
    # 最も高いものを選ぶ分だけ、学習前に有利になる
    best = max(before, key=lambda step: step.accuracy)
    gain = paired(after.hits, best.hits)
    low, high = gain.interval
    meaning = meanings[1]
    if low > 0:
        meaning = meanings[0]
    elif high < 0:
        meaning = meanings[2]
    difference, interval = with_interval(gain)
    return (
        f"「{after.name}」と「{best.name}」({best.accuracy:.3f}) の差は "
        f"{difference} ({interval}) {meaning}"
    )


def missing(case, steps):
    """まだない結果と、それを作るコマンドの行。"""
    names = {step.name for step in steps}
    quiz = next(iter(case.results.values())).summary.get("quiz") or ["quiz.json"]
    options = f" --quiz {shlex.join(quiz)}" if quiz != ["quiz.json"] else ""
    lines = []
    for role, (given, what) in COMMANDS.items():
        if role not in case.results or (role == "before" and TEXT not in names):
            lines.append(f"- {what}: python run_quiz.py{given}{options}")
    return below([TODO], lines)
