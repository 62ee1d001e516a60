"""手順2: 問題のファイル (形は手順1と同じ) を、評価用の quiz.json に変換する。

    python convert_eval.py                      # data/dev1_questions.json → quiz.json
    python convert_eval.py data/dev2_questions.json -o quiz-dev2.json

書くもの (JSON の配列。run_quiz.py がこれを学習と同じプロンプトに戻して問う):
    {"instruction": "以下の問題について、0, 1, 2, 3, 4から選んで答えてください。\\n
     問題: ...と呼ばれる動物は何でしょう?\\n",
     "input": "0: ミズダコ\\n1: オオイカリナマコ\\n2: クリオネ\\n...",
     "output": "2: クリオネ", "qid": "..."}
"""

import sys
from pathlib import Path

from quiz.command import start
from quiz.prompt import eval_record
from quiz.questions.arguments import question_arguments
from quiz.questions.characters import loosely
from quiz.questions.choices import draw_questions
from quiz.questions.converted import read_converted, write_converted
from quiz.questions.formats import read_rows
from quiz.questions.overview import overview


def main():
    parser = question_arguments(__doc__, "data/dev1_questions.json", "quiz.json")
    parser.add_argument(
        "--train", default="train-5-inst.json",
        help="手順1で作ったファイル (既定: train-5-inst.json)")
    args = parser.parse_args()

    # 読んで、選択肢を引く
    drawn = draw_questions(
        read_rows(args.source), args.num_choices, args.seed, args.max_questions)
    lines = overview(args.source, drawn)
    leak = leak_notice(drawn.questions, args.train)

    # 評価用の書式で書いてから、知っておきたいことを表示する
    records = [eval_record(q) | q.extra for q in drawn.questions]
    write_converted(args.output, records)
    print("\n".join(lines))
    print(leak, end="", file=sys.stderr)
    print(f"{args.output} に書きました。"
          "次は: accelerate launch -m axolotl.cli.train qlora-opencalm.yml")


def leak_notice(questions, train):
    """学習用のファイル train にもある問題の数を言う注意の 1 行。なければ ""。"""
    if not Path(train).exists():
        return (f"注意: {train} がないので、学習した問題と重なるかは調べていません "
                "(--train で指定できます)。\n")
    todo = "手順1をやり直してください: python convert_train.py"
    trained = {loosely(q.text) for q in read_converted(train, todo)}
    n_leaks = sum(loosely(q.text) in trained for q in questions)
    if not n_leaks:
        return ""
    return (f"注意: {n_leaks} 問は {train} にもあります (ほぼ同じ問題文も数えます)。"
            "学習した問題での正解率は実力を表しません。\n")


if __name__ == "__main__":
    start(main)
