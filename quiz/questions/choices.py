"""元の問題から選択肢を引き、Question にする。使えない問題は、わけを付けて飛ばす。"""

import random
from collections import defaultdict
from dataclasses import dataclass

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
    questions: list[Question]  # 書く問題
    skipped: dict[str, list[str]]  # 飛ばしたわけ → その場所
    n_left: int  # max_questions のくじに外れた問題の数
    n_repeated: int  # 使える問題のうち、qid (なければ問題文) が前の問題と同じもの


def draw_questions(rows, num_choices, seed, max_questions):
    """rows (SourceRow) から Question を作り、Drawn を返す。

    乱数の種は seed と qid なので、ある行の選択肢は前後の行に左右されない。同じ qid が前にあった
    行では、問題文と候補も種に入れる。入れないと、正解がどの行でも同じ番号になる。
    """
    rows = list(rows)
    questions = []
    skipped = defaultdict(list)
    n_repeated = 0
    # もう使った問題 → 正解
    answers = {}
    # もう使った乱数の種
    keys = set()
    for row in rows:
        qid = row.extra.get("qid") or row.question
        key = f"{seed}:{qid}"
        repeated = key in keys
        if repeated:
            key = f"{key}:{row.question}:{row.candidates}"
        # 問題文が同じでも、候補が違えば別の問題 (「カタカナはどれ?」など)
        asked = normalize(row.question), frozenset(map(normalize, row.candidates))
        answer = normalize(row.answer)
        try:
            choices, label = draw_choices(row, num_choices, random.Random(key))
            if asked in answers:
                raise Unusable(
                    "問題が重複" if answers[asked] == answer else "同じ問題で正解が違う")
        except Unusable as why:
            skipped[str(why)].append(row.where)
            continue
        answers[asked] = answer
        keys.add(key)
        n_repeated += repeated
        questions.append(Question(row.question, choices, label, row.extra))
    kept = sample_questions(questions, max_questions, seed)
    return Drawn(len(rows), kept, skipped, len(questions) - len(kept), n_repeated)


def sample_questions(questions, n, seed):
    """questions の全体から n 問をくじで引く。順は元のまま。n が None か、足りなければ、すべて。"""
    n = min(n or len(questions), len(questions))
    places = random.Random(seed).sample(range(len(questions)), n)
    return [questions[i] for i in sorted(places)]


def draw_choices(row, num_choices, generator):
    """正解と誤答から選択肢を引き、(選択肢の組, 正解の番号) を返す。引けなければ Unusable。

    num_choices が None なら 5 択 (候補がそれより少ない行は候補の数)。generator は random.Random。
    """
    answer = normalize(row.answer)
    texts = list(map(normalize, row.candidates))
    # 見た目の同じ候補は 1 つにする
    different = {}
    for text, candidate in zip(texts, row.candidates):
        different.setdefault(text, candidate)
    if answer not in different:
        raise Unusable("正解が候補にない")
    n = num_choices or min(USUAL_CHOICES, len(different))
    if len(different) < max(n, 2):
        raise Unusable("候補が足りない")

    # 順の公開された選択肢で、数も同じなら、そのまま使う
    if row.label is not None and num_choices in (None, len(texts)):
        if len(texts) > MAX_CHOICES:
            raise Unusable(f"選択肢が {MAX_CHOICES} 個より多い (--num-choices で減らせます)")
        if texts.count(answer) > 1:
            raise Unusable("正解と同じ選択肢がある")
        return row.candidates, row.label

    # 正解と、ほかの候補から引いた n - 1 個を、混ぜて並べる
    del different[answer]
    choices = [row.answer, *generator.sample(list(different.values()), n - 1)]
    generator.shuffle(choices)
    return tuple(choices), choices.index(row.answer)
