"""手順3が学習したモデルに、手順4も解かせたか: 同じ問題での、番号の確率の平均を比べる。

手順3は、学習の終わりに quiz.json の一部を解き、training.json に残す:
    "self_check": {"questions": 問題の印, "n": 200, "accuracy": 最も確率の高い番号が正解の割合,
                   "probability": 正解の番号の確率の平均, "dtype": "torch.float32"}
"""

from quiz.adapter import read_report
from quiz.questions.converted import questions_digest, spread_out
from quiz.solving.results import likely_hits


def measured_by_training(adapter):
    """手順3が終わりに測ったもの (dict)。なければ None。"""
    report = read_report(adapter) if adapter else None
    return report.get("self_check") if report else None


def difference_from_training(adapter, questions, answers, run):
    """手順3が測った値と違えば、そう言う文。同じか、比べられなければ None。

    answers は questions と同じ順の Answer のリスト、run は実行条件。
    """
    before = measured_by_training(adapter)
    if before is None:
        return None

    # 同じ問題を、同じ精度で解いたときだけ比べられる
    pairs = spread_out(list(zip(questions, answers)), before["n"])
    questions, answers = zip(*pairs)
    same_questions = questions_digest(questions) == before["questions"]
    if not same_questions or run["dtype"] != before["dtype"]:
        return None

    n = len(pairs)
    accuracy = likely_hits(questions, answers) / n
    probability = mean_probability(questions, answers)
    # 計算の順が違うだけで変わりうる分。fp32 の CPU でも、1 問は同点で入れ替わるかもしれない
    on_cpu = run["hardware"].startswith("CPU")
    allowed = 1e-3 if on_cpu and run["dtype"] == "torch.float32" else 0.02
    same_accuracy = abs(accuracy - before["accuracy"]) <= max(allowed, 1 / n) + 1e-9
    same_probability = abs(probability - before["probability"]) <= allowed
    if same_accuracy and same_probability:
        return None
    return (
        f"{run['model']} + {adapter} は、手順3で学習したモデルと同じ状態ではありません。"
        f"同じ {n} 問で、番号の確率での正解率は手順3の終わりに {before['accuracy']:.3f}、"
        f"今は {accuracy:.3f}、正解の番号の確率の平均は {before['probability']:.4f} と "
        f"{probability:.4f} です。この結果を使わず、基のモデルとアダプタのファイル、YAML、"
        "ライブラリの版 (requirements.txt) が学習したときのままかを確かめてください。"
    )


def mean_probability(questions, answers):
    """正解の番号の確率の平均。"""
    total = 0.0
    for question, answer in zip(questions, answers):
        total += answer.choice_probs[question.label]
    return total / len(questions)
