"""学習の画面: 進み具合を 1 行に、エラーを日本語の 1 行にする。

Axolotl の詳しい表示は、output_dir の debug.log に残る。
"""

import logging
import math
import signal
import sys
import time
import traceback
from pathlib import Path

from tqdm import tqdm
from transformers import TrainerCallback

from quiz.files import reason
from quiz.model import OUT_OF_MEMORY

LOG = "debug.log"  # Axolotl が output_dir に書く。画面に出さなかったものも、ここにはある
FIRST = 60  # 秒。ここまでの速さから、終わる時刻を見積もる


def hush(folder, checkpoint):
    """Axolotl の表示をエラーだけにし、例外を日本語で言うようにする。

    folder は output_dir、checkpoint は続きを始めるところ (初めからなら None)。
    """
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    for handler in logging.getLogger().handlers + logging.getLogger("axolotl").handlers:
        if handler.name in ("console", "color_console"):
            handler.setLevel(logging.ERROR)
    log = Path(folder, LOG)
    sys.excepthook = lambda kind, error, trace: explain(kind, error, trace, log, checkpoint)


def explain(kind, error, trace, log, checkpoint):
    """例外 error を 1 行で stderr に言い、経緯 (traceback) を log に残す。"""
    from axolotl.utils.tee import file_only_stream

    # 記録のファイルがまだなければ、画面に出す。
    stream = file_only_stream if log.exists() else sys.__stderr__
    traceback.print_exception(kind, error, trace, file=stream)
    file_only_stream.flush()
    no_memory = kind is MemoryError or any(words in str(error) for words in OUT_OF_MEMORY)
    if kind is KeyboardInterrupt:
        message = (
            "中断しました。同じコマンドをもう一度実行すると、"
            "チェックポイントがあればその続きから、"
            "なければ初めから学習します。"
        )
    elif no_memory:
        message = (
            "メモリが足りません。micro_batch_size を半分にし、その分 "
            "gradient_accumulation_steps を"
            " 2 倍にして、別の output_dir で。"
        )
    else:
        message = (
            f"学習が止まりました ({kind.__name__}: {reason(error)})。経緯は {log} "
            "にあります。"
            "直して、もう一度実行してください。"
        )
        if checkpoint:
            message += f"続きから始められないときは、壊れた {checkpoint} を消してください。"
    print(f"\nエラー: {message}", file=sys.__stderr__)


class ProgressLine(TrainerCallback):
    """ステップ、損失、1 秒あたりのトークン数 (詰め物も含む)、残り時間の 1 行。"""

    def __init__(self):
        self.start = None  # 初めに損失が出たときの (時刻, ステップ, トークン数)
        self.told = False  # 終わる時刻を知らせたか

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
        now = (time.perf_counter(), state.global_step, logs.get("tokens/total", 0))
        self.start = self.start or now
        seconds, steps, tokens = (b - a for a, b in zip(self.start, now))
        shown = f"損失 {logs['loss']:.3f}"
        if steps:
            shown += f"  {tokens / seconds:,.0f} トークン/秒"
        self.bar.set_postfix_str(shown, refresh=False)
        self.bar.update(state.global_step - self.bar.n)
        if seconds > FIRST and not self.told and state.is_world_process_zero:
            self.told = True
            self.tell_end(seconds / steps * (state.max_steps - state.global_step))

    def tell_end(self, seconds_left):
        """終わる時刻の見積もりを 1 行で知らせる。"""
        end = time.strftime("%H:%M", time.localtime(time.time() + seconds_left))
        minutes = math.ceil(seconds_left / 60)
        self.bar.write(
            f"この速さなら、あと約 {minutes} 分、{end} ごろに終わります。", file=sys.__stderr__
        )

    def on_train_end(self, args, state, control, **kwargs):
        self.bar.close()
