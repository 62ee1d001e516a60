"""Axolotl のプラグイン (YAML の plugins: で読み込まれる)。学習に使った書式を、アダプタの隣に残す。"""

import os
from pathlib import Path

from axolotl.integrations.base import BasePlugin

from quiz.config import EXAMPLE
from quiz.files import read_records, write_json


class Plugin(BasePlugin):
    """学習用ファイルの最初の 1 件を残す。run_quiz.py は、これと違う書式では問わない。"""

    def post_trainer_create(self, cfg, trainer):
        # 途中で止まったアダプタの隣に、前の学習の記録が残らないようにする。
        Path(cfg.output_dir, EXAMPLE).unlink(missing_ok=True)

    def post_train(self, cfg, model):
        kind, row = cfg.datasets[0]["type"], next(read_records(cfg.datasets[0]["path"], ""))[1]
        kind = kind if isinstance(kind, str) else str(kind["no_input_format"])
        if os.environ.get("RANK", "0") == "0":  # YAML の書式 (ふつうは "{instruction}") を通した、モデルが見た文字列
            write_json(Path(cfg.output_dir, EXAMPLE), [row | {"instruction": kind.replace("{instruction}", row["instruction"])}])
