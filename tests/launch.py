"""手順3のコマンドと同じことを、Axolotl を読み込み終えたプロセスの写し (fork) の中でする。

Axolotl を読み込むだけで 20 秒かかるので、読み込むのは 1 度だけにする。コマンドそのもの
(accelerate launch) は、デモ、README、中断、2 プロセスのテストが打つ。
"""

import gc
import multiprocessing
import os
import runpy
import socket
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace

# quiz の中のものは、ここでは読み込まない: 作業フォルダに書き換えたものを置くテストがある
LOADED = [
    "accelerate.commands.launch",
    "axolotl.cli.train",
    "axolotl.core.builders",
    "axolotl.loaders",
    "axolotl.train",
]


@cache
def loaded_process():
    """LOADED を読み込んで待ち、頼まれるたびに自分の写しを作るプロセス。"""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    return context


def together(target, n, *arguments):
    """target(*arguments) を、torchrun と同じ環境の n 個のプロセスでする。"""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": n, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = []
    for rank in range(n):
        environment = {"RANK": rank, "LOCAL_RANK": rank, **shared}
        given = target, environment, arguments
        processes.append(loaded_process().Process(target=one_of_them, args=given))
    for process in processes:
        process.start()
    # 1 つが止まれば、ほかはそれを待ち続ける
    for process in processes:
        process.join(300)
        process.kill()
    assert [process.exitcode for process in processes] == [0] * n


def one_of_them(target, environment, arguments):
    """torchrun が始めた 1 つのプロセスのつもりで、target をする。"""
    gc.freeze()
    for name, value in environment.items():
        os.environ[name] = str(value)
    target(*arguments)


def launch(options, work):
    """work で accelerate launch -m axolotl.cli.train options をした結果。"""
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder, "stdout"), Path(folder, "stderr")
        arguments = list(map(str, options)), work, dict(os.environ), paths
        process = loaded_process().Process(target=train_here, args=arguments)
        process.start()
        process.join()
        out, err = (path.read_bytes().decode() for path in paths)
    return SimpleNamespace(returncode=process.exitcode, stdout=out, stderr=err)


def train_here(options, work, environment, paths):
    """このプロセスを、学習のコマンドを打ったプロセスにして、学習する。"""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_simple_launcher_cmd_env

    # 読み込み終えたものは、片付けの対象にしない (Trainer は保存のたびに調べ、0.4 秒かかる)
    gc.freeze()
    # 打った人の環境とフォルダと画面
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(work)
    for number, path in enumerate(paths, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    # 学習の中で作る子は、いつもどおり fork で
    multiprocessing.set_start_method("fork", force=True)

    # accelerate launch が子に渡す環境で、python -m と同じに始める
    arguments = launch_command_parser().parse_args(["-m", "axolotl.cli.train", *options])
    arguments, *_ = _validate_launch_command(arguments)
    _, environment = prepare_simple_launcher_cmd_env(arguments)
    os.environ.update(environment)
    sys.path.insert(0, str(work))
    sys.argv[1:] = options
    runpy.run_module("axolotl.cli.train", run_name="__main__", alter_sys=True)
