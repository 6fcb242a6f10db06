"""An embedded index in another engine: everything, the same results, and whatever moment it is stopped at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distillir.errors import ConfigError, SearchIndexError
from distillir.index import ScoredId, SparseQuery, create_index, discard_index, migrate, open_index
from distillir.index.migrate import migrate_index, same_best
from distillir.vectors import csr_from_rows

DIM = 30
COUNT = 1200  # more than the embedded engines read at once


def fill(index):
    rows = [([i % 7, 7 + i % 11, 18 + i % 12], [1.0 + i % 5, 0.5, 0.25 * (1 + i % 3)]) for i in range(COUNT)]
    ids = [f"d{i:04d}" for i in range(COUNT)]
    index.add(ids, csr_from_rows(rows, DIM), [{"n": i, "tag": "even" if i % 2 == 0 else "odd"} for i in range(COUNT)])
    index.add(["empty"], csr_from_rows([([], [])], DIM), [{"text": "added later"}])
    index.delete(["d0003"])


@pytest.fixture(params=["exact", "qdrant_edge"])
def source(request, tmp_path):
    with create_index(tmp_path / "index", request.param, dim=DIM, encoder="e1") as index:
        fill(index)
    (tmp_path / "index" / "served.json").write_text('{"seq": 7}')
    return tmp_path / "index"


@pytest.fixture(params=["milvus", "qdrant", "exact"])
def line(request, engine_line):
    return engine_line(request.param)


def asked(n):
    return SparseQuery([n % 7, 7 + n % 11], [1.0, 2.0])


def test_everything_is_there_afterwards(source, line):
    with open_index(source) as before:
        expected = before.search_batch([asked(n) for n in range(20)], 30, {"tag": "odd"})
    seen = []
    moved = migrate_index(source, line, watch=lambda done, total: seen.append((done, total)))
    assert (moved.documents, moved.written, moved.queries) == (COUNT, COUNT, 50)
    assert seen[-1] == (COUNT, COUNT)
    with open_index(source, dim=DIM, encoder="e1") as index:
        assert type(index).__name__ != "QdrantEdgeIndex"
        assert index.search_batch([asked(n) for n in range(20)], 30, {"tag": "odd"}) == expected
        assert index.payloads(["d0001", "empty"]) == [{"n": 1, "tag": "odd"}, {"text": "added later"}]
        assert len(index) == COUNT
    assert (source / "served.json").read_text() == '{"seq": 7}'
    assert moved.kept.name == "index.before"
    assert sorted(p.name for p in source.parent.iterdir() if "index" in p.name) == ["index", "index.before"]
    assert not (source / "moving.json").exists()


class PowerCutError(Exception):
    pass


@pytest.mark.parametrize("source", ["qdrant_edge"], indirect=True)  # which comes in three blocks
def test_a_migration_that_was_stopped_goes_on(source, line, monkeypatch):
    sent = []
    monkeypatch.setattr(migrate, "create_index", lambda *given, **named: Stopping(create_index(*given, **named), sent))
    with pytest.raises(PowerCutError):
        migrate_index(source, line)
    monkeypatch.undo()
    assert len(sent) == 512
    with open_index(source) as still:
        assert len(still) == COUNT, "the index is where it was"
    moved = migrate_index(source, line)
    assert (moved.documents, moved.written) == (COUNT, COUNT - 512)


class Stopping:
    """An index whose second addition fails."""

    def __init__(self, index, sent):
        self.index, self.sent = index, sent

    def add(self, ids, *rest):
        if self.sent:
            raise PowerCutError
        self.sent.extend(ids)
        self.index.add(ids, *rest)

    def __len__(self):
        return len(self.index)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.index.close()


def test_a_second_run_sends_only_what_is_missing(source, engine_line, monkeypatch):
    line = engine_line("qdrant")
    monkeypatch.setattr(migrate, "difference", lambda *_: (_ for _ in ()).throw(PowerCutError))
    with pytest.raises(PowerCutError):
        migrate_index(source, line)
    monkeypatch.undo()
    with open_index(source.with_name("index.moving")) as copy:
        copy.delete(["d0010"])
        copy.add(["d1100"], csr_from_rows([([0], [9.0])], DIM), [{"wrong": True}])
    moved = migrate_index(source, line)
    assert 0 < moved.written <= COUNT
    with open_index(source) as index:
        assert index.payloads(["d0010", "d1100"]) == [{"n": 10, "tag": "even"}, {"n": 1100, "tag": "even"}]


def test_a_copy_that_differs_is_not_used(source, engine_line, monkeypatch):
    line = engine_line("qdrant")
    send = migrate._send

    def and_one_more(index, listing, target, *rest):
        result = send(index, listing, target, *rest)
        target.add(["stranger"], csr_from_rows([([0], [99.0])], DIM))
        target.delete(["d0000"])
        return result

    monkeypatch.setattr(migrate, "_send", and_one_more)
    with pytest.raises(SearchIndexError, match=r"the copy differs: \d+ of 50 queries find other documents"):
        migrate_index(source, line)
    assert not source.with_name("index.moving").exists()
    with open_index(source) as index:
        assert len(index) == COUNT


def refuse(*_):
    raise PowerCutError


def test_stopped_between_the_two_renames(source, engine_line, monkeypatch):
    line, rename = engine_line("qdrant"), Path.rename
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda p, to: refuse() if p.name == "index.moving" else rename(p, to))
        with pytest.raises(PowerCutError):
            migrate_index(source, line)
    assert not source.exists()
    moved = migrate_index(source, line)
    assert (moved.documents, moved.written, moved.queries) == (COUNT, 0, 50)
    with open_index(source) as index:
        assert len(index) == COUNT
    assert not (source / "moving.json").exists()


def test_who_began_is_told_until_that_has_come_through(source, engine_line):
    line, told = engine_line("qdrant"), []
    with pytest.raises(PowerCutError):
        migrate_index(source, line, then=refuse)
    slower = {**line, "timeout": 99}  # asked in another way, the same documents
    assert migrate_index(source, slower, then=told.append).written == 0
    assert told == [slower]
    assert json.loads((source / "data" / "remote.json").read_text())["options"]["timeout"] == 99
    assert not (source / "moving.json").exists()
    with pytest.raises(SearchIndexError, match=r"index\.before is in the way"):
        migrate_index(source, slower, then=told.append)


def test_a_copy_that_was_compared_and_then_outdated_is_not_taken(source, engine_line, monkeypatch):
    line, rename = engine_line("qdrant"), Path.rename
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda p, to: refuse() if p.name == "index" else rename(p, to))
        with pytest.raises(PowerCutError):
            migrate_index(source, line)
    with open_index(source) as index:
        index.add(["later"], csr_from_rows([([0], [9.0])], DIM), [{"n": -1}])
    assert migrate_index(source, line).documents == COUNT + 1
    with open_index(source) as index:
        assert index.payloads(["later"]) == [{"n": -1}]


def test_what_cannot_be_moved_is_refused(source, engine_line):
    line = engine_line("qdrant")
    with pytest.raises(ConfigError, match="no collection is named"):
        migrate_index(source, "qdrant")
    migrate_index(source, line)
    with pytest.raises(SearchIndexError, match=r"index\.before is in the way"):
        migrate_index(source, line)
    discard_index(source.with_name("index.before"))
    with pytest.raises(SearchIndexError, match="is no embedded index"):
        migrate_index(source, engine_line("qdrant"))


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ([], [], True),
        ([("a", 2.0)], [], False),
        ([("a", 2.0), ("b", 1.0)], [("a", 2.0), ("b", 1.00001)], True),
        ([("a", 2.0), ("b", 1.0)], [("a", 2.0), ("c", 1.0)], True),  # the last score is shared: any may be left out
        ([("a", 2.0), ("b", 1.0)], [("c", 2.0), ("b", 1.0)], False),
        ([("a", 2.0), ("b", 2.0), ("c", 1.0)], [("b", 2.0), ("a", 2.0), ("c", 1.0)], True),
        ([("a", 2.0), ("b", 1.5), ("c", 1.0)], [("b", 2.0), ("a", 1.5), ("c", 1.0)], False),
        ([("a", 2.0), ("b", 1.0)], [("a", 2.0), ("b", 0.9)], False),
    ],
)
def test_lists_are_the_same_but_for_equal_scores(one, two, same):
    assert same_best([ScoredId(*hit) for hit in one], [ScoredId(*hit) for hit in two]) is same
