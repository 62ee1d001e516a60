"""ファイルの読み書き。間違いは、何が、どこで、次に何をするかを言う日本語の 1 行で終わる。"""

import json
import os
import re
import sys
from contextlib import suppress
from pathlib import Path


def fail(message):
    """message を 1 行で stderr に出し、終了コード 1 で終わる。"""
    sys.exit(f"エラー: {' '.join(str(message).split())}")


def reason(error):
    """例外の説明の 1 行目 (なければ種類の名前)。"""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def read_text(path, todo):
    """UTF-8 のファイルを読む。読めなければ、todo (次にすること) を言って終わる。"""
    try:
        raw = Path(path).read_bytes()
        return raw.decode("utf-8-sig")
    except OSError as e:
        fail(f"{path} を読めません ({e.strerror})。{todo}")
    except UnicodeDecodeError as e:
        line = raw.count(b"\n", 0, e.start) + 1
        fail(f"{path}:{line}: UTF-8 ではありません (直すなら iconv -f CP932 -t UTF-8 元のファイル > 新しいファイル)。{todo}")


def read_records(path, todo):
    """JSON Lines または JSON の配列を読み、(行番号, dict) を順に返す。読めなければ、todo (次にすること) を言って終わる。"""
    text = read_text(path, todo)
    body = text.strip()
    if not body or body.startswith("<"):
        fail(f"{path}:1: {'JSON ではなく HTML のページです' if body else 'ファイルが空です'}。{todo}")
    skip = re.compile(r"[\s\[\],]*" if body.startswith("[") else r"\s*")
    line, counted, position = 1, 0, skip.match(text).end()
    while position < len(text):
        line, counted = line + text.count("\n", counted, position), position
        try:
            record, position = json.JSONDecoder().raw_decode(text, position)
        except json.JSONDecodeError as e:
            fail(f"{path}:{e.lineno}: JSON として読めません ({e.msg})。{todo}")
        if not isinstance(record, dict):
            fail(f"{path}:{line}: 1 件は {{...}} の形でなければなりません。{todo}")
        yield line, record
        position = skip.match(text, position).end()
    if body.startswith("[") and not body.endswith("]"):
        fail(f"{path}:{text.count(chr(10)) + 1}: 配列の終わりの ] がありません。{todo}")


def write(path, chunks):
    """文字列 (UTF-8 にする) か bytes を順に書く。隣に書いてから改名するので、途中で止まっても元のファイルは残る。"""
    temporary = Path(f"{path}.tmp")
    try:
        with temporary.open("wb") as f:
            f.writelines(chunk.encode(errors="replace") if isinstance(chunk, str) else chunk for chunk in chunks)
            f.flush()
            os.fsync(f.fileno())  # 改名の直後に電源が落ちても、中身がある
        os.replace(temporary, path)
    except OSError as e:
        with suppress(OSError):
            temporary.unlink()
        fail(f"{path} に書けません ({e.strerror})。別の場所を指定してください。")


def write_json(path, records):
    """records (リストか dict) を JSON として書く。"""
    write(path, [json.dumps(records, ensure_ascii=False, indent=2), "\n"])
