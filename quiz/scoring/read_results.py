"""手順4の結果 (result.json) を読み、1 問ずつ採点し直す。2024 年版のチュートリアルの形でもよい。

採点: モデルの回答 (output) の先頭の番号を、正解 (correct_answer) の番号と比べる。書いてある hit が
それと違えば、そう言う。2024 年版の形では out_str を回答とし、正解も分からなければ hit のとおり。
"""

import re
from dataclasses import dataclass
from pathlib import Path
from sys import intern

from quiz.files import fail, read_records
from quiz.prompt import read_choice, read_label
from quiz.questions.converted import kind_of
from quiz.scoring import rotations

REDO = "手順4をやり直してください: python run_quiz.py"
UNREAD = -1  # 番号を読み取れない回答の番号


@dataclass(frozen=True, slots=True)
class GradedAnswer:
    """1 問への回答と、その採点。古いファイルで分からない項目は None か空。"""

    # 問題
    asked: str  # 同じ問題の印: qid、モデルに見せた文字列、正解
    qid: str
    genre: str
    question: str  # 問題文 (古いファイルでは shown)
    shown: str  # モデルに見せた文字列
    lines: tuple  # 番号ごとの「番号: 選択肢」
    rotation: int | None  # --rotations で、選択肢をいくつずらして見せたか
    correct: str  # 正解の「番号: 選択肢」
    label: int  # 正解の番号 (分からなければ UNREAD)
    # 回答
    output: str  # モデルの回答
    answered: int | None  # 回答の番号 (読み取れなければ UNREAD)
    said: int | None  # 回答の文字と同じ選択肢の番号 (なければ None)
    hit: bool
    probs: list | None  # 番号ごとの確率 (0 から 1)
    seconds: float | None

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
        return None if self.answered is None else self.answered == UNREAD

    @property
    def likely_hit(self):
        """確率が最大の番号が正解か。確率の記録がなければ None。"""
        return self.probs and self.probs.index(max(self.probs)) == self.label

    @property
    def confidence(self):
        """確信度: 最大の番号の確率 / 番号の確率の合計。"""
        return max(self.probs) / (sum(self.probs) or 1)


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
        return self.model is not None and self.summary.get("adapter", "") is None

    @property
    def seconds(self):
        """かかった秒。数でなければ None。"""
        elapsed = self.summary.get("elapsed_time")
        return elapsed if isinstance(elapsed, int | float) else None

    @property
    def training(self):
        """アダプタを作った学習の記録。なければ空。"""
        return self.summary.get("training") or {}

    @property
    def way(self):
        """ふつうでない解き方か: (--rotations か, --blank-question か)。"""
        return bool(self.rotations), bool(self.summary.get("blank_question"))

    def by_genre(self):
        """{分野: 答えのリスト}。分野がなければ ""。"""
        genres = {}
        for answer in self.answers:
            genres.setdefault(answer.genre, []).append(answer)
        return genres


def read_results(paths):
    """結果を読み、(読めた Result のリスト, 読めないわけのリスト) を返す。"""
    results = []
    problems = []
    stems = [Path(path).stem for path in paths]
    for path, name in zip(paths, stems):
        # ファイル名が同じで場所だけ違うものがあれば、場所も付けて区別する
        if stems.count(name) > 1:
            name = path.removesuffix(".json")
        # 読めないわけは、fail() の 1 行
        try:
            results.append(read_result(path, name))
        except SystemExit as stop:
            problems.append(str(stop).removeprefix("エラー: "))
    return results, problems


def read_result(path, name):
    """結果のファイル 1 つを Result にする。結果でないか、壊れていれば、1 行を言って終わる。"""
    if not Path(path).exists():
        here = "、".join(sorted(map(str, Path().glob("result*.json")))) or "なし"
        fail(f"{path} がありません。名前を確かめてください (ここにあるもの: {here})。{REDO}")

    # 最後の要素は、何を、どのモデルで、どう解いたか。残りが 1 問ずつの記録
    rows = list(read_records(path, REDO))
    summary = {}
    if rows and "elapsed_time" in rows[-1][1]:
        summary = rows.pop()[1]
    if not rows:
        fail(f"{path}:1: hit のある記録がありません。{REDO}")
    line, first = rows[0]
    if "hit" not in first:
        kind = kind_of(first) or "手順4の結果ではない"
        fail(f"{path}:{line}: {kind}ファイルです (hit がない)。{REDO}")

    # 手で切り貼りしたもの、選択肢を並べ替えた記録が欠けたものは、点数にしない
    answers, regraded = grade_all(path, rows)
    written = summary.get("num_questions", len(answers))
    if written != len(answers):
        fail(f"{path}: 記録が {len(answers)} 件で、書いたときの {written} 件と違います。{REDO}")
    try:
        groups = rotations.group(answers)
    except ValueError as e:
        fail(f"{path}: {e}。{REDO}")
    if groups:
        answers = [rotations.collapse(group) for group in groups]
        name = f"{name} (順の平均)"
    return Result(path, name, quiz_name(summary), answers, groups, summary, regraded)


