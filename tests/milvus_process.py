"""`milvus-lite server`, a real Milvus server in pure Python, in a process of its own on the loopback."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path


class MilvusProcess:
    """A server process on a free port of 127.0.0.1, ended on leaving."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        if port is None:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
        self.port = port
        self.folder = folder

    def __enter__(self) -> str:
        command = Path(sys.executable).parent / "milvus-lite"
        options = ["--data-dir", str(self.folder), "--host", "127.0.0.1", "--port", str(self.port)]
        self.process = subprocess.Popen(
            [str(command), "server", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + 60
        while time.monotonic() < until:
            assert self.process.poll() is None, "milvus-lite ended"
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        return f"http://127.0.0.1:{self.port}"

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()
