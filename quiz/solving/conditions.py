"""実行条件: どのモデルに、何を、どう解かせたか。

途中結果の 1 行目になり、result.json の最後の要素になる。
"""

import os
import re
from hashlib import sha256
from importlib import metadata
from pathlib import Path

import torch
from transformers.utils import cached_file

from quiz.adapter import read_record
from quiz.questions.converted import questions_digest
from quiz.solving.examples import shown

# これらだけが違うときは、途中結果の続きにしてよい
NOT_COMPARED = {"hardware", "versions", "training", "name", "shots_text"}
# 結果と一緒に残す、学習の記録 (training.json) の項目
TRAINING = "questions", "epochs", "steps_done", "seconds", "curve", "settings", "train_files"


def conditions(base, adapter, config, model, questions, examples, args):
    """実行条件の dict。

    base は基のモデル、adapter はそのアダプタのフォルダまたは None、examples は例にする問題、
    args はコマンドラインの引数。
    """
    run = {
        "model": base,
        "adapter": adapter,
        "load_in_4bit": config.get("load_in_4bit"),
        "tokenizer_type": config.get("tokenizer_type"),
        "attn_implementation": model.config.get_text_config()._attn_implementation,
        "dtype": str(model.dtype),
        "model_files": files_digest(base, adapter),
        "quiz_sha256": questions_digest(questions),
        "rotations": args.rotations,
        "blank_question": args.blank_question,
        "by_text": args.by_text,
        "shots": len(examples),
        "shots_sha256": questions_digest(examples),
        "shots_text": shown(examples),
        "name": args.name,
        "training": training_of(adapter),
        "hardware": f"CPU {os.cpu_count()} cores",
        "versions": {},
    }
    # 何の上で、どの版で動いたか
    if torch.cuda.is_available():
        run["hardware"] = torch.cuda.get_device_name()
    for library in ("torch", "transformers", "peft", "bitsandbytes"):
        run["versions"][library] = metadata.version(library)
    return run


def files_digest(base, adapter):
    """モデルとアダプタのファイルの印。大きいので、中身の代わりに、名前と大きさと更新時刻で見分ける。"""
    # 基のモデル (Hub のものなら、手元に取ってある所) と、アダプタのフォルダ
    marks = []
    for folder in (Path(cached_file(base, "config.json")).parent, Path(adapter or base)):
        for path in sorted(folder.glob("*")):
            if re.search(r"\.safetensors$|\.bin$|^tok|config", path.name):
                status = path.stat()
                marks.append((path.name, status.st_size, status.st_mtime_ns))
    return sha256(repr(marks).encode()).hexdigest()[:16]


def training_of(adapter):
    """学習の記録のうち、結果と一緒に残すもの。記録がなければ None。"""
    record = read_record(adapter) if adapter else None
    if record is None:
        return None
    kept = {"seed": record.settings.get("seed")}
    for key in TRAINING:
        kept[key] = getattr(record, key)
    return kept
