"""Engines that run elsewhere, for the tests of all engines: a Milvus of its own, and a stand-in for Qdrant's server."""

from __future__ import annotations

import itertools

import pytest

from distillir.index.registry import ENGINES
from milvus_process import MilvusProcess
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
    with MilvusProcess(tmp_path_factory.mktemp("milvus")) as url:
        yield url


@pytest.fixture(scope="session")
def engine_line(request):
    """The `engine:` line of an engine by name, with a collection that no other test has."""

    def line(name):
        pytest.importorskip(ENGINES[name].package, reason=f"{ENGINES[name].distribution} is not installed")
        if name in ("qdrant", "milvus"):
            url = request.getfixturevalue(f"{name}_url")
            return {"name": name, "url": url, "collection": f"t{next(COUNT)}", "retries": 1}
        return name

    return line
