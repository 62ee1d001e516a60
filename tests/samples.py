"""手順5のテストが使う、結果のファイルと表の読み方。"""

import json

from scipy.optimize import brentq

from quiz.prompt import Question, eval_record, read_label

CHOICES = "い", "は", "ロ", "に"


def record(hit, genre="学問", probs=(0.1, 0.2, 0.6, 0.1), output=None, label=2, text="問い?"):
    """result.json の 1 件。output を省けば、hit に合う回答 (正解の行か、別の選択肢の行)。"""
    q = Question(text, CHOICES, label, {"genre": genre})
    if output is None:
        output = q.lines[label if hit else (label + 1) % len(CHOICES)]
    return record_of(q, output, probs) | {"hit": hit}


def record_of(q, output, probs):
    """問題 q に output と答えた、result.json の 1 件。"""
    out_str = read_label(output, q.choices)
    return {
        "ID": 0,
        **q.extra,
        "question": q.text,
        **eval_record(q),
        "prompt": q.prompt,
        "output": output,
        "correct_answer": q.answer,
        "out_str": out_str,
        "hit": out_str == str(q.label),
        "choice_probs": list(probs),
        "seconds": 0.1,
    }


def write_result(path, records, **summary):
    """結果のファイルを書く。summary は最後の要素に足すもの。"""
    records = [{**record, "ID": i} for i, record in enumerate(records)]
    text = json.dumps([*records, {"elapsed_time": 1.5, **summary}], ensure_ascii=False)
    path.write_text(text, encoding="utf-8")


def solved(path, hits, adapter="./out", model="calm", key="qid", summary=None, **extra):
    """hits[i] が問題 i の正誤である結果のファイルを書く。

    key は同じ問題の印 (qid か、問題文そのもの)。
    """
    records = []
    for i, h in enumerate(hits):
        name = {"qid": f"q{i}"} if key == "qid" else {}
        text = "問い?" if name else f"問い{i}?"
        sample = record(bool(h), "学問" if i % 2 else "雑学", text=text)
        records.append({**sample, **name, "ID": i, "seconds": 0.5, **extra})
    more = {"elapsed_time": 9.5, "model": model, "adapter": adapter, "quiz": ["quiz.json"]}
    write_result(path, records, **(more | (summary or {})))
    return records


# 学習の設定
SETTINGS = {"lora_r": 64, "learning_rate": 0.00055, "num_epochs": 3}


def trained(path, seed, hits, settings=SETTINGS, digest="d1", **changes):
    """種 seed で学習したアダプタの結果。"""
    rows = [{**record(bool(h)), "qid": f"q{i}"} for i, h in enumerate(hits)]
    training = {
        "seed": seed,
        "questions": 10,
        "epochs": 3,
        "steps_done": 9,
        "seconds": 1,
        "curve": [],
        "settings": {**settings, "seed": seed, "output_dir": f"./out{seed}"},
        "train_files": {f"{path.stem}.json": digest},
    }
    training = {key: value for key, value in (training | changes).items() if value is not None}
    write_result(path, rows, model="m", adapter=f"out{seed}", quiz=["quiz.json"], training=training)


def table_of(out, key):
    """表を {モデル: {列: 値}} にする。"""
    text = out.split(f"key: {key}\n")[1].split("\n\n")[0]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    return {row[0]: dict(zip(lines[0], row)) for row in lines[2:]}


def wilson_roots(hits, n):
    """スコア検定の統計量が ±1.96 になる 2 点を、方程式を解いて求める。"""
    z = 1.959963984540054

    def statistic(p):
        return (hits / n - p) ** 2 * n - z * z * p * (1 - p)

    # 0 と 1 は、n 問中 0 問や n 問のときの自明な解なので除く。
    low = 0.0
    high = 1.0
    if hits > 0:
        low = brentq(statistic, 0, hits / n if hits < n else 1 - 1e-9, xtol=1e-14)
    if hits < n:
        high = brentq(statistic, hits / n or 1e-9, 1, xtol=1e-14)
    return low, high
