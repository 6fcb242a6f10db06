from __future__ import annotations

import json
import subprocess
import sys

import pytest

from distillir.errors import ConfigError, MissingDependencyError, SearchIndexError
from distillir.index import ENGINES, create_index, fill, open_index
from distillir.index.registry import DEFAULT_ENGINE
from distillir.vectors import SparseVectors, SparseVectorsWriter, csr_from_rows


@pytest.fixture(params=sorted(ENGINES))
def engine(request):
    return request.param


@pytest.fixture
def line(engine, engine_line):
    return engine_line(engine)


def test_another_vocabulary_or_encoder_is_refused(line, tmp_path):
    create_index(tmp_path / "i", line, dim=30522, encoder="abc").close()
    with pytest.raises(SearchIndexError, match="has 30522 dimensions, the encoder 30521"):
        open_index(tmp_path / "i", dim=30521)
    with pytest.raises(SearchIndexError, match="was built by the encoder 'abc', not 'abd'"):
        open_index(tmp_path / "i", dim=30522, encoder="abd")
    with open_index(tmp_path / "i", dim=30522, encoder="abc") as index:
        assert (index.dim, index.encoder) == (30522, "abc")


def test_a_folder_in_use_is_refused(line, tmp_path):
    create_index(tmp_path / "i", line, dim=5).close()
    with pytest.raises(SearchIndexError, match="is not an empty folder"):
        create_index(tmp_path / "i", line, dim=5)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SearchIndexError, match="is not an empty folder"):
        create_index(tmp_path / "file", line, dim=5)
    (tmp_path / "empty").mkdir()
    create_index(tmp_path / "empty", line, dim=5).close()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_remains_of_a_killed_creation_are_replaced(line, tmp_path):
    (tmp_path / ".tmp-i" / "data").mkdir(parents=True)
    (tmp_path / ".tmp-i" / "data" / "state.json").write_text("{")
    with create_index(tmp_path / "i", line, dim=5) as index:
        assert len(index) == 0


@pytest.mark.parametrize("dim", [0, -1, 2**31, True, 5.0])
def test_a_vocabulary_size_that_cannot_be_is_refused(line, tmp_path, dim):
    with pytest.raises(SearchIndexError, match="dim is"):
        create_index(tmp_path / "i", line, dim=dim)


def test_an_unknown_engine_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="choose one of exact, milvus, qdrant, qdrant_edge, seismic"):
        create_index(tmp_path / "i", "lucene", dim=5)


def test_the_default_engine_is_there():
    assert DEFAULT_ENGINE in ENGINES


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "qdrant_edge", None)
    with pytest.raises(MissingDependencyError, match="qdrant-edge-py"):
        create_index(tmp_path / "i", "qdrant_edge", dim=5)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format": "distillir.index/1", "dim": 5, "engine": "lucene"}'])
def test_a_damaged_description_is_refused(line, tmp_path, content):
    create_index(tmp_path / "i", line, dim=5).close()
    (tmp_path / "i" / "index.json").write_text(content)
    with pytest.raises(SearchIndexError):
        open_index(tmp_path / "i")


def test_no_index_is_refused(tmp_path):
    with pytest.raises(SearchIndexError, match=r"index\.json is missing"):
        open_index(tmp_path)


def test_the_description_is_plain_json(engine, line, tmp_path):
    create_index(tmp_path / "i", line, dim=5, encoder="x").close()
    about = json.loads((tmp_path / "i" / "index.json").read_text())
    assert about == {"format": "distillir.index/1", "engine": engine, "dim": 5, "encoder": "x"}


def test_importing_the_package_loads_no_engine():
    script = """
import sys, distillir.index
heavy = ('qdrant_edge', 'qdrant_client', 'pymilvus', 'seismic', 'scipy', 'torch', 'transformers')
print([m for m in heavy if m in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout.strip() == "[]"


def store(path, dim=5, encoder="e1"):
    with SparseVectorsWriter(path, dim, shard_rows=2, meta={"encoder": encoder}) as writer:
        writer.append(["a", "b", "c"], csr_from_rows([([0], [1.0]), ([0, 1], [0.5, 2.0]), ([], [])], dim))
    return SparseVectors.open(path)


def test_filling_from_a_store(line, tmp_path):
    vectors = store(tmp_path / "v")
    with create_index(tmp_path / "i", line, dim=5, encoder="e1") as index:
        for _ in range(2):  # the second time is what a run after a crash does
            fill(index, vectors, lambda name: {"name": name})
        assert len(index) == 3
        assert index.payloads(["b"]) == [{"name": "b"}]
        assert index.vectors(["b"]).row(0)[1].tolist() == [0.5, 2.0]


@pytest.mark.parametrize(("dim", "encoder"), [(6, "e1"), (5, "e2")])
def test_filling_from_a_foreign_store_is_refused(line, tmp_path, dim, encoder):
    with (
        create_index(tmp_path / "i", line, dim=5, encoder="e1") as index,
        pytest.raises(SearchIndexError, match="do not fit an index of 5"),
    ):
        fill(index, store(tmp_path / "v", dim, encoder))
