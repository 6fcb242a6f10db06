"""Indexes whose documents are in an engine elsewhere: what others see while one is built, failures, resumption."""

from __future__ import annotations

import json
import logging
import socket
import time

import numpy as np
import pytest

from distillir.errors import ConfigError, SearchIndexError
from distillir.index import SparseQuery, build_index, create_index, discard_index, open_index, read_engine
from distillir.index.migrate import difference, same_best
from distillir.index.registry import ENGINES
from distillir.index.server import Row, TroubleError, persist, portions
from distillir.vectors import SparseVectors, SparseVectorsWriter, csr_from_rows
from milvus_process import MilvusProcess
from standin_qdrant import StandIn

DIM = 20
ELSEWHERE = ("milvus", "qdrant")


@pytest.fixture(params=ELSEWHERE)
def line(request, engine_line):
    return engine_line(request.param)


@pytest.fixture
def qdrant():
    pytest.importorskip("qdrant_client")
    with StandIn() as server:
        yield server


def server_of(line):
    name, options = read_engine(line)
    module = __import__(ENGINES[name].module, fromlist=["x"])
    return getattr(module, ENGINES[name].cls).SERVER(options)


def meaning(line):
    """The collection that others find under the index's name."""
    server = server_of(line)
    try:
        return server.target(line["collection"])
    finally:
        server.close()


def exists(line, collection):
    server = server_of(line)
    try:
        return server.has(collection)
    finally:
        server.close()


def at(url, **more):
    return {"name": "qdrant", "url": url, "collection": "docs", "retries": 0, "timeout": 2, **more}


def store(path, count=6, weight=1.0, encoder="e1"):
    with SparseVectorsWriter(path, DIM, shard_rows=2, meta={"encoder": encoder}) as writer:
        writer.append(
            [f"d{i}" for i in range(count)], csr_from_rows([([1, 2 + i], [weight, 1.0]) for i in range(count)], DIM)
        )
    return SparseVectors.open(path)


def found(index):
    return [tuple(hit) for hit in index.search(SparseQuery([1], [1.0]), 10)]


def test_others_find_a_collection_once_it_is_whole(line, tmp_path):
    with create_index(tmp_path / "i", line, dim=DIM, encoder="e1") as index:
        index.add(["a"], csr_from_rows([([1], [1.0])], DIM))
        assert meaning(line) is None
        index.finish()
        first = meaning(line)
        assert first.startswith(f"{line['collection']}__")
        index.finish()
        assert meaning(line) == first
        index.add(["b"], csr_from_rows([([1], [2.0])], DIM))
        with create_index(tmp_path / "j", line, dim=DIM, encoder="e1") as newer:
            newer.add(["c"], csr_from_rows([([1], [3.0])], DIM))
            assert found(index) == [("b", 2.0), ("a", 1.0)]
            assert meaning(line) == first
            newer.finish()
        assert meaning(line) != first
        assert not exists(line, first)
        assert found(index) == [("c", 3.0)], "whoever has it open follows the name"
    with open_index(tmp_path / "i") as again:
        assert found(again) == [("c", 3.0)]


def test_an_index_of_another_encoder_is_not_followed(line, tmp_path):
    with create_index(tmp_path / "i", line, dim=DIM, encoder="e1") as index:
        index.finish()
        with create_index(tmp_path / "j", line, dim=DIM, encoder="e2") as other:
            other.finish()
        with pytest.raises(SearchIndexError, match="another encoder's took its place → index the documents again"):
            found(index)
    with pytest.raises(SearchIndexError, match="took its place"):
        open_index(tmp_path / "i")


class PowerCutError(Exception):
    pass


@pytest.mark.parametrize("at_block", [0, 1, 2, "finish"])
def test_a_build_that_was_stopped_goes_on(line, tmp_path, monkeypatch, at_block):
    vectors, blocks = store(tmp_path / "v"), []
    cls = type(create_and_drop(line, tmp_path / "x"))
    add, finish = cls.add, cls.finish

    def failing(self, ids, *rest):
        if len(blocks) == at_block:
            raise PowerCutError
        blocks.append(list(ids))
        add(self, ids, *rest)

    monkeypatch.setattr(cls, "add", failing)
    if at_block == "finish":
        monkeypatch.setattr(cls, "finish", lambda self: (_ for _ in ()).throw(PowerCutError))
    with pytest.raises(PowerCutError):
        build_index(tmp_path / "i", line, vectors, made_from="x")
    assert meaning(line) is None
    monkeypatch.setattr(cls, "finish", finish)
    at_block = None
    build_index(tmp_path / "i", line, vectors, made_from="x")
    assert blocks == [["d0", "d1"], ["d2", "d3"], ["d4", "d5"]], "each block was sent once"
    with open_index(tmp_path / "i", encoder="e1") as index:
        assert found(index) == [(f"d{i}", 1.0) for i in range(6)]
        assert meaning(line) == index._collection


