from __future__ import annotations

import json

import pytest

from distillir.errors import SearchIndexError
from distillir.index import SparseQuery, create_index, open_index
from distillir.index import qdrant_edge as engine_module
from distillir.vectors import csr_from_rows

DIM = 6
ONE = SparseQuery([1], [1.0])


def rows(n):
    return csr_from_rows([([1], [1.0 + i]) for i in range(n)], DIM)


@pytest.fixture
def path(tmp_path):
    with create_index(tmp_path / "i", "qdrant_edge", dim=DIM) as index:
        index.add([str(i) for i in range(4)], rows(4))
    return tmp_path / "i"


def test_the_number_of_documents_is_noted_at_an_orderly_close_only(path):
    noted = path / "data" / "count.json"
    assert json.loads(noted.read_text()) == {"documents": 4}
    with open_index(path) as index:
        index.search(ONE, 3)
        assert noted.exists()
        index.delete(["0"])
        assert not noted.exists()  # a kill from here on leaves nothing that could be wrong
    assert json.loads(noted.read_text()) == {"documents": 3}


def test_silently_lost_documents_are_noticed(path):
    (path / "data" / "count.json").write_text('{"documents": 5}')
    with pytest.raises(SearchIndexError, match="was closed with 5 documents and opens with 4"):
        open_index(path)
    (path / "data" / "count.json").unlink()
    open_index(path).close()  # the refusal let the lock go


@pytest.mark.parametrize(
    "name", ["shard/edge_config.json", "shard/segments/*/segment.json", "shard/segments/*/version.info"]
)
def test_damage_is_an_error_of_the_index(path, name):
    (file,) = list((path / "data").glob(name))[:1]
    file.write_bytes(file.read_bytes()[:3])
    with pytest.raises(SearchIndexError, match="cannot open"):
        open_index(path)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_panic_of_the_engine_is_an_error_of_the_index(path):
    file = next((path / "data" / "shard").glob("segments/*/vector_storage-weights/deleted/status.dat"))
    file.write_bytes(b"")
    with pytest.raises(SearchIndexError, match="cannot open"):
        open_index(path)


def test_many_documents_and_queries_go_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_module, "_BATCH", 7)
    monkeypatch.setattr(engine_module, "_GROUP", 3)
    with create_index(tmp_path / "j", "qdrant_edge", dim=DIM) as index:
        index.add([f"{i:02d}" for i in range(30)], rows(30))
        queries = [SparseQuery([1], [float(w)]) for w in range(1, 9)]
        assert index.search_batch(queries, 2) == [[("29", 30.0 * w), ("28", 29.0 * w)] for w in range(1, 9)]
