"""学習の記録 (output_dir の training.json) を書き、前の学習のものと比べる。

    {"base_model": "...", "train_files": {"train-5-inst.json": "中身の sha256"},
     "example": {学習に使った最初の 1 件}, "settings": {YAML とコマンドラインの設定},
     "finished": true, "steps_done": 336, "steps_planned": 336, "questions": 895,
     "epochs": 3.0, "seconds": 108.0, "first_loss": 8.8, "last_loss": 0.1,
     "curve": [{"epoch": 0, "step": 0, "accuracy": 0.84, "probability": 0.4}, ...],
     "base_files": "モデルの印", "adapter_files": "アダプタの印",
     "self_check": {"questions": "問題の印", "n": 179, "dtype": "torch.float32",
                    "accuracy": 0.99, "probability": 0.98}}
"""

import json
import os
import shlex
import shutil
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from transformers import TrainerCallback

from quiz.adapter import (
    RECORD,
    WEIGHTS,
    TrainingRecord,
    adapter_digest,
    file_digest,
    read_record,
    same_model,
)
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


def step_of(checkpoint):
    """チェックポイントのフォルダの名前 (checkpoint-36) の、ステップの数。"""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def last_checkpoint(folder):
    """最後まで書かれたチェックポイントのうち、最も進んだもの。なければ None。"""
    # trainer_state.json は最後に書かれる。読めないものと、名前の似たフォルダは数えない
    found = []
    for state in Path(folder).glob("checkpoint-*/trainer_state.json"):
        with suppress(ValueError):
            json.loads(state.read_text())
            found.append((step_of(state.parent), state.parent))
    return max(found, default=(0, None))[1]


def occupy(folder):
    """output_dir を作り、このプロセスが終わるまで占める。

    ほかのプロセスが学習していれば、1 行で終わる。
    """
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as e:
        fail(f"output_dir の {folder} を作れません ({reason(e)})。別の場所にしてください。")
    # 2 つの学習が同じ所に書けば、どちらのアダプタでもなくなる
    lock(
        folder,
        f"{folder} では、もう 1 つの学習が動いています。終わるのを待つか、"
        "その端末で Ctrl-C を押してください。",
    )


def differences(old, new, folder):
    """2 つの TrainingRecord で違うもの (「名前: 前は …、今は …」) のリスト。

    folder は old のアダプタのフォルダ。
    """
    before = {"base_model": old.base_model, **old.settings}
    after = {"base_model": new.base_model, **new.settings}
    # 同じフォルダを別の名前で書いただけかもしれない
    if same_model(new.base_model, old.base_model, folder):
        after["base_model"] = old.base_model

    # 勾配チェックポイントは、空いているメモリで決まり、学習する値は変えない
    texts = []
    for key in sorted((before.keys() | after.keys()) - {"gradient_checkpointing"}):
        if before.get(key) != after.get(key):
            texts.append(f"{key}: 前は {before.get(key)}、今は {after.get(key)}")
    # 学習用ファイルの名前は設定にあるので、ここでは中身を比べる
    for path, mark in new.train_files.items():
        if old.train_files.get(path, mark) != mark:
            texts.append(f"{path} の中身")
    return texts


def find_previous(folder, new):
    """folder にある、new と同じ学習の、前回の TrainingRecord。

    続きを始めるものがなければ None。別の学習のものがあれば、1 行で終わる。
    """
    old = read_record(folder)
    names = {path.name for path in Path(folder).glob("*")}
    if old is None:
        # LOG だけなら、始めてすぐに止めた学習
        if names and (LOG not in names or WEIGHTS in names):
            refuse(folder, f"この学習のものではないファイル ({min(names)} など) があります")
        return None

    # アダプタを書き終えていなければ、最後のチェックポイントから続ける
    if WEIGHTS not in names:
        old = replace(old, finished=False)
    if not old.finished and last_checkpoint(folder) is None:
        return None
    # 同じ学習のものか
    changed = differences(old, new, folder)
    if changed:
        refuse(folder, f"別の学習のアダプタがあります ({'、'.join(changed)})")
    return old


