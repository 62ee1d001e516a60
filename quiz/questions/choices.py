"""問題を Question にする: 元の問題 (どの形かは readers.py) から選択肢を引き、手順1と手順2で変換したファイルを読み戻す。"""

import random
import unicodedata
from collections import Counter
from quiz.command import Parser, whole_number
from quiz.files import fail
from quiz.prompt import MAX_CHOICES, Question
from quiz.questions.converted import kind_of
from quiz.questions.formats import FORMAT, normalize, one_line, read_rows

def draw_choices(row, num_choices, seed):
    """正解と誤答から選択肢を作り (choices, label) を返す。作れなければ、理由の ValueError。

    乱数の種は seed と qid なので、ある行の選択肢は前後の行に左右されない。
    num_choices が None なら 5 択 (候補がそれより少ない行は候補の数)。
    順の決まった選択肢 (row["choices"]) があり、数も同じなら、そのまま使う。
    """
    answer, candidates = one_line(row["answer_entity"]), {}
    for c in row["answer_candidates"]:
        candidates.setdefault(normalize(c), one_line(c))
    if normalize(answer) not in candidates:
        raise ValueError("正解が候補にない")
    if "choices" in row and num_choices in (None, len(row["choices"])):
        return [one_line(c) for c in row["choices"]], row["label"]
    n = num_choices or min(5, len(candidates))
    if len(candidates) < max(n, 2):
        raise ValueError("候補が足りない")
    rng = random.Random(f"{seed}:{row.get('qid') or row['question']}")
    choices = [answer, *rng.sample([c for key, c in candidates.items() if key != normalize(answer)], n - 1)]
    rng.shuffle(choices)
    return choices, choices.index(answer)


def check_row(where, row):
    """必要な項目がそろっていなければ、その場所 where を言って終わる。"""
    if kind_of(row) not in (None, "変換する前の問題"):
        fail(f"{where}: {kind_of(row)}のファイルです。変換する前の問題を指定してください (例: data/train_questions.json)。")
    for key in ("question", "answer_entity", "answer_candidates"):
        if key not in row:
            fail(f"{where}: {key} がありません。{FORMAT}")
        texts = row[key] if key == "answer_candidates" else [row[key]]
        if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
            what = "の配列" if key == "answer_candidates" else ""
            fail(f"{where}: {key} が、空でない文字列{what}ではありません ({str(row[key])[:20]}。数や null も \" で囲みます)。{FORMAT}")


def read_questions(paths, num_choices=None, seed=0, max_questions=None):
    """問題のファイルを読んで Question のリストを返し、学習の前に知っておきたいことを表示する。"""
    questions, seen, skipped, n_read = [], {}, {}, 0
    for where, row in (item for path in paths for item in read_rows(path)):
        if len(questions) == max_questions:
            break
        check_row(where, row)
        n_read, text = n_read + 1, one_line(row["question"])
        # 問題文が同じでも候補が違えば別の問題 (「カタカナはどれ?」など)。
        identity = normalize(text), frozenset(map(normalize, row["answer_candidates"]))
        try:
            if identity in seen:
                raise ValueError("問題が重複" if seen[identity] == normalize(row["answer_entity"]) else "同じ問題で正解が違う")
            if any(unicodedata.category(c) == "Cc" for c in "".join([text, *map(one_line, row["answer_candidates"])])):
                raise ValueError("制御文字がある")
            choices, label = draw_choices(row, num_choices, seed)
        except ValueError as e:
            skipped.setdefault(str(e), []).append(where.rpartition(":")[2])
            continue
        seen[identity] = normalize(row["answer_entity"])
        questions.append(Question(text, tuple(choices), label, {key: row[key] for key in ("qid", "genre") if key in row}))
    names = " ".join(map(str, paths))
    if not questions:
        reasons = "、".join(f"{reason} {len(lines)}" for reason, lines in skipped.items()) or "0 行"
        fail(f"{names}: 使える問題が 1 問もありません ({reasons})。--num-choices と元のファイルを確かめてください。")
    reasons = "".join(f", {reason} {len(lines)} ({some(lines)} 行)" for reason, lines in skipped.items())
    print(f"{names}: 読んだ {n_read} 問 / 書く {len(questions)} 問 / 飛ばした {n_read - len(questions)} 問{reasons}")
    print("\n".join(describe(questions)))
    return questions


def some(lines):
    """初めの 5 つ。"""
    return "、".join(lines[:5]) + (" など" if len(lines) > 5 else "")


def describe(questions):
    """選択肢と正解についての、何行か。"""
    counts, n = Counter(len(q.choices) for q in questions), len(questions)
    yield "正解の位置: " + "  ".join(f"{k}: {m}" for k, m in sorted(Counter(q.label for q in questions).items()))
    if len(counts) > 1:
        yield "選択肢の数: " + "  ".join(f"{k} 択: {m} 問" for k, m in sorted(counts.items()))
    longest, chance = 0.0, sum(1 / len(q.choices) for q in questions) / n
    for q in questions:
        lengths = [len(choice) for choice in q.choices]
        longest += (lengths[q.label] == max(lengths)) / lengths.count(max(lengths))
    yield f"正解が最も長い選択肢: {100 * longest / n:.1f} % (当てずっぽうは {100 * chance:.1f} %。ずっと高ければ、長さで当てられます)"
    inside = sum(normalize(q.choices[q.label]) in normalize(q.text) for q in questions)
    if inside:
        yield f"注意: {inside} 問は、正解が問題文の中にあります。"


def arguments(description, source, target):
    """手順1と手順2に共通の引数の ArgumentParser。"""
    parser = Parser(description)
    parser.add_argument("source", nargs="*", default=[source], metavar="FILE",
                        help=f"クイズ王か JCommonsenseQA の JSON、CSV、TSV。いくつでも (既定: {source})")
    parser.add_argument("-o", "--output", default=target, help=f"書き出すファイル (既定: {target})")
    parser.add_argument("--num-choices", type=whole_number(2, MAX_CHOICES), help="選択肢の数 (既定: 5。候補が少ない行はその数)")
    parser.add_argument("--seed", type=int, default=0, help="選択肢を選ぶ乱数の種 (既定: 0)")
    parser.add_argument("--max-questions", type=whole_number(1), help="この数だけ書いて終わる")
    return parser
