"""デモもテストも、計算機の外へつながない (断る仕組みは tests/guard、集計は conftest.py)。"""

from conftest import run

CODE = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)"


def test_guard_refuses(tmp_path):
    """断る仕組みそのものが働いている (192.0.2.1 は、例のためのアドレス)。"""
    assert (
        "外へつなぎません"
        in run(
            "env", f"SOCKET_LOG={tmp_path}/log", "python", "-c", CODE, cwd=tmp_path, status=1
        ).stderr
    )
    assert "192.0.2.1:80" in (tmp_path / "log").read_text()
