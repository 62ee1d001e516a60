"""手順3が学習したモデルに、手順4も解かせたか: 同じ問題での、正解の番号の確率の平均を比べる。

手順3は、学習の終わりに quiz.json の一部を解き、training.json に残す:
    "self_check": {"questions": 問題の印, "n": 200, "accuracy": 最も確率の高い番号が正解の割合,
                   "probability": 正解の番号の確率の平均, "dtype": "torch.float32"}
正解率は比べない。bf16 では、選べないモデルの番号の確率はよく同じ値になり、どれが最も高いかは、
計算の順だけで変わる (docs/real.md)。
"""

import math
from statistics import fmean

from quiz.adapter import read_record
from quiz.questions.converted import questions_digest, spread_out

# 計算の順が違うだけで変わりうる分 (許す差): fp32 の CPU では平均の何割か。ほかでは、1 問の何割か
EXACT = 1e-3
ROUGH_ONE = 0.4


def measured_by_training(adapter):
    """手順3が終わりに測ったもの (dict)。なければ None。"""
    if adapter is None:
        return None
    record = read_record(adapter)
    return record and record.self_check


def difference_from_training(before, questions, answers, run):
    """手順3が測った値 before と違えば、そう言う文。同じか、比べられなければ None。

    answers は questions と同じ順の Answer のリスト、run は実行条件。
    """
    if before is None:
        return None
    # 同じ問題を、例なしで、同じ精度で解いたときだけ比べられる
    pairs = spread_out(list(zip(questions, answers)), before["n"])
    digest = questions_digest([question for question, _ in pairs])
    if digest != before["questions"] or run["dtype"] != before["dtype"] or run["shots"]:
        return None

    exact = run["hardware"].startswith("CPU") and run["dtype"] == "torch.float32"
    probability = fmean(a.choice_probs[question.label] for question, a in pairs)
    # 問題が少ないほど、平均は 1 問の違いで動く
    share = EXACT if exact else ROUGH_ONE / math.sqrt(len(pairs))
    if abs(probability - before["probability"]) <= share * max(probability, before["probability"]):
        return None
    return (
        f"{run['model']} + {run['adapter']} は、手順3で学習したモデルと同じ状態ではありません。"
        f"同じ {len(pairs)} 問での、正解の番号の確率の平均は、手順3の終わりに "
        f"{before['probability']:.4f}、今は {probability:.4f} です。"
        "この結果を使わず、基のモデルとアダプタのファイル、YAML、"
        "ライブラリの版 (requirements.txt) が学習したときのままかを確かめてください。"
    )
