"""問題のファイルを Question にする: クイズ王 (AI王 / JAQKET) の JSON と、手順1と手順2で変換したファイル。"""

import argparse
import random
import unicodedata
from collections import Counter

from quiz.files import fail, read_records
from quiz.prompt import MAX_CHOICES, Question, read_question

FORMAT = "クイズ王の形式と入手方法は data/README.md へ。"


def normalize(text):
    """全角と半角、空白の違いを除いた、比べるための文字列。「？」と「?」は同じ。"""
    return "".join(unicodedata.normalize("NFKC", text).split())


def draw_choices(row, num_choices, seed):
    """正解と誤答から選択肢を作り (choices, label) を返す。作れなければ、理由の ValueError。

    乱数の種は seed と qid なので、ある行の選択肢は前後の行に左右されない。
    num_choices が None なら 5 択 (候補がそれより少ない行は候補の数)。
    """
    answer, candidates = " ".join(row["answer_entity"].split()), {}
    for c in row["answer_candidates"]:
        candidates.setdefault(normalize(c), " ".join(c.split()))
    if normalize(answer) not in candidates:
        raise ValueError("正解が候補にない")
    n = num_choices or min(5, len(candidates))
    if len(candidates) < max(n, 2):
        raise ValueError("候補が足りない")
    rng = random.Random(f"{seed}:{row.get('qid') or row['question']}")
    choices = [answer, *rng.sample([c for key, c in candidates.items() if key != normalize(answer)], n - 1)]
    rng.shuffle(choices)
    return choices, choices.index(answer)


def check_row(where, row):
    """必要な項目がそろっていなければ、その行 where を言って終わる。"""
    for key in ("question", "answer_entity", "answer_candidates"):
        texts = row.get(key) if key == "answer_candidates" else [row.get(key)]
        if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
            fail(f"{where}: {key} がないか、文字列{'の配列' if key == 'answer_candidates' else ''}ではありません。{FORMAT}")


def read_questions(path, num_choices=None, seed=0, max_questions=None):
    """クイズ王の JSON を読んで Question のリストを返し、読んだ数、飛ばした数と理由、正解の位置を表示する。"""
    questions, seen, skipped = [], set(), Counter()
    for n_read, (line, row) in enumerate(read_records(path, FORMAT), 1):
        check_row(f"{path}:{line}", row)
        # クイズ王の問題文の _ は穴埋めの印で、問題の文字ではない。
        text = " ".join(row["question"].replace("_", "").split())
        # 問題文が同じでも候補が違えば別の問題 (「カタカナはどれ?」など)。
        identity = text, frozenset(row["answer_candidates"])
        try:
            if identity in seen:
                raise ValueError("問題が重複")
            choices, label = draw_choices(row, num_choices, seed)
        except ValueError as e:
            skipped[str(e)] += 1
            continue
        seen.add(identity)
        questions.append(Question(text, tuple(choices), label, {key: row[key] for key in ("qid", "genre") if key in row}))
        if len(questions) == max_questions:
            break
    if not questions:
        fail(f"{path}: 使える問題が 1 問もありません ({dict(skipped)})。--num-choices と元のファイルを確かめてください。")
    reasons = "".join(f", {reason} {n}" for reason, n in skipped.items())
    print(f"{path}: 読んだ {n_read} 問 / 書く {len(questions)} 問 / 飛ばした {skipped.total()} 問{reasons}")
    print("正解の位置: " + "  ".join(f"{k}: {n}" for k, n in sorted(Counter(q.label for q in questions).items())))
    return questions


def read_converted(path, todo):
    """train-5-inst.json か quiz.json の問題を、順に Question で返す。書式が違えば、todo (次にすること) を言って終わる。"""
    for line, record in read_records(path, todo):
        try:
            yield read_question(record)
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            fail(f"{path}:{line}: {f'{e} がありません' if isinstance(e, KeyError) else e}。{todo}")


def whole_number(low, high=None):
    """low 以上 high 以下の整数だけを受け付ける、argparse の type。"""
    def convert(text):
        if not text.isdecimal() or int(text) < low or high and int(text) > high:
            raise argparse.ArgumentTypeError(f"{low} 以上{f' {high} 以下' if high else ''}の整数にしてください")
        return int(text)
    return convert


def arguments(description, source, target):
    """手順1と手順2に共通の引数の ArgumentParser。"""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", default=source, help=f"クイズ王の JSON (既定: {source})")
    parser.add_argument("-o", "--output", default=target, help=f"書き出すファイル (既定: {target})")
    parser.add_argument("--num-choices", type=whole_number(2, MAX_CHOICES), help="選択肢の数 (既定: 5。候補が少ない行はその数)")
    parser.add_argument("--seed", type=int, default=0, help="選択肢を選ぶ乱数の種 (既定: 0)")
    parser.add_argument("--max-questions", type=whole_number(1), help="この数だけ書いて終わる")
    return parser
