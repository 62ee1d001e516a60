"""手順4のファイル: quiz.json を読み、result.json と result.log を書く。手順5で読むのは runs.py。"""

import json
from itertools import accumulate
from pathlib import Path

from quiz.files import fail, read_records, write, write_json
from quiz.prompt import eval_record, read_label


def default_path(args):
    """-o がないときの結果の名前。問題、モデル、解き方が違えば名前も違う: quiz-dev2.json を --base で解けば result-base-dev2.json。"""
    stems = [Path(path).stem for path in args.quiz]
    source = "+".join(stems) if len(stems) > 1 else stems[0].removeprefix("quiz").strip("-_")
    ways = [word for word, on in (("base", args.base), ("rotations", args.rotations), ("blank", args.blank_question)) if on]
    return Path("-".join(filter(None, ["result", *ways, Path(args.model or "").name, source])) + ".json")


def check_output(path, questions, model, adapter):
    """path に結果を書いてよいか。前の結果は、同じモデルで、その問題をすべて解く実行でしか置き換えない。いけなければ 1 行で終わる。"""
    todo = f"残すなら別の名前に書き (-o result-{Path(adapter or model).name}-2.json など)、要らなければ {path} を消してください。"
    log = path.with_suffix(".log")
    if path.is_dir() or not path.absolute().parent.is_dir() or path.suffix != ".json":
        fail(f"-o {path} はフォルダか、置く所がないか、終わりが .json ではありません (例: -o result-2.json)。")
    if log.exists() and not path.exists() and not log.read_bytes().startswith(b"{"):  # 書くのは result.json と result.log の 2 つ
        fail(f"{log} は手順4の記録ではないので、書き換えません。-o で別の名前にしてください。")
    if not path.exists() or not path.stat().st_size:
        return
    *records, (_, summary) = list(read_records(path, todo)) or [(1, {})]
    if "elapsed_time" not in summary:
        fail(f"{path} は手順4の結果ではないので、書き換えません。{todo}")
    before = {key: summary.get(key) for key in ("model", "adapter")}
    if before != {"model": model, "adapter": adapter}:
        fail(f"{path} は別のモデルの結果です ({before['model']}、アダプタは{before['adapter'] or 'なし'})。{todo}")
    known = {(q.prompt, q.answer) for q in questions}
    lost = sum((r.get("prompt"), r.get("correct_answer")) not in known for _, r in records)
    if lost:
        fail(f"{path} には、今度は解かない {lost} 問の結果があります。{todo}")


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
    write(path.with_suffix(".log"), log_lines(records, run))
    write_json(path, [*records, run])
    hits, n = sum(a["hit"] for a in answers), len(answers)
    likely = sum(a["choice_probs"].index(max(a["choice_probs"])) == q.label for q, a in zip(questions, answers))
    print(f"{path}: 正解率 {hits / n:.3f} ({hits}/{n})  読み取れない回答 {sum(not a['out_str'] for a in answers)}  "
          f"番号の確率での正解率 {likely / n:.3f}  {seconds:.1f} 秒")
