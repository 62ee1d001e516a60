"""手順5のテストが使う、結果のファイルと表の読み方。"""

import json

from scipy.optimize import brentq

from quiz.prompt import Question, eval_record

CHOICES = "い", "は", "ロ", "に"


def record(hit, genre="学問", probs=(0.1, 0.2, 0.6, 0.1), out_str="2", label=2, text="問い?"):
    """result.json の 1 件。"""
    q = Question(text, CHOICES, label)
    shown = eval_record(q)
    return {"ID": 0, "question": text, "instruction": shown["instruction"], "input": shown["input"], "prompt": q.prompt,
            "output": "2: ロ", "genre": genre, "correct_answer": q.answer, "out_str": out_str, "hit": hit,
            "choice_probs": list(probs), "seconds": 0.1}


def write_result(path, records):
    path.write_text(json.dumps([*records, {"elapsed_time": 1.5}], ensure_ascii=False), encoding="utf-8")


def solved(path, hits, adapter="./out", model="calm", key="qid", **extra):
    """hits[i] が問題 i の正誤である結果のファイルを書く。key は同じ問題の印 (qid か、問題文そのもの)。"""
    records = []
    for i, h in enumerate(hits):
        name = {"qid": f"q{i}"} if key == "qid" else {}
        sample = record(bool(h), "学問" if i % 2 else "雑学", text="問い?" if name else f"問い{i}?")
        records.append({**sample, **name, "seconds": 0.5, **extra})
    summary = {"elapsed_time": 9.5, "model": model, "adapter": adapter, "quiz": ["quiz.json"]}
    path.write_text(json.dumps([*records, summary], ensure_ascii=False), encoding="utf-8")
    return records


def table_of(out, key):
    """表を {モデル: {列: 値}} にする。"""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.split(f"key: {key}\n")[1].split("\n\n")[0].splitlines()]
    return {row[0]: dict(zip(lines[0], row)) for row in lines[2:]}


def wilson_roots(hits, n):
    """スコア検定の統計量が ±1.96 になる 2 点を、方程式を解いて求める。"""
    z = 1.959963984540054

    def statistic(p):
        return (hits / n - p) ** 2 * n - z * z * p * (1 - p)

    # 0 と 1 は、n 問中 0 問や n 問のときの自明な解なので除く。
    low = 0.0 if hits == 0 else brentq(statistic, 0, hits / n if hits < n else 1 - 1e-9, xtol=1e-14)
    return low, 1.0 if hits == n else brentq(statistic, hits / n or 1e-9, 1, xtol=1e-14)