def quiz_name(summary):
    """解いた問題のファイルの名前。2024 年版の形では "-"。"""
    # いくつかのファイルを解いた結果なら、名前をつなぐ
    paths = summary.get("quiz")
    if not isinstance(paths, list):
        return "-"
    return "+".join(Path(str(path)).stem for path in paths) or "-"


def grade_all(path, rows):
    """(行番号, 記録) を採点し、(答えのリスト, 書いてある採点と違う行番号のリスト) を返す。"""
    answers = []
    regraded = []
    for line, record in rows:
        try:
            answer = grade(record)
        except (ValueError, TypeError, KeyError, AttributeError) as e:
            fail(f"{path}:{line}: result.json の記録ではありません ({e})。{REDO}")
        answers.append(answer)
        # hit や out_str を書き換えても、点数は変わらない
        if record["hit"] != answer.hit or recorded_label(record) not in (None, answer.answered):
            regraded.append(line)
    return answers, regraded


def grade(record):
    """result.json の 1 件を採点して GradedAnswer にする。おかしければ ValueError や TypeError。"""
    # 2024 年版の形でも、これだけはある
    if record["hit"] not in (True, False):
        raise ValueError("hit の値が正しくありません")

    # 問題はどの結果でも同じなので、intern して 1 つだけ持つ (20 個のファイルでもメモリに入る)
    choices = record.get("input") or ""
    shown = intern(record.get("prompt") or (record.get("instruction") or "") + choices)
    lines = tuple(intern(line) for line in choices.split("\n") if line)
    qid = intern(one_line(record.get("qid")))
    correct = intern(record.get("correct_answer") or "")
    label = label_in(correct)
    asked = intern(f"{qid} {shown} {correct}" if shown else qid)
    genre = intern(one_line(record.get("genre")))
    question = intern(record.get("question") or shown)
    if label != UNREAD and lines and correct not in lines:
        raise ValueError("correct_answer が、選択肢のどれでもありません")

    # 番号の確率。正解の番号の分もあり、どれも確率らしい値のはず
    probs = record.get("choice_probs")
    if probs is not None:
        if not 0 <= label < len(probs) or not all(0 <= p < 2 for p in probs):
            raise ValueError("choice_probs が、正解の番号を含む確率のリストではありません")
    elif record.get("rotation") is not None:
        raise ValueError("選択肢の順を変えた記録に choice_probs がありません")

    # 回答の番号。確率の記録のない 2024 年版の形では、out_str のとおり
    output = str(record.get("output") or "")
    answered = recorded_label(record)
    texts = [read_choice(line) for line in lines]
    if probs:
        answered = label_in(output, texts)

    # 回答の文字。番号とは別に、どの選択肢のものかを見る
    text = read_choice(output)
    said = texts.index(text) if text and text in texts else None

    # 正解の番号と比べる
    hit = bool(record["hit"])
    if answered == UNREAD:
        hit = False
    elif answered is not None and label != UNREAD:
        hit = answered == label

    rotation = record.get("rotation")
    seconds = record.get("seconds")
    seconds = seconds and float(seconds)
    return GradedAnswer(
        asked=asked,
        qid=qid,
        genre=genre,
        question=question,
        shown=shown,
        lines=lines,
        rotation=rotation,
        correct=correct,
        label=label,
        output=output,
        answered=answered,
        said=said,
        hit=hit,
        probs=probs,
        seconds=seconds,
    )


def label_in(answer, choices=()):
    """回答の先頭の番号。読み取れなければ UNREAD。"""
    label = read_label(answer, choices)
    return int(label) if label else UNREAD


def recorded_label(record):
    """記録にある、読み取った番号 (out_str)。読み取れていなければ UNREAD、記録がなければ None。"""
    # 2024 年版では、番号の後に文字が続くことがある
    out_str = record.get("out_str")
    if out_str is None:
        return None
    digits = re.match(r"\d+", str(out_str))
    return int(digits[0]) if digits else UNREAD


def one_line(value):
    """qid や分野の値を 1 行の文字列にする。ないもの (null、NaN) は ""。"""
    # NaN は、自分と等しくない
    if value is None or value != value:
        return ""
    return " ".join(str(value).split())


def unfinished(paths):
    """ここか、paths と同じフォルダにある、解きかけの結果のファイル (result.json.part0 など)。"""
    # 手順4は、プロセスごとに 1 つ書き、終われば消す
    folders = {Path(), *(Path(path).parent for path in paths)}
    parts = [part for folder in folders for part in folder.glob("*.json.part[0-9]*")]
    return sorted(map(str, parts))
