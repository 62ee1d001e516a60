"""ファイルの読み書き。間違いは、何が、どこで、次に何をするかを言う日本語の 1 行で終わる。"""

import errno
import fcntl
import json
import os
import re
import shutil
import stat
import sys
from contextlib import suppress
from pathlib import Path

# 文字として読めないファイルの、先頭の印と正体
KINDS = {
    b"\x1f\x8b": "gzip で圧縮したファイルです (gunzip で戻せます)",
    b"PK": "zip か Excel のファイルです",
    b"\xff\xfe": "UTF-16 のファイルです (UTF-8 で保存し直せます)",
    b"\xfe\xff": "UTF-16 のファイルです (UTF-8 で保存し直せます)",
}
CP932 = "文字コードが CP932 です (iconv -f CP932 -t UTF-8 元のファイル > 新しいファイル)"
CUT = "途中で切れています"
REASONS = {
    errno.ENOENT: "そこにありません",
    errno.EACCES: "許可がありません",
    errno.EISDIR: "フォルダです",
    errno.ENOSPC: "空き容量がありません",
    errno.EROFS: "書き込めない場所です",
    errno.ENOTDIR: "途中がフォルダではありません",
    errno.EDQUOT: "割り当てられた容量がありません",
}
# json の言う間違いと、その日本語
GRAMMAR = {
    "Expecting value": "値がありません",
    "Expecting ',' delimiter": ", か閉じ括弧がありません",
    "Expecting ':' delimiter": ": がありません",
    "Expecting property name enclosed in double quotes": '" で囲んだ名前がありません',
    "Invalid control character at": '" が閉じていません',
}
# 記録と記録の間にあってよいもの。BOM は、ファイルをつないだときに途中にも来る。
BETWEEN = re.compile("[\\s\\[\\],\ufeff]*")


def fail(message):
    """message を 1 行で stderr に出し、終了コード 1 で終わる。"""
    one_line = " ".join(str(message).split())
    sys.exit(f"エラー: {one_line}")


def reason(error):
    """例外の説明の 1 行目 (なければ種類の名前)。"""
    if isinstance(error, OSError) and error.errno in REASONS:
        return REASONS[error.errno]
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]


def read_text(path, todo):
    """UTF-8 のファイルを読む。読めなければ、todo (次にすること) を言って終わる。"""
    try:
        raw = Path(path).read_bytes()
        return raw.decode("utf-8-sig")
    except OSError as e:
        fail(f"{path} を読めません ({reason(e)})。{todo}")
    except UnicodeDecodeError as e:
        line = raw.count(b"\n", 0, e.start) + 1
        fail(f"{path}:{line}: {what_is(raw, e)}。{todo}")


def what_is(raw, error):
    """UTF-8 として読めないバイト列 raw が、何であるか。

    error は、読んだときの UnicodeDecodeError。
    """
    # 先頭の印、途切れた文字、別の文字コードの順に調べる
    for mark, kind in KINDS.items():
        if raw.startswith(mark):
            return kind
    if error.reason == "unexpected end of data":
        return f"ファイルが{CUT}"
    with suppress(UnicodeDecodeError):
        raw.decode("cp932")
        return CP932
    return "UTF-8 の文字ではないものがあります"


def explain(text, error):
    """JSON として読めない text の、誤りの説明。"""
    rest = text[error.pos :].rstrip()
    # 書きかけの文字列か、あと数文字で終わるのに閉じていないもの
    unclosed = len(rest) < 6 and not rest.endswith(("]", "}"))
    if error.pos and (error.msg.startswith("Unterminated") or unclosed):
        return f"ファイルが{CUT}"
    return f"JSON として読めません ({GRAMMAR.get(error.msg, error.msg)})"


def read_records(path, todo):
    """JSON Lines または JSON の配列を読み、(行番号, dict) を順に返す。

    読めなければ、todo (次にすること) を言って終わる。BOM、CRLF、空の行、余分なカンマは許す。
    """
    # 取得に失敗したファイルに多いもの
    text = read_text(path, todo)
    body = text.strip()
    if not body:
        fail(f"{path}:1: ファイルが空です。{todo}")
    if body.startswith("<"):
        fail(f"{path}:1: JSON ではなく HTML のページです。{todo}")

    # 1 件ずつ読む。counted までの行は数えた
    decoder = json.JSONDecoder()
    line = 1
    counted = 0
    position = BETWEEN.match(text).end()
    while position < len(text):
        line += text.count("\n", counted, position)
        counted = position
        try:
            record, position = decoder.raw_decode(text, position)
            # 片方だけのサロゲート (\ud800 など) は文字ではなく、UTF-8 で書けない
            json.dumps(record, ensure_ascii=False).encode()
        except json.JSONDecodeError as e:
            fail(f"{path}:{e.lineno}: {explain(text, e)}。{todo}")
        except (RecursionError, ValueError) as e:
            # 深すぎる入れ子、長すぎる数、文字でないもの
            fail(f"{path}:{line}: JSON として読めません ({type(e).__name__})。{todo}")
        if not isinstance(record, dict):
            fail(f"{path}:{line}: 1 件は {{...}} の形でなければなりません。{todo}")
        yield line, record
        position = BETWEEN.match(text, position).end()

    if body.startswith("[") and not body.endswith("]"):
        last = text.count("\n") + 1
        fail(f"{path}:{last}: ファイルが{CUT} (配列の終わりの ] がない)。{todo}")


def lock(path, busy):
    """path (ファイルかフォルダ) を、このプロセスが終わるまで占める。

    ほかのプロセスのものなら、busy を言って終わる。
    """
    try:
        # 開いたままにする: プロセスが終われば、どう終わっても解ける
        handle = os.open(path, os.O_RDONLY)
        # 取り残された子が、占め続けないように
        os.register_at_fork(after_in_child=lambda: os.close(handle))
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fail(busy)
    except OSError:
        # ロックのないファイルシステム
        pass


def write(path, chunks):
    """文字列 (UTF-8 にする) か bytes を順に書く。

    隣に書いてから改名するので、途中で止まっても元のファイルは残る。
    """
    # シンボリックリンクなら、リンクの先を書く。改名なら、書き込めないファイルも替えられてしまう
    target = Path(path).resolve()
    exists = target.exists()
    if exists and not target.is_file():
        fail(f"{path} はファイルではありません。ファイルの名前にしてください。")
    if exists and not target.stat().st_mode & stat.S_IWUSR:
        fail(f"{path} は書き込めないファイルです (chmod u+w {path} で書き込めるようになります)。")

    # 隣に書いてから改名する
    temporary = Path(f"{target}.tmp")
    try:
        with temporary.open("wb") as f:
            for chunk in chunks:
                f.write(chunk.encode(errors="replace") if isinstance(chunk, str) else chunk)
            if exists:
                shutil.copymode(target, temporary)
            # 改名の直後に電源が落ちても、中身があるように
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, target)
    except OSError as e:
        with suppress(OSError):
            temporary.unlink()
        fail(f"{path} に書けません ({reason(e)})。別の場所を指定してください。")


def write_json(path, records):
    """records (リストか dict) を JSON として書く。"""
    write(path, [json.dumps(records, ensure_ascii=False, indent=2), "\n"])
