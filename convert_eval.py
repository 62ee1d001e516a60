"""手順2: クイズ王の JSON を、評価用の quiz.json に変換する。

    python convert_eval.py                                # data/dev1_questions.json → quiz.json
    python convert_eval.py data/dev2_questions.json -o quiz-dev2.json

書くもの (JSON の配列。run_quiz.py がこれを学習と同じプロンプトに戻して問う):
    {"instruction": "以下の問題について、0, 1, 2, 3, 4から選んで答えてください。\\n問題: ...と呼ばれる動物は何でしょう?\\n",
     "input": "0: ミズダコ\\n1: オオイカリナマコ\\n2: クリオネ\\n3: イソギンチャクモエビ\\n4: アカシマシラヒゲエビ\\n\\n\\n",
     "output": "2: クリオネ", "qid": "..."}
"""

import sys
from pathlib import Path

from convert_train import EVAL_PATTERN, arguments, convert, eval_record, question_of, read_records, write_json


def leaks(records, train_file):
    """学習用ファイルにもある問題の数を返す。"""
    trained = {question_of(r.get("instruction", "")) for _, r in read_records(train_file)}
    return sum(EVAL_PATTERN.fullmatch(r["instruction"]).group(2) in trained for r in records)


def main():
    args = arguments(__doc__, "data/dev1_questions.json", "quiz.json")
    records = [r | extra for r, extra in convert(args.source, eval_record, args.num_choices, args.seed, args.max_questions)]
    train_file = Path(args.output).with_name("train-5-inst.json")
    n_leaks = leaks(records, train_file) if train_file.exists() else 0
    write_json(records, args.output)
    if n_leaks:
        print(f"注意: {n_leaks} 問は {train_file} にもあります。学習した問題での正解率は実力を表しません。", file=sys.stderr)
    print(f"{args.output} に書きました。次は: python data/models.py qlora-opencalm.yml")


if __name__ == "__main__":
    main()
