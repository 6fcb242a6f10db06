"""Stores of dense vectors: what comes back is what went in, also after a kill, and what cannot be kept is refused."""

import contextlib
import json
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillir.errors import VectorsError
from distillir.vectors.dense import DenseVectors
from distillir.vectors.dense_imports import import_dense
from distillir.vectors.dense_writer import DenseVectorsWriter

DIM = 6


def matrix(rows: int, seed: int = 1, dim: int = DIM) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


def names(rows: int, first: int = 0) -> list[str]:
    return [f"d{i}" for i in range(first, rows)]


def store(folder, rows: np.ndarray, **options) -> DenseVectors:
    with DenseVectorsWriter(folder, rows.shape[1], **{"dtype": "float32", "similarity": "dot", **options}) as writer:
        writer.append(names(len(rows)), rows)
    return DenseVectors.open(folder)


def test_rows_come_back_by_position_and_id(tmp_path):
    rows = matrix(11)
    vectors = store(tmp_path / "v", rows, shard_rows=4, meta={"encoder": "e1"})
    assert (len(vectors), vectors.dim, vectors.dtype, vectors.similarity) == (11, DIM, "float32", "dot")
    assert vectors.encoder == "e1"
    assert list(vectors.ids) == names(11)
    assert sorted(p.name for p in (tmp_path / "v").glob("shard-*")) == ["shard-000000", "shard-000001", "shard-000002"]
    np.testing.assert_array_equal(vectors.gather([10, 0, 5, 5, 3]), rows[[10, 0, 5, 5, 3]])
    assert vectors.find(["d7", "none", "d0"]).tolist() == [7, -1, 0]
    assert vectors.gather([]).shape == (0, DIM)
    np.testing.assert_array_equal(np.concatenate([block for _, block in vectors.blocks(3)]), rows)
    assert [start for start, _ in vectors.blocks(3)] == [0, 3, 4, 7, 8]
    vectors.verify()


def test_cosine_keeps_unit_length_and_half_precision_rounds(tmp_path):
    vectors = store(tmp_path / "v", np.array([[3.0, 4.0], [0.0, -2.0]]), similarity="cosine", dtype="float16")
    np.testing.assert_allclose(vectors.gather([0, 1]), [[0.6, 0.8], [0.0, -1.0]], atol=5e-4)
    assert vectors.gather([0]).dtype == np.float32
    assert (tmp_path / "v" / "shard-000000" / "vectors.npy").stat().st_size == 128 + 2 * 2 * 2
    raw = np.load(tmp_path / "v" / "shard-000000" / "vectors.npy")  # an ordinary array for whoever reads it
    assert raw.dtype == np.float16


def test_the_nearest_are_found_exactly_whatever_their_sign(tmp_path):
    rows = np.array([[1, 0], [0, 1], [-1, 0], [1, 0], [0.5, 0.5], [-2, -2]], np.float32)
    vectors = store(tmp_path / "v", rows, shard_rows=2)
    found, scores = vectors.nearest([[1.0, 0.0], [0.0, 2.0]], 4)
    assert found.tolist() == [[0, 3, 4, 1], [1, 4, 0, 2]]  # equal scores in row order
    assert scores.tolist() == [[1, 1, 0.5, 0], [2, 1, 0, 0]]
    assert vectors.nearest([[1.0, 1.0]], 99)[0].tolist() == [[0, 1, 3, 4, 2, 5]]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 45), st.integers(1, 9), st.integers(0, 99))