def create_and_drop(line, path):
    with create_index(path, line, dim=DIM) as index:
        pass
    discard_index(path)
    return index


def test_a_stopped_build_of_something_else_is_dropped(line, tmp_path):
    with create_index(tmp_path / "i", line, dim=DIM, encoder="e1") as half:
        half.add(["old"], csr_from_rows([([1], [9.0])], DIM))
    build_index(tmp_path / "i", line, store(tmp_path / "v"), made_from="y")
    assert not exists(line, half._collection)
    with open_index(tmp_path / "i") as index:
        assert len(index) == 6


def test_what_others_find_is_not_discarded_with_the_folder(line, tmp_path):
    build_index(tmp_path / "i", line, store(tmp_path / "v"), made_from="x")
    there = meaning(line)
    discard_index(tmp_path / "i")
    assert not (tmp_path / "i").exists()
    assert meaning(line) == there
    build_index(tmp_path / "i", line, store(tmp_path / "w", weight=2.0), made_from="z")
    assert meaning(line) != there
    assert not exists(line, there)


def test_a_name_that_means_something_else_is_refused(line, tmp_path):
    server = server_of(line)
    server.make(line["collection"], DIM)
    with pytest.raises(SearchIndexError, match="no index of ours"):
        create_index(tmp_path / "i", line, dim=DIM)
    assert not (tmp_path / "i").exists()
    server.drop(line["collection"])
    server.make("theirs", DIM)
    server.switch(line["collection"], "theirs", None)
    with pytest.raises(SearchIndexError, match="belongs to the collection 'theirs'"):
        create_index(tmp_path / "i", line, dim=DIM)
    server.close()


@pytest.mark.parametrize("name", ELSEWHERE)
def test_an_engine_that_is_away(name, tmp_path):
    pytest.importorskip(ENGINES[name].package)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    start = time.monotonic()
    with pytest.raises(
        SearchIndexError, match=rf"{url} cannot be reached.*2 attempts → start it, or correct"
    ) as caught:
        create_index(
            tmp_path / "i", {"name": name, "url": url, "collection": "docs", "retries": 1, "timeout": 1}, dim=5
        )
    assert time.monotonic() - start < 20
    assert caught.value.cure
    assert not (tmp_path / "i").exists(), "nothing half-written"


@pytest.mark.slow
def test_milvus_that_goes_and_comes_back(tmp_path):
    pytest.importorskip("milvus_lite")
    pytest.importorskip("pymilvus")
    server = MilvusProcess(tmp_path / "data")
    with server as url:
        line = {"name": "milvus", "url": url, "collection": "docs", "retries": 4, "timeout": 2}
        index = create_index(tmp_path / "i", line, dim=DIM)
        index.add(["a"], csr_from_rows([([1], [1.0])], DIM))
    with pytest.raises(SearchIndexError, match="cannot be reached"):
        index.add(["b"], csr_from_rows([([1], [2.0])], DIM))
    with pytest.raises(SearchIndexError, match="cannot be reached"):
        open_index(tmp_path / "i")
    with MilvusProcess(tmp_path / "data", server.port):
        assert found(index) == [("a", 1.0)]
        index.close()


def test_passing_failures_are_met_by_repeating(qdrant, tmp_path):
    with create_index(tmp_path / "i", at(qdrant.url, retries=2), dim=DIM) as index:
        qdrant.asked.clear()
        qdrant.faults = [503, (429, {"Retry-After": "0"})]
        index.add(["a"], csr_from_rows([([1], [1.0])], DIM))
        assert len(qdrant.asked) == 3
        qdrant.faults = [502, 500]
        assert found(index) == [("a", 1.0)]
        qdrant.faults = [503] * 3
        with pytest.raises(SearchIndexError, match=r"answers 503: fault, 3 attempts"):
            len(index)
        assert len(index) == 1, "the next request is a new one"
        qdrant.asked.clear()
        qdrant.faults = [400]
        with pytest.raises(SearchIndexError, match="answers 400"):
            len(index)
        assert len(qdrant.asked) == 1, "what cannot pass is not repeated"


