"""手順のスクリプトが立つ土台。1 つのモジュールが 1 つの話題を受け持つ。"""

import sys
from importlib.util import find_spec

if find_spec("scipy") is None:
    sys.exit("エラー: ライブラリが見つかりません。この端末で source .venv/bin/activate を実行してください (初めてなら README の手順0)。")
