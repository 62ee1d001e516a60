"""速い方法 (fast_way.py) が使えるモデルかを、解き始める前に確かめる。

モデルの構造によっては、まとめて計算できないか、計算できても答えが変わる。そこで、最も短い
問題と最も長い問題を組にして (埋める所が最も多い)、速い方法のすべての枝を 1 度ずつ通り、
1 問ずつの計算と比べる: 共通の先頭、埋めた行、下書きの確かめ、generate での続き。
"""

import torch

from quiz.solving.one_by_one import MAX_NEW_TOKENS, first_line


@torch.inference_mode()
def why_not_fast(fast, prompts, expected):
    """速い方法を使わない理由 (「…ので」と続く文)。使えるなら None。

    fast は FastWay、prompts は組にするトークン列のリスト、expected はその定義どおりの Output。
    """
    try:
        same = same_answers(fast, prompts, expected)
    except Exception as error:  # キャッシュの作りによって、どんな例外も起こりうる
        return f"このモデルはまとめて解けない ({type(error).__name__})"
    return None if same else "このモデルはまとめて解くと答えが変わる"


def same_answers(fast, prompts, expected):
    """速い方法のどの枝でも、1 問ずつの計算と同じになるか。"""
    labels = fast.labels
    drafts = [long_draft(labels, prompt) for prompt in prompts]

    # 下書きは正しくても違っていても、generate での続きへは、どの問題も進ませる
    read = fast.read([prompt + labels.lead for prompt in prompts])
    label_probs = labels.probabilities(read.logits)
    predicted = fast.predict(drafts, read)
    tokens = fast.go_on(range(len(prompts)), read)
    texts = [first_line(fast.tokenizer, row) for row in tokens]

    # 番号の確率は、どの精度でも比べる
    for probs, output in zip(label_probs, expected):
        for p, q in zip(probs, output.label_probs):
            if not abs(p - q) <= allowed_difference(fast.model, q):
                return False
    # 低い精度では、丸めだけで同点に近いトークンが入れ替わるので、選んだトークンは比べない
    if not exact(fast.model):
        return True
    plain = [predict_plainly(fast, *pair) for pair in zip(prompts, drafts)]
    return predicted == plain and texts == [output.text for output in expected]


def long_draft(labels, prompt):
    """最も長い下書き: lead と番号に、問題の文章が続く。答えでなくても、計算は比べられる。"""
    start = max(labels.tokens, key=len)
    return (start + prompt)[:MAX_NEW_TOKENS]


def predict_plainly(fast, prompt, draft):
    """FastWay.predict と同じものを、1 問だけ、キャッシュなしで計算する。"""
    ids = torch.tensor([prompt + draft[:-1]], device=fast.model.device)
    logits = fast.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    first = len(prompt) + len(fast.labels.lead)  # 番号のトークンの位置
    return logits[0, first:].argmax(-1).tolist()


def exact(model):
    """1 問ずつでもまとめても、答えが同じになるはずの精度か。"""
    return model.dtype == torch.float32 and model.device.type == "cpu"


def allowed_difference(model, p):
    """確率 p について、計算の順の違いだけで起こりうる差。"""
    if exact(model):
        return min(1e-4, 1e-3 * p + 1e-9)
    # GPU の fp32 は、積を TF32 で計算する。仮数が bf16 より 3 ビット長い。測った差は 0.003 まで。
    if model.dtype == torch.float32:
        return 0.1 * p + 0.005
    return 0.5 * p + 0.01