def test_a_silent_engine_runs_into_the_time_limit(qdrant, tmp_path):
    with create_index(tmp_path / "i", at(qdrant.url, timeout=1), dim=DIM) as index:
        qdrant.faults = [1.5]
        with pytest.raises(SearchIndexError, match=r"did not answer within 1 s → raise the engine's `timeout`"):
            found(index)


def test_a_server_that_is_no_qdrant(qdrant, tmp_path):
    with pytest.raises(SearchIndexError, match="answers 404"):
        create_index(tmp_path / "i", at(f"{qdrant.url}/elsewhere"), dim=DIM)


def test_the_key_is_sent_and_told_to_nobody(qdrant, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    qdrant.key = "s3cret-key"
    with pytest.raises(SearchIndexError, match=r"refuses the key \(401\) → export DISTILLIR_QDRANT_API_KEY"):
        create_index(tmp_path / "i", at(qdrant.url), dim=DIM)
    monkeypatch.setenv("MY_KEY", "s3cret-key")
    with create_index(tmp_path / "i", at(qdrant.url, key_env="MY_KEY"), dim=DIM) as index:
        assert len(index) == 0
        qdrant.faults = [500]
        with pytest.raises(SearchIndexError) as caught:
            len(index)
    told = caplog.text + repr(caught.value) + "".join(p.read_text() for p in (tmp_path / "i").rglob("*.json"))
    assert "s3cret" not in told
    assert json.loads((tmp_path / "i" / "data" / "remote.json").read_text())["options"]["key_env"] == "MY_KEY"


def test_the_address_may_come_from_the_environment(qdrant, tmp_path, monkeypatch):
    line = {"name": "qdrant", "collection": "docs"}
    with pytest.raises(ConfigError, match="export DISTILLIR_QDRANT_URL"):
        create_index(tmp_path / "i", line, dim=DIM)
    monkeypatch.setenv("DISTILLIR_QDRANT_URL", qdrant.url)
    create_index(tmp_path / "i", line, dim=DIM).close()
    assert "url" not in json.loads((tmp_path / "i" / "data" / "remote.json").read_text())["options"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("qdrant", "no collection is named"),
        ({"name": "elastic"}, "no search engine is called 'elastic'"),
        ({"collection": "docs"}, "no search engine is called None"),
        ({"name": "exact", "url": "http://x"}, "unknown option 'url'"),
        ({"name": "qdrant", "collection": "do cs"}, "no name of a collection"),
        ({"name": "qdrant", "collection": "a__b"}, "no name of a collection"),
        ({"name": "qdrant", "collection": "docs", "api_key": "k"}, "no place in a file"),
        ({"name": "milvus", "collection": "docs", "token": "k"}, "no place in a file"),
        ({"name": "milvus", "collection": "docs", "url": "127.0.0.1:19530"}, "url is no address"),
        ({"name": "milvus", "collection": "docs", "url": "http://u:hidden@h:1"}, "carries a user"),
        ({"name": "qdrant", "collection": "docs", "timeout": 0.5}, "timeout is 0.5"),
        ({"name": "qdrant", "collection": "docs", "retries": -1}, "retries is -1"),
        ({"name": "qdrant", "collection": "docs", "shards": 0}, "shards is 0"),
        ({"name": "qdrant", "collection": "docs", "replicas": True}, "replicas is True"),
    ],
)
def test_lines_that_cannot_be_are_refused(line, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read_engine(line)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("content", ["{", "{}", '{"options": {"colection": "x"}, "build": "b"}'])
def test_a_damaged_folder_is_refused(qdrant, tmp_path, content):
    create_index(tmp_path / "i", at(qdrant.url), dim=DIM).close()
    (tmp_path / "i" / "data" / "remote.json").write_text(content)
    with pytest.raises(SearchIndexError):
        open_index(tmp_path / "i")


def test_what_milvus_would_cut_is_refused(engine_line, tmp_path):
    with create_index(tmp_path / "i", engine_line("milvus"), dim=DIM) as index:
        rows = csr_from_rows([([1], [1.0])], DIM)
        index.add(["é" * 2048], rows, [{"text": "x" * 65_000}])
        assert index.payloads(["é" * 2048]) == [{"text": "x" * 65_000}]
        with pytest.raises(SearchIndexError, match=r"an id of 4,098 bytes, Milvus keeps 4,096"):
            index.add(["é" * 2049], rows)
        with pytest.raises(SearchIndexError, match=r"'a' has a payload of 65,5\d\d bytes"):
            index.add(["a"], rows, [{"text": "x" * 65_530}])
        with pytest.raises(SearchIndexError, match="k is 16385, milvus returns 16384"):
            index.search(SparseQuery([1], [1.0]), 16_385)


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")
def test_requests_mean_the_same_to_the_local_mode_of_the_client():
    """Qdrant's own second implementation of its requests, in the client: slow, and apart from the stand-in."""
    client = pytest.importorskip("qdrant_client").QdrantClient(":memory:")
    from distillir.index.qdrant import QdrantServer

    server = QdrantServer(read_engine(at("http://127.0.0.1:1"))[1], client)
    server.make("docs__1", DIM)
    rows = [
        Row("a", [1, 2], [1.0, 0.5], "{}", ["x"]),
        Row("b", [1], [2.0], '{"n": 1}', ["x", "y"]),
        Row("c", [], [], "{}", []),
    ]
    server.upsert("docs__1", rows)
    asked = SparseQuery(np.array([1, 2], np.int32), np.array([1.0, 4.0], np.float32))
    assert server.search("docs__1", [asked], 5, {}) == [[("a", 3.0), ("b", 2.0)]]
    assert server.search("docs__1", [asked], 5, {"f": ["y"], "g": ["x", "z"]}) == [[("b", 2.0)]]
    assert server.count("docs__1") == 3
    kept = server.read("docs__1", ["a", "c", "nobody"], vectors=True)
    assert {name: list(k.indices) for name, k in kept.items()} == {"a": [1, 2], "c": []}
    assert server.read("docs__1", ["b"], vectors=False)["b"].payload == '{"n": 1}'
    server.delete("docs__1", ["b", "nobody"])
    assert server.count("docs__1") == 2
    server.make("docs__2", DIM)
    server.switch("docs", "docs__1", None)
    server.switch("docs", "docs__2", "docs__1")
    server.switch("docs", "docs__2", "docs__1")
    assert server.target("docs") == "docs__2"
    server.drop("docs__1")
    assert not server.has("docs__1")
    server.close()


def test_pauses_double_and_what_the_engine_asks_for_is_heeded():
    pauses, waits = [], [None, None, None, 7.0, 99.0]

    def request():
        if waits:
            raise TroubleError("no", "wait", again=True, wait=waits.pop(0))
        return "done"

    assert persist(request, 5, pauses.append) == "done"
    for pause, middle in zip(pauses, [0.2, 0.4, 0.8, 7.0, 10.0], strict=True):
        assert 0.75 * middle <= pause <= 1.25 * middle


def test_requests_are_bounded_in_number_and_size():
    rows = [Row(f"d{i}", [1] * n, [1.0] * n, "", []) for i, n in enumerate([10, 10, 10, 100, 10, 10])]
    assert [[row.id for row in part] for part in portions(rows, 2, 2000)] == [
        ["d0", "d1"],
        ["d2"],
        ["d3"],
        ["d4", "d5"],
    ]
    assert portions([]) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)  # milvus-lite is pure Python
