"""手順4と手順5のあいだのファイル: quiz.json を読み、result.json と result.log を書き、result.json を読む。"""

import json
import re
import sys
from itertools import accumulate, islice
from pathlib import Path

from quiz.files import fail, read_records, write, write_json
from quiz.prompt import eval_record, read_label
from quiz.source import read_converted

QUIZ = "手順2で作ってください: python convert_eval.py"
REDO = "手順4をやり直してください: python run_quiz.py"


def read_quiz(paths, max_questions=None):
    """quiz.json を読み、Question のリストを返す。input のない、学習用の書式の記録でもよい。"""
    questions = list(islice((q for path in paths for q in read_converted(path, QUIZ)), max_questions))
    if not questions:
        fail(f"{' '.join(map(str, paths))}: 問題が 1 問もありません。{QUIZ}")
    return questions


def mark(question, output, probs):
    """1 問の採点。生成した回答の先頭の番号だけを正解と比べる。"""
    out_str, rounded = read_label(output), [float(f"{p:.6g}") for p in probs]
    return {"output": output, "out_str": out_str, "hit": out_str == str(question.label), "choice_probs": rounded}


def log_lines(records, run):
    """result.log の中身。実行条件、続いて 1 問ずつ、モデルの回答、正解、そこまでの正解率。"""
    yield json.dumps(run, ensure_ascii=False, indent=2) + "\n"
    for n, (r, hits) in enumerate(zip(records, accumulate(int(r["hit"]) for r in records)), 1):
        sign = "○" if r["hit"] else "×" if r["out_str"] else "× (番号を読み取れない)"
        yield (f"\n[{r['ID']}] {r['prompt'].strip()}\n{r['output']}\n正解: {r['correct_answer']}  {sign}  "
               f"ここまでの正解率: {hits / n:.3f} ({hits}/{n})\n")


def write_results(path, questions, answers, run, quiz):
    """result.log と result.json を書き、正解率を表示する。answers は mark() の dict に ID と seconds を足したもの。"""
    records, seconds = [], round(sum(a["seconds"] for a in answers), 3)
    run = {"elapsed_time": seconds, "quiz": list(map(str, quiz)), "num_questions": len(questions), **run}
    for q, answer in zip(questions, answers):
        shown = {"question": q.text, **eval_record(q), "prompt": q.prompt, "correct_answer": q.answer}
        records.append({"ID": answer["ID"], **q.extra, **shown, **answer})
    write(path.with_name(path.name.removesuffix(".json") + ".log"), log_lines(records, run))
    write_json(path, [*records, run])
    hits, n = sum(a["hit"] for a in answers), len(answers)
    likely = sum(a["choice_probs"].index(max(a["choice_probs"])) == q.label for q, a in zip(questions, answers))
    print(f"{path}: 正解率 {hits / n:.3f} ({hits}/{n})  読み取れない回答 {sum(not a['out_str'] for a in answers)}  "
          f"番号の確率での正解率 {likely / n:.3f}  {seconds:.1f} 秒")


def clean(record):
    """result.json の 1 件を、手順5が使う項目だけの dict にする。分からない項目は None。おかしければ ValueError。

    key: 同じ問題の印 (qid、モデルに見せた文字列、正解)  shown: モデルに見せた文字列  question: 問題文 (古いファイルでは shown)
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
    return {"key": sys.intern(f"{qid} {shown} {correct}" if shown else qid), "shown": shown, "lines": lines, "hit": bool(hit),
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
    """結果 1 つ分の {"path", "name", "environment" (問題のファイルの名前), "records" (clean のリスト), "summary" (最後の要素)}。"""
    rows, records = list(read_records(path, REDO)), []
    summary = rows.pop()[1] if rows and "elapsed_time" in rows[-1][1] else {}
    for line, record in rows:
        try:
            records.append(clean(record))
        except (ValueError, TypeError, KeyError, AttributeError) as e:
            fail(f"{path}:{line}: result.json の記録ではありません ({e})。{REDO}")
    if not records:
        fail(f"{path}:1: hit のある記録がありません。{REDO}")
    # ファイル名が同じで場所だけ違うものがあれば、場所も付けて区別する。
    name = Path(path).stem if len({Path(p).stem for p in paths}) == len(paths) else path.removesuffix(".json")
    quiz = [Path(str(q)).stem for q in summary["quiz"]] if isinstance(summary.get("quiz"), list) else []
    return {"path": path, "name": name, "records": records, "summary": summary, "environment": "+".join(quiz) or "-"}
