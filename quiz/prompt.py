"""問題とプロンプト。書式を決めるのは、このファイルの初めの文字列だけである。

学習する書式を変えるときは、初めの 4 つを書き換えて手順1からやり直す。問題を読み戻す正規表現も、
回答の読み取りも、これから作る。
"""

import re
import unicodedata
from dataclasses import dataclass, field
from functools import cache
from string import Formatter

# モデルに見せる書式。学習したモデルはこの並びを覚えているので、評価も 1 文字違わず
# 同じでなければならない。
TRAIN_PROMPT = (
    "以下の問題について、{labels}の選択肢から選んで答えてください。\n\n"
    "問題: {question} \n"
    "選択肢\n\n{choices}\n\n\n### 回答:\n"
)
# quiz.json の書式 (チュートリアルと同じ)。モデルには見せず、TRAIN_PROMPT に直して問う。
EVAL_INSTRUCTION = "以下の問題について、{labels}から選んで答えてください。\n問題: {question}\n"
EVAL_INPUT = "{choices}\n\n\n"
# 選択肢の 1 行でもあり、回答でもある。番号だけを採点するので、選択肢の書き間違いでは
# 不正解にならない (番号は選択肢より前に置く)。
ANSWER = "{label}: {choice}"
# 選択肢を見せずに、その文字が続く確率を測る書式 (--by-text)。番号を選ぶ形は、学習前のモデルには
# なじみがない。これなら、知っていることが見える。空白が答えの側にあるのは、トークンがその前で
# 切れるから (lm-evaluation-harness と同じ)。
TEXT_PROMPT = "質問: {question}\n答え:"
TEXT_ANSWER = " {choice}"

# 番号を 1 桁に限る: 2 桁では「1」と「10」の先頭が同じになり、番号の確率が決まらない。
MAX_CHOICES = 10


@dataclass(frozen=True)
class Question:
    """1 つの問題。"""

    text: str
    choices: tuple[str, ...]
    label: int  # 正解の番号 (0 から)
    extra: dict = field(default_factory=dict)  # あれば、結果まで引き継ぐ qid と genre

    @property
    def lines(self):
        """番号ごとの「番号: 選択肢」。"""
        return [ANSWER.format(label=k, choice=choice) for k, choice in enumerate(self.choices)]

    @property
    def answer(self):
        """正解の「番号: 選択肢」。"""
        return self.lines[self.label]

    @property
    def prompt(self):
        """モデルに見せる文字列。"""
        return self.fill(TRAIN_PROMPT)

    def fill(self, template):
        """書式に問題と選択肢を入れる。"""
        labels = ", ".join(str(k) for k in range(len(self.choices)))
        choices = "\n".join(self.lines)
        return template.format(labels=labels, question=self.text, choices=choices)


def eval_record(question):
    """quiz.json の 1 件。"""
    return {
        "instruction": question.fill(EVAL_INSTRUCTION),
        "input": question.fill(EVAL_INPUT),
        "output": question.answer,
    }


@cache
def pattern(template):
    """書式の {名前} を、その名前の付いた任意の文字列として読む正規表現。"""
    parts = []
    for text, name, _, _ in Formatter().parse(template):
        parts.append(re.escape(text))
        if name:
            parts.append(f"(?P<{name}>.*?)")
    return re.compile("".join(parts), re.DOTALL)


def read_question(record):
    """学習用か評価用の 1 件を Question に戻す。

    書式が違うか、output が選択肢の 1 つでなければ ValueError。
    """
    # 評価用には input がある
    template = TRAIN_PROMPT
    text = record["instruction"]
    if record.get("input"):
        template = EVAL_INSTRUCTION + EVAL_INPUT
        text += record["input"]
    # 文字でないもの (\ud800 など) は、ここで ValueError になる
    text.encode()
    match = pattern(template).fullmatch(text)
    if match is None:
        raise ValueError("quiz/prompt.py の書式ではありません")

    lines = match["choices"].split("\n")
    choices = tuple(read_choice(line) for line in lines)
    extra = {key: record[key] for key in ("qid", "genre") if key in record}
    # もう一度書式に入れて比べるので、番号の抜けや、書式にない空白も見つかる
    again = Question(match["question"], choices, 0).fill(template)
    if not 2 <= len(choices) <= MAX_CHOICES or again != text:
        raise ValueError("quiz/prompt.py の書式ではありません")
    if record["output"] not in lines:
        raise ValueError(f"output {record['output']!r} が、選択肢 {lines} のどれでもありません")
    return Question(match["question"], choices, lines.index(record["output"]), extra)


def read_label(answer, choices=()):
    """回答の行の先頭から番号を読む。「２：クリオネ」→ "2"。番号で始まっていなければ ""。

    choices (問題の選択肢) の 1 つの文字そのものなら、番号ではない (選択肢「2:3」など)。
    """
    match = None if answer in choices else match_label(answer)
    return match[1] if match else ""


def match_label(answer):
    """回答の行の先頭の、番号の部分の Match。なければ None。"""
    # 全角の数字や記号も、空白の有無も問わない。行の途中の数や、2 桁以上の数は番号ではない
    before, _, after = ANSWER.partition("{choice}")[0].partition("{label}")
    start = re.escape(unicodedata.normalize("NFKC", before).strip())
    end = re.escape(unicodedata.normalize("NFKC", after).strip()) or "(?![0-9])"
    return re.match(rf"\s*{start}\s*([0-9])\s*{end}", unicodedata.normalize("NFKC", answer))


def read_choice(answer):
    """回答の行から、番号の後の文字 (選択肢) を読む。「2: クリオネ」→ "クリオネ"。

    書式と違っても、番号が読めれば (「２：クリオネ」)、その後の文字。読めなければ ""。
    """
    match = pattern(ANSWER).fullmatch(answer)
    if match:
        return match["choice"]
    # 番号の部分の長さは、全角でも半角でも同じ
    loose = match_label(answer)
    return answer[loose.end() :].strip() if loose else ""


def likely_label(probs):
    """番号の確率のリストから、最も確率の高い番号。"""
    return probs.index(max(probs))


def likely_text(log_probs, choices):
    """選択肢の文字の対数確率から、1 文字あたりで最も高い番号 (lm-evaluation-harness の acc_norm)。

    合計で比べると、長い選択肢ほど不利になる。
    """
    return likely_label([total / len(choice) for total, choice in zip(log_probs, choices)])