def test_the_nearest_are_those_of_a_full_sort(tmp_path_factory, count, k, shard_rows, seed):
    rng = np.random.default_rng(seed)
    rows = rng.integers(-2, 3, (count, 3)).astype(np.float32)  # many ties
    queries = rng.integers(-2, 3, (5, 3)).astype(np.float32)
    vectors = store(tmp_path_factory.mktemp("v") / "s", rows, shard_rows=shard_rows)
    found, scores = vectors.nearest(queries, k)
    every = queries @ rows.T
    expected = np.argsort(-every, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(scores, np.take_along_axis(every, expected, 1))


def test_more_queries_than_one_group_are_all_answered(tmp_path):
    rows = matrix(30)
    vectors = store(tmp_path / "v", rows)
    queries = matrix(1100, seed=4)
    np.testing.assert_array_equal(vectors.nearest(queries, 1)[0][:, 0], (queries @ rows.T).argmax(1))


@pytest.mark.parametrize(
    ("rows", "similarity", "cause"),
    [
        (np.ones((2, DIM + 1)), "dot", r"shape \(2, 7\) for 2 ids → give \(2, 6\)"),
        (np.ones((3, DIM)), "dot", r"shape \(3, 6\) for 2 ids"),
        (np.ones(DIM), "dot", "shape"),
        (np.array([[1.0] * DIM, [np.nan] * DIM]), "dot", "'d1' holds a value that is not a finite number"),
        (np.array([[np.inf] * DIM, [1.0] * DIM]), "dot", "'d0' holds a value that is not a finite number"),
        (np.full((2, DIM), 7e4), "dot", "'d0' does not fit float16"),
        (np.array([[1.0] * DIM, [0.0] * DIM]), "cosine", "'d1' is all zeros"),
        (np.full((2, DIM), "x"), "dot", "rows of type"),
        (np.ones((2, DIM), complex), "dot", "rows of type complex128"),
    ],
)
def test_rows_that_cannot_be_kept_are_refused_whole(tmp_path, rows, similarity, cause):
    with DenseVectorsWriter(tmp_path / "v", DIM, similarity=similarity) as writer:
        with pytest.raises(VectorsError, match=cause):
            writer.append(names(2), rows)
        assert len(writer) == 0


def test_an_id_is_given_once(tmp_path):
    with DenseVectorsWriter(tmp_path / "v", DIM, shard_rows=2) as writer:
        writer.append(names(3), matrix(3))
        for again in (["d0"], ["d2"], ["x", "x"]):
            with pytest.raises(VectorsError, match="already appended"):
                writer.append(again, matrix(len(again)))
        assert (writer.committed, len(writer)) == (2, 3)
        assert [writer.has(name) for name in ("d0", "d2", "x")] == [True, True, False]


@pytest.mark.parametrize(
    "options", [{"dim": 7}, {"dtype": "float32"}, {"similarity": "dot"}, {"meta": {"encoder": "b"}}]
)
def test_a_store_is_continued_with_its_own_settings_only(tmp_path, options):
    own = {"dim": DIM, "meta": {"encoder": "a"}}
    DenseVectorsWriter(tmp_path / "v", **own).close()
    with pytest.raises(VectorsError, match=f"was written with {next(iter(options))}"):
        DenseVectorsWriter(tmp_path / "v", **{**own, **options})
    DenseVectorsWriter(tmp_path / "v", **own).close()


def test_two_writers_and_foreign_folders_are_refused(tmp_path):
    with DenseVectorsWriter(tmp_path / "v", DIM), pytest.raises(VectorsError, match="another process"):
        DenseVectorsWriter(tmp_path / "v", DIM)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(VectorsError, match="other files"):
        DenseVectorsWriter(tmp_path / "other", DIM)
    for wrong in ({"dim": 0}, {"dtype": "int8"}, {"similarity": "euclid"}, {"shard_rows": 0}, {"meta": {"a": {1}}}):
        with pytest.raises(VectorsError):
            DenseVectorsWriter(tmp_path / "w", **{"dim": DIM, **wrong})


@pytest.mark.parametrize("damage", ["truncated", "gone", "format", "manifest", "bytes", "field"])
def test_a_damaged_store_is_named(tmp_path, damage):
    store(tmp_path / "v", matrix(3))
    path, manifest = tmp_path / "v" / "shard-000000" / "vectors.npy", tmp_path / "v" / "manifest.json"
    content = json.loads(manifest.read_text())
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-4])
    if damage == "gone":
        path.unlink()
    if damage == "format":
        manifest.write_text(json.dumps({**content, "format": "distillir.vectors/1"}))
    if damage == "manifest":
        manifest.write_text("{")
    if damage == "field":
        manifest.write_text(json.dumps({**content, "colour": 1}))
    if damage == "bytes":
        path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
        with pytest.raises(VectorsError, match="has changed since"):
            DenseVectors.open(tmp_path / "v").verify()
        return
    with pytest.raises(VectorsError, match=r"vectors\.npy|manifest\.json"):
        DenseVectors.open(tmp_path / "v")


