"""結果を文字で見せる: チュートリアルの 1 行と、Markdown の表。"""

from collections import Counter
from statistics import fmean, stdev

from quiz.scoring.compare import same_training
from quiz.scoring.rotations import summary_line
from quiz.scoring.rows import make_row
from quiz.scoring.settings import varied
from quiz.scoring.statistics import ALPHA

COLUMNS = "| Model | Environment | Score | Latency |"
MORE_COLUMNS = " n | 95% CI | Unparsed | Likelihood | Chance | vs best | vs base |"
DIFFERENCES = (
    "| A | B | 共通の n | 差 A - B | 差の 95% CI | 片方だけ正解 | p "
    "| 番号の確率での差 | その 95% CI | その p |"
)
TRAININGS = "| 種だけが違う学習 | 種 | n | 平均 | 学習ごとの SD |"
NOTE = f"""\
Model: 結果のファイルの名前。Environment: 問題のファイルの名前。Score: 生成した回答の正解率。
Latency: 解くのにかかった秒の合計 (計算機が違えば比べられない)。n: 問題の数。
95% CI: Score の Wilson の信頼区間。Unparsed: 番号を読み取れない回答。
Likelihood: 番号の確率での正解率。Chance: 当てずっぽうの正解率。
その右: 例の数、計算の条件、学習の設定のうち、表の結果どうしで違うもの (種は除く)。
vs best、vs base: 表で最良の学習したモデル、同じモデルの学習前との比較。
+a -b は自分だけが正解した問題が a 問、相手だけが正解した問題が b 問。
p は McNemar の正確検定 (同じ表の同じ列の中で Holm の補正)。≈ は最良と区別できない (p ≥ {ALPHA})。
比べるのは、モデルに見せた問題、選択肢、その順と、正解が同じ問題だけ。
種だけが違う学習の表: 平均と SD は、学習ごとの Score の平均と標準偏差。SD は学習のやり直しの揺れで、
問題の選ばれ方の揺れは、それぞれの行の 95% CI。
設定の記録のない結果 (前の版のもの) は、種だけが違うのか分からないので、まとめない。
「(順の平均)」は --rotations の結果で、Score は番号の確率を順について平均した答えの正解率
(生成の正解率ではない)。
差の表の組: 各結果と最良、各結果と同じモデルの学習前。どちらもなく、結果が 2 つなら、その 2 つ。
95% CI は Bonett と Price の区間 (対応のある割合の差)。番号の確率での差は Likelihood の差で、
求め方は同じ。
共通の n の (k 通り) は、同じことを何度も問うたときの、違う問題の数 (回答も同じなので、p は目安)。
"""
PUBLISHED_NOTE = """\
公開の表は、この実装より前の run_quiz.py が別の計算機で出したもの。dev1 (quiz.json) と dev2
(quiz-dev2.json) は、全問を解いた結果なら同じ問題の公開の表に並ぶが、選択肢の引き方は違う。
dev3 は JCommonsenseQA v1.1 の valid、dev4 は train。dev5 から dev9 の n は、桁の多い Score が
すべて 整数/n になる最小の数。3 桁の Score は 2024-02 の版、ほかはチュートリアルの表から。
"""


def show(value, pattern="{:.2f}"):
    """値を文字にする。分からない値 (None) は - 。"""
    return "-" if value is None else pattern.format(value)


def percent(value):
    """割合 (0 から 1) を % にする。"""
    return show(value, "{:.1%}").replace("%", " %")


def ends(interval):
    """区間 (下限, 上限)。"""
    low, high = interval
    return f"{low:.3f}-{high:.3f}"


def p_value(p):
    """p 値。"""
    return f"p={p:.3f}" if p >= 0.001 else "p<0.001"


def line(*cells):
    """Markdown の表の 1 行。"""
    # 名前や設定の値に | や改行があっても、欄も行も増えない
    texts = [str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells]
    return f"| {' | '.join(texts)} |"


