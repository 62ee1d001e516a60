"""途中結果: 答えたそばから書き足し、止まっても続きから始め、いくつかのプロセスで分担する。

result.json を作る間、プロセスごとに result.json.part0, part1, ... がある。
1 行目が実行条件、あとは 1 行に 1 問の Answer で、結果を書き終えたら消す。
"""

import json
import os
import re
from contextlib import suppress

from accelerate.utils import gather_object
from tqdm import tqdm

from quiz.files import fail, lock, reason
from quiz.solving.results import Answer, check_same_run

# もうある途中結果と、次にすること
GO_ON = "続けるなら前と同じコマンドで、やり直すならこのファイルを消してから実行してください。"


class PartialAnswers:
    """path (result.json) の途中結果。with で使い、その間は進み具合を表示する。

    run は実行条件の dict、questions は解く問題のリスト、processes は accelerate の PartialState。
    """

    def __init__(self, path, run, questions, processes):
        # 自分のファイルを、このプロセスが終わるまで占める
        self.path = path
        self.processes = processes
        self.own = path.with_name(f"{path.name}.part{processes.process_index}")
        append(self.own, "")
        busy = f"もう 1 つの run_quiz.py が {path} のために解いています。"
        lock(self.own, f"{busy}終わるのを待つか、-o で別の名前にしてください。")

        # 前に答えた分を、全員で集める。GPU によって計算の精度が違っても、条件は先頭のもの
        run = gather_object([run])[0]
        parts = {part: read_part(part, run) for part in parts_of(path)}
        # 全員が読み終えるまで返らないので、読んでいるファイルに誰かが書き足すことはない
        found = gather_object(sum(parts.values(), []))
        self.answers = {answer.ID: answer for answer in found}
        if not parts[self.own]:
            append(self.own, json.dumps(run, ensure_ascii=False), "w")

        # 進み具合を表示するのは、先頭のプロセスだけ
        self.bar = tqdm(
            total=len(questions),
            initial=len(self.answers),
            unit="問",
            mininterval=1,
            disable=not processes.is_main_process,
        )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.bar.close()

    def missing(self):
        """まだ誰も答えていない問題の番号の集合。"""
        return set(range(self.bar.total)) - self.answers.keys()

    def share(self, batches):
        """batches のうち、このプロセスが解くもの。"""
        return batches[self.processes.process_index :: self.processes.num_processes]

    def keep(self, answers):
        """答えたばかりの answers (Answer のリスト) を書き足し、数える。"""
        # 答えたそばから、ディスクに残す
        lines = []
        for answer in answers:
            self.answers[answer.ID] = answer
            record = json.dumps(answer.as_record(), ensure_ascii=False)
            lines.append("\n" + record)  # 改行が先: 前に止まったときの、書きかけの行には続けない
        append(self.own, "".join(lines))

        # 進み具合。ほかのプロセスも、同じだけ進んだとみなす
        done = len(answers) * self.processes.num_processes
        hits = sum(answer.hit for answer in self.answers.values())
        self.bar.set_postfix_str(f"正解率 {hits / len(self.answers):.3f}", refresh=False)
        self.bar.update(min(done, self.bar.total - self.bar.n))

    def gather(self):
        """全員の答えを集め、全問の Answer を ID の順に返す。"""
        found = gather_object(list(self.answers.values()))
        everyone = {answer.ID: answer for answer in found}
        return [everyone[i] for i in range(self.bar.total)]

    def finish(self):
        """結果を書き終えたので、途中結果を消し、プロセスの集まりを解く。"""
        self.processes.wait_for_everyone()
        for part in parts_of(self.path):
            part.unlink(missing_ok=True)
        self.processes.destroy_process_group()


def append(path, text, mode="a"):
    """text を書き足す。電源が落ちても、答え終えた分は残るように、ディスクまで届ける。"""
    try:
        with path.open(mode, encoding="utf-8") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
    except OSError as error:
        todo = "空き容量を確かめるか、-o で別の場所を指定してください。"
        fail(f"{path} に書けません ({reason(error)})。{todo}")


def parts_of(path):
    """path の途中結果のファイル (result.json.part0, part1, ...) のリスト。"""
    name = re.escape(path.name) + r"\.part\d+"
    return [p for p in path.parent.iterdir() if re.fullmatch(name, p.name)]


def read_part(path, run):
    """途中結果の Answer のリスト。1 行目の実行条件が run と違えば (版などは別として) 終わる。"""
    records = []
    for line in path.read_bytes().splitlines():
        with suppress(ValueError):  # 書いている途中で止まった行。なかったことにする
            records.append(json.loads(line))
    if not records:
        return []  # 始めてすぐに止まった

    # 答えを変えうる条件が 1 つでも違えば、混ぜられない
    before, *answers = records
    check_same_run(path, before, run, GO_ON)
    return [Answer(**answer) for answer in answers]
