"""速い方法 (fast_way.py) が使えるモデルかを、解き始める前に確かめる。

モデルの構造によっては、まとめて計算できないか、計算できても答えが変わる。そこで、最も短い
問題と最も長い問題を組にして (埋める所が最も多い)、速い方法のすべての枝を 1 度ずつ通り、
1 問ずつの計算と比べる: 共通の先頭、埋めた行、下書きの確かめ、generate での続き。
"""

import torch

from quiz.model import is_out_of_memory
from quiz.solving.one_by_one import MAX_NEW_TOKENS, first_line, logits_after

# 理由に続けて言うこと
INSTEAD = "ので、1 問ずつ解きます (答えは同じで、時間がかかります)。"

# 計算の順の違いだけで起こりうる、確率 p の差: 何倍 × p + いくつ まで、多くても いくつ
EXACT = 1e-3, 1e-9, 1e-4
# GPU の fp32 は、積を TF32 で計算する (仮数は bf16 より 3 ビット長い)。測った差は 0.003 まで
TF32 = 0.1, 0.005, 1
HALF = 0.5, 0.01, 1


@torch.inference_mode()
def why_not_fast(fast, prompts, expected):
    """速い方法を使わない理由の文。使えるなら None。

    fast は FastWay、prompts は組にするトークン列のリスト、expected はその定義どおりの Output。
    """
    try:
        if same_answers(fast, prompts, expected):
            return None
        return f"このモデルはまとめて解くと答えが変わる{INSTEAD}"
    except Exception as error:  # キャッシュの作りによって、どんな例外も起こりうる
        kind = type(error).__name__
        no_memory = is_out_of_memory(error)

    # 2 問ではメモリが足りなければ、最も長い 1 問だけで試す
    if no_memory and len(prompts) > 1:
        return why_not_fast(fast, prompts[1:], expected[1:])
    return f"このモデルはまとめて解けない ({kind}){INSTEAD}"


def same_answers(fast, prompts, expected):
    """速い方法のどの枝でも、1 問ずつの計算と同じになるか。"""
    # 下書きは、番号に問題の文章が続く、最も長いもの。答えでなくても、計算は比べられる
    start = max(fast.labels.tokens, key=len)
    drafts = [(start + prompt * MAX_NEW_TOKENS)[:MAX_NEW_TOKENS] for prompt in prompts]
    read = fast.read_labels(prompts)
    predicted = fast.predict(drafts, read)
    tokens = fast.go_on(list(range(len(prompts))), read)

    tolerance = tolerance_of(fast.model)
    times, plus, most = tolerance
    label_probs = fast.labels.probabilities(read.logits)
    after_number = len(fast.labels.lead) + 1
    for i, output in enumerate(expected):
        # 番号の確率は、どの精度でも比べる
        for found, p in zip(label_probs[i], output.label_probs):
            if not abs(found - p) <= min(times * p + plus, most):
                return False
        # 選んだトークンは、丸めだけで同点に近いものが入れ替わるので、正確な計算でだけ比べる
        if tolerance is EXACT:
            logits = logits_after(fast.model, prompts[i], drafts[i][:-1])
            plain = logits[0, after_number:].argmax(-1).tolist()
            if predicted[i] != plain or first_line(fast.tokenizer, tokens[i]) != output.text:
                return False
    return True


def tolerance_of(model):
    """model の精度で許す、確率の差。"""
    if model.dtype != torch.float32:
        return HALF
    if model.device.type != "cpu":
        return TF32
    return EXACT
