"""テストの共通部品。学生が打つコマンドを、そのまま別の作業フォルダで実行する。"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
ENV = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "AXOLOTL_DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
sys.path.insert(0, str(ROOT))


def run(*command, cwd, status=0):
    """コマンドを実行して結果を返す。*.py はこのリポジトリのスクリプト。終了コードが status でなければ失敗。"""
    first, *rest = map(str, command)
    command = [sys.executable, str(ROOT / first), *rest] if first.endswith(".py") else [first, *rest]
    result = subprocess.run(command, cwd=cwd, env=ENV, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert result.returncode == status, f"{command}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
    return result


def run_error(*command, cwd):
    """コマンドが日本語 1 行のエラーで終わることを確かめ、その行を返す。"""
    error = run(*command, cwd=cwd, status=1).stderr
    assert error.startswith("エラー: ") and error.count("\n") == 1 and "Traceback" not in error, error
    return error


def write_rows(path, *rows):
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")


def read(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def edit_yaml(target, base_model, output_dir):
    """YAML の先頭 2 行だけを、教員がするように書き換える。"""
    text = (ROOT / "qlora-opencalm.yml").read_text(encoding="utf-8")
    text = re.sub(r"^base_model:.*", f"base_model: {base_model}", text, flags=re.M)
    target.write_text(re.sub(r"^output_dir:.*", f"output_dir: {output_dir}", text, flags=re.M), encoding="utf-8")


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """README の 1 つ目のコマンド (data/demo/run.sh) を、リポジトリの写しで実行した後の data/demo/out。"""
    copy = tmp_path_factory.mktemp("clone") / "repo"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "out", "*cache*"))
    (copy / ".venv").symlink_to(BIN.parent)
    out = run("bash", "data/demo/run.sh", cwd=copy).stdout
    (copy / "data/demo/out/stdout.txt").write_text(out, encoding="utf-8")
    return copy / "data/demo/out"
