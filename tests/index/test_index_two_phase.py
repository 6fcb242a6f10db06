"""Qdrant in two phases: heavy terms fetch, the whole query scores what they found."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillir.errors import ConfigError
from distillir.index import SparseQuery, build_index, create_index, open_index, read_engine, retune_index
from distillir.index.migrate import migrate_index
from distillir.vectors import SparseVectors, SparseVectorsWriter, csr_from_rows
from distillir.vectors.two_phase import TwoPhase
from standin_qdrant import StandIn

DIM = 12
WEIGHT = st.sampled_from([2.0**n for n in range(-4, 5)])
ROW = st.dictionaries(st.integers(0, DIM - 1), WEIGHT, max_size=6)
# `a` is best by the heavy term, `b` by all, `c` has the light term alone.
ROWS = {"a": {0: 2.0, 1: 0.5}, "b": {0: 1.5, 1: 8.0}, "c": {1: 9.0}}
ASKED = SparseQuery(np.array([0, 1]), np.array([1.0, 0.25]))


@pytest.fixture(scope="module")
def qdrant():
    pytest.importorskip("qdrant_client")
    with StandIn() as server:
        yield server


@pytest.fixture
def line(engine_line):
    return lambda **phases: {**engine_line("qdrant"), **({"two_phase": phases} if phases else {})}


def csr(rows):
    return csr_from_rows([(list(row), list(row.values())) for row in rows], DIM)


def state(folder):
    return json.loads((folder / "data" / "remote.json").read_text())["options"]


def reference(documents, query, k, phases):
    """By the definition; None where ties leave it open which documents the window holds."""
    least = phases.prune_ratio * max(query.values())
    heavy = {d: w for d, w in query.items() if w >= least}

    def scores(asked):
        return {n: sum(w * row[d] for d, w in asked.items() if d in row) for n, row in documents.items()}

    first = sorted(((s, n) for n, s in scores(heavy).items() if s > 0), key=lambda hit: (-hit[0], hit[1]))
    window = phases.window(k + 1)
    if len(first) > window and first[window - 1][0] == first[window][0]:
        return None
    full = scores(query)
    return sorted(((n, full[n]) for _, n in first[:window]), key=lambda hit: (-hit[1], hit[0]))


SEARCH = st.tuples(
    ROW.filter(bool),
    st.integers(1, 5),
    st.builds(TwoPhase, st.sampled_from([0.25, 0.5, 0.75]), st.sampled_from([1.0, 1.5, 3.0])),
    st.booleans(),
)


@settings(max_examples=5, deadline=None)
@given(st.lists(ROW, min_size=5, max_size=25), st.lists(SEARCH, min_size=5, max_size=8))
def test_the_definition(tmp_path_factory, engine_line, rows, searches):
    folder, engine = tmp_path_factory.mktemp("i") / "index", engine_line("qdrant")
    names = [f"d{i:02d}" for i in range(len(rows))]
    with create_index(folder, engine, dim=DIM) as index:
        index.add(names, csr(rows), [{"even": i % 2 == 0} for i in range(len(rows))])
    for query, k, phases, filtered in searches:
        retune_index(folder, {**engine, "two_phase": asdict(phases)})
        with open_index(folder) as index:
            asked = SparseQuery(np.array(list(query)), np.array(list(query.values())))
            found = index.search(asked, k, {"even": True} if filtered else None)
        kept = dict(zip(names[:: 1 + filtered], rows[:: 1 + filtered], strict=True))
        full = {name: sum(w * row.get(d, 0.0) for d, w in query.items()) for name, row in kept.items()}
        assert [score for _, score in found] == [full[name] for name, _ in found]  # always of the whole query
        expected = reference(kept, query, k, phases)
        # Where the k-th shares its score with the next, more is asked for and the window grows with it.
        if expected is not None and not (len(expected) > k and expected[k][1] == expected[k - 1][1]):
            assert found == expected[:k]


def test_what_a_small_window_misses(tmp_path, line):
    found = {}
    for name, phases in (("one", {}), ("1", {"expansion_rate": 1}), ("2", {"expansion_rate": 2})):
        engine = line(**phases, **({"prune_ratio": 0.5} if phases else {}))
        with create_index(tmp_path / name, engine, dim=DIM) as index:
            index.add(list(ROWS), csr(ROWS.values()))
            found[name] = [tuple(hit) for hit in index.search(ASKED, 3)]
    assert found["one"] == [("b", 3.5), ("c", 2.25), ("a", 2.125)]
    assert found["1"] == found["2"] == [("b", 3.5), ("a", 2.125)]


def test_the_window_is_what_is_asked_for_times_the_rate(qdrant):
    from distillir.index.qdrant import QdrantServer

    sent = []

    class Client:
        def query_batch_points(self, collection, requests):
            sent.extend(requests)
            return []

    options = read_engine({"name": "qdrant", "url": qdrant.url, "collection": "docs", "two_phase": {}})[1]
    server = QdrantServer(options, Client())
    level = SparseQuery(np.array([1, 2]), np.array([1.0, 1.0]))
    server.search("docs", [ASKED, level], 8, {"lang": ["x"]})
    one, two = sent
    assert (one.limit, one.prefetch.limit, one.query.indices) == (8, 40, [0, 1])
    assert (one.prefetch.query.indices, one.prefetch.query.values) == ([0], [1.0])
    assert one.prefetch.filter == one.filter
    assert two.prefetch is None  # nothing is light


def test_a_ratio_of_zero_is_one_phase(qdrant):
    from distillir.index.qdrant import QdrantServer

    sent = []

    class Client:
        def query_batch_points(self, collection, requests):
            sent.append(requests)
            return []

    for more in ({}, {"two_phase": {"prune_ratio": 0}}):
        options = read_engine({"name": "qdrant", "url": qdrant.url, "collection": "docs", **more})[1]
        QdrantServer(options, Client()).search("docs", [ASKED], 8, {})
    assert sent[0] == sent[1]


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")
def test_requests_mean_the_same_to_the_second_implementation_of_the_client(qdrant):
    client = pytest.importorskip("qdrant_client").QdrantClient(":memory:")
    from distillir.index.qdrant import QdrantServer
    from distillir.index.server import Row

    line = {"name": "qdrant", "url": qdrant.url, "collection": "docs"}
    phases = {"prune_ratio": 0.5, "expansion_rate": 1}
    one, two = (QdrantServer(read_engine({**line, **more})[1], client) for more in ({}, {"two_phase": phases}))
    one.make("docs__1", DIM)
    rows = [Row(name, list(row), list(row.values()), "{}", [name, "all"]) for name, row in ROWS.items()]
    one.upsert("docs__1", rows)
    assert one.search("docs__1", [ASKED], 1, {}) == [[("b", 3.5)]]
    assert two.search("docs__1", [ASKED], 1, {}) == [[("a", 2.125)]]
    assert two.search("docs__1", [ASKED], 2, {}) == [[("b", 3.5), ("a", 2.125)]]
    assert two.search("docs__1", [ASKED], 1, {"name": ["b", "c"], "any": ["all"]}) == [[("b", 3.5)]]
    assert two.search("docs__1", [ASKED], 1, {"name": ["c"]}) == [[]]
    one.close()


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ({"ratio": 0.4}, "two_phase has no option 'ratio' → it takes prune_ratio, expansion_rate, max_window_size"),
        ({"prune_ratio": 1}, "prune_ratio is 1 → use a share"),
        ({"expansion_rate": "5"}, "expansion_rate is '5'"),
        ({"max_window_size": 10}, "max_window_size is 10"),
        (True, "two_phase is True → give its options"),
        (0.4, "two_phase is 0.4 → give its options"),
    ],
)
def test_options_that_cannot_be(phases, message):
    with pytest.raises(ConfigError, match=message):
        read_engine({"name": "qdrant", "collection": "docs", "two_phase": phases})
    with pytest.raises(ConfigError, match="unknown option 'two_phase'"):
        read_engine({"name": "milvus", "collection": "docs", "two_phase": phases})


def test_how_an_index_is_asked_changes_without_its_documents(tmp_path, line):
    first = line(prune_ratio=0.5)
    with create_index(tmp_path / "i", first, dim=DIM) as index:
        index.add(list(ROWS), csr(ROWS.values()))
    whole = {"prune_ratio": 0.5, "expansion_rate": 5.0, "max_window_size": 10_000}
    assert state(tmp_path / "i")["two_phase"] == whole
    with open_index(tmp_path / "i") as index:
        assert [name for name, _ in index.search(ASKED, 3)] == ["b", "a"]
    now = {**first, "timeout": 7, "retries": 2, "collection": "elsewhere", "url": "http://127.0.0.1:1"}
    del now["two_phase"]
    retune_index(tmp_path / "i", now)
    assert state(tmp_path / "i") == {
        "collection": first["collection"], "url": first["url"], "timeout": 7, "retries": 2
    }  # fmt: skip
    with open_index(tmp_path / "i") as index:
        assert [name for name, _ in index.search(ASKED, 3)] == ["b", "c", "a"]
    retune_index(tmp_path / "i", "exact")  # has nothing to tune


def test_a_build_that_goes_on_is_asked_as_the_line_says_now(tmp_path, line, monkeypatch):
    with SparseVectorsWriter(tmp_path / "v", DIM, meta={"encoder": "e"}) as writer:
        writer.append(list(ROWS), csr(ROWS.values()))
    stored = SparseVectors.open(tmp_path / "v")
    first = line(prune_ratio=0.5)
    monkeypatch.setattr("distillir.index.remote.RemoteIndex.finish", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build_index(tmp_path / "i", first, stored, made_from="these")
    monkeypatch.undo()
    build_index(tmp_path / "i", {**first, "two_phase": {"prune_ratio": 0.1}}, stored, made_from="these")
    assert state(tmp_path / "i")["two_phase"]["prune_ratio"] == 0.1


def test_a_migration_compares_in_one_phase(tmp_path, line):
    """Two phases of one term each, and a window of what is asked for, would miss most documents."""
    rng = np.random.default_rng(0)
    with create_index(tmp_path / "i", "exact", dim=DIM) as index:
        weights = [1 + rng.random(4) for _ in range(300)]
        rows = [(np.sort(rng.choice(DIM, 4, replace=False)), w) for w in weights]
        index.add([f"d{i}" for i in range(300)], csr_from_rows(rows, DIM))
    engine = line(prune_ratio=0.99, expansion_rate=1)
    assert migrate_index(tmp_path / "i", engine).documents == 300
    assert state(tmp_path / "i")["two_phase"]["prune_ratio"] == 0.99
    asked = SparseQuery(np.arange(4), np.array([1.0, 0.5, 0.5, 0.5]))
    with open_index(tmp_path / "i") as moved, open_index(tmp_path / "i.before") as before:
        assert moved.search(asked, 100) != before.search(asked, 100)