def grid(header, rows):
    """Markdown の表の行のリスト。"""
    # 見出し、区切り、中身
    columns = header.count("|") - 1
    return [header, "|" + " --- |" * columns, *rows]


def summary_lines(result, with_genres):
    """チュートリアルと同じ 1 行と、その内訳。"""
    # 1 行目は、1 文字もチュートリアルと違わない
    total = make_row(result, result.answers)
    lines = [
        f"{result.path:<60} : {round(total.score, 4)}",
        f"    {total.n} 問  読み取れない {percent(total.unparsed)}{rest(total)}",
    ]
    # 分野の名前の順
    genres = result.by_genre() if with_genres else {}
    for genre, answers in sorted(genres.items()):
        row = make_row(result, answers)
        if genre:
            lines.append(f"    {genre}: {row.score:.2f} ({row.n} 問){rest(row)}")
    # 選択肢の順を変えた結果
    if result.rotations:
        lines += [
            f"    {summary_line(result.rotations)}",
            "    1 行目は、番号の確率を順について平均した答えの正解率 (生成の正解率ではない)",
        ]
    return "\n".join(lines)


def rest(row):
    """内訳の行の後半。"""
    return f"  番号の確率 {show(row.likelihood)}  当てずっぽう {show(row.chance)}"


def markdown(tables, full, published):
    """チュートリアルと同じ形の表。full なら n から右の列と、その読み方も付ける。"""
    lines = []
    for table in tables:
        lines.append(f"### Table for key: {table.title}")
        lines += table_lines(table, full)
        if full:
            lines += differences(table) + trainings(table.rows)
        lines.append("")
    # 読み方は、最後に 1 度だけ
    if full:
        lines.append(NOTE + PUBLISHED_NOTE * published)
    return "\n".join(lines)


def table_lines(table, full):
    """1 つの表の行のリスト。"""
    # 右の列のない表には、公開の点数しかない
    settings = {}
    header = COLUMNS
    if full:
        settings = varied(table.rows)
        header += MORE_COLUMNS + "".join(f" {name} |" for name in settings)

    # Model と Environment の欄の幅も、見出しも、チュートリアルの表と同じ
    width = max(len(row.environment) for row in table.rows)
    rows = []
    for row in table.rows:
        cells = [row.score, row.latency]
        if full:
            values = [show(values.get(row), "{}") for values in settings.values()]
            cells = full_cells(table, row) + values
        rows.append(line(f"{row.name:<30}", f"{row.environment:<{width}}", *cells))
    return grid(header, rows)


def full_cells(table, row):
    """1 行の、Score から右の欄。"""
    # ≈ は、最良と区別できないもの
    versus_best = versus(table.versus_best.get(row), " ≈")
    versus_base = versus(table.versus_base.get(row))
    if row is table.best:
        versus_best = "best"
    if row.untrained:
        versus_base = "base"
    return [
        f"{row.score:.4f}",
        show(row.latency, "{:.1f}"),
        row.n,
        ends(row.interval),
        percent(row.unparsed),
        show(row.likelihood, "{:.4f}"),
        show(row.chance),
        versus_best,
        versus_base,
    ]


def versus(comparison, unclear=""):
    """片方だけが正解した問題の数と p 値。区別できなければ unclear も付ける。比べていなければ -。"""
    if not comparison or not comparison.score:
        return "-"
    score = comparison.score
    mark = unclear if score.p >= ALPHA else ""
    return f"+{score.won} -{score.lost} {p_value(score.p)}{mark}"


def below(lines, rows):
    """表の下に付ける、前置きの lines と rows。rows がなければ、何も付けない。"""
    return ["", *lines, *rows] if rows else []


def differences(table):
    """差の表と、比べなかった問題の説明。"""
    if table.crowded:
        return crowd([row for row in table.rows if row.result])
    rows = []
    notes = []
    for c in table.pairs:
        if c.score:
            rows.append(difference_line(c))
        if c.note:
            notes.append(f"- {c.a.name} と {c.b.name}: {c.note}")
    return below(grid(DIFFERENCES, []), rows) + below(["比べなかったもの、条件の違うもの:"], notes)


