"""Pruning of terms and rows, the rankings it changes, and the table that says how much."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillir.engines import document_loss, prune_rows, prune_terms, query_loss
from distillir.engines.ranking import rank
from distillir.errors import ConfigError, SearchIndexError
from distillir.vectors import SparseVectors, SparseVectorsWriter, csr_from_rows

DIM = 12
WEIGHTS = st.dictionaries(st.integers(0, DIM - 1), st.integers(1, 8).map(lambda n: n / 4), max_size=8)


def rows_of(maps):
    return csr_from_rows([(list(m), list(m.values())) for m in maps], DIM)


def maps_of(rows):
    return [dict(zip(*(part.tolist() for part in rows.row(i)), strict=True)) for i in range(rows.rows)]


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, ["d", "a", "b", "c"]),
        ({"top": 2}, ["d", "a"]),
        ({"top": 9}, ["d", "a", "b", "c"]),
        ({"ratio": 0.5}, ["d", "a", "b"]),
        ({"ratio": 1.0}, ["d"]),
        ({"top": 2, "ratio": 0.1}, ["d", "a"]),
    ],
)
def test_terms_by_hand(options, kept):
    weights = {"c": 0.25, "b": 1.0, "a": 1.0, "d": 2.0}
    assert list(prune_terms(weights, **options)) == kept
    assert prune_terms(weights, **options) == {term: weights[term] for term in kept}
    assert prune_terms({}, **options) == {}


def test_rows_by_hand():
    rows = rows_of([{3: 1.0, 5: 2.0, 7: 1.0, 9: 0.5}, {}, {0: 4.0}])
    assert maps_of(prune_rows(rows, top=2)) == [{3: 1.0, 5: 2.0}, {}, {0: 4.0}]
    assert maps_of(prune_rows(rows, ratio=0.5)) == [{3: 1.0, 5: 2.0, 7: 1.0}, {}, {0: 4.0}]
    assert maps_of(prune_rows(rows, 1, 0.5)) == [{5: 2.0}, {}, {0: 4.0}]
    assert maps_of(prune_rows(rows)) == maps_of(rows)
    assert maps_of(prune_rows(rows_of([]), top=1)) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(WEIGHTS, max_size=5), st.integers(1, 5), st.sampled_from([0.25, 0.5, 1.0]))
def test_rows_are_pruned_as_terms_are(maps, top, ratio):
    pruned = maps_of(prune_rows(rows_of(maps), top, ratio))
    expected = [prune_terms({f"{i:02d}": w for i, w in m.items()}, top, ratio) for m in maps]
    assert pruned == [{int(i): w for i, w in sorted(e.items())} for e in expected]


@pytest.mark.parametrize("options", [{"top": 0}, {"top": -1}, {"ratio": 0.0}, {"ratio": 1.5}, {"ratio": float("nan")}])
def test_limits_that_keep_nothing(options):
    with pytest.raises(ConfigError):
        prune_terms({"a": 1.0}, **options)
    with pytest.raises(ConfigError):
        prune_rows(rows_of([{0: 1.0}]), **options)


def store(folder, maps, shard_rows=1000):
    with SparseVectorsWriter(folder, DIM, "float32", shard_rows=shard_rows) as writer:
        writer.append([f"d{i:02d}" for i in range(len(maps))], rows_of(maps))
    return SparseVectors.open(folder)


@settings(max_examples=15, deadline=None)
@given(st.lists(WEIGHTS, min_size=1, max_size=12), st.lists(WEIGHTS, min_size=1, max_size=4), st.integers(1, 6))
def test_rankings_are_those_of_plain_python(tmp_path_factory, documents, queries, k):
    found = rank(store(tmp_path_factory.mktemp("v") / "v", documents, shard_rows=3), rows_of(queries), k)
    for query, ranking in zip(queries, found, strict=True):
        scores = {f"d{i:02d}": sum(w * d.get(j, 0) for j, w in query.items()) for i, d in enumerate(documents)}
        expected = sorted(((n, s) for n, s in scores.items() if s), key=lambda hit: (-hit[1], hit[0]))[:k]
        assert ranking == expected  # quarters and their products are exact


def test_a_query_of_another_vocabulary_is_refused(tmp_path):
    with pytest.raises(SearchIndexError, match="dimension 15"):
        rank(store(tmp_path / "v", [{0: 1.0}]), csr_from_rows([([15], [1.0])], 20), 3)


DOCUMENTS = [{0: 2.0}, {0: 1.0, 1: 1.0}, {1: 4.0}, {2: 1.0}]
QUERIES = [{0: 3.0, 1: 1.0}, {2: 1.0}]


def test_query_loss_by_hand(tmp_path):
    vectors = store(tmp_path / "v", DOCUMENTS)
    judged = []

    def measure(run):
        judged.append(run)
        return {"found": sum(map(len, run.values()))}

    table = query_loss(vectors, rows_of(QUERIES), at=[1, 2], ratios=[0.5], ids=["q1", "q2"], measure=measure)
    assert [row.kept for row in table.rows] == ["all", "all, 9 bits", "top 1", "top 2", "ratio 0.5"]
    assert (table.pruned, table.queries, table.documents) == ("queries", 2, 4)
    full, bits, one, two, half = table.rows
    assert (full.terms, full.mass, full.overlap, full.postings) == (1.5, 1.0, {10: 1.0, 100: 1.0}, 2.5)
    # The first query keeps dimension 0: two of its three documents; the second keeps all it has.
    assert (one.terms, one.mass, one.postings) == (1.0, 0.8, 1.5)
    assert one.overlap[10] == pytest.approx((2 / 3 + 1) / 2)
    assert (two.overlap, two.mass) == (full.overlap, 1.0)
    assert half.overlap == one.overlap
    assert bits.overlap == full.overlap
    assert [row.measures["found"] for row in table.rows] == [4, 4, 3, 4, 3]
    assert judged[0] == {"q1": {"d00": 6.0, "d01": 4.0, "d02": 4.0}, "q2": {"d03": 1.0}}


def test_document_loss_by_hand(tmp_path):
    table = document_loss(store(tmp_path / "v", DOCUMENTS), rows_of(QUERIES), at=[1])
    full, bits, one = table.rows
    assert (full.terms, full.mass, full.postings) == (1.25, 1.0, 2.5)
    assert (one.terms, one.mass, one.postings) == (1.0, pytest.approx(8 / 9), 2.0)
    assert one.overlap == {10: 1.0, 100: 1.0}  # d01 is still found by its dimension 0
    assert bits.mass == 1.0
    assert table.pruned == "documents"


def test_nine_bits_cost_what_they_cost(tmp_path):
    # Both are kept as 1.99609375, so the document that was second comes first, by its id.
    table = document_loss(store(tmp_path / "v", [{0: 1.998}, {0: 1.999}]), rows_of([{0: 1.0}]), at=[5])
    assert table.rows[1].mass == pytest.approx(2 * 1.99609375 / 3.997)
    assert table.rows[1].overlap[10] == 1.0


def test_table_as_text_and_json(tmp_path):
    vectors = store(tmp_path / "v", DOCUMENTS)
    table = query_loss(
        vectors, rows_of(QUERIES), at=[1], ids=["q1", "q2"], measure=lambda run: {"n": sum(map(len, run.values()))}
    )
    lines = table.text().splitlines()
    assert lines[0] == "queries pruned: 2 queries on 4 documents"
    assert lines[1].split() == ["kept", "terms", "mass", "overlap@10", "overlap@100", "postings", "n"]
    assert lines[2].split() == ["all", "1.5", "100.0%", "1.000", "1.000", "2", "4.0000"]
    assert lines[4].split() == ["top", "1", "1.0", "80.0%", "0.833", "0.833", "2", "3.0000", "(-1.0000)"]
    assert len(set(map(len, lines[1:]))) == 1
    found = json.loads(table.to_json())
    assert [row["kept"] for row in found["rows"]] == ["all", "all, 9 bits", "top 1"]
    assert found["rows"][2]["overlap"]["10"] == pytest.approx(5 / 6)
    assert found["rows"][2]["measures"] == {"n": 3}


def test_queries_that_find_nothing_do_not_count(tmp_path):
    vectors = store(tmp_path / "v", DOCUMENTS)
    table = query_loss(vectors, rows_of([*QUERIES, {11: 5.0}, {}]), at=[1])
    assert table.rows[2].overlap[10] == pytest.approx(5 / 6)
    assert query_loss(vectors, rows_of([{}]), at=[1]).rows[2].overlap == {10: 1.0, 100: 1.0}


def test_nothing_to_compare(tmp_path):
    vectors = store(tmp_path / "v", DOCUMENTS)
    for loss in (query_loss, document_loss):
        with pytest.raises(ConfigError, match="nothing to prune to"):
            loss(vectors, rows_of(QUERIES))
        with pytest.raises(ConfigError, match="no query"):
            loss(vectors, rows_of([]), at=[1])
        with pytest.raises(ConfigError, match="top is 0"):
            loss(vectors, rows_of(QUERIES), at=[0])


def test_overlap_is_cut_at_its_depth(tmp_path):
    # 12 documents by dimension 0; dimension 1 reverses their order.
    documents = [{0: 100.0 - i, 1: 10.0 * i + 0.5} for i in range(12)]
    table = query_loss(store(tmp_path / "v", documents), rows_of([{0: 1.0, 1: 0.9}]), at=[1])
    assert table.rows[2].overlap == {10: pytest.approx(0.8), 100: 1.0}
    assert np.isclose(table.rows[2].mass, 1 / 1.9)
