"""Axolotl のプラグイン (YAML の plugins: で読み込まれる)。学習に使った書式を、アダプタの隣に残す。"""

from pathlib import Path

from axolotl.integrations.base import BasePlugin

from quiz.config import EXAMPLE, train_files
from quiz.files import read_records, write_json


class Plugin(BasePlugin):
    def post_trainer_create(self, cfg, trainer):
        """学習用ファイルの最初の 1 件を残す。run_quiz.py は、これと違う書式では問わない。"""
        if trainer.is_world_process_zero():
            Path(cfg.output_dir).mkdir(parents=True, exist_ok=True)
            write_json(f"{cfg.output_dir}/{EXAMPLE}", [next(read_records(train_files(cfg)[0], ""))[1]])
