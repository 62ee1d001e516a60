"""表の行を作る: 結果のファイルと分野ごとの点数と、公開の点数。"""

import csv
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from quiz.files import read_text
from quiz.scoring.read_results import Result
from quiz.scoring.statistics import wilson

PUBLISHED = Path(__file__).parents[2] / "data/published_scores.csv"
RESTORE = "リポジトリから取り直してください: git checkout data/published_scores.csv"
WHOLE = 0.97  # 問題がこの割合よりあれば、全問を解いた結果とみなす (変換のときに飛ばされる行がある)


@dataclass(frozen=True, eq=False)
class Row:
    """1 つの結果の、1 つの表の分の点数。割合は 0 から 1。分からないものは None。"""

    name: str  # 結果の名前 (公開の点数なら、モデルの名前)
    environment: str  # 問題のファイルの名前
    n: int  # 問題の数
    score: float  # 生成した回答の正解率
    latency: float | None  # 解くのにかかった秒
    chance: float | None  # 当てずっぽうの正解率 (1/選択肢の数 の平均)
    unparsed: float | None = None  # 番号を読み取れない回答の割合
    likelihood: float | None = None  # 番号の確率での正解率
    answers: dict = field(default_factory=dict)  # mark() の {印: GradedAnswer}。公開の点数なら空
    result: Result | None = None  # 公開の点数なら None

    @property
    def untrained(self):
        """学習前のモデルの行か。"""
        return self.result is not None and self.result.untrained

    @property
    def interval(self):
        """score の 95 % 区間 (下限, 上限)。"""
        return wilson(round(self.score * self.n), self.n)

    @property
    def questions(self):
        """どの問題を解いたか。同じ問題を解いた行なら、等しくなるもの。"""
        return frozenset(self.answers)


def make_row(result, answers, latency=None):
    """結果 result の答えのうち、answers (1 問以上) の分の行。"""
    score = mean(answers, "hit")
    likelihood = mean(answers, "likely_hit")
    return Row(
        name=result.name,
        environment=result.quiz,
        n=len(answers),
        score=score,
        latency=latency,
        chance=mean(answers, "chance"),
        unparsed=mean(answers, "unread"),
        likelihood=likelihood,
        answers=mark(answers),
        result=result,
    )


def mean(answers, name):
    """答えの項目 name の平均。分からないもの (None) があれば None。"""
    # 分かるものだけの平均は、ほかの行と比べられない
    found = values(answers, name)
    return None if None in found else fmean(found)


def values(items, name):
    """どの要素についても、項目 name の値。"""
    return [getattr(item, name) for item in items]


def mark(answers, same="asked"):
    """{(問うたこと, 何度目か): 答え}。同じことを何度問うていても、答えは 1 つも失われない。

    same は、問うたことが同じなら等しくなる、答えの項目の名前。
    """
    # 選択肢だけを見せる (--blank-question) と、同じ文字列を何度も問うことがある
    times = Counter()
    marked = {}
    for answer in answers:
        key = getattr(answer, same)
        marked[key, times[key]] = answer
        times[key] += 1
    return marked


def make_rows(results):
    """{(種類, 名前): 行のリスト}。種類は quiz (問題のファイルごと) か genre (分野ごと)。

    種類が違えば、名前が同じでも別の表である。
    """
    # 問題のファイルの表が先、分野の表が後
    by_quiz = {}
    by_genre = {}
    # どの結果も分野が 1 つだけなら、全問の表は分野の表と同じなので、省く
    several = set()
    for result in results:
        genres = result.by_genre()
        if len(genres) > 1 or "" in genres:
            several.add(result.quiz)
    for result in results:
        genres = result.by_genre()
        if result.quiz in several:
            row = make_row(result, result.answers, result.seconds)
            by_quiz.setdefault(("quiz", result.quiz), []).append(row)
        # 分野のない問題は、全問の表にだけ入る
        for genre, answers in genres.items():
            seconds = mean(answers, "seconds")
            row = make_row(result, answers, seconds and seconds * len(answers))
            if genre:
                by_genre.setdefault(("genre", genre), []).append(row)
    return by_quiz | by_genre


def beside_published(made):
    """公開の点数の行に、make_rows() の行を加える。"""
    # 公開の点数は、表の名前ごとに、CSV の順
    rows = {}
    same_quiz = {}  # {(quiz, 問題のファイルの名前): (公開の表の種類と名前, 問題の数)}
    text = read_text(PUBLISHED, RESTORE)
    for record in csv.DictReader(text.splitlines()):
        # quiz の欄があるのは、問題のファイルの全問の点数。ほかは分野の点数
        key = ("quiz" if record["quiz"] else "genre", record["genre"])
        n = int(record["n"])
        row = Row(
            name=record["model"],
            environment=record["environment"],
            n=n,
            score=float(record["score"]),
            latency=float(record["latency"]),
            chance=1 / int(record["choices"]),
        )
        rows.setdefault(key, []).append(row)
        same_quiz["quiz", record["quiz"]] = key, n

    # 公開の点数と同じファイルの全問を、ふつうに解いた結果は、そこに並べる (名前と数で見分ける)
    for key, own in made.items():
        published, n = same_quiz.get(key, (key, 0))
        for row in own:
            whole = WHOLE * n <= row.n <= n and not any(row.result.way)
            rows.setdefault(published if whole else key, []).append(row)
    return rows
