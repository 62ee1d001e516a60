#!/usr/bin/env bash
# テスト: 必要なものを入れ、書き方を調べ、すべてのテストを実行する。
#     bash tests/run.sh               # すべて
#     bash tests/run.sh -k convert    # 一部だけ (引数は pytest に渡る)
set -euo pipefail
cd "$(dirname "$0")/.."
[ -d .venv ] || "$(command -v python3.11 || command -v python3)" -m venv .venv
.venv/bin/pip install -q -r requirements.txt pytest==9.2.0 ruff==0.17.6
.venv/bin/ruff check .
.venv/bin/pytest "$@"
