"""手順1: クイズ王の JSON を、学習用の train-5-inst.json に変換する。

    python convert_train.py                               # data/train_questions.json → train-5-inst.json
    python convert_train.py FILE -o OUT --num-choices 5 --seed 0 --max-questions 100

読むもの (1 行に 1 問の JSON Lines。配列でもよい):
    {"qid": "...", "question": "格闘家ボブ・サップの出身国はどこでしょう?", "answer_entity": "アメリカ合衆国",
     "answer_candidates": ["アメリカ合衆国", "イギリス", ...]}
書くもの (JSON の配列):
    {"instruction": "以下の問題について、0, 1, 2, 3, 4の選択肢から選んで答えてください。\\n\\n問題: 格闘家ボブ・サップの
     出身国はどこでしょう? \\n選択肢\\n\\n0: オレゴン州\\n1: イギリス\\n2: アメリカ合衆国\\n3: コロラド州\\n4: ミシガン州
     \\n\\n\\n### 回答:\\n", "output": "2: アメリカ合衆国"}

プロンプトの書式は、このファイルだけが決める (convert_eval.py と run_quiz.py はここから読み込む)。
"""

import argparse
import itertools
import json
import os
import random
import re
import sys
from collections import Counter
from pathlib import Path

# 学習に使う書式。モデルはこの並びを覚えるので、評価も 1 文字違わず同じでなければならない。
TRAIN_INSTRUCTION = "以下の問題について、{labels}の選択肢から選んで答えてください。\n\n問題: {question} \n選択肢\n\n{choices}\n\n\n"
TRAIN_END = "### 回答:\n"
TRAIN_PATTERN = re.compile(r"以下の問題について、.*?の選択肢から選んで答えてください。\n\n問題: (.*?) \n選択肢\n\n", re.DOTALL)
# quiz.json の書式 (チュートリアルと同じ)。モデルには見せず、prompt_of() が学習の書式に戻す。
EVAL_INSTRUCTION = "以下の問題について、{labels}から選んで答えてください。\n問題: {question}\n"
EVAL_INPUT = "{choices}\n\n\n"
EVAL_PATTERN = re.compile(r"以下の問題について、(.*?)から選んで答えてください。\n問題: (.*)\n", re.DOTALL)
# 回答は「番号: 選択肢」。番号だけを採点するので、選択肢の書き間違いでは不正解にならない。
ANSWER = "{label}: {choice}"
ANSWER_PATTERN = re.compile(r"(\d+)\s*[:：]")
# 番号を 1 桁に限る: 2 桁では「1」と「10」の先頭が同じになり、番号の確率が決まらない。
MAX_CHOICES = 10


def fail(message):
    """エラーを 1 行で stderr に出し、終了コード 1 で終わる。"""
    sys.exit(f"エラー: {' '.join(str(message).split())}")


def read_records(path):
    """JSON Lines または JSON の配列を読み、(行番号, dict) を順に返す。読めないときは fail() する。"""
    try:
        raw = Path(path).read_bytes()
    except OSError as e:
        fail(f"{path} を読めません ({e.strerror})。ファイル名を確かめてください。クイズ王のファイルの入手方法は data/README.md へ。")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = raw.count(b"\n", 0, e.start) + 1
        fail(f"{path}:{line}: UTF-8 ではありません。UTF-8 に直してください (例: iconv -f CP932 -t UTF-8 元のファイル > 新しいファイル)。")
    body = text.strip()
    if not body:
        fail(f"{path}:1: ファイルが空です。取得し直してください (data/README.md)。")
    if body.startswith("<"):
        fail(f"{path}:1: JSON ではなく HTML のページです。アドレスを確かめて取得し直してください (data/README.md)。")
    is_array = body.startswith("[")
    skip = re.compile(r"[\s\[\],]*" if is_array else r"\s*")
    decoder, line, counted, pos = json.JSONDecoder(), 1, 0, skip.match(text).end()
    while pos < len(text):
        line, counted = line + text.count("\n", counted, pos), pos
        try:
            record, pos = decoder.raw_decode(text, pos)
        except json.JSONDecodeError as e:
            fail(f"{path}:{e.lineno}: JSON として読めません ({e.msg})。この行を直すか、ファイルを取得し直してください。")
        if not isinstance(record, dict):
            fail(f"{path}:{line}: 1 問は {{...}} の形でなければなりません。元のファイルを確かめてください。")
        yield line, record
        pos = skip.match(text, pos).end()
    if is_array and not body.endswith("]"):
        fail(f"{path}:{text.count(chr(10)) + 1}: 配列の終わりの ] がありません。ファイルを取得し直してください。")


