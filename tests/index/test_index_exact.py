from __future__ import annotations

import errno
import subprocess
import sys

import numpy as np
import pytest

from distillir.errors import SearchIndexError
from distillir.index import SparseQuery, create_index, open_index
from distillir.index import exact as exact_module
from distillir.index import segment as segment_module
from distillir.index.exact import ExactIndex
from distillir.vectors import SparseVectors, SparseVectorsWriter, csr_from_rows
from distillir.vectors import files as files_module

DIM = 6
ONE = SparseQuery([1], [1.0])


def csr(*rows):
    return csr_from_rows([(list(row), list(row.values())) for row in rows], DIM)


def ids(index, query=ONE, k=10):
    return [hit.id for hit in index.search(query, k)]


def test_a_store_is_searched_where_it_lies(tmp_path):
    with SparseVectorsWriter(tmp_path / "v", DIM, shard_rows=2, meta={"encoder": "e7"}) as writer:
        writer.append(["a", "b", "c"], csr({1: 1.0, 2: 0.1}, {3: 1.0}, {1: 2.0}))
    with ExactIndex.over(SparseVectors.open(tmp_path / "v")) as index:
        assert (index.dim, index.encoder, len(index)) == (DIM, "e7", 3)
        assert index.search(ONE, 5) == [("c", 2.0), ("a", 1.0)]
        assert index.search(SparseQuery([2], [1.0]), 5)[0].score == float(np.float16(0.1))
        assert index.payloads(["a"]) == [{}]
        assert index.search(ONE, 5, {"lang": "de"}) == []
        assert index.vectors(["b"]).row(0)[0].tolist() == [3]
        for change in (lambda: index.add(["d"], csr({1: 1.0})), lambda: index.delete(["a"]), index.optimize):
            with pytest.raises(SearchIndexError, match="over a store cannot change"):
                change()


def test_scores_in_pieces_are_scores_at_once(tmp_path, monkeypatch):
    rng = np.random.default_rng(2)
    dense = (rng.integers(0, 9, (60, DIM)) * (rng.random((60, DIM)) < 0.4)).astype(np.float32)
    queries = [SparseQuery(np.flatnonzero(row), row[np.flatnonzero(row)]) for row in dense[:20]]
    with create_index(tmp_path / "i", "exact", dim=DIM) as index:
        index.add([f"{i:02d}" for i in range(60)], csr_from_rows([(np.arange(DIM), row) for row in dense], DIM))
        at_once = index.search_batch(queries, 7)
        monkeypatch.setattr(segment_module, "_CELLS", 130)  # two queries a piece
        assert index.search_batch(queries, 7) == at_once
    for query, hits in zip(queries, at_once, strict=True):
        row = np.zeros(DIM, np.float32)
        row[query.indices] = query.values
        assert [hit.score for hit in hits] == sorted((dense @ row)[dense @ row > 0].tolist(), reverse=True)[:7]


def test_the_number_of_segments_stays_logarithmic(tmp_path):
    with create_index(tmp_path / "i", "exact", dim=DIM) as index:
        for i in range(24):
            index.add([str(i)], csr({1: 1.0}))
            assert len(list((tmp_path / "i" / "data").glob("segment-*"))) <= 5
        index.delete([str(i) for i in range(23)])
        index.optimize()
        (segment,) = (tmp_path / "i" / "data").glob("segment-*")
        assert len(SparseVectors.open(segment)) == 1
        assert list((tmp_path / "i" / "data").glob("deleted-*")) == []
        assert ids(index) == ["23"]
        index.delete(["23"])
        index.optimize()
        assert (len(index), ids(index)) == (0, [])


def test_a_reader_follows_the_writer(tmp_path):
    with create_index(tmp_path / "i", "exact", dim=DIM) as writer, open_index(tmp_path / "i") as reader:
        for i in range(6):
            writer.add([str(i)], csr({1: 1.0}), [{"i": i}])
            assert len(reader) == i + 1
        writer.delete(["3"])
        assert "3" not in ids(reader, k=20)
        writer.optimize()
        assert len(ids(reader, k=20)) == 5
        assert reader.payloads(["5"]) == [{"i": 5}]


def test_a_reader_that_reads_a_state_just_before_it_is_merged_away_reads_again(tmp_path, monkeypatch):
    with create_index(tmp_path / "i", "exact", dim=DIM) as writer, open_index(tmp_path / "i") as reader:
        writer.add(["a", "b", "c"], csr({1: 1.0}, {1: 2.0}, {1: 3.0}))
        real, calls = exact_module.load_snapshot, []

        def late(*arguments):
            calls.append(1)
            if len(calls) == 1:
                writer.delete(["a"])
                writer.optimize()
            return real(*arguments)

        monkeypatch.setattr(exact_module, "load_snapshot", late)
        assert ids(reader) == ["c", "b"]
        assert len(calls) == 2


