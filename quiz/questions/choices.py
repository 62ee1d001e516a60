"""元の問題から選択肢を引き、Question にする。使えない問題は、わけを付けて飛ばす。"""

import random
import unicodedata
from dataclasses import dataclass, field

from quiz.prompt import MAX_CHOICES, Question
from quiz.questions.characters import normalize

# --num-choices がないときの選択肢の数。候補がこれより少ない問題は、その数
USUAL_CHOICES = 5


class Unusable(Exception):
    """この問題を使えないわけ。"""


@dataclass(frozen=True)
class Drawn:
    """引いた結果。"""

    n_read: int  # 読んだ問題の数
    questions: list[Question]
    skipped: dict[str, list[str]] = field(default_factory=dict)  # 飛ばしたわけ → その場所
    n_repeated: int = 0  # questions のうち、qid (なければ問題文) が前の問題と同じもの


def draw_questions(rows, num_choices=None, seed=0):
    """rows (SourceRow) から Question を作り、Drawn を返す。"""
    n_read = 0
    n_repeated = 0
    questions = []
    skipped = {}
    # もう使った問題 → 正解
    answers = {}
    # もう使った乱数の種
    keys = set()
    for row in rows:
        n_read += 1
        repeated = draw_key(row) in keys
        try:
            check_new(row, answers)
            check_characters(row)
            choices, label = draw_choices(row, num_choices, seed, repeated)
        except Unusable as why:
            skipped.setdefault(str(why), []).append(row.where)
            continue
        answers[identity(row)] = normalize(row.answer)
        keys.add(draw_key(row))
        n_repeated += repeated
        questions.append(Question(row.question, tuple(choices), label, row.extra))
    return Drawn(n_read, questions, skipped, n_repeated)


def identity(row):
    """同じ問題の印。問題文が同じでも候補が違えば別の問題 (「カタカナはどれ?」など)。"""
    return normalize(row.question), frozenset(map(normalize, row.candidates))


def check_new(row, answers):
    """answers (もう使った問題 → 正解) にある問題なら、Unusable。"""
    before = answers.get(identity(row))
    if before == normalize(row.answer):
        raise Unusable("問題が重複")
    if before is not None:
        raise Unusable("同じ問題で正解が違う")


def check_characters(row):
    """目に見えない制御文字があれば、Unusable。"""
    # Cc は、改行のほかの、画面に出ない文字 (\x07 など)
    for character in "".join([row.question, *row.candidates]):
        if unicodedata.category(character) == "Cc":
            raise Unusable("制御文字がある")


def draw_key(row):
    """乱数の種に入れる、その問題の印。"""
    return str(row.extra.get("qid") or row.question)


def draw_choices(row, num_choices, seed, repeated=False):
    """正解と誤答から選択肢を引き、(選択肢のリスト, 正解の番号) を返す。引けなければ Unusable。

    乱数の種は seed と qid なので、ある行の選択肢は前後の行に左右されない。同じ qid が前にあった
    行 (repeated) では、問題文と候補も種に入れる。入れないと、正解がどの行でも同じ番号になる。
    num_choices が None なら 5 択 (候補がそれより少ない行は候補の数)。
    """
    # 見た目の同じ候補は 1 つにする
    different = {}
    for candidate in row.candidates:
        different.setdefault(normalize(candidate), candidate)
    if normalize(row.answer) not in different:
        raise Unusable("正解が候補にない")
    n = num_choices or min(USUAL_CHOICES, len(different))
    if len(different) < max(n, 2):
        raise Unusable("候補が足りない")

    # 順の公開された選択肢で、数も同じなら、そのまま使う
    if row.label is not None and num_choices in (None, len(row.candidates)):
        if len(row.candidates) > MAX_CHOICES:
            raise Unusable(f"選択肢が {MAX_CHOICES} 個より多い (--num-choices で減らせます)")
        if list(map(normalize, row.candidates)).count(normalize(row.answer)) > 1:
            raise Unusable("正解と同じ選択肢がある")
        return list(row.candidates), row.label

    # 正解と、ほかの候補から引いた n - 1 個を、混ぜて並べる
    key = draw_key(row)
    if repeated:
        key = f"{key}:{row.question}:{row.candidates}"
    generator = random.Random(f"{seed}:{key}")
    del different[normalize(row.answer)]
    choices = [row.answer, *generator.sample(list(different.values()), n - 1)]
    generator.shuffle(choices)
    return choices, choices.index(row.answer)


def sample_questions(questions, n, seed):
    """questions の全体から n 問をくじで引く。順は元のまま。n が None か、足りなければ、すべて。"""
    if n is None or n >= len(questions):
        return questions
    places = random.Random(seed).sample(range(len(questions)), n)
    return [questions[i] for i in sorted(places)]
