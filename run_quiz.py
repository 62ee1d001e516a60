"""手順4: 学習したモデルに quiz.json の全問を解かせ、result.log と result.json に書く。

    python run_quiz.py                                    # qlora-opencalm.yml のモデルとアダプタで quiz.json を解く
    python run_quiz.py --base                             # 学習前のモデルで解く → result-base.json
    python run_quiz.py --quiz quiz-dev2.json              # dev2 を解く → result-dev2.json
    python run_quiz.py --rotations                        # 選択肢の順を変えて解く (選択肢の数だけ時間がかかる)
    python run_quiz.py --quiz quiz.json quiz-dev2.json -o result-all.json --max-questions 100
    accelerate launch --multi_gpu --num_processes 2 run_quiz.py    # 2 つの GPU (なければ CPU の 2 プロセス) で分担する

result.json の 1 件 (最後の要素だけは elapsed_time と実行条件):
    {"ID": 0, "qid": "...", "genre": "...", "question": "...", "instruction": "...", "input": "...", "prompt": "モデルに渡した文字列",
     "output": "2: クリオネ", "correct_answer": "2: クリオネ", "out_str": "2", "hit": true, "choice_probs": [0.01, ...], "seconds": 0.05}
output はモデルの回答 (貪欲法。新しいトークンだけを文字に戻したもの)、out_str は読み取れた番号 (読めなければ "")、
choice_probs[k] はプロンプトの直後に番号 k が来る確率。解き方は quiz/solving/one_by_one.py (定義) と quiz/solving/fast_way.py (速い方法) にある。
"""

import sys
from pathlib import Path

from quiz.adapter import as_trained, check_adapter, find_model, read_config
from quiz.command import Parser, start, whole_number
from quiz.model import quiet
from quiz.questions.converted import blank, read_quiz, rotate
from quiz.solving.results import check_output, default_path, write_results


def main():
    parser = Parser(__doc__)
    parser.add_argument("--config", default="qlora-opencalm.yml", help="手順3で使った YAML (既定: qlora-opencalm.yml)")
    parser.add_argument("--quiz", nargs="+", default=["quiz.json"], metavar="FILE", help="解く問題 (既定: quiz.json)")
    parser.add_argument("-o", "--output", type=Path, help="結果のファイル (既定: result.json。問題やモデルを替えると別の名前)")
    parser.add_argument("--model", help="YAML のモデルの代わりに使う、アダプタのフォルダ、モデルのフォルダまたは名前")
    parser.add_argument("--base", action="store_true", help="アダプタを付けず、学習前のモデルに解かせる")
    parser.add_argument("--rotations", action="store_true", help="選択肢の順を N 通りに変えて解く → result-rotations.json")
    parser.add_argument("--blank-question", action="store_true", help="問題文を隠し、選択肢だけで解く → result-blank.json")
    parser.add_argument("--batch-size", type=whole_number(1), help="1 回に解く問題の数の上限 (既定: メモリに合わせて自動)")
    parser.add_argument("--batch-tokens", type=whole_number(1), help="1 回に計算するトークンの数の上限 (既定: GPU 16384、CPU 3072)")
    parser.add_argument("--max-questions", type=whole_number(1), help="先頭からこの数だけ解く")
    args = parser.parse_args()
    path = args.output or default_path(args)

    config = read_config(args.config)
    base, adapter = find_model(config, args.config, args.model, args.base)
    config = as_trained(config, adapter)
    notes = check_adapter(adapter, args.quiz) if adapter else []
    questions = read_quiz(args.quiz, args.max_questions)
    questions = blank(questions) if args.blank_question else questions
    questions = rotate(questions) if args.rotations else questions
    check_output(path, questions, base, adapter)

    quiet(base)  # ライブラリの読み込みは数秒かかるので、入力の間違いを調べ終えてからにする
    import torch
    from accelerate import PartialState

    from quiz.model import load
    from quiz.solving import partial_answers as progress
    from quiz.solving.batched import Solver

    processes = PartialState(cpu=not torch.cuda.is_available())  # accelerate launch で起動すれば複数、そうでなければ 1 つ
    tokenizer, model, prompts = load(base, adapter, config, processes.device, [q.prompt for q in questions])
    solver = Solver(model, tokenizer, questions, prompts)
    notes.append(solver.why_plain and f"{solver.why_plain}ので、1 問ずつ解きます (答えは同じで、時間がかかります)。")
    if processes.is_main_process:
        sys.stderr.writelines(f"注意: {note}\n" for note in notes if note)
    run = progress.conditions(base, adapter, config, model, questions)
    run |= {"rotations": args.rotations, "blank_question": args.blank_question}
    answers = progress.ask(solver, path, run, processes, args.batch_size, args.batch_tokens)
    if processes.is_main_process:
        write_results(path, questions, answers, run, args.quiz)
    progress.finish(path, processes)


if __name__ == "__main__":
    start(main)
