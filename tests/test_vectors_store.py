from __future__ import annotations

import json
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillir.errors import VectorsError
from distillir.vectors import SparseVectors, SparseVectorsWriter, csr_from_rows
from distillir.vectors import ids as ids_module

DIM = 12


def dense_rows(dense):
    return csr_from_rows([(np.flatnonzero(row), row[np.flatnonzero(row)]) for row in dense], dense.shape[1])


def densify(rows, dim):
    out = np.zeros((rows.rows, dim), np.float32)
    for i in range(rows.rows):
        indices, values = rows.row(i)
        out[i, indices] = values
    return out


@pytest.fixture
def dense():
    rng = np.random.default_rng(0)
    return (rng.integers(1, 64, (23, DIM)) * (rng.random((23, DIM)) < 0.3) / 8).astype(np.float32)


def write(path, dense, *, batch=5, **options):
    names = [f"dokument-{i}-é" for i in range(len(dense))]
    with SparseVectorsWriter(path, dense.shape[1], **{"shard_rows": 7, **options}) as writer:
        for start in range(0, len(dense), batch):
            writer.append(names[start : start + batch], dense_rows(dense[start : start + batch]))
    return SparseVectors.open(path)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_what_was_written_is_read(tmp_path, dense, dtype):
    store = write(tmp_path / "v", dense, dtype=dtype, meta={"encoder": "abc"})
    assert (len(store), store.dim, store.nnz) == (23, DIM, np.count_nonzero(dense))
    assert store.meta == {"encoder": "abc"}
    assert store.complete
    assert list(store.ids) == [f"dokument-{i}-é" for i in range(23)]
    assert (store.ids[0], store.ids[-1], store.ids[21:23]) == ("dokument-0-é", "dokument-22-é", list(store.ids)[21:23])
    order = np.array([22, 0, 8, 8, 6, 7, 15])
    gathered = store.gather(order)
    assert gathered.values.dtype == np.float32
    assert np.array_equal(densify(gathered, DIM), dense[order])
    assert [(start, rows.rows) for start, rows in store.shards()] == [(0, 7), (7, 7), (14, 7), (21, 2)]
    assert np.array_equal(np.concatenate([densify(rows, DIM) for _, rows in store.shards()]), dense)
    assert np.array_equal(store.document_frequency(), np.count_nonzero(dense, axis=0))
    store.verify()


def test_positions_of_ids(tmp_path, dense):
    store = write(tmp_path / "v", dense)
    assert store.position(["dokument-21-é", "dokument-3-é"]).tolist() == [21, 3]
    assert store.position([]).tolist() == []
    with pytest.raises(VectorsError, match="'nobody'"):
        store.position(["dokument-3-é", "nobody"])
    with pytest.raises(IndexError):
        store.ids[23]


def test_two_ids_with_the_same_hash_are_told_apart(tmp_path, dense, monkeypatch):
    monkeypatch.setattr(ids_module, "_hash", lambda encoded: np.array([len(e) % 2 for e in encoded], np.uint64))
    store = write(tmp_path / "v", dense)
    assert store.position(list(store.ids)).tolist() == list(range(23))
    with pytest.raises(VectorsError, match="nobody"):
        store.position(["nobody"])


@pytest.mark.parametrize("positions", [[23], [-1], [0.5], [[0]]])
def test_rows_that_do_not_exist_are_refused(tmp_path, dense, positions):
    with pytest.raises(VectorsError):
        write(tmp_path / "v", dense).gather(positions)


def test_gathering_nothing(tmp_path, dense):
    assert write(tmp_path / "v", dense).gather([]).rows == 0


def test_indices_take_two_bytes_where_they_fit(tmp_path):
    for dim, size in ((2**16, 2), (2**16 + 1, 4)):
        with SparseVectorsWriter(tmp_path / str(dim), dim) as writer:
            writer.append(["a"], csr_from_rows([([0, dim - 1], [1.0, 2.0])], dim))
        array = np.load(tmp_path / str(dim) / "shard-000000" / "indices.npy", allow_pickle=False)
        assert array.itemsize == size
        assert SparseVectors.open(tmp_path / str(dim)).gather([0]).indices.tolist() == [0, dim - 1]


