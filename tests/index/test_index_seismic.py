"""Seismic, once it is built; before that it is in the common tests of all engines."""

from __future__ import annotations

import json

import numpy as np
import pytest

from distillir.errors import ConfigError, SearchIndexError
from distillir.index import SparseQuery, create_index, open_index, read_engine
from distillir.index.exact import ExactIndex
from distillir.vectors import csr_from_rows

pytest.importorskip("seismic")
DIM, COUNT = 2000, 3000


def draw(rng, size):
    found = np.unique((DIM * rng.random(size) ** 2).astype(np.int64))
    return found, rng.gamma(2, 0.5, len(found)).astype(np.float32) + 0.01


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("seismic") / "i"
    rows = [draw(rng, 60) for _ in range(COUNT)]
    with create_index(path, "seismic", dim=DIM, encoder="e1") as index:
        index.add([f"d{i}" for i in range(COUNT)], csr_from_rows(rows, DIM), [{"n": i % 10} for i in range(COUNT)])
        index.add(["empty"], csr_from_rows([([], [])], DIM))
        index.delete(["d5"])
        index.finish()
    return path


def test_it_finds_nearly_what_exact_search_finds_with_exact_scores(built):
    rng = np.random.default_rng(1)
    queries = [SparseQuery(*draw(rng, 20)) for _ in range(40)]
    with open_index(built) as index, ExactIndex(built / "data" / "documents", DIM) as exact:
        found, wanted = index.search_batch(queries, 50), exact.search_batch(queries, 50)
        assert index.search(queries[0], 50) == found[0]
        assert len(index) == COUNT
    shared = [len({h.id for h in one} & {h.id for h in two}) / 50 for one, two in zip(found, wanted, strict=True)]
    assert np.mean(shared) > 0.95
    for one, two in zip(found, wanted, strict=True):
        assert [hit.score for hit in one] == sorted((hit.score for hit in one), reverse=True)
        true = {hit.id: hit.score for hit in two}
        assert all(true[hit.id] == pytest.approx(hit.score, rel=1e-5) for hit in one if hit.id in true)


def test_filters_payloads_and_vectors(built):
    with open_index(built, dim=DIM, encoder="e1") as index:
        hits = index.search(SparseQuery([0, 1, 2], [1.0, 1.0, 1.0]), 20, {"n": 3})
        assert hits
        assert all(payload == {"n": 3} for payload in index.payloads([hit.id for hit in hits]))
        assert index.search(SparseQuery([], []), 5) == []
        assert index.vectors(["empty"]).rows == 1


def test_terms_that_no_document_has_are_no_error(tmp_path):
    with create_index(tmp_path / "i", "seismic", dim=9) as index:
        index.add(["a", "b"], csr_from_rows([([1], [1.0]), ([1, 2], [0.5, 1.0])], 9))
        index.finish()
        index.finish()
        assert index.search(SparseQuery([7, 8], [1.0, 1.0]), 5) == []
        assert index.search(SparseQuery([1, 7], [2.0, 1.0]), 5) == [("a", 2.0), ("b", 1.0)]


def test_an_index_without_terms(tmp_path):
    with create_index(tmp_path / "i", "seismic", dim=9) as index:
        index.add(["a"], csr_from_rows([([], [])], 9))
        index.finish()
        assert index.search(SparseQuery([1], [2.0]), 5) == []
    with open_index(tmp_path / "i") as index:
        assert len(index) == 1


def test_it_is_read_only(built):
    with open_index(built) as index:
        with pytest.raises(SearchIndexError, match="read-only once it is built → index the documents again, or choose"):
            index.add(["x"], csr_from_rows([([1], [1.0])], DIM))
        with pytest.raises(SearchIndexError, match="1 documents cannot be deleted"):
            index.delete(["d1"])
    with pytest.raises(SearchIndexError, match="is closed"):
        index.search(SparseQuery([1], [1.0]), 1)


def test_a_damaged_structure_is_refused(tmp_path):
    with create_index(tmp_path / "i", "seismic", dim=9) as index:
        index.add(["a"], csr_from_rows([([1], [1.0])], 9))
        index.finish()
    structure = tmp_path / "i" / "data" / "index.index.seismic"
    structure.write_bytes(structure.read_bytes()[:20])
    with pytest.raises(SearchIndexError, match="cannot be loaded"):
        open_index(tmp_path / "i")


@pytest.mark.parametrize(("option", "value"), [("postings", 0), ("heap_factor", 2), ("query_terms", 1.5)])
def test_options_that_cannot_be_are_refused(option, value):
    with pytest.raises(ConfigError, match=f"{option} is {value}"):
        read_engine({"name": "seismic", option: value})


def test_options_are_kept(tmp_path):
    create_index(tmp_path / "i", {"name": "seismic", "postings": 100}, dim=9).close()
    assert json.loads((tmp_path / "i" / "data" / "seismic.json").read_text())["options"]["postings"] == 100
