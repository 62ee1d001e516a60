"""手順4の結果 (result.json) を読み、1 問ずつ採点し直す。2024 年版のチュートリアルの形でもよい。

採点の規則は 1 つ: モデルの回答 (output) の先頭の番号を、正解 (correct_answer) の番号と比べる。
書いてある hit は使わず、採点と違えば、そう言う。番号の確率のない 2024 年版の形では、output の
切り出し方が今と違うので、そのとき読み取った番号 (out_str) を使う。
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path

from quiz.files import fail, read_records
from quiz.prompt import likely_label, likely_text, read_choice, read_label
from quiz.questions.converted import kind_of
from quiz.scoring import rotations

REDO = "手順4をやり直してください: python run_quiz.py"
# 項目の型。なくてもよいが、あれば、この型のはず
RECORD = {
    "instruction": str,
    "input": str,
    "prompt": str,
    "question": str,
    "correct_answer": str,
    "output": str,
    "rotation": int,
}
SUMMARY = {"quiz": list, "model": str, "shots": int, "training": dict}
TRAINING = {"seed": int, "train_files": dict, "settings": dict}
RECORDED = {"seed", "questions", "steps_done", "settings"}  # train_files があれば、これらもある
UNREAD = -1  # 番号を読み取れない回答の番号


@dataclass(frozen=True, slots=True)
class GradedAnswer:
    """1 問への回答と、その採点。"""

    # 問題
    qid: str  # なければ ""
    genre: str  # なければ ""
    question: str  # 問題文 (2024 年版の形では shown)
    shown: str  # モデルに見せた文字列
    lines: tuple  # 番号ごとの「番号: 選択肢」。2024 年版の形では、空のこともある
    rotation: int | None  # --rotations で、選択肢をいくつずらして見せたか
    correct: str  # 正解の「番号: 選択肢」
    label: int  # 正解の番号
    # 回答
    output: str  # モデルの回答
    answered: int  # 回答の番号 (読み取れなければ UNREAD)
    said: int | None  # 回答の文字と同じ選択肢の番号 (なければ None)
    hit: bool
    probs: list | None  # 番号ごとの確率 (0 から 1)。2024 年版の形では None
    seconds: float | None
    text_log_probs: list | None = None  # 選択肢ごとの、文字の対数確率 (--by-text の結果だけ)
    order_hits: tuple = ()  # --rotations の結果をまとめたものなら、順ごとの likely_hit

    @property
    def asked(self):
        """同じことを問うたのなら、等しくなるもの。順を変えた結果は、生成の答えとは比べない。"""
        return self.qid, self.shown, self.correct, self.rotation

    @property
    def problem(self):
        """同じ問題なら、問い方 (例を見せたか、順を変えたか) が違っても等しくなるもの。"""
        return self.qid, self.question, self.lines, self.correct

    @property
    def n_choices(self):
        """選択肢の数。分からなければ 0。"""
        return len(self.probs or self.lines)

    @property
    def chance(self):
        """当てずっぽうで正解する確率。選択肢の数が分からなければ None。"""
        return 1 / self.n_choices if self.n_choices else None

    @property
    def unread(self):
        """番号を読み取れなかったか。"""
        return self.answered == UNREAD

    @property
    def likely_hit(self):
        """確率が最大の番号が正解か。確率の記録がなければ None。"""
        return self.probs and likely_label(self.probs) == self.label

    @property
    def text_hit(self):
        """文字の対数確率が、1 文字あたりで最大の選択肢が正解か。記録がなければ None。"""
        choices = [read_choice(line) for line in self.lines]
        return self.text_log_probs and likely_text(self.text_log_probs, choices) == self.label

    @property
    def text_sum_hit(self):
        """文字の対数確率の合計が最大の選択肢が正解か。記録がなければ None。"""
        return self.text_log_probs and likely_label(self.text_log_probs) == self.label

    @property
    def confidence(self):
        """確信度: 最大の番号の確率 / 番号の確率の合計。記録がなければ None。"""
        return self.probs and max(self.probs) / (sum(self.probs) or 1)


@dataclass(frozen=True)
class Result:
    """1 つの結果のファイル。"""

    path: str
    name: str  # 表での名前
    quiz: str  # 問題のファイルの名前 (記録がなければ "-")
    answers: list  # 1 問に 1 つの GradedAnswer。--rotations の結果では、N 通りを 1 つにしたもの
    rotations: list  # --rotations の結果なら、問題ごとの N 通りの GradedAnswer のリスト
    summary: dict  # 最後の要素: かかった時間と、何を、どのモデルで、どう解いたか
    regraded: list  # 書いてあった hit か out_str が採点と違う記録の、行番号

    @property
    def model(self):
        """モデルの名前。記録がなければ None。"""
        return self.summary.get("model")

    @property
    def untrained(self):
        """学習前のモデルに解かせた結果か。"""
        return self.summary.get("adapter", "") is None

    @property
    def seconds(self):
        """かかった秒。数でなければ None。"""
        elapsed = self.summary.get("elapsed_time")
        # NaN は、0 以上でない
        return elapsed if isinstance(elapsed, int | float) and elapsed >= 0 else None

    @property
    def training(self):
        """アダプタを作った学習の記録。なければ空。"""
        return self.summary.get("training") or {}

    @property
    def way(self):
        """ふつうでない解き方か: (--rotations か, --blank-question か, --shots の例の数)。"""
        blank = bool(self.summary.get("blank_question"))
        return bool(self.rotations), blank, self.summary.get("shots") or 0

    @property
    def conditions(self):
        """計算の条件: 4 ビットで読んだかと、数の型。記録がなければ None。"""
        return self.summary.get("load_in_4bit"), self.summary.get("dtype")

    def by_genre(self):
        """{分野: 答えのリスト}。分野がなければ ""。"""
        genres = {}
        for answer in self.answers:
            genres.setdefault(answer.genre, []).append(answer)
        return genres


def read_results(paths):
    """結果を読み、(読めた Result のリスト, 読めないわけのリスト) を返す。"""
    # 1 つが壊れていても、ほかは読む
    results = []
    problems = []
    for path in paths:
        # 読めないわけは、fail() の 1 行
        try:
            results.append(read_result(path))
        except SystemExit as stop:
            problems.append(str(stop).removeprefix("エラー: "))
    return results, problems


def read_result(path):
    """結果のファイル 1 つを Result にする。結果でないか、壊れていれば、1 行を言って終わる。"""
    # 最後の要素は、何を、どのモデルで、どう解いたか。残りが 1 問ずつの記録
    rows = list(read_records(path, REDO))
    summary = {}
    if rows and "elapsed_time" in rows[-1][1]:
        _, summary = rows.pop()
    line, first = rows[0] if rows else (1, {})
    if "hit" not in first:
        kind = kind_of(first) or "手順4の結果ではない"
        fail(f"{path}:{line}: {kind}ファイルです (hit のある記録がない)。{REDO}")
    # 書いてある採点は使わない
    answers, regraded = grade_all(path, rows)
    try:
        check_summary(summary)
    except ValueError as e:
        fail(f"{path}: 最後の要素を読めません ({e})。{REDO}")

    # 手で切り貼りして、記録が欠けたか、重なったものは、点数にしない
    if not summary:
        fail(f"{path}: 最後の要素 (elapsed_time) がないので、途中で切れています。{REDO}")
    written = summary.get("num_questions", len(rows))
    if written != len(rows):
        fail(f"{path}: 記録が {len(rows)} 件で、書いたときの {written} 件と違います。{REDO}")
    numbers = {str(record["ID"]) for _, record in rows if "ID" in record}
    if numbers and len(numbers) != len(rows):
        fail(f"{path}: ID のない記録か、ID の同じ記録があります。{REDO}")
    if len({(a.probs is None, a.text_log_probs is None) for a in answers}) > 1:
        fail(f"{path}: choice_probs か text_log_probs のない記録があります。{REDO}")

    # --rotations の結果は、1 問に 1 つの答えにまとめる
    name = path.removesuffix(".json")
    if summary.get("name"):
        name = f"{one_line(summary['name'])} ({name})"
    groups = rotations.group(answers)
    if groups is None:
        fail(f"{path}: 選択肢の順を変えた記録が、欠けているか、混じっています。{REDO}")
    if groups:
        answers = [rotations.collapse(group) for group in groups]
        name += " (順の平均)"

    # いくつかのファイルを解いた結果なら、名前をつなぐ
    quiz = "+".join(one_line(Path(quiz).stem) for quiz in summary.get("quiz") or []) or "-"
    return Result(path, name, quiz, answers, groups, summary, regraded)


def check_summary(summary):
    """最後の要素の項目の型を調べる。おかしければ ValueError。"""
    check_types(summary, SUMMARY)
    for quiz in summary.get("quiz") or []:
        check_types({"quiz": quiz}, {"quiz": str})
    training = summary.get("training") or {}
    check_types(training, TRAINING)
    if training.get("train_files") and not training.keys() >= RECORDED:
        raise ValueError("training に、ない項目があります")


def check_types(record, types):
    """項目の型が types のとおりか。違えば ValueError。"""
    for name, kind in types.items():
        if not isinstance(record.get(name), kind | None):
            raise ValueError(f"{name} の型が違います")


def grade_all(path, rows):
    """(行番号, 記録) を採点し、(答えのリスト, 書いてある採点と違う行番号のリスト) を返す。"""
    answers = []
    regraded = []
    for line, record in rows:
        try:
            answer = grade(record)
            written = (record["hit"], number(record["out_str"]))
        except (ValueError, TypeError, KeyError, AttributeError) as e:
            fail(f"{path}:{line}: result.json の記録ではありません ({e})。{REDO}")
        answers.append(answer)
        # hit や out_str を書き換えても、点数は変わらない
        if written != (answer.hit, answer.answered):
            regraded.append(line)
    return answers, regraded


def grade(record):
    """result.json の 1 件を採点して GradedAnswer にする。おかしければ ValueError や TypeError。"""
    # 問題と正解
    check_types(record, RECORD)
    choices = record.get("input") or ""
    lines = tuple(filter(None, choices.split("\n")))
    texts = [read_choice(line) for line in lines]
    shown = record.get("prompt") or record["instruction"] + choices
    correct = record["correct_answer"]
    label = number(read_label(correct))
    if label == UNREAD or (lines and correct not in lines):
        raise ValueError("correct_answer が、選択肢のどれでもありません")

    # 番号の確率。選択肢ごとに 1 つで、どれも確率らしい値のはず
    probs = record.get("choice_probs")
    if probs is not None:
        n = len(lines) or max(label + 1, len(probs))
        if [0 <= p < 2 for p in probs] != [True] * n:
            raise ValueError("choice_probs が、選択肢ごとの確率のリストではありません")
    # 文字の対数確率。選択肢ごとに 1 つ。どれも -Infinity では、選べない
    log_probs = record.get("text_log_probs") or None
    if log_probs:
        if [p < 1 for p in log_probs] != [True] * len(lines) or max(log_probs) == -math.inf:
            raise ValueError("text_log_probs が、選択肢ごとの対数確率のリストではありません")

    # 回答の番号と、回答の文字。文字は、番号とは別に、どの選択肢のものかを見る
    output = record["output"]
    answered = number(read_label(output, texts) if probs else record["out_str"])
    said = None
    text = read_choice(output)
    if text in texts:
        said = texts.index(text)
    # 同じ文字の選択肢が 2 つあれば、答えた番号の方
    if texts[answered : answered + 1] == [text]:
        said = answered
    # 2024 年版の形では、ない項目もある
    seconds = record.get("seconds")
    return GradedAnswer(
        qid=one_line(record.get("qid")),
        genre=one_line(record.get("genre")),
        question=record.get("question") or shown,
        shown=shown,
        lines=lines,
        rotation=record.get("rotation"),
        correct=correct,
        label=label,
        output=output,
        answered=answered,
        said=said,
        hit=answered == label,
        probs=probs,
        seconds=seconds and float(seconds),
        text_log_probs=log_probs,
    )


def number(text):
    """文字列の先頭の番号。番号で始まっていなければ UNREAD。"""
    # 2024 年版の out_str では、番号の後に文字が続くことがある
    digits = re.match(r"\d+", str(text))
    return int(digits[0]) if digits else UNREAD


def one_line(value):
    """qid や分野の値を 1 行の文字列にする。ないもの (null、NaN) は ""。"""
    # NaN は、自分と等しくない
    if value is None or value != value:
        return ""
    return " ".join(str(value).split())
