"""学生の打つコマンドの入口: 引数の間違いも、中断も、日本語の 1 行で言う。"""

import argparse
import os
import re
import sys

from quiz.files import fail

# argparse の英語と、その日本語
WORDS = {
    r"unrecognized arguments: (.*)": r"\1 という引数はありません",
    r"argument (\S+)[^:]*: expected .*": r"\1 の後に値がありません",
    r"argument (\S+)[^:]*: invalid int value: (.*)": r"\1 は整数にしてください (\2 ではなく)",
    r"argument (\S+)[^:]*: (.*)": r"\1: \2",
    r"the following arguments are required: (.*)": r"\1 がありません",
    r"ambiguous option: (\S+) could match (.*)": r"\1 は、\2 のどれか分かりません",
}


class Once(argparse.Action):
    """値を取る引数。2 度目は断る (argparse は、何も言わずに最後の値だけを使う)。"""

    used = False

    def __call__(self, parser, namespace, values, option_string=None):
        # 引数ごとに 1 つのオブジェクトが、使ったことを覚えている
        if self.used:
            parser.error(f"{option_string} が 2 度あります (書けるのは 1 度だけ)")
        self.used = True
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """使い方は、スクリプトの docstring。"""

    def __init__(self, description):
        keep_lines = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, formatter_class=keep_lines)
        self.register("action", None, Once)

    def error(self, message):
        # 初めに当てはまるものを、日本語にする
        for english, japanese in WORDS.items():
            if re.fullmatch(english, message):
                message = re.sub(english, japanese, message)
                break
        fail(f"{message}。使い方は {self.prog} -h で見られます。")


def start(main):
    """main() を実行する。

    Ctrl-C でも、読む相手 (| head など) が先に終わっても、traceback を出さない。
    """
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        # この後に Python が stdout を閉じるときにも、同じ例外が出ないように
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        fail(
            "中断しました。同じコマンドをもう一度実行してください "
            "(手順3と手順4は、続きから始まります)。"
        )


def whole_number(low, high=10**9):
    """low 以上 high 以下の整数だけを受け付ける、argparse の type。"""

    def convert(text):
        number = int(text) if text.isdecimal() else -1
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{low} 以上 {high} 以下の整数にしてください")
        return number

    return convert
