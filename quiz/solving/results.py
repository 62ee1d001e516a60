"""手順4の結果: ファイルの名前を決め、置き換えてよいかを調べ、result.json と result.log を書く。"""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from quiz.files import fail, read_records, write, write_json
from quiz.prompt import eval_record, likely_label, likely_text

# もうあるファイルと、次にすること
KEEP_OR_REMOVE = "残すなら -o で別の名前に書き、要らなければ消してください。"
# 答えを変えない条件。これらだけが違うなら、途中結果の続きにしてよい
NOT_COMPARED = {"hardware", "versions", "training", "name", "shots_text"}


@dataclass(frozen=True)
class Answer:
    """1 問の答え。項目の名前は、途中結果と result.json のものと同じ。"""

    # 問題の番号 (解いた順ではなく、quiz.json の順)
    ID: int
    # モデルの回答の 1 行
    output: str
    # 回答の先頭から読み取れた番号。なければ ""
    out_str: str
    # それが正解の番号か
    hit: bool
    # choice_probs[k] は、プロンプトの直後に番号 k が来る確率
    choice_probs: list[float]
    # かかった秒数。全問の合計が、全体の時間になる
    seconds: float
    # text_log_probs[k] は、選択肢 k の文字が続く対数確率。--by-text のときだけ
    text_log_probs: list[float] | None = None

    def as_record(self):
        """ファイルに書く dict。"""
        return {key: value for key, value in asdict(self).items() if value is not None}


def rounded(probs):
    """確率を、ファイルに残す有効数字 6 桁にする。"""
    return [float(f"{p:.6g}") for p in probs]


def default_path(args):
    """-o がないときの結果の名前。問題とモデルのファイルの名前と、解き方で決まる。

    quiz-dev2.json を --base で解けば result-base-dev2.json。
    """
    ways = {
        "base": args.base,
        "rotations": args.rotations,
        "blank": args.blank_question,
        f"shots{args.shots}": args.shots,
    }
    words = ["result", *filter(ways.get, ways), Path(args.model or "").name]
    # 問題のファイルの名前。ただし quiz.json なら何も付けず、quiz-dev2.json なら dev2
    source = "+".join(Path(path).stem for path in args.quiz)
    if len(args.quiz) == 1:
        source = re.sub("^quiz([-_]+|$)", "", source)
    return Path("-".join(filter(None, [*words, source])) + ".json")


def check_output(path, questions, model, adapter, shots=0, by_text=False):
    """path に結果を書いてよいか。いけなければ 1 行で終わる。

    前の結果は、同じモデルで、その問題をすべて、同じように解く実行でしか置き換えない。
    """
    check_place(path)
    if not path.exists() or path.stat().st_size == 0:
        return
    # 手順4の結果でなければ、学生の大事なファイルかもしれない
    records = list(read_records(path, KEEP_OR_REMOVE)) or [(1, {})]
    _, summary = records.pop()
    if "elapsed_time" not in summary:
        fail(f"{path} は手順4の結果ではないので、書き換えません。{KEEP_OR_REMOVE}")

    # 違う条件の結果。前の版の結果には例の数がないが、例は見せていない
    run = {"model": model, "adapter": adapter, "shots": shots}
    # 選択肢の文字の確率は、足すのはよいが、なくしてはいけない
    if summary.get("by_text"):
        run["by_text"] = by_text
    check_same_run(path, {"shots": 0, **summary}, run, KEEP_OR_REMOVE)

    # 今度は解かない問題のある結果
    asked = {(question.prompt, question.answer) for question in questions}
    lost = 0
    for _, record in records:
        lost += (record.get("prompt"), record.get("correct_answer")) not in asked
    if lost:
        fail(f"{path} には、今度は解かない {lost} 問の結果があります。{KEEP_OR_REMOVE}")


