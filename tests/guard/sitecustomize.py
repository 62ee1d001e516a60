"""テストのあいだ、Python が計算機の外へつなごうとしたら、断って記録する (PYTHONPATH
にこのフォルダがあれば、自動で読み込まれる)。"""

import os
import socket
import sys

connect, LOG = socket.socket.connect, os.environ.get("SOCKET_LOG")


def refuse(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(
        ("127.", "::1", "localhost")
    ):
        if LOG:
            with open(LOG, "a") as f:
                f.write(f"{address[0]}:{address[1]} {' '.join(sys.argv)}\n")
        raise OSError(f"テストでは外へつなぎません: {address[0]}")
    return connect(self, address)


socket.socket.connect = refuse
