"""例を見せて問う (--shots K): 学習用の問題を K 問、正解を付けて、どの問題の前にも置く。

学習前のモデルは、例を見て初めて、どう答えればよいかを知る。公開されている学習前のモデルの点数も、
ほとんどが例を見せたものである。
"""

import random

from quiz.files import fail
from quiz.questions.characters import loosely
from quiz.questions.converted import read_converted, read_quiz

# 例を選ぶ乱数の種。いつも同じ例でなければ、結果どうしを比べられない
SEED = 42
# 例と、次の例 (または問題) の間
BETWEEN = "\n\n"
STEP1 = "先に手順1で作ってください: python convert_train.py"


def draw_examples(n, config, quiz):
    """YAML の学習用ファイルから、例にする n 問 (Question のリスト) を選ぶ。足りなければ終わる。

    quiz (評価に使うファイルのリスト) の問題と問題文がほぼ同じものは、答えを教えてしまうので除く。
    """
    if n == 0:
        return []
    try:
        path = config["datasets"][0]["path"]
    except (LookupError, TypeError):
        fail("YAML に学習用ファイル (datasets の path) がないので、--shots の例を選べません。")

    # 並べ替えてから除くので、評価の問題が替わっても、例はほとんど同じ
    drawn = list(read_converted(path, STEP1))
    random.Random(SEED).shuffle(drawn)
    asked = {loosely(question.text) for question in read_quiz(quiz)}
    usable = {}
    for question in drawn:
        text = loosely(question.text)
        if text not in asked:
            usable[text] = question
    if len(usable) < n:
        fail(
            f"{path} の問題のうち、例に使えるのは {len(usable)} 問です (評価の問題は使えません)。"
            f"--shots を {len(usable)} 以下にするか、手順1で問題を増やしてください。"
        )
    return list(usable.values())[:n]


def shown(examples):
    """問題の前に置く文字列: 例のプロンプトと正解を、学習したときの形で並べたもの。"""
    return "".join(example.prompt + example.answer + BETWEEN for example in examples)
