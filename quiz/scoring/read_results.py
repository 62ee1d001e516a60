"""手順4の結果 (result.json) を、手順5のために読んで確かめる。2024 年版のチュートリアルの形でもよい。"""

import re
import sys
from pathlib import Path

from quiz.files import fail, read_records
from quiz.prompt import read_choice, read_label
from quiz.scoring.rotations import collapse, groups
from quiz.questions.converted import kind_of
from quiz.questions.characters import normalize

REDO = "手順4をやり直してください: python run_quiz.py"


def said(output, lines):
    """回答「番号: 文字」の文字が、どの選択肢のものか。番号とは別に調べる。どれでもなければ None。"""
    if output in lines:  # ほとんどの回答は、選択肢のどれかそのもの
        return lines.index(output)
    texts = [normalize(read_choice(line)) for line in lines]
    text = normalize(read_choice(output))
    return texts.index(text) if text and text in texts else None


def clean(record):
    """result.json の 1 件を、手順5が使う項目だけの dict にする。分からない項目は None。おかしければ ValueError。

    key: 同じ問題の印 (qid、モデルに見せた文字列、正解)  qid: 元の問題の印 (なければ "")
    rotation: 選択肢をいくつずらしたか (ずらしていなければ None)  said: 回答の文字と同じ選択肢の番号 (なければ None)
    shown: モデルに見せた文字列  question: 問題文 (古いファイルでは shown)
    lines: 「番号: 選択肢」のタプル  n_choices: 選択肢の数  label: 正解の番号  answered: 答えた番号 (読み取れなければ -1)
    probs: 番号ごとの確率 (0 から 1)  likely: 確率が最大の番号  seconds: 秒
    """
    hit, probs, out_str, correct = record["hit"], record.get("choice_probs"), record.get("out_str"), record.get("correct_answer") or ""
    label, answered, choices = read_label(correct), re.match(r"\d+", str(out_str)), (record.get("input") or "").split("\n")
    if hit not in (True, False):
        raise ValueError("hit の値が正しくありません")
    if probs is not None and not (all(0 <= p < 2 for p in probs) and label and int(label) < len(probs)):
        raise ValueError("choice_probs が、正解の番号を含む確率のリストではありません")
    # 問題はどの結果でも同じなので、intern して 1 つだけ持つ。20 個のファイルでもメモリが足りるように。
    shown = sys.intern(record.get("prompt") or (record.get("instruction") or "") + (record.get("input") or ""))
    qid, lines = str(record.get("qid") or ""), tuple(sys.intern(line) for line in choices if line)
    return {"key": sys.intern(f"{qid} {shown} {correct}" if shown else qid), "qid": sys.intern(qid), "shown": shown, "lines": lines,
            "hit": bool(hit), "rotation": record.get("rotation"), "said": said(str(record.get("output") or ""), lines),
            "question": sys.intern(record.get("question") or shown), "genre": sys.intern(str(record.get("genre") or "")) or None,
            "n_choices": len(probs or lines) or None, "output": str(record.get("output") or ""), "correct_answer": sys.intern(correct),
            "label": int(label) if label else None, "likely": probs and probs.index(max(probs)), "probs": probs,
            "answered": None if out_str is None else int(answered[0]) if answered else -1,
            "seconds": record.get("seconds") and float(record["seconds"])}


def curves(runs):
    """{名前: [(エポック, 番号の確率での正解率), ...]}。同じ学習のアダプタで解いた結果が 2 つ以上あれば、初めの 1 つだけ。"""
    found = {}
    for run in runs:
        curve = (run["summary"].get("training") or {}).get("curve") or []
        points = tuple((p["epoch"], p["accuracy"]) for p in curve)
        if points and points not in found.values():
            found[run["name"]] = points
    return found


def read_run(path, paths):
    """結果 1 つ分の {"path", "name", "environment" (問題のファイルの名前), "records" (clean のリスト), "summary" (最後の要素),
    "rotations" (--rotations の結果なら、問題ごとの N 通りの記録。そのとき records は、N 通りを 1 つにしたもの)}。"""
    if not Path(path).exists():
        here = "、".join(sorted(map(str, Path().glob("result*.json")))) or "なし"
        fail(f"{path} がありません。名前を確かめてください (ここにあるもの: {here})。{REDO}")
    rows, records = list(read_records(path, REDO)), []
    if rows and kind_of(rows[0][1]) != "手順4の結果":
        fail(f"{path}:{rows[0][0]}: {kind_of(rows[0][1]) or '手順4の結果ではない'}ファイルです (hit がない)。{REDO}")
    summary = rows.pop()[1] if rows and "elapsed_time" in rows[-1][1] else {}
    for line, record in rows:
        try:
            records.append(clean(record))
        except (ValueError, TypeError, KeyError, AttributeError) as e:
            fail(f"{path}:{line}: result.json の記録ではありません ({e})。{REDO}")
    if not records:
        fail(f"{path}:1: hit のある記録がありません。{REDO}")
    if summary.get("num_questions", len(records)) != len(records):
        fail(f"{path}: 記録が {len(records)} 件で、書いたときの {summary['num_questions']} 件と違います。{REDO}")
    # ファイル名が同じで場所だけ違うものがあれば、場所も付けて区別する。
    name = Path(path).stem if len({Path(p).stem for p in paths}) == len(paths) else path.removesuffix(".json")
    quiz = [Path(str(q)).stem for q in summary["quiz"]] if isinstance(summary.get("quiz"), list) else []
    try:
        rotations = groups(records)
    except ValueError as e:
        fail(f"{path}: {e}。{REDO}")
    name += " (順の平均)" if rotations else ""
    return {"path": path, "name": name, "records": [collapse(g) for g in rotations] or records, "rotations": rotations, "summary": summary,
            "environment": "+".join(quiz) or "-"}
