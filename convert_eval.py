"""手順2: 問題のファイル (形は手順1と同じ) を、評価用の quiz.json に変換する。

    python convert_eval.py                                # data/dev1_questions.json → quiz.json
    python convert_eval.py data/dev2_questions.json -o quiz-dev2.json

書くもの (JSON の配列。run_quiz.py がこれを学習と同じプロンプトに戻して問う):
    {"instruction": "以下の問題について、0, 1, 2, 3, 4から選んで答えてください。\\n問題: ...と呼ばれる動物は何でしょう?\\n",
     "input": "0: ミズダコ\\n1: オオイカリナマコ\\n2: クリオネ\\n...", "output": "2: クリオネ", "qid": "..."}
"""

import sys
from pathlib import Path

from quiz.command import start
from quiz.prompt import eval_record
from quiz.questions.choices import arguments, normalize, read_questions
from quiz.questions.converted import read_converted, write_converted


def main():
    parser = arguments(__doc__, "data/dev1_questions.json", "quiz.json")
    parser.add_argument("--train", default="train-5-inst.json", help="手順1で作ったファイル (既定: train-5-inst.json)")
    args = parser.parse_args()
    questions = read_questions(args.source, args.num_choices, args.seed, args.max_questions)
    leaks, known = 0, Path(args.train).exists()
    if known:
        trained = {normalize(q.text) for q in read_converted(args.train, "手順1をやり直してください: python convert_train.py")}
        leaks = sum(normalize(q.text) in trained for q in questions)
    write_converted(args.output, [eval_record(q) | q.extra for q in questions])
    if not known:
        print(f"注意: {args.train} がないので、学習した問題と重なるかは調べていません (--train で指定できます)。", file=sys.stderr)
    if leaks:
        print(f"注意: {leaks} 問は {args.train} にもあります。学習した問題での正解率は実力を表しません。", file=sys.stderr)
    config = next(Path(args.source[0]).parent.glob("qlora-*.yml"), "qlora-opencalm.yml")  # デモの問題なら、デモの設定
    print(f"{args.output} に書きました。次は: accelerate launch -m axolotl.cli.train {config}")


if __name__ == "__main__":
    start(main)
