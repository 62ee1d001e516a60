#!/usr/bin/env bash
# テスト: 必要なものを入れ、書き方を調べ、すべてのテストを実行する。
#     bash tests/run.sh               # すべて
#     bash tests/run.sh -k convert    # 一部だけ (引数は pytest に渡る)
set -euo pipefail
cd "$(dirname "$0")/.."
# --html のページは本物のブラウザで確かめる。入れられなければ、そのテストだけを飛ばす。ライブラリと同時に入れる。
if ! command -v chromium google-chrome > /dev/null && [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    { apt-get update && apt-get install -y --no-install-recommends chromium; } > /dev/null 2>&1 &
fi
# 入れるのは uv で (pip と同じものを、数分の 1 の時間で)。uv が使えなければ、pip で。
ONLY_VENV=1 . data/demo/venv.sh
packages=(-r requirements.txt -r tests/requirements.txt)
.venv/bin/pip install -q uv && UV_FIND_LINKS=${PIP_FIND_LINKS:-} .venv/bin/uv pip install -q --python .venv/bin/python "${packages[@]}" ||
    .venv/bin/pip install -q "${packages[@]}"
wait
.venv/bin/ruff check .
# uv は .pyc を作らない。使ったものだけを作らせる (作らなければ、どのプロセスも毎回ソースから読み、倍ほど遅い)
unset PYTHONDONTWRITEBYTECODE
# GPU があっても CPU で確かめる。2 つのプロセスで分ける (pytest 9.2 では xdist 3.8 の組分けが効かない)。
# 計算はどれも小さいので、1 プロセスに 1 スレッドの方が速い。
CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 .venv/bin/pytest -n 2 --dist loadgroup "$@"
