"""実行条件: どのモデルに、何を、どう解かせたか。

途中結果の 1 行目になり、result.json の最後の要素になる。
"""

import os
from importlib import metadata

import torch

from quiz.adapter import adapter_digest, base_digest, read_record
from quiz.questions.converted import questions_digest
from quiz.solving.examples import shown

# 版を残すライブラリ
LIBRARIES = "torch", "transformers", "peft", "bitsandbytes"
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
        "versions": {library: metadata.version(library) for library in LIBRARIES},
    }
    if torch.cuda.is_available():
        run["hardware"] = torch.cuda.get_device_name()
    return run


def files_digest(base, adapter):
    """モデルとアダプタのファイルの印。"""
    if adapter is None:
        return base_digest(base)
    return f"{base_digest(base)}-{adapter_digest(adapter)}"


def training_of(adapter):
    """学習の記録のうち、結果と一緒に残すもの。記録がなければ None。"""
    record = read_record(adapter) if adapter else None
    if record is None:
        return None
    kept = {key: getattr(record, key) for key in TRAINING}
    return {"seed": record.settings.get("seed"), **kept}
