# data/demo/run.sh と tests/run.sh が読み込む: Python を確かめ、.venv を作り、requirements.txt を入れる (ONLY_VENV があれば、入れない)。
usable() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2> /dev/null; }
if [ ! -d .venv ]; then
    for python in python3.11 python3.12 python3 python; do usable "$python" && break; done
    usable "$python" || { echo "エラー: Python 3.11 か 3.12 が見つかりません。入れてから、もう一度実行してください (例: sudo apt install python3 python3-venv)。" >&2; exit 1; }
    echo "準備: .venv を作り、ライブラリを入れます (数分かかります)"
    "$python" -m venv .venv || { rm -rf .venv; echo "エラー: .venv を作れません。venv を入れてください (例: sudo apt install python3-venv)。" >&2; exit 1; }
fi
usable .venv/bin/python || { echo "エラー: .venv の Python が 3.11 でも 3.12 でもありません。rm -rf .venv で消して、もう一度実行してください。" >&2; exit 1; }
[ -n "${ONLY_VENV:-}" ] || .venv/bin/pip install -q -r requirements.txt
