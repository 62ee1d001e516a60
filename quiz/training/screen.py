"""学習の画面: 進み具合を 1 行に、エラーを日本語の 1 行にする。

Axolotl の詳しい表示は、output_dir の debug.log に残る。
"""

import logging
import signal
import sys
import time
import traceback
from pathlib import Path

from tqdm import tqdm
from transformers import TrainerCallback

from quiz.files import reason
from quiz.model import is_out_of_memory

# Axolotl が output_dir に書く。画面に出さなかったものも、ここにはある
LOG = "debug.log"


def hush(folder):
    """Axolotl の表示をエラーだけにし、例外を日本語で言うようにする。folder は output_dir。"""
    import datasets
    import transformers

    # ライブラリの進み具合と、エラーより軽い知らせ
    datasets.disable_progress_bars()
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    for handler in logging.getLogger().handlers + logging.getLogger("axolotl").handlers:
        if handler.name in ("console", "color_console"):
            handler.setLevel(logging.ERROR)

    # 例外
    log = Path(folder, LOG)
    sys.excepthook = lambda kind, error, trace: explain(kind, error, trace, log)


def explain(kind, error, trace, log):
    """例外 error を 1 行で stderr に言い、経緯 (traceback) を log に残す。"""
    from axolotl.utils.tee import file_only_stream

    # 記録のファイルがまだなければ、画面に出す
    stream = file_only_stream if log.exists() else sys.__stderr__
    traceback.print_exception(kind, error, trace, file=stream)
    file_only_stream.flush()

    # 学生にできることは、例外の種類で違う
    if kind is KeyboardInterrupt:
        message = (
            "中断しました。同じコマンドをもう一度実行すると、チェックポイントがあれば"
            "その続きから、なければ初めから学習します。"
        )
    elif is_out_of_memory(error):
        message = (
            "メモリが足りません。YAML に gradient_checkpointing: true と書くか、"
            "micro_batch_size を半分にし、その分 gradient_accumulation_steps を 2 倍にして、"
            "別の output_dir で。"
        )
    else:
        message = (
            f"学習が止まりました ({kind.__name__}: {reason(error)})。経緯は {log} にあります。"
            "直して、もう一度実行してください。続きから始められなければ、"
            f"{log.parent} の checkpoint-… を消してください。"
        )
    print(f"\nエラー: {message}", file=sys.__stderr__)


class ProgressLine(TrainerCallback):
    """ステップ、損失、1 秒あたりのトークン数 (詰め物も含む)、残り時間の 1 行。"""

    def __init__(self):
        # 初めに損失が出たときの (時刻, トークン数)
        self.start = None

    def on_train_begin(self, args, state, control, **kwargs):
        # Axolotl は、Ctrl-C で学習の途中のアダプタを完成品のように書いて終わる。
        # 何も書かずに止まるようにする。
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            unit="ステップ",
            file=sys.__stderr__,
            mininterval=1,
            disable=not state.is_world_process_zero,
        )

    def on_log(self, args, state, control, logs=None, **kwargs):
        logging.getLogger("axolotl.progress").info("%s", logs)
        if "loss" not in logs:
            return

        # 速さは、初めの 1 回の準備を除いて測る
        now = time.perf_counter()
        tokens = logs["num_input_tokens_seen"]
        shown = f"損失 {logs['loss']:.3f}"
        if self.start:
            begin, tokens_before = self.start
            shown += f"  {(tokens - tokens_before) / (now - begin):,.0f} トークン/秒"
        else:
            self.start = now, tokens
        self.bar.set_postfix_str(shown, refresh=False)
        self.bar.update(state.global_step - self.bar.n)

    def on_train_end(self, args, state, control, **kwargs):
        self.bar.close()
