"""手順のスクリプトが立つ土台。1 つのモジュールが 1 つの話題を受け持つ。"""

import sys
from importlib.util import find_spec

# 新しい端末を開いた後に多い
if sys.version_info < (3, 11) or not all(map(find_spec, ("yaml", "torch", "transformers"))):
    sys.exit(
        "エラー: この Python にはライブラリが入っていません。リポジトリの中で "
        "source .venv/bin/activate を実行してから、"
        "もう一度打ってください (まだなら README の手順0へ)。"
    )
