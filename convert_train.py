"""手順1: 問題のファイルを、学習用の train-5-inst.json に変換する。

    python convert_train.py                     # data/train_questions.json → train-5-inst.json
    python convert_train.py FILE FILE -o OUT --num-choices 5 --seed 0 --max-questions 100

読むものは、クイズ王や公開の問題集の JSON、表計算の CSV や TSV (docs/own_questions.md)。
クイズ王なら次の形で、1 行に 1 問 (配列でもよい):
    {"qid": "...", "question": "格闘家ボブ・サップの出身国はどこでしょう?",
     "answer_entity": "アメリカ合衆国", "answer_candidates": ["アメリカ合衆国", "イギリス", ...]}
書くもの (JSON の配列):
    {"instruction": "以下の問題について、0, 1, 2, 3, 4の選択肢から選んで答えてください。\\n\\n
     問題: 格闘家ボブ・サップの出身国はどこでしょう? \\n選択肢\\n\\n0: オレゴン州\\n1: イギリス\\n
     2: アメリカ合衆国\\n...### 回答:\\n", "output": "2: アメリカ合衆国"}

読み方は quiz/questions/formats.py に、選択肢の引き方は quiz/questions/choices.py に、
プロンプトの書式は quiz/prompt.py にある。
"""

from quiz.command import start
from quiz.questions.arguments import question_arguments
from quiz.questions.choices import draw_questions
from quiz.questions.converted import write_converted
from quiz.questions.formats import read_rows
from quiz.questions.overview import overview


def main():
    args = question_arguments(
        __doc__, "data/train_questions.json", "train-5-inst.json").parse_args()

    # 読んで、選択肢を引く
    drawn = draw_questions(
        read_rows(args.source), args.num_choices, args.seed, args.max_questions)
    lines = overview(args.source, drawn)

    # 学習用の書式で書いてから、知っておきたいことを表示する
    records = [{"instruction": q.prompt, "output": q.answer} for q in drawn.questions]
    write_converted(args.output, records)
    print("\n".join(lines))
    print(f"{args.output} に書きました。次は: python convert_eval.py")


if __name__ == "__main__":
    start(main)
