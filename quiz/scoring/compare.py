"""表の行どうしの比較: 最良のモデルと、学習前のモデルと。種だけが違う学習を見つける。

比べる組: 各行と最良の行、各行と同じモデルの学習前の行。どちらもなく、結果が 2 つなら、その 2 つ。
"""

import json
from collections import Counter
from dataclasses import dataclass

from quiz.files import fail
from quiz.scoring.rows import Row, values
from quiz.scoring.settings import SEED_AND_HARMLESS
from quiz.scoring.statistics import Difference, holm, paired

# 結果がこれより多い表では、最良のモデルとは比べない。多くの組の補正をすると、ほとんど何も言えず、
# いちばん上の結果は、たまたま高かっただけかもしれない
MANY = 10


@dataclass(frozen=True)
class Comparison:
    """行 a と b が、同じ問題をどう解いたか。"""

    a: Row
    b: Row
    common: set  # 比べた問題の印 (rows.mark() の印)
    score: Difference | None  # 生成した回答の差。比べた問題がなければ None
    likelihood: Difference | None  # 番号の確率での答えの差
    note: str  # 条件の違いと、比べていない問題があれば、そのわけ


@dataclass(frozen=True)
class Table:
    """1 つの表。"""

    title: str
    rows: list  # Row。点数の順
    best: Row | None  # 最良の行
    versus_best: dict  # {行: 最良との Comparison}
    versus_base: dict  # {行: 同じモデルの学習前との Comparison}
    pairs: list  # 比べた組のすべて。同じ組は 1 度だけ
    crowded: bool  # 結果が MANY より多いので、最良の行とは比べていない


def make_tables(rows_of):
    """{(種類, 名前): 行のリスト} (rows.make_rows()) から Table のリストを作る。"""
    tables = []
    for (kind, name), rows in rows_of.items():
        title = "全問" if (kind, name) == ("quiz", "-") else name
        # 問題のファイルと分野が同じ名前でも、表は別
        if kind == "genre" and (("quiz", name) in rows_of or name == "全問"):
            title = f"{name} (分野)"
        tables.append(make_table(title, rows))
    return tables


def make_table(title, rows):
    """行を点数の順に並べ、最良の行、同じモデルの学習前の行と比べる。公開の点数の行は比べない。"""
    rows = sorted(rows, key=lambda row: -row.score)
    own = [row for row in rows if row.result]

    # 最良の行のほかは、どれも最良の行と比べる。学習した行は、学習前の行とも比べる
    crowded = len(own) > MANY
    best = None if crowded else find_best(own)
    versus_best = compare_each({row: best for row in own if row is not best})
    versus_base = compare_each({row: find_base(row, own) for row in own if not row.untrained})

    # 最良のモデルとその学習前の組は、差 (学習後 - 学習前) を 1 度だけ
    pairs = {}
    for c in (*versus_best.values(), *versus_base.values()):
        pairs[frozenset((c.a, c.b))] = c
    found = list(pairs.values())
    if len(own) == 2 and not found:
        found = [compare(*own)]
    return Table(
        title=title,
        rows=rows,
        best=best,
        versus_best=versus_best,
        versus_base=versus_base,
        pairs=found,
        crowded=crowded,
    )


def compare_each(others):
    """{行: 比べる行か None} から {行: Comparison}。p は、いくつも検定したときの補正をした値。"""
    made = {row: compare(row, other) for row, other in others.items() if other}
    for name in ("score", "likelihood"):
        tested = [found for found in values(made.values(), name) if found]
        for found, p in zip(tested, holm(values(tested, "p"))):
            found.p = p
    return made


def find_best(rows):
    """最良の行: 学習した行のうち、同じ問題を解いた行が最も多く、点数が最も高いもの。"""
    # 問題の違う行の点数は比べられない。1 つだけの行は、最良とは言わない
    times = Counter(row.questions for row in rows)
    trained = [row for row in rows if not row.untrained]
    if len(rows) < 2 or not trained:
        return None
    return max(trained, key=lambda row: (times[row.questions], row.n, row.score))


def find_base(row, rows):
    """同じモデルの学習前の行のうち、解き方が同じで、同じ問題が最も多いもの。なければ None。"""
    result = row.result
    bases = [base for base in rows if base.untrained and base.result.model == result.model]

    # 例を見せた (--shots) 学習前や、計算の条件の違う学習前とは、ほかになければ比べる
    def closeness(base):
        same_way = base.result.way == result.way
        common = len(base.questions & row.questions)
        alike = base.result.conditions == result.conditions
        return same_way, common, alike

    return max(bases, key=closeness, default=None)


def compare(a, b):
    """2 つの行の比較。モデルに見せたもの (問題、選択肢、その順) と正解が同じ問題だけを比べる。"""
    # 行の問題の一部が、何も言わずに抜けていてはならない
    for row in (a, b):
        if len(row.answers) != row.n:
            fail(f"{row.name}: {row.n} 問のうち {len(row.answers)} 問しか比べられません。")
    common = a.questions & b.questions

    # 生成した回答の正誤と、番号の確率での正誤。同じ問題の組で
    mine = [a.answers[key] for key in common]
    others = [b.answers[key] for key in common]
    score = paired(values(mine, "hit"), values(others, "hit"))
    likelihood = paired(values(mine, "likely_hit"), values(others, "likely_hit"))

    # 条件の違いと、比べていない問題のわけ。選択肢の違う quiz.json の問題は、qid が同じでも別
    only_a = a.n - len(common)
    only_b = b.n - len(common)
    notes = []
    if a.result.way != b.result.way:
        notes.append("解き方が違う (--rotations、--blank-question、--shots)")
    if a.result.conditions != b.result.conditions:
        notes.append("計算の条件が違う (load_in_4bit、dtype)")
    if not common:
        notes.append("同じ問題が 1 問もない (qid が同じでも、選択肢かその順が違えば、別の問題)")
    elif only_a or only_b:
        notes.append(f"共通でない問題 (前の {only_a} 問、後の {only_b} 問) を除いた")
    return Comparison(a, b, common, score, likelihood, "。".join(notes))


def same_training(row):
    """種のほかが同じ学習の、同じ解き方の行なら、等しくなるもの。分からなければ None。"""
    # 前の版の結果には設定の記録がなく、種だけが違うのか分からないので、まとめない
    training = row.result.training
    if not training.get("train_files") or training["seed"] is None:
        return None
    settings = training["settings"] | dict.fromkeys(SEED_AND_HARMLESS)
    # 学習した問題は、ファイルの名前ではなく、中身で比べる。途中で止めたものは、別の学習
    contents = sorted(map(str, training["train_files"].values()))
    what = [
        row.result.model,
        row.result.way,
        row.result.conditions,
        settings,
        contents,
        training["steps_done"],
    ]
    return json.dumps(what, sort_keys=True)