@pytest.mark.parametrize("optimized", [False, True])
def test_a_thousand_queries_find_what_exact_search_finds(line, tmp_path, optimized):
    """20,000 documents as SPLADE makes them, 1,000 queries, 100 documents each, with and without a filter."""
    rng, dim, count = np.random.default_rng(0), 30_522, 20_000
    shape = 1 / np.arange(1, dim + 1) ** 0.7
    heavy = np.cumsum(shape / shape.sum())

    def draw(size):
        found = np.unique(np.searchsorted(heavy, rng.random(size)).clip(0, dim - 1))
        return found, (rng.gamma(1.5, 0.5, len(found)) + 0.01).astype(np.float32)

    documents = [draw(120) for _ in range(count)]
    queries = [SparseQuery(*draw(30)) for _ in range(1000)]
    with (
        create_index(tmp_path / "exact", "exact", dim=dim) as exact,
        create_index(tmp_path / "there", line, dim=dim) as there,
    ):
        for start in range(0, count, 2000):
            ids, rows = [f"{start + i}" for i in range(2000)], csr_from_rows(documents[start : start + 2000], dim)
            for index in (exact, there):
                index.add(ids, rows, [{"third": i % 3} for i in range(2000)])
        for index in (exact, there):
            index.delete([str(i) for i in range(0, count, 7)])
        if optimized:
            there.optimize()
        assert difference(exact, there, queries, 100) == ""
        for one, two in zip(
            exact.search_batch(queries[:100], 100, {"third": 1}),
            there.search_batch(queries[:100], 100, {"third": 1}),
            strict=True,
        ):
            assert same_best(one, two)
