"""手順3で Axolotl が呼ぶプラグイン (YAML の plugins:)。学習の前に点検し、途中を 1 行で見せ、終わったら記録を残す。

Axolotl が呼ぶ順: register (YAML を読んだ直後) → pre_lora_load と post_model_load (モデルを読むとき) → post_trainer_create
→ 学習 → post_train_unload (アダプタを書いた後)。記録は output_dir の training.json:
    {"base_model": "...", "train_files": {"train-5-inst.json": "中身の sha256"}, "questions": 895, "example": {学習に使った最初の 1 件},
     "settings": {YAML とコマンドラインの設定}, "epochs": 3.0, "steps_done": 336, "steps_planned": 336, "finished": true, "seconds": 108.0,
     "first_loss": 8.8, "last_loss": 0.1, "curve": [{"epoch": 0, "step": 0, "accuracy": 0.84}, ...]}
"""

import fcntl
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

import torch
from axolotl.integrations.base import BasePlugin
from transformers import PrinterCallback, ProgressCallback, TrainerCallback

from quiz.check import check
from quiz.config import REPORT, digest, read_config, read_report, same_model
from quiz.curve import NAME, Curve
from quiz.files import fail, read_records, write_json
from quiz.model import compute_exactly, precision
from quiz.prompt import read_question
from quiz.results import read_quiz
from quiz.screen import LOG, Progress, hush

# 学習の結果に関わらない設定。ほかが 1 つでも違えば、別の学習である。
HARMLESS = {"axolotl_config_path", "base_model", "output_dir", "resume_from_checkpoint", "plugins", "learning_curve", "is_preprocess",
            "logging_steps", "use_tensorboard", "save_strategy", "save_steps", "saves_per_epoch", "save_total_limit"}
PATIENCE = 60  # 秒


def last_checkpoint(folder):
    """最後まで書かれたチェックポイントのうち、最も進んだもの。なければ None。"""
    for path in sorted(Path(folder).glob("checkpoint-[0-9]*"), key=lambda p: int(p.name.split("-")[1]), reverse=True):
        with suppress(OSError, ValueError):
            json.loads((path / "trainer_state.json").read_text())  # 最後に書かれるファイル
            return path


def lock(folder):
    """folder を、このプロセスが終わるまで占める。ほかのプロセスが学習していれば、1 行で終わる。"""
    os.makedirs(folder, exist_ok=True)
    try:  # 開いたままにする: プロセスが終われば、どう終わっても解ける
        fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fail(f"{folder} では、もう 1 つの学習が動いています。終わるのを待つか、その端末で Ctrl-C を押してください。")
    except OSError:
        pass  # ロックのないファイルシステム


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
    kept, why = next(Path(folder).glob("*.safetensors"), None), ""
    if not old and kept:
        why = f"記録のない {kept.name} があります"
    if not old or not (old["finished"] or checkpoint):
        old = checkpoint = None  # まだ何も残っていない
    elif differences(old, new, folder):
        why = f"別の学習のアダプタがあります ({'、'.join(differences(old, new, folder))})"
    if why:
        fail(f"{folder} には、{why}。output_dir を別の名前にしてください (例: --output_dir {folder}-2)。")
    return old, checkpoint


def describe(cfg, world):
    """これからの学習の記録。書式が quiz/prompt.py のものでなければ、1 行で終わる。"""
    rows = [row for dataset in cfg.datasets for _, row in read_records(dataset["path"], "")]
    kind = cfg.datasets[0]["type"]
    # YAML の書式 (ふつうは "{instruction}") を通した、モデルが見る文字列
    shown = (kind if isinstance(kind, str) else str(kind.get("no_input_format"))).replace("{instruction}", rows[0]["instruction"])
    example = rows[0] | {"instruction": shown}
    try:
        read_question(example)
    except ValueError:
        fail(f"{cfg.axolotl_config_path}: datasets の type が、手順4の書式と違う形にしています。元の qlora-opencalm.yml と比べてください。")
    settings = {k: v for k, v in cfg.to_dict().items() if k not in HARMLESS} | {"processes": world}
    return {"base_model": cfg.base_model, "train_files": {d["path"]: digest(d["path"]) for d in cfg.datasets}, "questions": len(rows),
            "example": example, "settings": json.loads(json.dumps(settings, default=str))}