def test_digest_is_of_the_content_not_of_the_shards(tmp_path, dense):
    same = {write(tmp_path / f"{n}-{b}", dense, shard_rows=n, batch=b).digest() for n, b in ((1, 4), (7, 5), (100, 23))}
    assert len(same) == 1
    changed = dense.copy()
    changed[3, 4] += 1
    assert write(tmp_path / "changed", changed).digest() not in same
    assert write(tmp_path / "shorter", dense[:-1]).digest() not in same
    assert write(tmp_path / "wider", dense, dtype="float32").digest() not in same


@settings(max_examples=15, deadline=None)
@given(
    rows=st.lists(st.dictionaries(st.integers(0, 9), st.floats(-8, 8, width=16), max_size=6), min_size=1, max_size=20),
    shard_rows=st.integers(1, 8),
    batch=st.integers(1, 9),
)
def test_any_rows_any_shards(tmp_path_factory, rows, shard_rows, batch):
    path = tmp_path_factory.mktemp("store") / "v"
    pairs = [(list(r), list(r.values())) for r in rows]
    with SparseVectorsWriter(path, 10, shard_rows=shard_rows) as writer:
        for start in range(0, len(rows), batch):
            part = pairs[start : start + batch]
            writer.append([f"{start + i}" for i in range(len(part))], csr_from_rows(part, 10))
    store = SparseVectors.open(path)
    expected = densify(csr_from_rows(pairs, 10), 10)
    everything = np.arange(len(rows))
    assert np.array_equal(densify(store.gather(everything[::-1]), 10), expected[::-1])
    postings = store.invert()
    for d in range(10):
        documents, values = postings.dimension(d)
        assert documents.tolist() == np.flatnonzero(expected[:, d]).tolist()
        assert values.tolist() == expected[documents, d].tolist()


def test_blocks_bound_the_entries(tmp_path, dense):
    store = write(tmp_path / "v", dense, shard_rows=100)
    blocks = list(store.blocks(max_entries=9))
    assert all(len(rows.indices) <= 9 or rows.rows == 1 for _, rows in blocks)
    assert len(blocks) > 3
    assert np.array_equal(np.concatenate([densify(rows, DIM) for _, rows in blocks]), dense)


def test_postings_score_like_the_matrix_and_are_reused_until_rows_are_added(tmp_path, dense):
    store = write(tmp_path / "v", dense)
    postings = store.invert()
    assert (postings.rows, postings.dim) == (23, DIM)
    query = np.zeros(DIM, np.float32)
    query[[1, 5, 9]] = [0.5, 2.0, 1.0]
    scores = postings.scores(np.array([1, 5, 9]), query[[1, 5, 9]])
    assert np.array_equal(scores, dense @ query)
    assert np.array_equal(densify(postings.gather([5, 1]), 23), dense[:, [5, 1]].T)
    (built,) = (tmp_path / "v").glob("postings-*")
    stamp = (built / "values.npy").stat().st_mtime_ns
    SparseVectors.open(tmp_path / "v").invert()
    assert (built / "values.npy").stat().st_mtime_ns == stamp

    with SparseVectorsWriter(tmp_path / "v", DIM, shard_rows=7) as writer:
        writer.append(["new"], csr_from_rows([([5], [4.0])], DIM))
    grown = SparseVectors.open(tmp_path / "v")
    assert grown.invert().dimension(5)[0].tolist() == [*np.flatnonzero(dense[:, 5]).tolist(), 23]
    assert [folder.name for folder in (tmp_path / "v").glob("postings-*")] != [built.name]
    assert len(list((tmp_path / "v").glob("postings-*"))) == 1
    assert postings.dimension(5)[0].tolist() == np.flatnonzero(dense[:, 5]).tolist()  # the old map is still readable


def test_postings_refuse_foreign_dimensions(tmp_path, dense):
    postings = write(tmp_path / "v", dense).invert()
    with pytest.raises(VectorsError):
        postings.dimension(DIM)
    with pytest.raises(VectorsError):
        postings.gather([-1])
    assert postings.gather([]).rows == 0


def test_torn_postings_of_a_killed_build_are_replaced(tmp_path, dense):
    store = write(tmp_path / "v", dense)
    (tmp_path / "v" / ".tmp-postings").mkdir()
    (tmp_path / "v" / ".tmp-postings" / "values.npy").write_bytes(b"torn")
    assert np.array_equal(store.invert().scores(np.array([0]), np.array([1.0])), dense[:, 0])
    assert not (tmp_path / "v" / ".tmp-postings").exists()


def test_two_threads_build_postings_once(tmp_path, dense):
    write(tmp_path / "v", dense)
    results = []

    def build():
        results.append(SparseVectors.open(tmp_path / "v").invert().scores(np.array([3]), np.array([1.0])))

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(r, dense[:, 3]) for r in results)
    assert len(results) == 4


