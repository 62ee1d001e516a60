"""学習の記録 (output_dir の training.json): 書き、前の学習のものと比べる。

    {"base_model": "...", "train_files": {"train-5-inst.json": "中身の sha256"}, "questions": 895, "example": {学習に使った最初の 1 件},
     "settings": {YAML とコマンドラインの設定}, "epochs": 3.0, "steps_done": 336, "steps_planned": 336, "finished": true, "seconds": 108.0,
     "first_loss": 8.8, "last_loss": 0.1, "curve": [{"epoch": 0, "step": 0, "accuracy": 0.84}, ...]}
"""

import json
import os
import re
import shutil
import time
from contextlib import suppress
from pathlib import Path

from transformers import TrainerCallback

from quiz.adapter import REPORT, WEIGHTS, digest, read_report, same_model
from quiz.training.curve import NAME
from quiz.files import fail, lock, read_records, reason, write_json
from quiz.training.screen import LOG

# 学習の結果に関わらない設定。ほかが 1 つでも違えば、別の学習である。
HARMLESS = {"axolotl_config_path", "base_model", "output_dir", "resume_from_checkpoint", "plugins", "learning_curve", "is_preprocess",
            "dataset_num_proc", "logging_steps", "use_tensorboard", "save_strategy", "save_steps", "saves_per_epoch", "save_total_limit"}


def last_checkpoint(folder):
    """最後まで書かれたチェックポイントのうち、最も進んだもの。なければ None。"""
    paths = [p for p in Path(folder).glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", p.name)]
    for path in sorted(paths, key=lambda p: int(p.name.split("-")[1]), reverse=True):
        with suppress(OSError, ValueError):
            json.loads((path / "trainer_state.json").read_text())  # 最後に書かれるファイル
            return path


def occupy(folder):
    """output_dir を作り、このプロセスが終わるまで占める。ほかのプロセスが学習していれば、1 行で終わる。"""
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as e:
        fail(f"output_dir の {folder} を作れません ({reason(e)})。別の場所にしてください。")
    lock(folder, f"{folder} では、もう 1 つの学習が動いています。終わるのを待つか、その端末で Ctrl-C を押してください。")


def differences(old, new, folder):
    """2 つの学習の記録で違うもの (「名前: 前は …、今は …」) のリスト。folder は old のアダプタのフォルダ。"""
    before, after = ({"base_model": r["base_model"], **r["settings"]} for r in (old, new))
    if same_model(new["base_model"], old["base_model"], folder):
        after["base_model"] = before["base_model"]
    changed = [k for k in sorted({*before, *after}) if before.get(k) != after.get(k)]
    short = [k for k in changed if not isinstance(before.get(k) or after.get(k), (list, dict))]
    texts = [f"{k}: 前は {before.get(k)}、今は {after.get(k)}" if k in short else k for k in changed]
    return texts + [f"{path} の中身" for path, mark in new["train_files"].items() if old["train_files"].get(path, mark) != mark]


def find_previous(folder, new):
    """folder の前の学習 (記録, 続きを始めるチェックポイント) を返す。なければ (None, None)。new とは別の学習なら、1 行で終わる。"""
    old, checkpoint = read_report(folder), last_checkpoint(folder)
    names, why = {p.name for p in Path(folder).glob("*")}, ""
    if not old and names and (LOG not in names or WEIGHTS in names):  # LOG だけなら、始めてすぐに止めた学習
        why = f"この学習のものではないファイル ({min(names)} など) があります"
    if old and WEIGHTS not in names:
        old["finished"] = False
    if not old or not (old["finished"] or checkpoint):
        old = checkpoint = None  # まだ何も残っていない
    elif changed := differences(old, new, folder):
        why = f"別の学習のアダプタがあります ({'、'.join(changed)})"
    if why:
        fail(f"{folder} には、{why}。output_dir を別の名前にしてください (例: --output_dir {folder}-2)。")
    return old, checkpoint


def describe(cfg, world):
    """これからの学習の記録。"""
    example = next(row for dataset in cfg.datasets for _, row in read_records(dataset["path"], ""))
    settings = {k: v for k, v in cfg.to_dict().items() if k not in HARMLESS} | {"processes": world}
    return {"base_model": cfg.base_model, "train_files": {d["path"]: digest(d["path"]) for d in cfg.datasets}, "example": example,
            "settings": json.loads(json.dumps(settings, default=str))}


def complete(folder, old, checkpoint):
    """最後のチェックポイントまで書いて止まった学習なら、そのアダプタを仕上がりとして置き、True を返す。old はその記録。

    Trainer に続けさせると、max_steps で止まった学習では 1 ステップ余計に進む。
    """
    if int(checkpoint.name.split("-")[1]) < old["steps_planned"] or not (checkpoint / WEIGHTS).exists():
        return False
    for name in ("adapter_config.json", WEIGHTS):
        shutil.copy(checkpoint / name, folder)
    write_json(Path(folder, REPORT), old | {"steps_done": old["steps_planned"], "finished": True})
    return True


class Record(TrainerCallback):
    """学習の記録を training.json に書く。"""

    def __init__(self, folder, report):
        self.path, self.report, self.before = Path(folder, REPORT), report, 0

    def on_train_begin(self, args, state, control, **kwargs):
        self.begin, self.state = time.perf_counter(), state
        self.before = (read_report(self.path.parent) or {}).get("seconds", 0) if state.global_step else 0
        self.write()

    def on_save(self, args, state, control, **kwargs):
        self.write()

    def write(self, finished=False):
        history = self.state.log_history
        losses = [log["loss"] for log in history if "loss" in log] or [None]
        curve = [{"epoch": round(log.get("epoch", 0), 2), "step": log["step"], "accuracy": log[NAME]} for log in history if NAME in log]
        self.report |= {
            "epochs": round(self.state.epoch or 0, 2), "steps_done": self.state.global_step, "steps_planned": self.state.max_steps,
            "finished": finished, "seconds": round(self.before + time.perf_counter() - self.begin, 1),
            "first_loss": losses[0], "last_loss": losses[-1], "curve": curve}
        if self.state.is_world_process_zero:
            write_json(self.path, self.report)