def test_an_unfinished_or_missing_store_is_not_opened(tmp_path):
    with pytest.raises(VectorsError, match="holds no vectors"):
        DenseVectors.open(tmp_path)
    with contextlib.suppress(KeyboardInterrupt), DenseVectorsWriter(tmp_path / "v", DIM, shard_rows=2) as writer:
        writer.append(names(3), matrix(3))
        raise KeyboardInterrupt
    with pytest.raises(VectorsError, match="unfinished: 2 rows"):
        DenseVectors.open(tmp_path / "v")
    assert len(DenseVectors.open(tmp_path / "v", partial=True)) == 2


def test_questions_that_cannot_be_asked(tmp_path):
    vectors = store(tmp_path / "v", matrix(3))
    for rows in ([3], [-1], [0.5], [[0]]):
        with pytest.raises(VectorsError, match="positions"):
            vectors.gather(rows)
    with pytest.raises(VectorsError, match="no vector has the id 'x'"):
        vectors.position(["d0", "x"])
    for query in ([1.0] * DIM, [[1.0] * 5]):
        with pytest.raises(VectorsError, match="queries of shape"):
            vectors.nearest(query, 1)
    with pytest.raises(VectorsError, match="not a finite number"):
        vectors.nearest([[np.nan] * DIM], 1)
    with pytest.raises(VectorsError, match="k is 0"):
        vectors.nearest([[1.0] * DIM], 0)


def test_a_full_disk_costs_nothing_that_was_committed(tmp_path):
    script = """
import resource, sys
import numpy as np
from distillir.errors import VectorsError
from distillir.vectors.dense_writer import DenseVectorsWriter
writer = DenseVectorsWriter(sys.argv[1], 4000, shard_rows=1)
writer.append(["a"], np.ones((1, 4000)))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    writer.append(["b"], np.ones((1, 4000)))
except VectorsError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "v")],
        capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert "no space left" in done.stdout
    assert "1 rows are committed and intact" in done.stdout
    assert list(DenseVectors.open(tmp_path / "v", partial=True).ids) == ["a"]


VICTIM = """
import sys
import numpy as np
from distillir.vectors.dense_writer import DenseVectorsWriter
rows = np.random.default_rng(3).normal(size=(600, 24))
with DenseVectorsWriter(sys.argv[1], 24, shard_rows=10, meta={"encoder": "x"}) as writer:
    print("ready", flush=True)
    for i in range(600):
        if not writer.has(str(i)):
            writer.append([str(i)], rows[i : i + 1])
