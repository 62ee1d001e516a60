"""変換する前の問題の 1 問。どの形のファイルも、まずこの形に読む。"""

from dataclasses import dataclass

from quiz.files import fail
from quiz.questions.characters import loosely, one_line

FORMAT = "クイズ王の形式と入手方法は data/README.md、自分の問題の形は docs/own_questions.md へ。"

# 値がないのと同じもの。NaN は、pandas が空のセルを書き出したもの
NOTHING = ("", "nan", "none", "null")


@dataclass(frozen=True)
class SourceRow:
    """変換する前の 1 問。文字は、改行を空白にしたほかは、書いた人のまま。"""

    where: str  # 「ファイル:行」
    question: str
    answer: str  # 正解の文字
    candidates: tuple[str, ...]  # 正解と誤答
    qid: object = None  # 問題の番号
    genre: str = ""  # 分野
    label: int | None = None  # candidates が、順の公開された選択肢なら、正解の番号

    @property
    def extra(self):
        """quiz.json と結果に書き添える qid と genre。ないものは入れない。"""
        kept = {}
        for key, value in (("qid", self.qid), ("genre", self.genre)):
            if loosely(str(value)) not in NOTHING:
                kept[key] = value
        return kept


def required_text(where, record, key):
    """record[key] の文字列を 1 行にして返す。空でない文字列でなければ、その場所を言って終わる。"""
    if key not in record:
        fail(f"{where}: {key} がありません。{FORMAT}")
    value = record[key]
    # 数の 0 や null も、文字列ではない
    if not isinstance(value, str) or not value.strip():
        shown = f'{str(value)[:20]}。数や null も " で囲みます'
        fail(f"{where}: {key} が、空でない文字列ではありません ({shown})。{FORMAT}")
    return one_line(value)