def next_command(cfg, path):
    """学習の次に打つコマンド。path は YAML の場所。"""
    given = read_config(path)
    command = "python run_quiz.py" + (f" --config {path}" if path != "qlora-opencalm.yml" else "")
    command += f" --model {cfg.output_dir}" if given["output_dir"] != cfg.output_dir else ""
    return f"{path} の base_model を {cfg.base_model} にして {command}" if given["base_model"] != cfg.base_model else command


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


class Plugin(BasePlugin):
    """1 つの output_dir は 1 つの学習 (モデル、問題、設定) のもの。途中なら続け、済んでいればそう言い、別の学習なら断る。"""

    def get_input_args(self):
        return "quiz.settings.Settings"

    def register(self, cfg):
        speaks = os.environ.get("LOCAL_RANK", "0") == "0"
        try:
            self.prepare(cfg, speaks)
        except SystemExit as e:
            if e.code and not speaks:  # どのプロセスも同じことに気付く。話すのは計算機ごとに 1 つで、ほかは、まとめて止められるのを待つ
                time.sleep(PATIENCE)
            raise

    def prepare(self, cfg, speaks):
        """点検し、続きからか初めからかを決める。speaks なら、それを画面に出す。"""
        path, world = str(cfg.axolotl_config_path), int(os.environ.get("WORLD_SIZE", 1))
        summary = check(cfg.to_dict(), path, world)
        dtype = precision(cfg.bf16, cfg.fp16, torch.cuda.get_device_capability() if torch.cuda.is_available() else None)
        cfg.bf16, cfg.fp16 = dtype == "bfloat16", dtype == "float16"
        self.report, self.next = describe(cfg, world), next_command(cfg, path)
        self.questions = read_quiz([cfg.learning_curve]) if cfg.learning_curve and Path(cfg.learning_curve).is_file() else []
        previous, checkpoint = find_previous(cfg.output_dir, self.report)
        if previous and previous["finished"]:
            if speaks:
                print(f"{cfg.output_dir} の学習は済んでいます (やり直すなら、別の output_dir で)。次は: {self.next}")
            sys.exit()
        if checkpoint:
            cfg.resume_from_checkpoint = str(checkpoint)
        if os.environ.get("RANK", "0") == "0":
            lock(cfg.output_dir)
        if speaks:
            print(summary)
            print(f"{checkpoint.name} の続きから始めます。" if checkpoint else "モデルを読み、学習を始めます。", end="")
            print(f"詳しい記録は {Path(cfg.output_dir, LOG)}、損失のグラフは別の端末で tensorboard --logdir {cfg.output_dir}")
            if cfg.learning_curve and not self.questions:
                print(f"{cfg.learning_curve} がないので、学習の途中の正解率は測りません (手順2で作れます)。")
        hush(cfg.output_dir)

    def pre_lora_load(self, cfg, model):
        torch.manual_seed(cfg.seed)  # LoRA の初めの値は、Trainer が種を決めるより前に引かれる

    def post_model_load(self, cfg, model):
        compute_exactly(model)  # 学習の途中で評価しても、重みが並べ替えられないように

    def post_trainer_create(self, cfg, trainer):
        for callback in (ProgressCallback, PrinterCallback):
            trainer.remove_callback(callback)
        self.record = Record(cfg.output_dir, self.report)
        for callback in (self.record, Progress(), *([Curve(trainer, cfg, self.questions)] if self.questions else ())):
            trainer.add_callback(callback)

    def post_train_unload(self, cfg):
        self.record.write(finished=True)
        report, curve = self.record.report, "  ".join(f"{p['accuracy']:.3f}" for p in self.record.report["curve"])
        if not self.record.state.is_world_process_zero:
            return
        text = "学習しました: {questions} 問、{epochs:g} エポック ({steps_done}/{steps_planned} ステップ)、{seconds:.0f} 秒"
        text += "、損失 {first_loss:.3f} → {last_loss:.3f}" if report["first_loss"] else ""
        print(text.format(**report))
        if curve:
            print(f"{cfg.learning_curve} の番号の確率での正解率 (学習前と、1 エポックごと): {curve}")
        print(f"{cfg.output_dir} に書きました (記録は {REPORT})。次は: {self.next}")
