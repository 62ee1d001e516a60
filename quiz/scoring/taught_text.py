"""学習が何を教えたか (taught.py) を、表と、日本語の 2 つの文にする。"""

import shlex

from quiz.scoring.rows import mean
from quiz.scoring.statistics import paired
from quiz.scoring.taught import SHOTS, TEXT, known_before, seen_answers, steps_of
from quiz.scoring.text import below, ends, grid, line, show, with_interval

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
KNOWLEDGE_LOST = "知識が消えたこと。番号で選ぶ形が身についていないだけかもしれません。"
NOTE = """\
差は、同じ問題での差 (この段 - 前の段)。区間は、正解率が Wilson、差が Bonett と Price。
学習前の段は、下ほど公平な聞き方: 番号の確率 (書式を守れなくてよい)、順の平均 (番号の偏りをならす)、
文字 (番号で選べなくてよい。合計では短い選択肢ほど有利なので、1 文字あたりを見る)、例つき。
下の表の「どの順でも」は、--rotations の番号の確率での正誤。確信度が正解率より高ければ、自信過剰。
1 回の学習と、この問題だけの値。どちらを替えても変わる。
"""


def report(cases):
    """Case のリストから、それぞれの表と文を、Markdown の文字列で返す。"""
    lines = []
    for case in cases:
        steps = steps_of(case)
        first, *_ = case.results.values()
        lines.append(f"### 学習が教えたもの: {first.name} (同じ {steps[0].n} 問)\n")
        lines += grid(STEPS, [step_line(case, step) for step in steps])
        lines += part_lines(case) + conclusions(case, steps) + missing(case, steps) + [""]
    return "\n".join([*lines, NOTE])


def step_line(case, step):
    """段の表の 1 行。"""
    difference = ["-", "-"]
    if step.difference:
        difference = with_interval(step.difference)
    result = case.results[step.role]
    source = f"{result.name} ({len(result.answers)} 問)"
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
    before = [step for step in steps if step.role != "tuned"]
    tuned = [step for step in steps if step.role == "tuned"]
    if not before or not tuned:
        return []
    # 学習前の最も高い段と比べる。最も高いものを選ぶ分だけ、学習前に有利になる
    after, *_ = tuned
    best = max(before, key=lambda step: step.accuracy)
    gain = paired(list(zip(after.hits, best.hits)))
    difference, interval = with_interval(gain)
    low, high = gain.interval
    versus = (
        f"意味: {after.name} と、学習前の最も高い段「{best.name}」({best.accuracy:.3f}) の差は "
        f"{difference} ({interval})。"
    )

    # 当てずっぽうと区別できなければ、そのほかは言えない
    chance = mean(case.answers["tuned"], "chance") or 0
    if after.interval.low <= chance:
        meaning = "学習後の正解率は当てずっぽうと区別できず、選べるようになったとは言えません。"
        unknown = KNOWLEDGE_LOST
    elif high < 0:
        meaning = "学習は書式を教えましたが、学習前に選べた問題を、番号では答えられていません。"
        unknown = KNOWLEDGE_LOST
    elif low <= 0:
        meaning = "区別できないので、生成の正解率が上がっていても、書式と聞き方で説明できます。"
        unknown = f"何も教えなかったこと。{best.n} 問では、小さな差は見えません。"
    else:
        meaning = "書式だけでなく、選び方か知識も増えました。"
        unknown = "増えたのが選び方か知識か。学習前に当たらない問題も、知らなかったとは限りません。"
        if best.interval.low > chance:
            unknown = "正解のすべてを学習が教えたこと (学習前の最も高い段も、当てずっぽうより上)。"
    if not {TEXT, SHOTS} & {step.name for step in before}:
        unknown += "学習前に知っていたことは、文字でも例つきでも聞いていないので、分かりません。"
    return ["", f"{versus}{meaning}", "", f"言えないこと: {unknown}"]


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
