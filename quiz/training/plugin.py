"""手順3で Axolotl が呼ぶプラグイン (YAML の plugins:)。

学習の前に点検し、途中を 1 行で見せ、終わったら記録を残す。Axolotl が呼ぶ順:
    register (YAML を読んだ直後)
    post_model_build、pre_lora_load、post_lora_load、post_model_load (モデルを読む)
    post_trainer_create (学習の直前)
    post_train、post_train_unload (アダプタを書いた後)
"""

import os
import shlex
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import torch
from axolotl.integrations.base import BasePlugin
from peft import get_peft_model
from transformers import PrinterCallback, ProgressCallback

from quiz.adapter import RECORD, base_digest, read_config
from quiz.files import fail
from quiz.model import (
    adapter_tensors,
    compute_exactly,
    empty_model,
    multiply_once,
    no_gpu_parts,
    read_model_config,
)
from quiz.training.answer_loss import answers_only
from quiz.training.curve import Curve
from quiz.training.preflight import check
from quiz.training.record import (
    Recorder,
    complete,
    describe,
    find_previous,
    last_checkpoint,
    occupy,
)
from quiz.training.rows import check_dataset
from quiz.training.screen import LOG, ProgressLine, hush


def next_command(cfg, path):
    """学習の次に打つコマンド。path は YAML の場所。"""
    command = "python run_quiz.py"
    if path != "qlora-opencalm.yml":
        command += f" --config {shlex.quote(path)}"
    # --output_dir を付けて学習したなら、手順4にも、そのアダプタを言う
    if read_config(path)["output_dir"] != cfg.output_dir:
        command += f" --model {shlex.quote(cfg.output_dir)}"
    return command


def shapes_of(model):
    """アダプタのテンソルの名前と形。埋め込みの形も加える (語彙を広げれば、手順4と合わなくなる)。"""
    shapes = {name: tuple(tensor.shape) for name, tensor in adapter_tensors(model).items()}
    shapes["embedding"] = tuple(model.get_input_embeddings().weight.shape)
    return shapes