def test_an_empty_store_and_empty_rows(tmp_path):
    with SparseVectorsWriter(tmp_path / "none", DIM):
        pass
    store = SparseVectors.open(tmp_path / "none")
    assert (len(store), store.nnz, list(store.ids), list(store.shards())) == (0, 0, [], [])
    assert store.invert().scores(np.array([0]), np.array([1.0])).tolist() == []
    with SparseVectorsWriter(tmp_path / "blank", DIM) as writer:
        writer.append(["a", "b"], csr_from_rows([([], []), ([], [])], DIM))
    store = SparseVectors.open(tmp_path / "blank")
    assert densify(store.gather([1, 0]), DIM).any() == np.False_
    assert store.invert().scores(np.array([0]), np.array([1.0])).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", ["indptr", "indices", "values", "ids", "id_offsets", "id_hashes"])
def test_a_truncated_file_is_named(tmp_path, dense, name):
    write(tmp_path / "v", dense)
    file = tmp_path / "v" / "shard-000001" / f"{name}.npy"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(VectorsError, match=rf"shard-000001/{name}\.npy has \d+ bytes instead of \d+"):
        SparseVectors.open(tmp_path / "v")
    file.unlink()
    with pytest.raises(VectorsError, match=rf"cannot read .*shard-000001/{name}\.npy"):
        SparseVectors.open(tmp_path / "v")


def test_flipped_bits_are_found_by_verify(tmp_path, dense):
    store = write(tmp_path / "v", dense)
    file = store.path / "shard-000002" / "values.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(VectorsError, match="shard-000002 has changed"):
        SparseVectors.open(tmp_path / "v").verify()


def test_an_array_of_another_type_is_refused(tmp_path, dense):
    store = write(tmp_path / "v", dense)
    file = store.path / "shard-000000" / "values.npy"
    np.save(file, np.load(file, allow_pickle=False).view(np.int16))
    with pytest.raises(VectorsError, match="does not hold"):
        SparseVectors.open(tmp_path / "v")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not readable JSON"),
        (b"\xff", "not readable JSON"),
        (b"[]", "does not hold an object"),
        (b'{"format": "other"}', "has format 'other'"),
        (b'{"format": "distillir.vectors/1", "dim": 3}', "lacks or adds a field"),
        (b'{"format": "distillir.vectors/1", "dim": 0, "dtype": "float16", "meta": {}, "shards": []}', "dim is 0"),
        (b'{"format": "distillir.vectors/1", "dim": 3, "dtype": "int8", "meta": {}, "shards": []}', "dtype is 'int8'"),
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path, dense, content, message):
    write(tmp_path / "v", dense)
    (tmp_path / "v" / "manifest.json").write_bytes(content)
    with pytest.raises(VectorsError, match=message):
        SparseVectors.open(tmp_path / "v")


def test_a_folder_without_vectors_is_refused(tmp_path):
    with pytest.raises(VectorsError, match="holds no vectors"):
        SparseVectors.open(tmp_path)
    with pytest.raises(VectorsError, match="holds no vectors"):
        SparseVectors.open(tmp_path / "absent")


def test_opening_does_not_read_the_collection(tmp_path):
    rng = np.random.default_rng(1)
    with SparseVectorsWriter(tmp_path / "v", 4096, dtype="float32", shard_rows=2000) as writer:
        for start in range(0, 8000, 1000):
            indices = np.sort(np.argsort(rng.random((1000, 4096), np.float32), axis=1)[:, :700], axis=1)
            rows = csr_from_rows(list(zip(indices, np.ones_like(indices), strict=True)), 4096)
            writer.append([f"{start + i}" for i in range(1000)], rows)
    script = """
import resource, sys
from distillir.vectors import SparseVectors
store = SparseVectors.open(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store.gather([5, 7999]); store.position(["77"])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, store.nnz)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "v")],
        capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    grown_kib, nnz = map(int, done.stdout.split())
    assert nnz == 5_600_000
    assert grown_kib < 6 * 1024  # the entries take 33 MiB


def test_manifest_is_plain_json(tmp_path, dense):
    write(tmp_path / "v", dense)
    manifest = json.loads((tmp_path / "v" / "manifest.json").read_text())
    assert manifest["dim"] == DIM
    assert [shard["rows"] for shard in manifest["shards"]] == [7, 7, 7, 2]