def refuse(folder, why):
    """その output_dir では学習できないと言って終わる。"""
    other = shlex.quote(f"{folder}-2")
    fail(f"{folder} には、{why}。output_dir を別の名前にしてください (例: --output_dir {other})。")


def describe(cfg, world, n_questions):
    """これからの学習の TrainingRecord。world はプロセスの数。"""
    # 書式は、学習に使う最初の 1 件で残す
    files = [dataset["path"] for dataset in cfg.datasets]
    _, example = next(read_records(files[0], ""))
    # JSON に書いて読み戻した形にそろえる: 前回の記録と比べるので
    settings = {key: value for key, value in cfg.to_dict().items() if key not in HARMLESS}
    settings["processes"] = world
    settings = json.loads(json.dumps(settings, default=str))
    return TrainingRecord(
        base_model=cfg.base_model,
        train_files={path: file_digest(path) for path in files},
        example=example,
        settings=settings,
        finished=False,
        steps_done=0,
        steps_planned=0,
        questions=n_questions,
    )


def complete(folder, record, checkpoint):
    """最後のチェックポイントまで書いて止まった学習なら、そのアダプタを仕上がりとして置く。

    置いたかを返す。Trainer に続けさせると、max_steps で止まった学習では 1 ステップ余計に進む。
    """
    # 途中のチェックポイントなら、Trainer に続けさせる
    if step_of(checkpoint) < record.steps_planned or not (checkpoint / WEIGHTS).exists():
        return False
    # 学習の終わりに Axolotl と Recorder が書くもの
    for name in ("adapter_config.json", WEIGHTS):
        shutil.copy(checkpoint / name, folder)
    # 最後の記録の前に止まっていれば、学習の終わりの値はない
    self_check = record.self_check
    if record.steps_done < record.steps_planned:
        self_check = None
    write_record(
        folder,
        replace(
            record,
            steps_done=record.steps_planned,
            finished=True,
            adapter_files=adapter_digest(folder),
            self_check=self_check,
        ),
    )
    return True


def write_record(folder, record):
    write_json(Path(folder, RECORD), asdict(record))


class Recorder(TrainerCallback):
    """学習の記録を training.json に書く。curve は学習曲線 (測らないなら None)。"""

    def __init__(self, folder, record, curve):
        self.folder = folder
        self.record = record
        self.curve = curve

    def on_train_begin(self, args, state, control, **kwargs):
        self.state = state
        self.begin = time.perf_counter()
        # 続きからなら、前にかかった時間も数える
        if state.global_step:
            self.begin -= read_record(self.folder).seconds
        self.write()

    def on_save(self, args, state, control, **kwargs):
        self.write()

    def write(self, finished=False):
        """ここまでの記録を書く。"""
        # 損失は、初めと終わりの値だけを残す
        history = self.state.log_history
        losses = [log["loss"] for log in history if "loss" in log] or [None]
        curve = points(history)
        # 今のステップで測った値は、学習したモデルが自分に問うた結果
        self_check = None
        if self.curve and curve and curve[-1]["step"] == self.state.global_step:
            last = curve[-1]
            self_check = self.curve.about | {key: last[key] for key in ("accuracy", "probability")}

        # どのプロセスも同じ記録を持ち、1 つだけが書く
        self.record = replace(
            self.record,
            epochs=round(self.state.epoch or 0, 2),
            steps_done=self.state.global_step,
            steps_planned=self.state.max_steps,
            finished=finished,
            seconds=round(time.perf_counter() - self.begin, 1),
            first_loss=losses[0],
            last_loss=losses[-1],
            curve=curve,
            self_check=self_check,
        )
        if self.state.is_world_process_zero:
            if finished:
                written = adapter_digest(self.folder)
                self.record = replace(self.record, adapter_files=written)
            write_record(self.folder, self.record)
