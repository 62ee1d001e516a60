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
    # Handler は、つながるたびに作られる
    settings = {"models": models, "fault": fault, "asked": []}
    handler = type("Handler", (Hub,), settings)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", settings["asked"]
    finally:
        server.shutdown()
        server.server_close()


class Hub(BaseHTTPRequestHandler):
    """1 つの要求に答える。models、fault、asked は hub が決める。"""

    def do_GET(self):
        path = unquote(self.path.partition("?")[0])
        self.asked.append(path)
        if self.fault == "slow":
            time.sleep(3)  # 取得を待つのは 1 秒まで

        # 本物も、ないモデルには 401 を返す
        name = self.model_of(path)
        if self.fault == "401" or name is None:
            body = b'{"error": "Invalid username or password."}'
            self.reply(401, body, {"X-Error-Code": "RepoNotFound"})
        elif path.startswith("/api/"):
            self.reply_about(name, "/tree/" in path)
        else:
            self.reply_file(self.models[name] / path.rpartition("/")[2])

    do_HEAD = do_GET

    def model_of(self, path):
        """path が求めるモデルの名前。なければ None。"""
        for name in self.models:
            if path.startswith((f"/{name}/", f"/api/models/{name}")):
                return name
        return None

    def reply_about(self, name, as_tree):
        """モデルのファイルの一覧 (as_tree) か、モデルの説明。"""
        files = []
        for path in self.models[name].iterdir():
            size = path.stat().st_size
            files.append({"type": "file", "path": path.name, "size": size, "oid": COMMIT})
        siblings = [{"rfilename": file["path"]} for file in files]
        about = {
            "id": name,
            "sha": COMMIT,
            "siblings": siblings,
            "private": False,
            "tags": [],
        }
        body = json.dumps(files if as_tree else about).encode()
        self.reply(200, body, {"Content-Type": "application/json"})

    def reply_file(self, path):
        """ファイルの中身。Range があれば、その途中から。"""
        if not path.is_file():
            self.reply(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        body = path.read_bytes()
        mark = hashlib.sha256(body).hexdigest()
        begin, _, _ = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        begin = int(begin)
        promised = len(body) - begin

        # 切れた取得: 約束した長さの、半分まで
        if self.fault == "cut" and path.name.startswith(("model.", "pytorch_model")):
            body = body[: len(body) // 2]
        headers = {"ETag": f'"{mark}"', "Accept-Ranges": "bytes"}
        self.reply(206 if begin else 200, body[begin:], headers, promised)

    def reply(self, status, body, headers, promised=None):
        """状態 status と headers と body を返す。promised は、body より長い長さを言うとき。"""
        self.send_response(status)
        self.send_header("Content-Length", str(promised or len(body)))
        self.send_header("X-Repo-Commit", COMMIT)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            with suppress(OSError):  # 待ちきれずに切られた
                self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *args):
        """何も表示しない。"""
