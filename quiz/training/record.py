"""学習の記録 (output_dir の training.json) を書き、前の学習のものと比べる。

    {"base_model": "...", "train_files": {"train-5-inst.json": "中身の sha256"},
     "example": {学習に使った最初の 1 件}, "settings": {YAML とコマンドラインの設定},
     "finished": true, "steps_done": 336, "steps_planned": 336, "questions": 895,
     "epochs": 3.0, "seconds": 108.0, "first_loss": 8.8, "last_loss": 0.1,
     "curve": [{"epoch": 0, "step": 0, "accuracy": 0.84, "probability": 0.4}, ...],
     "base_files": "モデルの印",
     "self_check": {"questions": "問題の印", "n": 179, "dtype": "torch.float32",
                    "accuracy": 0.99, "probability": 0.98}}
"""

import json
import os
import re
import shlex
import shutil
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from transformers import TrainerCallback

from quiz.adapter import RECORD, WEIGHTS, TrainingRecord, file_digest, read_record, same_model
from quiz.files import fail, lock, read_records, reason, write_json
from quiz.training.curve import points
from quiz.training.screen import LOG

# 学習の結果に関わらない設定。ほかが 1 つでも違えば、別の学習である。
HARMLESS = {
    "axolotl_config_path",
    "base_model",
    "output_dir",
    "resume_from_checkpoint",
    "plugins",
    "learning_curve",
    "is_preprocess",
    "dataset_num_proc",
    "logging_steps",
    "use_tensorboard",
    "save_strategy",
    "save_steps",
    "saves_per_epoch",
    "save_total_limit",
}


@dataclass(frozen=True)
class Previous:
    """output_dir に残っている、同じ学習の前回。"""

    record: TrainingRecord
    checkpoint: Path | None  # 続きを始めるところ

    @property
    def finished(self):
        return self.record.finished


def step_of(checkpoint):
    """チェックポイントのフォルダの名前 (checkpoint-36) の、ステップの数。"""
    return int(checkpoint.name.split("-")[1])


def last_checkpoint(folder):
    """最後まで書かれたチェックポイントのうち、最も進んだもの。なければ None。"""
    found = []
    for path in Path(folder).glob("checkpoint-*"):
        if not re.fullmatch(r"checkpoint-\d+", path.name):
            continue
        with suppress(OSError, ValueError):
            json.loads((path / "trainer_state.json").read_text())  # 最後に書かれるファイル
            found.append(path)
    return max(found, key=step_of, default=None)


def occupy(folder):
    """output_dir を作り、このプロセスが終わるまで占める。ほかのプロセスが学習していれば、1
    行で終わる。
    """
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as e:
        fail(f"output_dir の {folder} を作れません ({reason(e)})。別の場所にしてください。")
    lock(
        folder,
        f"{folder} では、もう 1 つの学習が動いています。終わるのを待つか、"
        "その端末で Ctrl-C を押してください。",
    )


def differences(old, new, folder):
    """2 つの学習の TrainingRecord で違うもの (「名前: 前は …、今は …」) のリスト。folder は old
    のアダプタのフォルダ。
    """
    before = {"base_model": old.base_model, **old.settings}
    after = {"base_model": new.base_model, **new.settings}
    if same_model(new.base_model, old.base_model, folder):
        after["base_model"] = before["base_model"]
    texts = []
    for key in sorted(before.keys() | after.keys()):
        values = [before.get(key), after.get(key)]
        if values[0] == values[1]:
            continue
        long = any(isinstance(value, (list, dict)) for value in values)
        texts.append(key if long else f"{key}: 前は {values[0]}、今は {values[1]}")
    for path, mark in new.train_files.items():
        if old.train_files.get(path, mark) != mark:
            texts.append(f"{path} の中身")
    return texts


def find_previous(folder, new):
    """folder にある、new と同じ学習の Previous。まだ何もなければ None。別の学習のものがあれば、1
    行で終わる。
    """
    old = read_record(folder)
    checkpoint = last_checkpoint(folder)
    names = {path.name for path in Path(folder).glob("*")}
    # LOG だけなら、始めてすぐに止めた学習。
    if old is None and names and (LOG not in names or WEIGHTS in names):
        refuse(folder, f"この学習のものではないファイル ({min(names)} など) があります")
    if old is None:
        return None
    if WEIGHTS not in names:
        old = replace(old, finished=False)
    if not old.finished and checkpoint is None:
        return None
    changed = differences(old, new, folder)
    if changed:
        refuse(folder, f"別の学習のアダプタがあります ({'、'.join(changed)})")
    return Previous(old, checkpoint)


def refuse(folder, why):
    """その output_dir では学習できないと言って終わる。"""
    other = shlex.quote(f"{folder}-2")
    fail(f"{folder} には、{why}。output_dir を別の名前にしてください (例: --output_dir {other})。")


def describe(cfg, world, n_questions):
    """これからの学習の TrainingRecord。"""
    files = [dataset["path"] for dataset in cfg.datasets]
    _, example = next(read_records(files[0], ""))
    settings = {key: value for key, value in cfg.to_dict().items() if key not in HARMLESS}
    settings["processes"] = world
    return TrainingRecord(
        base_model=cfg.base_model,
        train_files={path: file_digest(path) for path in files},
        example=example,
        settings=json.loads(json.dumps(settings, default=str)),
        finished=False,
        steps_done=0,
        steps_planned=0,
        questions=n_questions,
    )


def complete(folder, previous):
    """最後のチェックポイントまで書いて止まった学習なら、そのアダプタを仕上がりとして置き、True
    を返す。

    Trainer に続けさせると、max_steps で止まった学習では 1 ステップ余計に進む。
    """
    record = previous.record
    checkpoint = previous.checkpoint
    if step_of(checkpoint) < record.steps_planned or not (checkpoint / WEIGHTS).exists():
        return False
    for name in ("adapter_config.json", WEIGHTS):
        shutil.copy(checkpoint / name, folder)
    write_record(folder, replace(record, steps_done=record.steps_planned, finished=True))
    return True


def write_record(folder, record):
    write_json(Path(folder, RECORD), asdict(record))


class Recorder(TrainerCallback):
    """学習の記録を training.json に書く。about は、学習曲線の問う問題と精度 (測らないなら None)。


    """

    def __init__(self, folder, record, about):
        self.folder = folder
        self.record = record
        self.about = about
        self.seconds_before = 0.0

    def on_train_begin(self, args, state, control, **kwargs):
        self.begin = time.perf_counter()
        self.state = state
        if state.global_step:  # 続きからなら、前にかかった時間も数える
            self.seconds_before = read_record(self.folder).seconds
        self.write()

    def on_save(self, args, state, control, **kwargs):
        self.write()

    def write(self, finished=False):
        history = self.state.log_history
        losses = [log["loss"] for log in history if "loss" in log] or [None]
        curve = points(history)
        self_check = None
        if self.about and curve:
            last = curve[-1]
            self_check = self.about | {key: last[key] for key in ("accuracy", "probability")}
        seconds = self.seconds_before + time.perf_counter() - self.begin
        self.record = replace(
            self.record,
            epochs=round(self.state.epoch or 0, 2),
            steps_done=self.state.global_step,
            steps_planned=self.state.max_steps,
            finished=finished,
            seconds=round(seconds, 1),
            first_loss=losses[0],
            last_loss=losses[-1],
            curve=curve,
            self_check=self_check,
        )
        if self.state.is_world_process_zero:
            write_record(self.folder, self.record)