def test_the_writer_lock_passes_on(tmp_path):
    create_index(tmp_path / "i", "exact", dim=DIM).close()
    with open_index(tmp_path / "i") as first, open_index(tmp_path / "i") as second:
        first.add(["a"], csr({1: 1.0}))
        with pytest.raises(SearchIndexError, match="written by another process"):
            second.add(["b"], csr({1: 2.0}))
        assert ids(second) == ["a"]
        first.close()
        second.add(["b"], csr({1: 2.0}))
        assert ids(second) == ["b", "a"]


def test_a_reader_in_another_process_survives_merging(tmp_path):
    """Its files are renamed, merged and removed under it; every answer must still be one that was true."""
    script = """
import sys
from distillir.index import SparseQuery, open_index
with open_index(sys.argv[1]) as index:
    print("ready", flush=True)
    seen = 0
    while seen < 15:
        hits = [hit.id for hit in index.search(SparseQuery([1], [1.0]), 100)]
        assert hits == sorted(f"{i:03d}" for i in range(len(hits))), hits
        assert len(hits) >= seen
        seen = len(hits)
print("done")
"""
    with create_index(tmp_path / "i", "exact", dim=DIM) as writer:
        reader = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "i")],
            stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": ":".join(sys.path)},
        )  # fmt: skip
        assert reader.stdout.readline() == "ready\n"
        for i in range(15):
            writer.add([f"{i:03d}"], csr({1: 1.0}))
        assert reader.communicate(timeout=60)[0] == "done\n"


def test_remains_of_a_killed_change_are_swept_by_the_next_writer(tmp_path):
    with create_index(tmp_path / "i", "exact", dim=DIM) as index:
        index.add(["a"], csr({1: 1.0}))
    data = tmp_path / "i" / "data"
    (data / "segment-000002").mkdir()
    (data / "segment-000002" / "manifest.json").write_text("{")
    (data / "deleted-000002.npy").write_bytes(b"torn")
    with open_index(tmp_path / "i") as index:
        assert ids(index) == ["a"]
        index.add(["b"], csr({1: 2.0}))
        assert ids(index) == ["b", "a"]
    assert not (data / "deleted-000002.npy").exists()


@pytest.mark.parametrize("place", ["segment", "state"])
def test_a_full_disk_loses_nothing_acknowledged(tmp_path, monkeypatch, place):
    with create_index(tmp_path / "i", "exact", dim=DIM) as index:
        index.add(["a"], csr({1: 1.0}), [{"n": 1}])
        real_json, real_array = files_module.write_json, files_module.save_array

        def full(*args):
            raise OSError(errno.ENOSPC, "No space left on device")

        if place == "segment":
            monkeypatch.setattr(segment_module, "save_array", full)
        else:
            monkeypatch.setattr("distillir.index.snapshot.write_json", full)
        with pytest.raises(SearchIndexError, match=r"no space left.*intact"):
            index.add(["b"], csr({1: 2.0}), [{"n": 2}])
        assert ids(index) == ["a"]
        monkeypatch.setattr(segment_module, "save_array", real_array)
        monkeypatch.setattr("distillir.index.snapshot.write_json", real_json)
        index.add(["b"], csr({1: 2.0}), [{"n": 2}])
        assert index.payloads(["a", "b"]) == [{"n": 1}, {"n": 2}]
    with open_index(tmp_path / "i") as index:
        assert ids(index) == ["b", "a"]


def break_state(data):
    (data / "state.json").write_text('{"generation": 1}')


def remove_segment(data):
    (next(data.glob("segment-*"))).rename(data / "elsewhere")


def truncate_values(data):
    file = next(data.glob("segment-*/shard-*/values.npy"))
    file.write_bytes(file.read_bytes()[:-1])


def truncate_postings(data):
    file = next(data.glob("segment-*/postings-*/documents.npy"))
    file.write_bytes(file.read_bytes()[:-1])


def truncate_payloads(data):
    file = next(data.glob("segment-*/payloads.npy"))
    file.write_bytes(file.read_bytes()[:-1])


def truncate_deleted(data):
    file = next(data.glob("deleted-*.npy"))
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_state, r"state\.json is damaged"),
        (remove_segment, "is missing"),
        (truncate_values, r"values\.npy has"),
        (truncate_postings, r"documents\.npy has"),
        (truncate_payloads, r"payloads\.npy has"),
        (truncate_deleted, r"deleted-000002\.npy has"),
        (lambda data: (data / "state.json").unlink(), "cannot use"),
    ],
)
def test_damage_is_named(tmp_path, damage, message):
    with create_index(tmp_path / "i", "exact", dim=DIM) as index:
        index.add(["a", "b"], csr({1: 1.0}, {2: 1.0}), [{"n": 1}, {"n": 2}])
        index.delete(["a"])
    damage(tmp_path / "i" / "data")
    with pytest.raises(SearchIndexError, match=message):
        open_index(tmp_path / "i")
