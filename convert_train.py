"""手順1: クイズ王の JSON を、学習用の train-5-inst.json に変換する。

    python convert_train.py                               # data/train_questions.json → train-5-inst.json
    python convert_train.py FILE -o OUT --num-choices 5 --seed 0 --max-questions 100

読むもの (1 行に 1 問の JSON Lines。配列でもよい):
    {"qid": "...", "question": "格闘家ボブ・サップの出身国はどこでしょう?", "answer_entity": "アメリカ合衆国",
     "answer_candidates": ["アメリカ合衆国", "イギリス", ...]}
書くもの (JSON の配列):
    {"instruction": "以下の問題について、0, 1, 2, 3, 4の選択肢から選んで答えてください。\\n\\n問題: 格闘家ボブ・サップの出身国は
     どこでしょう? \\n選択肢\\n\\n0: オレゴン州\\n1: イギリス\\n2: アメリカ合衆国...### 回答:\\n", "output": "2: アメリカ合衆国"}

問題と選択肢の選び方は quiz/source.py に、プロンプトの書式は quiz/prompt.py にある。
"""

from quiz.files import write_json
from quiz.source import arguments, read_questions


def main():
    args = arguments(__doc__, "data/train_questions.json", "train-5-inst.json").parse_args()
    questions = read_questions(args.source, args.num_choices, args.seed, args.max_questions)
    write_json(args.output, [{"instruction": q.prompt, "output": q.answer} for q in questions])
    print(f"{args.output} に書きました。次は: python convert_eval.py")


if __name__ == "__main__":
    main()
