"""Engines that run elsewhere, for the tests of all engines: a Milvus of its own, and a stand-in for Qdrant's server."""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from standin_qdrant import StandIn

COUNT = itertools.count()


@pytest.fixture(scope="session")
def qdrant_url():
    """Of a server that answers as Qdrant over HTTP, with Qdrant's own embedded engine behind it."""
    pytest.importorskip("qdrant_client", reason="qdrant-client is not installed")
    with StandIn() as server:
        yield server.url


@pytest.fixture(scope="session")
def milvus_url(tmp_path_factory):
    """Of a real Milvus server on the loopback: `milvus-lite server`."""
    pytest.importorskip("pymilvus", reason="pymilvus is not installed")
    pytest.importorskip("milvus_lite", reason="milvus-lite is not installed: no Milvus server to test against")
    with milvus_server(tmp_path_factory.mktemp("milvus")) as url:
        yield url


class milvus_server:
    """A server process on a free port of 127.0.0.1, ended on leaving."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", port or 0))
            self.port = free.getsockname()[1]
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


@pytest.fixture(scope="session")
def engine_line(request):
    """The `engine:` line of an engine by name, with a collection that no other test has."""

    def line(name):
        if name in ("qdrant", "milvus"):
            url = request.getfixturevalue(f"{name}_url")
            return {"name": name, "url": url, "collection": f"t{next(COUNT)}", "retries": 1}
        return name

    return line