class Plugin(BasePlugin):
    """1 つの output_dir は 1 つの学習 (モデル、問題、設定) のもの。

    途中なら続け、済んでいればそう言い、別の学習なら断る。
    """

    def get_input_args(self):
        return "quiz.training.yaml_check.Settings"

    def register(self, cfg):
        """点検し、続きからか初めからかを決める。"""
        path = str(cfg.axolotl_config_path)
        world = int(os.environ.get("WORLD_SIZE", 1))
        no_gpu_parts()
        self.plan = check(cfg.to_dict(), path, world)

        # この計算機でできる精度と、モデルに合う計算のしかたにする
        cfg.bf16 = self.plan.dtype == "bfloat16"
        cfg.fp16 = self.plan.dtype == "float16"
        cfg.attn_implementation = self.plan.attention
        cfg.gradient_checkpointing = self.plan.gradient_checkpointing
        # Axolotl は前回のトークン列を、ファイルの中身が変わっていても使い回す
        cfg.is_preprocess = True
        self.record = describe(cfg, world, len(self.plan.questions))
        self.next = next_command(cfg, path)

        # いくつかのプロセスで学習するときは、1 つだけが場所を取り、計算機ごとに 1 つだけが話す
        if os.environ.get("RANK", "0") == "0":
            occupy(cfg.output_dir)
        speaks = os.environ.get("LOCAL_RANK", "0") == "0"

        # 同じ学習の前回が済んでいるか、途中まであるか
        self.previous = find_previous(cfg.output_dir, self.record)
        begin = "モデルを読み、学習を始めます。"
        if self.previous:
            old = self.previous
            checkpoint = last_checkpoint(cfg.output_dir)
            if old.finished or complete(cfg.output_dir, old, checkpoint):
                if speaks:
                    again = "やり直すなら、別の output_dir で"
                    print(f"{cfg.output_dir} の学習は済んでいます ({again})。次は: {self.next}")
                sys.exit()
            cfg.resume_from_checkpoint = str(checkpoint)
            begin = f"{checkpoint.name} の続きから始めます。"

        if speaks:
            log = Path(cfg.output_dir, LOG)
            graph = f"tensorboard --logdir {shlex.quote(cfg.output_dir)}"
            print(*self.plan.lines, sep="\n")
            print(f"{begin}詳しい記録は {log}、損失のグラフは別の端末で {graph}")
        hush(cfg.output_dir)

    def post_model_build(self, cfg, model):
        # トークナイザの語彙の方が大きいモデル (gemma-3) では、Axolotl が埋め込みを広げ、
        # アダプタにも 2 つ書く。広げた分のトークンは問題に出てこない (点検で確かめた) ので、
        # 広げさせない。
        model.resize_token_embeddings = lambda *args, **kwargs: model.get_input_embeddings()

    def pre_lora_load(self, cfg, model):
        del model.resize_token_embeddings
        # LoRA の初めの値は、Trainer が種を決めるより前に引かれる
        torch.manual_seed(cfg.seed)

    def post_lora_load(self, cfg, model):
        """学習を始める前に、手順4が読むモデルに、このアダプタがそのまま合うことを確かめる。"""
        # 手順4と同じ形のモデルに、同じ LoRA を付けてみる
        config = cfg.to_dict()
        lora = deepcopy(model.peft_config["default"])
        lora.lora_dropout = 0.0
        asked = empty_model(read_model_config(cfg.base_model, config), config)
        asked = get_peft_model(asked, lora, low_cpu_mem_usage=True)

        different = shapes_of(model).items() ^ shapes_of(asked).items()
        if different:
            fail(
                f"{cfg.base_model} のアダプタは、手順4が読むモデルに合わない形になります "
                f"({min(different)[0]} など)。docs/models.md の表のモデルを使ってください。"
            )

    def post_model_load(self, cfg, model):
        # 学習の途中で評価しても、重みが並べ替えられないように
        compute_exactly(model)
        multiply_once(model)

    def post_trainer_create(self, cfg, trainer):
        self.check_rows(cfg, trainer)
        self.check_base(cfg)
        answers_only(trainer, trainer.model.get_base_model(), cfg.to_dict())

        # 画面は、1 行の進み具合だけにする
        for callback in (ProgressCallback, PrinterCallback):
            trainer.remove_callback(callback)
        curve = None
        if self.plan.curve_questions:
            curve = Curve(trainer, cfg, self.plan.curve_questions, self.plan.dtype)
        self.recorder = Recorder(cfg.output_dir, self.record, curve)
        trainer.add_callback(self.recorder)
        trainer.args.include_num_input_tokens_seen = "all"  # 進み具合の、1 秒あたりのトークン数
        trainer.add_callback(ProgressLine())
        if curve:
            trainer.add_callback(curve)

    def check_rows(self, cfg, trainer):
        """Axolotl が使う行は、学習用ファイルのすべての問題の、手順4の問い方のとおりの行か。"""
        # 質問の部分も学習する設定では、ラベルが違う
        if cfg.train_on_inputs:
            return
        try:
            check_dataset(trainer.train_dataset, self.plan.rows)
        except ValueError as e:
            fail(f"{e}。last_run_prepared フォルダを消して、もう一度実行してください。")

    def check_base(self, cfg):
        """基のモデルのファイルの印を記録に加える。続きからなら、始めたときと同じか確かめる。"""
        mark = base_digest(cfg.base_model)
        if self.previous and self.previous.base_files not in (None, mark):
            fail(
                f"{cfg.base_model} のファイルが、学習を始めたときと違います。"
                "元に戻すか、別の output_dir で始めてください。"
            )
        self.record = replace(self.record, base_files=mark)

    def post_train(self, cfg, model):
        # 損失の表示は、数でない値を飛ばす
        for p in model.parameters():
            if p.requires_grad and not p.isfinite().all():
                fail(
                    "学習が発散しました (重みが数でなくなった)。learning_rate を小さくし、別の "
                    "output_dir でやり直してください。"
                )

    def post_train_unload(self, cfg):
        self.recorder.write(finished=True)
        if not self.recorder.state.is_world_process_zero:
            return

        # 何を、どれだけ学習したか
        done = self.recorder.record
        text = (
            f"学習しました: {done.questions} 問、{done.epochs:g} エポック"
            f" ({done.steps_done}/{done.steps_planned} ステップ)、{done.seconds:.0f} 秒"
        )
        if done.first_loss:
            text += f"、損失 {done.first_loss:.3f} → {done.last_loss:.3f}"
        print(text)
        # 終わりに測ったのでなければ (続きから、測らずに始めたなど)、出さない
        if done.self_check:
            accuracies = "  ".join(f"{point['accuracy']:.3f}" for point in done.curve)
            print(
                f"{cfg.learning_curve} の番号の確率での正解率 (学習前と、1 エポックごと): "
                f"{accuracies}"
            )
            curve = self.recorder.curve
            if curve.n_left:
                print(f"注意: sequence_len より長い {curve.n_left} 問は、測っていません。")
            guessed = curve.guessed(done.self_check["accuracy"])
            if guessed:
                print(f"注意: {guessed}")
        print(f"{cfg.output_dir} に書きました (記録は {RECORD})。次は: {self.next}")
