"""手順1と手順2に共通の、コマンドの引数。"""

from quiz.command import Parser, whole_number
from quiz.prompt import MAX_CHOICES


def question_arguments(description, source, target):
    """引数の ArgumentParser。source は何も言わなければ読むファイル、target は書くファイル。"""
    parser = Parser(description)
    parser.add_argument(
        "source", nargs="*", default=[source], metavar="FILE",
        help="クイズ王や公開の問題集の JSON、CSV、TSV (docs/own_questions.md)。いくつでも "
             f"(既定: {source})")
    parser.add_argument(
        "-o", "--output", default=target, help=f"書き出すファイル (既定: {target})")
    parser.add_argument(
        "--num-choices", type=whole_number(2, MAX_CHOICES),
        help="選択肢の数 (既定: 5。候補が少ない行はその数)")
    parser.add_argument(
        "--seed", type=int, default=0, help="選択肢を選ぶ乱数の種 (既定: 0)")
    parser.add_argument(
        "--max-questions", type=whole_number(1),
        help="全体からくじで引いて、この数だけ書く (既定: すべて)")
    return parser
