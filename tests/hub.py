"""Hugging Face Hub の代わり: 手元のフォルダを、本物のクライアントが取得できる形で 127.0.0.1
に出す。"""

import hashlib
import json
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

COMMIT = "0" * 40


@contextmanager
def hub(models, fault=None):
    """models は {モデル名: フォルダ}。(アドレス, 求められた path のリスト) を返す。

    fault は "401"、"slow" (答えない)、"cut" (重みを途中で切る)。
    """
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def reply(self, status, body=b"", headers=(), promise=None):
            self.send_response(status)
            for name, value in [
                ("Content-Length", str(promise or len(body))),
                ("X-Repo-Commit", COMMIT),
                *headers,
            ]:
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                with suppress(OSError):  # 待ちきれずに切られた
                    self.wfile.write(body)
            self.close_connection = True

        def do_GET(self):
            path = unquote(self.path.partition("?")[0])
            asked.append(path)
            if fault == "slow":
                time.sleep(3)  # 取得を待つのは 1 秒まで
            name = next(
                (name for name in models if path.startswith((f"/{name}/", f"/api/models/{name}"))),
                None,
            )
            if fault == "401" or not name:  # 本物も、ないモデルには 401 を返す
                return self.reply(
                    401,
                    b'{"error": "Invalid username or password."}',
                    [("X-Error-Code", "RepoNotFound")],
                )
            files = {p.name: p for p in models[name].iterdir()}
            if path.startswith("/api/"):
                rows = [
                    {"type": "file", "path": p.name, "size": p.stat().st_size, "oid": "0" * 40}
                    for p in files.values()
                ]
                whole = {
                    "id": name,
                    "sha": COMMIT,
                    "siblings": [{"rfilename": p} for p in files],
                    "private": False,
                    "tags": [],
                }
                return self.reply(
                    200,
                    json.dumps(rows if "/tree/" in path else whole).encode(),
                    [("Content-Type", "application/json")],
                )
            file = files.get(path.rpartition("/")[2])
            if not file:
                return self.reply(404, headers=[("X-Error-Code", "EntryNotFound")])
            body = file.read_bytes()
            begin = int(
                (self.headers.get("Range") or "bytes=0-")[6:].split("-")[0]
            )  # 途中からの取得
            half = (
                len(body) // 2
                if fault == "cut" and file.name.startswith(("model.", "pytorch_model"))
                else None
            )
            headers = [
                ("ETag", f'"{hashlib.sha256(body).hexdigest()}"'),
                ("Accept-Ranges", "bytes"),
            ]
            self.reply(206 if begin else 200, body[begin:half], headers, promise=len(body) - begin)

        do_HEAD = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
