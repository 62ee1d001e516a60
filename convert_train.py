"""手順1: 問題のファイルを、学習用の train-5-inst.json に変換する。

    python convert_train.py                               # data/train_questions.json → train-5-inst.json
    python convert_train.py FILE FILE -o OUT --num-choices 5 --seed 0 --max-questions 100

読むものは、クイズ王か JCommonsenseQA の JSON、表計算の CSV や TSV (docs/own_questions.md)。クイズ王なら次の形で、

1 行に 1 問 (配列でもよい):
    {"qid": "...", "question": "格闘家ボブ・サップの出身国はどこでしょう?", "answer_entity": "アメリカ合衆国",
     "answer_candidates": ["アメリカ合衆国", "イギリス", ...]}
書くもの (JSON の配列):
    {"instruction": "以下の問題について、0, 1, 2, 3, 4の選択肢から選んで答えてください。\\n\\n問題: 格闘家ボブ・サップの出身国は
     どこでしょう? \\n選択肢\\n\\n0: オレゴン州\\n1: イギリス\\n2: アメリカ合衆国...### 回答:\\n", "output": "2: アメリカ合衆国"}

ファイルの読み方は quiz/questions/formats.py に、選択肢の選び方は quiz/questions/choices.py に、プロンプトの書式は quiz/prompt.py にある。
"""

from pathlib import Path

from quiz.command import start
from quiz.questions.choices import arguments, read_questions
from quiz.questions.converted import write_converted

DEV = "data/dev1_questions.json"  # 手順2が、何も言わなくても読むもの


def main():
    args = arguments(__doc__, "data/train_questions.json", "train-5-inst.json").parse_args()
    questions = read_questions(args.source, args.num_choices, args.seed, args.max_questions)
    write_converted(args.output, [{"instruction": q.prompt, "output": q.answer} for q in questions])
    dev = args.source[0].replace("train", "dev1")  # 評価用の問題が隣にあれば、それ
    beside = f" {dev}" if Path(dev).exists() and dev not in (DEV, *args.source) else ""
    print(f"{args.output} に書きました。次は: python convert_eval.py{beside}")


if __name__ == "__main__":
    start(main)
