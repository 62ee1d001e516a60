"""変換する前の問題の 1 問。どの形のファイルも、まずこの形に読む。"""

from dataclasses import dataclass

from quiz.files import fail
from quiz.questions.characters import loosely, one_line

FORMAT = ("クイズ王の形式と入手方法は data/README.md、"
          "自分の問題の形 (表計算なら「CSV UTF-8」) は docs/own_questions.md へ。")

# 値がないのと同じもの。NaN は、pandas が空のセルを書き出したもの
NOTHING = ("", "nan", "none", "null")


@dataclass(frozen=True)
class SourceRow:
    """変換する前の 1 問。文字は、改行を空白にしたほかは、書いた人のまま。"""

    where: str  # 「ファイル:行」
    question: str
    answer: str  # 正解の文字
    candidates: tuple[str, ...]  # 正解と誤答
    qid: object  # 問題の番号
    genre: object  # 分野
    label: int | None = None  # candidates が、順の公開された選択肢なら、正解の番号

    @property
    def extra(self):
        """quiz.json と結果に書き添える qid と genre (1 行の文字列)。ないものは入れない。"""
        given = {"qid": self.qid, "genre": one_line(str(self.genre))}
        return {key: value for key, value in given.items() if is_given(value)}


def is_given(value):
    """値があるか (NOTHING でないか)。"""
    return loosely(str(value)) not in NOTHING


def required_text(where, key, text):
    """key の値 text を 1 行にして返す。空でない文字列でなければ、その場所を言って終わる。"""
    # 数の 0 も、文字列ではない
    if not isinstance(text, str) or not one_line(text):
        fail(f"{where}: {key} に、空でない文字列がありません (今は {str(text)[:20]}。"
             f'数や null も " で囲みます)。{FORMAT}')
    return one_line(text)