def check_same_run(path, before, run, todo):
    """path にある結果の実行条件 before が run と同じでなければ、違いと todo を言って終わる。"""
    differences = []
    for key, now in run.items():
        if key not in NOT_COMPARED and before.get(key) != now:
            differences.append(f"{key}: {before.get(key)} → {now}")
    if differences:
        fail(f"{path} は別の条件で解いた結果です ({', '.join(differences)})。{todo}")


def check_place(path):
    """result.json とその隣の result.log を、書ける所か。"""
    if path.is_dir() or not path.absolute().parent.is_dir() or path.suffix != ".json":
        fail(
            f"-o {path} はフォルダか、置く所がないか、終わりが .json ではありません "
            "(例: -o result-2.json)。"
        )
    # 隣の .log にも書くので、ほかの記録を壊さないように
    log = path.with_suffix(".log")
    if log.exists() and not path.exists() and not log.read_bytes().startswith(b"{"):
        fail(f"{log} は手順4の記録ではないので、書き換えません。-o で別の名前にしてください。")


def write_results(path, questions, answers, run, quiz):
    """result.log と result.json を書く。

    answers は questions と同じ順の Answer のリスト、run は実行条件、quiz は問題のファイル名。
    """
    # 問題と答えを合わせて 1 件にする
    records = []
    for question, answer in zip(questions, answers):
        record = {
            "ID": answer.ID,
            **question.extra,
            "question": question.text,
            **eval_record(question),
            "prompt": question.prompt,
            "correct_answer": question.answer,
            **answer.as_record(),  # output は、正解からモデルの回答に変わる
        }
        records.append(record)
    # 最後の要素: 全体の時間と実行条件
    summary = {
        "elapsed_time": round(sum(answer.seconds for answer in answers), 3),
        "quiz": quiz,
        "num_questions": len(questions),
        **run,
    }
    write(path.with_suffix(".log"), log_lines(records, summary))
    write_json(path, [*records, summary])


def log_lines(records, summary):
    """result.log の中身。実行条件、続いて 1 問ずつ、モデルの回答、正解、そこまでの正解率。"""
    yield json.dumps(summary, ensure_ascii=False, indent=2) + "\n"
    hits = 0
    for n, record in enumerate(records, 1):
        hits += record["hit"]
        sign = "×"
        if record["hit"]:
            sign = "○"
        elif record["out_str"] == "":
            sign = "× (番号を読み取れない)"
        yield f"\n[{record['ID']}] {record['prompt'].strip()}\n{record['output']}\n"
        yield f"正解: {record['correct_answer']}  {sign}  "
        yield f"ここまでの正解率: {hits / n:.3f} ({hits}/{n})\n"


def summary_lines(path, questions, answers, run):
    """終わりに表示する行: 正解率と、誰に解かせたか。"""
    n = len(answers)
    hits = unparsed = likely = seconds = by_text = 0
    for question, answer in zip(questions, answers):
        hits += answer.hit
        unparsed += answer.out_str == ""
        likely += likely_label(answer.choice_probs) == question.label
        seconds += answer.seconds
        # --by-text では、1 文字あたりの対数確率で選ぶ
        if answer.text_log_probs:
            by_text += likely_text(answer.text_log_probs, question.choices) == question.label
    text_rate = f"  選択肢の文字での正解率 {by_text / n:.3f}" if answers[0].text_log_probs else ""
    return (
        f"{path}: 正解率 {hits / n:.3f} ({hits}/{n})  読み取れない回答 {unparsed}  "
        f"番号の確率での正解率 {likely / n:.3f}{text_rate}  {seconds:.1f} 秒\n"
        f"  解いたモデル: {describe_model(run)}"
    )


def describe_model(run):
    """実行条件 run のモデルとアダプタと、その学習を見分けるもの。"""
    training = run["training"]
    if run["adapter"] is None:
        return f"{run['model']} (アダプタなし)"
    if training is None:
        return f"{run['model']} + {run['adapter']} (学習の記録なし)"
    return (
        f"{run['model']} + {run['adapter']} (seed {training['seed']}、{training['questions']} 問、"
        f"{training['epochs']} エポック、{training['steps_done']} ステップ)"
    )