def crowd(rows):
    """結果が多すぎる表に、差の代わりに付けるもの: そのわけと、問題がほかと違う結果。"""
    usual = usual_questions(rows)
    usual_way, _ = Counter(row.result.way for row in rows).most_common(1)[0]
    notes = []
    for row in rows:
        if row.result.way != usual_way:
            notes.append(f"- {row.name}: 解き方がほかと違う (--blank-question、--shots など)")
        elif row.questions != usual:
            common = len(row.questions & usual)
            notes.append(f"- {row.name}: 問題がほかと違う ({row.n} 問のうち共通は {common} 問)")
    why = (
        f"結果が {len(rows)} あるので、最良との比較も、組ごとの差も出しません "
        "(多くの組の補正をすると、ほとんど何も言えません)。"
        "2 つを比べるには、その 2 つの名前を書いてください。"
    )
    return ["", why, *below(["上下を比べられないもの:"], notes)]


def usual_questions(rows):
    """最も多くの行が解いた問題の集まり。同じなら、問題の多いもの。"""
    times = Counter(row.questions for row in rows)
    return max(times, key=lambda questions: (times[questions], len(questions)))


def difference_line(c):
    """差の表の 1 行。"""
    # 同じことを何度も問うた結果では、n のほかに、違う問題の数も
    n = str(len(c.common))
    distinct = len({asked for asked, _ in c.common})
    if distinct < len(c.common):
        n += f" ({distinct} 通り)"
    # 番号の確率の記録がない、2024 年版の結果もある
    likelihood = ["-", "-", "-"]
    if c.likelihood:
        likelihood = [*with_interval(c.likelihood), p_value(c.likelihood.p)]
    score = c.score
    alone = f"+{score.won} -{score.lost}"
    cells = [*with_interval(score), alone, p_value(score.p)]
    return line(c.a.name, c.b.name, n, *cells, *likelihood)


def with_interval(found):
    """差の欄と、その区間の欄。"""
    low, high = found.interval
    return f"{found.difference:+.3f}", f"{low:+.3f} から {high:+.3f}"


def trainings(rows):
    """種だけが違う学習をまとめた表と、まとめなかったもの。"""
    # {種のほかが同じ学習: 行のリスト}
    groups = {}
    for row in rows:
        key = row.result and same_training(row)
        if key:
            groups.setdefault(key, []).append(row)

    lines = []
    notes = []
    for same in groups.values():
        # 種が 2 つ以上なければ、平均も標準偏差もない
        if len({row.result.training["seed"] for row in same}) > 1:
            seeds, left = by_seed(same)
            notes += left
            if len(seeds) > 1:
                lines.append(training_line(seeds))
    return below(grid(TRAININGS, []), lines) + below(["平均に入れなかったもの:"], notes)


def by_seed(rows):
    """種のほかが同じ学習の行から ({種: 行}, 平均に入れない行の説明)。"""
    usual = usual_questions(rows)
    seeds = {}
    notes = []
    # 点数の高い方を選ばないように、ファイルの名前の順に
    for row in sorted(rows, key=lambda row: row.result.path):
        # 平均には入れないが、黙って捨てもしない
        seed = row.result.training["seed"]
        if row.questions != usual:
            notes.append(f"- {row.name}: 問題がほかの種の結果と違う")
        elif seeds.setdefault(seed, row) is not row:
            notes.append(f"- {row.name}: 種が {seeds[seed].name} と同じ")
    return seeds, notes


def training_line(seeds):
    """種だけが違う学習 ({種: 行}) をまとめた 1 行。"""
    # 種の小さい順
    numbers = ", ".join(map(str, sorted(seeds)))
    rows = [seeds[seed] for seed in sorted(seeds)]
    names = "、".join(row.name for row in rows)
    scores = [row.score for row in rows]
    return line(names, numbers, rows[0].n, f"{fmean(scores):.4f}", f"{stdev(scores):.4f}")
