"""途中結果: 答えたそばから書き足し、止まっても続きから始め、いくつかのプロセスで分担する。"""

import json
import os
import re
import time
from contextlib import suppress
from hashlib import sha256
from importlib import metadata
from pathlib import Path

import torch
from accelerate.utils import gather_object
from tqdm import tqdm
from transformers.utils import cached_file

from quiz.adapter import read_record
from quiz.files import fail, lock, reason
from quiz.questions.converted import questions_digest
from quiz.solving.results import mark

NOT_COMPARED = {"hardware", "versions", "training"}


def conditions(base, adapter, config, model, questions):
    """実行条件の dict。NOT_COMPARED のほかは、どれか 1 つでも違えば途中結果の続きにはしない。"""
    # モデルのファイルは大きいので、中身の代わりに、名前と大きさと更新時刻で見分ける。
    files = [p for folder in (Path(cached_file(base, "config.json")).parent, Path(adapter or base)) for p in sorted(folder.glob("*"))]
    marks = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files if re.search(r"\.safetensors$|\.bin$|^tok|config", p.name)]
    marks = sha256(repr(marks).encode()).hexdigest()[:16]
    return {"model": base, "adapter": adapter, **{k: config.get(k) for k in ("load_in_4bit", "tokenizer_type", "attn_implementation")},
            "dtype": str(model.dtype), "model_files": marks, "quiz_sha256": questions_digest(questions),
            "training": training_of(adapter),
            "hardware": torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU {os.cpu_count()} cores",
            "versions": {m: metadata.version(m) for m in ("torch", "transformers", "peft", "bitsandbytes")}}


def training_of(adapter):
    """結果と一緒に残す、学習の記録の一部。なければ None。"""
    record = read_record(adapter) if adapter else None
    if record is None:
        return None
    keys = ("questions", "epochs", "steps_done", "seconds", "curve", "settings", "train_files")
    return {"seed": record.settings.get("seed")} | {key: getattr(record, key) for key in keys}


def parts_of(path):
    """path の途中結果のファイル (result.json.part0, part1, ...) のリスト。"""
    return [p for p in path.parent.glob("*.part*") if re.fullmatch(re.escape(path.name) + r"\.part\d+", p.name)]


def read_part(path, run):
    """途中結果の行のリスト。1 行目は実行条件で、これが run と違えば終わる。あとは 1 行に 1 問。"""
    lines = []
    for line in path.read_bytes().splitlines():
        with suppress(ValueError):  # 書いている途中で止まった行。なかったことにする
            lines.append(json.loads(line))
    before = lines[0] if lines and isinstance(lines[0], dict) else {}
    keys = run.keys() - NOT_COMPARED if lines else ()
    differences = [f"{k}: {before.get(k)} → {run[k]}" for k in sorted(keys) if before.get(k) != run[k]]
    if differences:
        fail(f"{path} は別の条件で途中まで解いた結果です ({', '.join(differences)})。"
             "前の続きなら同じ条件で、やり直すならこのファイルを消してから実行してください。")
    return lines


def ask(solver, path, run, state, batch_size=None, batch_tokens=None):
    """まだ答えていない問題を全プロセスで分けて解き、全問の答え (mark の dict と ID、seconds) を ID の順に返す。"""
    rank, world, total = state.process_index, state.num_processes, len(solver.questions)
    run = gather_object([run])[0]  # ファイルの更新時刻は、計算機によって違うかもしれない
    own = path.with_name(f"{path.name}.part{rank}")
    try:
        own.touch()
    except OSError as e:
        fail(f"{own} に書けません ({reason(e)})。-o で別の場所を指定してください。")
    lock(own, f"もう 1 つの run_quiz.py が {path} のために解いています。終わるのを待つか、-o で別の名前にしてください。")
    parts = {part: read_part(part, run) for part in parts_of(path)}
    # 別の計算機にある分も集める。全員が読み終えるまで返らないので、読んでいるファイルに誰かが書き足すことはない。
    done = {r["ID"]: r for r in gather_object([r for lines in parts.values() for r in lines[1:]])}
    hits = sum(r["hit"] for r in done.values())
    fresh, bar = not parts.get(own), tqdm(total=total, initial=len(done), unit="問", mininterval=1, disable=not state.is_main_process)
    try:
        with bar, own.open("w" if fresh else "a", encoding="utf-8") as f:
            f.write(json.dumps(run, ensure_ascii=False) if fresh else "")
            for batch in solver.batches(set(range(total)) - done.keys(), batch_tokens, batch_size)[rank::world]:
                begin = time.perf_counter()
                answers = solver.answer(batch)
                seconds = round((time.perf_counter() - begin) / len(batch) / world, 6)
                for i, (text, probs) in zip(batch, answers):
                    done[i] = {"ID": i, **mark(solver.questions[i], text, probs), "seconds": seconds}
                    hits += done[i]["hit"]
                    f.write("\n" + json.dumps(done[i], ensure_ascii=False))  # 改行が先: 書きかけの行には続けない
                f.flush()
                os.fsync(f.fileno())  # 電源が落ちても、答え終えた分は残る
                bar.set_postfix_str(f"正解率 {hits / len(done):.3f}", refresh=False)
                bar.update(min(len(batch) * world, bar.total - bar.n))
    except OSError as e:
        fail(f"{own} に書けません ({reason(e)})。空き容量を確かめるか、-o で別の場所を指定してください。")
    done = {r["ID"]: r for r in gather_object(list(done.values()))}
    return [done[i] for i in range(total)]


def finish(path, state):
    """結果を書き終えたので、途中結果を消し、プロセスの集まりを解く。"""
    state.wait_for_everyone()
    for part in parts_of(path):
        part.unlink(missing_ok=True)
    state.destroy_process_group()
