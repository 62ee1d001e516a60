"""手順3で Axolotl が呼ぶプラグイン (YAML の plugins:)。学習の前に点検し、途中を 1 行で見せ、終わったら記録を残す。

Axolotl が呼ぶ順: register (YAML を読んだ直後) → pre_lora_load と post_model_load (モデルを読むとき) → post_trainer_create
→ 学習 → post_train_unload (アダプタを書いた後)。点検は check.py、記録は record.py、画面は screen.py、学習曲線は curve.py にある。
"""

import os
import sys
import time
from pathlib import Path

import torch
from axolotl.integrations.base import BasePlugin
from transformers import PrinterCallback, ProgressCallback

from quiz.training.preflight import check
from quiz.adapter import REPORT, read_config
from quiz.training.curve import Curve
from quiz.files import fail
from quiz.model import compute_exactly
from quiz.training.record import Record, complete, describe, find_previous, occupy
from quiz.questions.converted import read_quiz
from quiz.training.screen import LOG, Progress, hush

PATIENCE = 60  # 秒


def next_command(cfg, path):
    """学習の次に打つコマンド。path は YAML の場所。"""
    given = read_config(path)
    command = "python run_quiz.py" + (f" --config {path}" if path != "qlora-opencalm.yml" else "")
    command += f" --model {cfg.output_dir}" if given["output_dir"] != cfg.output_dir else ""
    return f"{path} の base_model を {cfg.base_model} にして {command}" if given["base_model"] != cfg.base_model else command


class Plugin(BasePlugin):
    """1 つの output_dir は 1 つの学習 (モデル、問題、設定) のもの。途中なら続け、済んでいればそう言い、別の学習なら断る。"""

    def get_input_args(self):
        return "quiz.training.yaml_check.Settings"

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
        summary, dtype = check(cfg.to_dict(), path, world)
        cfg.bf16, cfg.fp16 = dtype == "bfloat16", dtype == "float16"
        self.report, self.next = describe(cfg, world), next_command(cfg, path)
        self.questions = read_quiz([cfg.learning_curve]) if cfg.learning_curve and Path(cfg.learning_curve).is_file() else []
        if os.environ.get("RANK", "0") == "0":
            occupy(cfg.output_dir)
        previous, checkpoint = find_previous(cfg.output_dir, self.report)
        if previous and (previous["finished"] or complete(cfg.output_dir, previous, checkpoint)):
            if speaks:
                print(f"{cfg.output_dir} の学習は済んでいます (やり直すなら、別の output_dir で)。次は: {self.next}")
            sys.exit()
        if checkpoint:
            cfg.resume_from_checkpoint = str(checkpoint)
        if speaks:
            print(summary)
            print(f"{checkpoint.name} の続きから始めます。" if checkpoint else "モデルを読み、学習を始めます。", end="")
            print(f"詳しい記録は {Path(cfg.output_dir, LOG)}、損失のグラフは別の端末で tensorboard --logdir {cfg.output_dir}")
            if cfg.learning_curve and not self.questions:
                print(f"{cfg.learning_curve} がないので、学習の途中の正解率は測りません (手順2で作れます)。")
        hush(cfg.output_dir, checkpoint)

    def pre_lora_load(self, cfg, model):
        torch.manual_seed(cfg.seed)  # LoRA の初めの値は、Trainer が種を決めるより前に引かれる

    def post_model_load(self, cfg, model):
        compute_exactly(model)  # 学習の途中で評価しても、重みが並べ替えられないように

    def post_trainer_create(self, cfg, trainer):
        for callback in (ProgressCallback, PrinterCallback):
            trainer.remove_callback(callback)
        self.record = Record(cfg.output_dir, self.report | {"questions": len(trainer.train_dataset)})
        for callback in (self.record, Progress(), *([Curve(trainer, cfg, self.questions)] if self.questions else ())):
            trainer.add_callback(callback)

    def post_train(self, cfg, model):
        if not all(p.isfinite().all() for p in model.parameters() if p.requires_grad):  # 損失の表示は、数でない値を飛ばす
            fail("学習が発散しました (重みが数でなくなった)。learning_rate を小さくし、別の output_dir でやり直してください。")

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
