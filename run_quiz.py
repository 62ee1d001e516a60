"""手順4: 学習したモデルに quiz.json の全問を解かせ、result.log と result.json に書く。

    python run_quiz.py                        # qlora-opencalm.yml のモデルで quiz.json を解く
    python run_quiz.py --base                 # 学習前のモデルで解く → result-base.json
    python run_quiz.py --quiz quiz-dev2.json  # dev2 を解く → result-dev2.json
    python run_quiz.py --rotations            # 選択肢の順を変えて解く (時間は選択肢の数倍)
    python run_quiz.py --base --shots 4       # 学習用の 4 問を例に見せる → result-base-shots4.json
    python run_quiz.py --base --by-text       # 番号なしの、選択肢の文字の確率も測る
    python run_quiz.py --quiz quiz.json quiz-dev2.json -o result-all.json --max-questions 100

2 つの GPU (なければ CPU の 2 プロセス) で分担する:
    accelerate launch --multi_gpu --num_processes 2 run_quiz.py

result.json の 1 件 (最後の要素だけは elapsed_time と実行条件):
    {"ID": 0, "qid": "...", "genre": "...", "question": "...", "instruction": "...",
     "input": "...", "prompt": "モデルに渡した文字列", "output": "2: クリオネ",
     "correct_answer": "2: クリオネ", "out_str": "2", "hit": true,
     "choice_probs": [0.01, ...], "seconds": 0.05}
output はモデルの回答 (貪欲法。新しいトークンだけを文字に戻したもの)、out_str は読み取れた番号
(読めなければ "")、choice_probs[k] はプロンプトの直後に番号 k が来る確率。
--by-text では text_log_probs もあり、text_log_probs[k] は、問題だけを見せた後に選択肢 k の文字が
続く確率の対数。--shots の例は、最後の要素の shots_text に 1 度だけ書く (どの prompt の前にも置く)。
解き方は quiz/solving/one_by_one.py (定義) と quiz/solving/fast_way.py (速い方法) にある。
"""

import sys
import time
from pathlib import Path

from quiz.adapter import as_trained, check_adapter, find_model, read_config
from quiz.command import Parser, start, whole_number
from quiz.model import quiet
from quiz.prompt import read_label
from quiz.questions.converted import blank, read_quiz, rotate
from quiz.solving.examples import draw_examples, shown
from quiz.solving.results import (
    Answer,
    check_output,
    default_path,
    describe_model,
    rounded,
    summary_lines,
    write_results,
)


def main():
    args = read_arguments()
    path = args.output or default_path(args)

    # 入力の間違いは、ライブラリとモデルを読む前に (読むのに、数秒から数分かかる)
    config = read_config(args.config)
    base, adapter = find_model(config, args.config, args.model, args.base)
    config = as_trained(config, adapter)
    notes = check_adapter(adapter, args.quiz) if adapter else []
    questions = questions_to_ask(args)
    examples = draw_examples(args.shots, config, args.quiz)
    check_output(path, questions, base, adapter, args.shots, args.by_text)
    notes.append(repeated_questions(questions))

    quiet(base)
    import torch
    from accelerate import PartialState

    from quiz.model import load
    from quiz.solving.batched import Solver
    from quiz.solving.by_text import ByText
    from quiz.solving.conditions import conditions
    from quiz.solving.partial_answers import PartialAnswers
    from quiz.solving.self_check import difference_from_training, measured_by_training

    # accelerate launch で起動すれば複数のプロセス、そうでなければ 1 つ
    processes = PartialState(cpu=not torch.cuda.is_available())
    before = shown(examples)
    prompts = [before + question.prompt for question in questions]
    tokenizer, model, prompts = load(base, adapter, config, processes.device, prompts)
    run = conditions(base, adapter, config, model, questions, examples, args)
    by_text = ByText(model, tokenizer, questions, examples) if args.by_text else None
    solver = Solver(model, tokenizer, questions, prompts, describe_model(run), by_text)
    if processes.is_main_process:
        warn([*notes, solver.why_plain])

    # 解く。止まっても、同じコマンドで続きから始まる
    with PartialAnswers(path, run, questions, processes) as answers:
        batches = solver.batches(answers.missing(), args.batch_tokens, args.batch_size)
        for batch in answers.share(batches):
            # まとめて答える
            begin = time.perf_counter()
            outputs = solver.answer(batch)
            seconds = time.perf_counter() - begin
            seconds = round(seconds / len(batch) / processes.num_processes, 6)

            # 1 問ずつ、回答の先頭の番号を読み (「2: クリオネ」→ "2")、正解の番号と比べる
            answered = []
            for i, (text, label_probs, text_log_probs) in zip(batch, outputs):
                label = read_label(text, questions[i].choices)
                hit = label == str(questions[i].label)
                probs = rounded(label_probs)
                answered.append(Answer(i, text, label, hit, probs, seconds, text_log_probs))

            # 書き足して、数える
            answers.keep(answered)
        all_answers = answers.gather()

    if processes.is_main_process:
        write_results(path, questions, all_answers, run, args.quiz)
        print(summary_lines(path, questions, all_answers, run))
        expected = measured_by_training(adapter)
        warn([difference_from_training(expected, questions, all_answers, run)])
    answers.finish()


def read_arguments():
    """コマンドラインの引数を読む。"""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--config", default="qlora-opencalm.yml", help="手順3で使った YAML (既定: %(default)s)")
    add("--quiz", nargs="+", default=["quiz.json"], metavar="FILE", help="問題 (既定: quiz.json)")
    add("-o", "--output", type=Path, help="結果のファイル (既定: result.json など。条件で変わる)")
    add("--model", help="YAML のモデルの代わりに使う、アダプタかモデルのフォルダ、または名前")
    add("--base", action="store_true", help="アダプタを付けず、学習前のモデルに解かせる")
    add("--rotations", action="store_true", help="選択肢の順を変えて解く → result-rotations.json")
    add("--blank-question", action="store_true", help="選択肢だけで解く → result-blank.json")
    shots = whole_number(0)
    add("--shots", type=shots, default=0, metavar="K", help="学習用の K 問を、例に見せてから問う")
    add("--by-text", action="store_true", help="選択肢の文字の確率も測る (番号を使わずに)")
    add("--name", help="手順5の表に出す、この結果の名前 (例: 山田)")
    count = whole_number(1)
    add("--batch-size", type=count, help="1 回に解く問題の数の上限 (既定: メモリに合わせて自動)")
    add("--batch-tokens", type=count, help="1 回のトークンの数の上限 (既定: GPU 16384、CPU 3072)")
    add("--max-questions", type=count, help="先頭からこの数だけ解く")
    return parser.parse_args()


def questions_to_ask(args):
    """解く問題 (Question のリスト)。選択肢の順や問題文を変えることもある。"""
    questions = read_quiz(args.quiz, args.max_questions)
    if args.blank_question:
        questions = blank(questions)
    if args.rotations:
        questions = rotate(questions)
    return questions


def repeated_questions(questions):
    """まったく同じ問題が何度もあれば、そう言う文。なければ None。"""
    n_different = len({(question.prompt, question.answer) for question in questions})
    if n_different == len(questions):
        return None
    return (
        f"{len(questions)} 問のうち、違う問題は {n_different} 問です。同じ問題を何度も数えるので、"
        "正解率の区間は、見た目より広いはずです。"
    )


def warn(notes):
    """気を付けることを、1 つ 1 行で言う。None は、言うことがない。"""
    for note in filter(None, notes):
        print(f"注意: {note}", file=sys.stderr)


if __name__ == "__main__":
    start(main)