def write_text(chunks, path):
    """文字列を順に書く。隣に書いてから改名するので、途中で止まっても元のファイルは残る。"""
    temporary = Path(f"{path}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as f:
            f.writelines(chunks)
        os.replace(temporary, path)
    except OSError as e:
        temporary.unlink(missing_ok=True)
        fail(f"{path} に書けません ({e.strerror})。-o で別の場所を指定してください。")


def write_json(records, path):
    """records を JSON の配列として書く。"""
    write_text(itertools.chain(json.JSONEncoder(ensure_ascii=False, indent=2).iterencode(records), "\n"), path)


def fill(template, question, choices):
    """書式に問題と選択肢を入れる。"""
    labels = ", ".join(map(str, range(len(choices))))
    lines = "\n".join(ANSWER.format(label=i, choice=c) for i, c in enumerate(choices))
    return template.format(labels=labels, question=question, choices=lines)


def train_record(question, choices, label):
    """学習用の 1 件 (instruction, output) を返す。label は正解の番号。"""
    return {"instruction": fill(TRAIN_INSTRUCTION, question, choices) + TRAIN_END,
            "output": ANSWER.format(label=label, choice=choices[label])}


def eval_record(question, choices, label):
    """評価用の 1 件 (instruction, input, output) を返す。"""
    return {"instruction": fill(EVAL_INSTRUCTION, question, choices), "input": fill(EVAL_INPUT, question, choices),
            "output": ANSWER.format(label=label, choice=choices[label])}


def prompt_of(record):
    """quiz.json の 1 件を、学習と同じプロンプトに戻す。書式が違えば ValueError。"""
    if not record.get("input"):
        if record["instruction"].endswith(TRAIN_END):
            return record["instruction"]
        raise ValueError(f"input がなく、instruction も {TRAIN_END!r} で終わっていません")
    match = EVAL_PATTERN.fullmatch(record["instruction"])
    if not match:
        raise ValueError(f"instruction が {EVAL_INSTRUCTION!r} の形ではありません")
    labels, question = match.groups()
    return TRAIN_INSTRUCTION.format(labels=labels, question=question, choices=record["input"].rstrip("\n")) + TRAIN_END


def choices_of(prompt):
    """学習の書式のプロンプトから選択肢のリストを取り出す。番号が 0 からの連番でなければ ValueError。"""
    choices = re.findall(r"^(\d+): (.*)$", prompt.rpartition("\n選択肢\n")[2], re.MULTILINE)
    if not 2 <= len(choices) <= MAX_CHOICES or [int(label) for label, _ in choices] != list(range(len(choices))):
        raise ValueError("選択肢が「0: ...」から始まる連番の行になっていません")
    return [choice for _, choice in choices]


def question_of(instruction):
    """学習用の instruction から問題文を取り出す。書式が違えば None。"""
    match = TRAIN_PATTERN.match(instruction)
    return match and match.group(1)


def draw_choices(row, num_choices, seed):
    """正解と誤答から選択肢を作り (choices, label) を返す。作れなければ (理由, None)。

    乱数の種は seed と qid なので、ある行の選択肢は前後の行に左右されない。
    num_choices が None なら 5 択 (候補がそれより少ない行は候補の数)。
    """
    candidates = list(dict.fromkeys(" ".join(c.split()) for c in row["answer_candidates"]))
    answer = " ".join(row["answer_entity"].split())
    if answer not in candidates:
        return "正解が候補にない", None
    n = num_choices or min(5, len(candidates))
    if len(candidates) < max(n, 2):
        return "候補が足りない", None
    rng = random.Random(f"{seed}:{row.get('qid') or row['question']}")
    choices = [answer, *rng.sample([c for c in candidates if c != answer], n - 1)]
    rng.shuffle(choices)
    return choices, choices.index(answer)


def check_row(path, line, row):
    """必要な項目がそろっていなければ fail() する。"""
    candidates = row.get("answer_candidates")
    for key in ("question", "answer_entity"):
        if not isinstance(row.get(key), str) or not row[key].strip():
            fail(f"{path}:{line}: {key} がありません。クイズ王の形式か確かめてください (data/README.md)。")
    if not isinstance(candidates, list) or not all(isinstance(c, str) and c.strip() for c in candidates):
        fail(f"{path}:{line}: answer_candidates が文字列の配列ではありません。クイズ王の形式か確かめてください (data/README.md)。")


def convert(path, make_record, num_choices=None, seed=0, max_questions=None):
    """quiz-king の JSON を読み、make_record で作った記録のリストを返す。件数と理由を表示する。"""
    records, seen, skipped, labels = [], set(), Counter(), Counter()
    for n_read, (line, row) in enumerate(read_records(path), 1):
        check_row(path, line, row)
        # クイズ王の問題文の _ は穴埋めの印で、問題の文字ではない。
        question = " ".join(row["question"].replace("_", "").split())
        # 問題文が同じでも候補が違えば別の問題 (「カタカナはどれ?」など)。
        identity = question, frozenset(row["answer_candidates"])
        choices, label = draw_choices(row, num_choices, seed) if identity not in seen else ("問題が重複", None)
        if label is None:
            skipped[choices] += 1
            continue
        seen.add(identity)
        labels[label] += 1
        extra = {key: row[key] for key in ("qid", "genre") if key in row}
        records.append((make_record(question, choices, label), extra))
        if len(records) == max_questions:
            break
    if not records:
        fail(f"{path}: 使える問題が 1 問もありません ({dict(skipped)})。--num-choices と元のファイルを確かめてください。")
    reasons = "".join(f", {reason} {n}" for reason, n in skipped.items())
    print(f"{path}: 読んだ {n_read} 問 / 書く {len(records)} 問 / 飛ばした {skipped.total()} 問{reasons}")
    print("正解の位置: " + "  ".join(f"{k}: {labels[k]}" for k in sorted(labels)))
    return records


def arguments(description, source, target):
    """手順1と手順2に共通の引数を読む。"""
    def count(low, high=None):
        def check(text):
            if not text.isdigit() or int(text) < low or (high and int(text) > high):
                raise argparse.ArgumentTypeError(f"{low} 以上{f' {high} 以下' if high else ''}の整数にしてください")
            return int(text)
        return check

    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", default=source, help=f"クイズ王の JSON (既定: {source})")
    parser.add_argument("-o", "--output", default=target, help=f"書き出すファイル (既定: {target})")
    parser.add_argument("--num-choices", type=count(2, MAX_CHOICES), help="選択肢の数 (既定: 5。候補が少ない行はその数)")
    parser.add_argument("--seed", type=int, default=0, help="選択肢を選ぶ乱数の種 (既定: 0)")
    parser.add_argument("--max-questions", type=count(1), help="この数だけ書いて終わる")
    return parser.parse_args()


def main():
    args = arguments(__doc__, "data/train_questions.json", "train-5-inst.json")
    records = convert(args.source, train_record, args.num_choices, args.seed, args.max_questions)
    # Axolotl が使うのは instruction と output だけ。genre は分野別に絞り込みたい人のために残す。
    write_json([r | {k: v for k, v in extra.items() if k == "genre"} for r, extra in records], args.output)
    print(f"{args.output} に書きました。次は: python convert_eval.py")


if __name__ == "__main__":
    main()