"""


def start_victim(path):
    environment = {"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", VICTIM, str(path)], stdout=subprocess.PIPE, env=environment)
    assert process.stdout.readline().startswith(b"ready")
    return process


def test_kill_minus_nine_then_resume_gives_the_same_store(tmp_path):
    whole = start_victim(tmp_path / "whole")
    begun = time.perf_counter()
    assert whole.wait() == 0
    whole.stdout.close()
    seconds = time.perf_counter() - begun
    chance, killed, reached = random.Random(5), 0, 0
    for _ in range(60):
        process = start_victim(tmp_path / "v")
        time.sleep(chance.uniform(0, seconds / 4))
        process.send_signal(signal.SIGKILL)
        died = process.wait() == -signal.SIGKILL
        process.stdout.close()
        left = DenseVectors.open(tmp_path / "v", partial=True)
        left.verify()
        assert len(left) >= reached  # what was committed stays
        reached = len(left)
        if not died:
            break
        killed += 1
        if killed == 3:
            break
    assert killed
    last = start_victim(tmp_path / "v")
    assert last.wait() == 0
    last.stdout.close()
    assert DenseVectors.open(tmp_path / "v").digest() == DenseVectors.open(tmp_path / "whole").digest()
    assert not [p for p in (tmp_path / "v").iterdir() if p.name.startswith(".tmp")]


def test_a_numpy_matrix_with_its_ids_is_imported(tmp_path):
    rows = matrix(20)
    np.save(tmp_path / "m.npy", rows.astype(np.float64))
    (tmp_path / "ids.txt").write_text("\n".join(names(20)) + "\n", encoding="utf-8")
    options = {"ids": tmp_path / "ids.txt", "encoder": "some/model", "similarity": "dot", "dtype": "float32"}
    vectors = import_dense(tmp_path / "m.npy", tmp_path / "v", **options, dim=DIM)
    np.testing.assert_array_equal(vectors.gather(range(20)), rows)
    assert (vectors.encoder, vectors.meta["imported"]) == ("some/model", "m.npy")
    before = (tmp_path / "v" / "manifest.json").stat().st_mtime_ns
    assert import_dense(tmp_path / "m.npy", tmp_path / "v", **options).fingerprint == vectors.fingerprint
    assert (tmp_path / "v" / "manifest.json").stat().st_mtime_ns == before
    (tmp_path / "ids.txt").write_text("\n".join(f"e{i}" for i in range(20)), encoding="utf-8")
    with pytest.raises(VectorsError, match="vectors of other documents"):
        import_dense(tmp_path / "m.npy", tmp_path / "v", **options)


def parquet(path, vectors, ids=None, kind=None) -> None:
    ids = names(len(vectors)) if ids is None else ids
    pq.write_table(pa.table({"id": ids, "vector": pa.array(vectors, kind or pa.list_(pa.float32()))}), path)


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float64()), pa.list_(pa.float32(), 2)])
def test_a_parquet_list_column_is_imported(tmp_path, kind):
    parquet(tmp_path / "m.parquet", [[3.0, 4.0], [1.0, 0.0]], ids=[7, 8], kind=kind)
    vectors = import_dense(tmp_path / "m.parquet", tmp_path / "v", dtype="float32")
    assert list(vectors.ids) == ["7", "8"]
    np.testing.assert_allclose(vectors.gather([0, 1]), [[0.6, 0.8], [1, 0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("vectors", "ids", "kind", "cause"),
    [
        ([[1.0, 2.0], [1.0]], None, None, "not every vector has 2 numbers"),
        ([[1.0, 2.0], None], None, None, "not every vector has 2 numbers"),
        ([None, [1.0]], None, None, "has no vectors"),
        ([], None, None, "has no vectors"),
        ([[1.0], [float("nan")]], None, None, "'d1' holds a value that is not a finite number"),
        ([[1.0], [2.0]], ["a", "a"], None, "'a' was already appended"),
        ([[1.0], [2.0]], ["a", None], None, "None is not an id"),
        ([1.0, 2.0], None, pa.float32(), "column 'vector' is float"),
        ([["a"]], None, pa.list_(pa.string()), "write it as lists of floats"),
    ],
)
def test_parquet_files_that_cannot_serve(tmp_path, vectors, ids, kind, cause):
    parquet(tmp_path / "m.parquet", vectors, ids, kind)
    with pytest.raises(VectorsError, match=cause):
        import_dense(tmp_path / "m.parquet", tmp_path / "v", dtype="float32")


def test_files_that_cannot_be_imported(tmp_path):
    (tmp_path / "ids.txt").write_text("a\nb\n", encoding="utf-8")
    ids = tmp_path / "ids.txt"
    cases = {
        "none.npy": "not a readable .npy",
        "three.npy": "2 ids for 3 rows",
        "flat.npy": r"holds float64 \(2,\)",
        "int.npy": "holds int64",
        "pickle.npy": "not a readable .npy",
        "vectors.csv": "give a .npy or a .parquet",
        "text.parquet": "not a readable Parquet",
    }
    np.save(tmp_path / "three.npy", np.ones((3, 2)))
    np.save(tmp_path / "flat.npy", np.ones(2))
    np.save(tmp_path / "int.npy", np.ones((2, 2), np.int64))
    np.save(tmp_path / "pickle.npy", np.array([{"a": 1}, None]), allow_pickle=True)
    (tmp_path / "text.parquet").write_text("no")
    for name, cause in cases.items():
        with pytest.raises(VectorsError, match=cause):
            import_dense(tmp_path / name, tmp_path / f"v-{name}", ids=ids)
    np.save(tmp_path / "two.npy", np.ones((2, 2)))
    with pytest.raises(VectorsError, match="width 2, expected 384"):
        import_dense(tmp_path / "two.npy", tmp_path / "v", ids=ids, dim=384)
    with pytest.raises(VectorsError, match="rows without names"):
        import_dense(tmp_path / "two.npy", tmp_path / "v")
    with pytest.raises(VectorsError, match="cannot be read"):
        import_dense(tmp_path / "two.npy", tmp_path / "v", ids=tmp_path / "none.txt")
    parquet(tmp_path / "m.parquet", [[1.0]])
    with pytest.raises(VectorsError, match="no column 'embedding', only id, vector"):
        import_dense(tmp_path / "m.parquet", tmp_path / "v", vector_column="embedding")
