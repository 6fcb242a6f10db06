"""Bulk files and search requests alone give the ranking and scores of the exact index."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillir.conversation import Conversation
from distillir.data import Corpus, Document
from distillir.engines import ENGINES, bulk_rows, dimension_names, prune_terms, write_bulk
from distillir.index import SparseQuery, create_index, fill
from distillir.students import SparseStudent
from distillir.students.packaged import SPLADE_TINY, locate
from distillir.vectors import SparseVectors, SparseVectorsWriter, csr_from_rows
from engine_scorer import Server

FORMS = [(engine, form) for engine in ENGINES for form in ENGINES[engine].forms]
FIELDS = {"lang": "keyword", "year": "long", "draft": "boolean"}
TEXTS = [
    "The river floods every spring, and the U.S. army corps of engineers builds levees.",
    "Frank Herbert wrote Dune in 1965; its desert planet is called Arrakis.",
    "A csv reader yields each row as a list of strings; the header is the first one.",
    "json.loads reads a string, json.load reads a file.",
    "Version 3.11 is 10-60% faster than 3.10.",
    "The spice must flow. Whoever controls the spice controls the universe.",
    "Levees along the Mississippi were raised after the flood of 1927.",
    "Open a file with `with open(path) as file:` and it is closed at the end...",
    "Desert plants store water in thick leaves & long roots.",
    "sys.exit(2) raises SystemExit; try/finally blocks still run.",
    "Rain in the desert is rare, but flash floods follow it.",
    "What is 50% of 3.5? It is 1.75.",
]
ASKED = [
    ["who wrote dune?"],
    ["how do i read a csv file", "csv.reader yields each row as a list.", "and the header?"],
    ["what floods in the desert", "Flash floods.", "and along the u.s. rivers?"],
    ["what is 50% of 3.11?"],
]


def payload(i):
    return {"lang": "en" if i % 3 else "de", "year": 2020 + i % 4, "draft": i % 2 == 0}


def conversation(turns):
    roles = ["assistant" if (len(turns) - 1 - i) % 2 else "user" for i in range(len(turns))]
    return Conversation.from_messages([{"role": r, "content": t} for r, t in zip(roles, turns, strict=True)])


@pytest.fixture(scope="module")
def student():
    return SparseStudent.from_pretrained(locate(SPLADE_TINY))


@pytest.fixture(scope="module")
def world(student, tmp_path_factory):
    """Real vectors of real texts, their corpus, and the exact index over them."""
    folder = tmp_path_factory.mktemp("world")
    documents = [Document(f"d{i:02d}", text, f"title {i}", metadata=payload(i)) for i, text in enumerate(TEXTS)]
    corpus = Corpus.build(documents, folder / "corpus.arrow")
    with SparseVectorsWriter(folder / "v", student.dim, "float16") as writer:
        writer.append(corpus.ids, student.encode_documents([corpus.text(i) for i in range(len(corpus))]))
    vectors = SparseVectors.open(folder / "v")
    index = create_index(folder / "index", "exact", dim=student.dim)
    fill(index, vectors, lambda name: payload(int(name[1:])))
    rows = student.encode_queries([conversation(turns) for turns in ASKED])
    return vectors, corpus, index, [SparseQuery(*rows.row(i)) for i in range(rows.rows)]


def served(vectors, corpus, engine, form, names, folder, *, cut):
    fields = [] if corpus is None else list(FIELDS)
    written = write_bulk(
        folder / "bulk.ndjson.gz", bulk_rows(vectors, names, corpus=corpus, field="emb", fields=fields)
    )
    body = ENGINES[engine].mapping(field="emb", form=form, fields=FIELDS)
    return Server(written.files, json.loads(json.dumps(body)), cut=cut)


def ask(server, engine, form, weights, size, where=None):
    request = ENGINES[engine].query(weights, size=size, field="emb", form=form, where=where)
    return server.search(json.loads(json.dumps(request)))


def check_same(found, exact, tolerance):
    """The same scores at each rank, and the same documents wherever the scores tell them apart."""
    assert len(found) == len(exact)
    scores = np.array([hit.score for hit in exact])
    np.testing.assert_allclose([score for _, score in found], scores, rtol=tolerance)
    gap = tolerance * max(scores, default=0)
    for i, (name, _) in enumerate(found):
        near = {hit.id for hit in exact if abs(hit.score - scores[i]) <= 2 * gap}
        assert name in near or abs(scores[i] - scores[-1]) <= 2 * gap


@pytest.mark.parametrize(("engine", "form"), FORMS)
@pytest.mark.parametrize(
    "where", [None, {"lang": "en"}, {"year": [2020, 2021], "draft": True}, {"year": 2021.0}, {"lang": []}]
)
def test_real_vectors_rank_as_in_the_exact_index(student, world, tmp_path, engine, form, where):
    vectors, corpus, index, queries = world
    names = dimension_names if ENGINES[engine].forms[form].by_dimension else student.terms
    server = served(vectors, corpus, engine, form, names, tmp_path, cut=False)
    for query in queries:
        weights = dict(zip(names(query.indices.tolist()), query.values.tolist(), strict=True))
        for size in (3, 100):
            exact = index.search(query, size, where)
            check_same(ask(server, engine, form, weights, size, where), exact, 1e-5)
            assert exact or where is not None


@pytest.mark.parametrize(("engine", "form"), FORMS)
def test_nine_bits_lower_scores_by_less_than_a_256th(student, world, tmp_path, engine, form):
    vectors, _, index, queries = world
    names = dimension_names if ENGINES[engine].forms[form].by_dimension else student.terms
    server = served(vectors, None, engine, form, names, tmp_path, cut=True)
    for query in queries:
        weights = dict(zip(names(query.indices.tolist()), query.values.tolist(), strict=True))
        exact = {hit.id: hit.score for hit in index.search(query, 100)}
        found = dict(ask(server, engine, form, weights, 100))
        assert found.keys() == exact.keys()
        loss = np.array([1 - found[name] / exact[name] for name in exact])
        assert loss.min() > -1e-6
        assert loss.max() < 2**-8
        assert loss.max() > 1e-4  # float16 keeps 11 bits, the engine 9


def test_pruned_queries_rank_as_in_the_exact_index(student, world, tmp_path):
    vectors, corpus, index, queries = world
    server = served(vectors, corpus, "opensearch", "neural_sparse", student.terms, tmp_path, cut=False)
    for query in queries:
        terms = student.terms(query.indices.tolist())
        pruned = prune_terms(dict(zip(terms, query.values.tolist(), strict=True)), top=4)
        kept = [terms.index(term) for term in pruned]
        exact = index.search(SparseQuery(query.indices[kept], query.values[kept]), 100)
        check_same(ask(server, "opensearch", "neural_sparse", pruned, 100), exact, 1e-5)


DIM = 9
VOCABULARY = [".", "%", "%2E", "u.s.", "##s", "[unused12]", "é", '"', "plain"]
WEIGHT = st.floats(2.0**-20, 2.0**9, width=16)
ROW = st.dictionaries(st.integers(0, DIM - 1), WEIGHT, max_size=6)


@settings(max_examples=15, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=6), ROW.filter(bool), st.sampled_from(FORMS), st.integers(1, 7))
def test_any_vectors_rank_as_in_the_exact_index(tmp_path_factory, rows, query, chosen, size):
    engine, form = chosen
    folder = tmp_path_factory.mktemp("any")
    names = dimension_names if ENGINES[engine].forms[form].by_dimension else lambda ids: [VOCABULARY[i] for i in ids]
    with SparseVectorsWriter(folder / "v", DIM, "float32") as writer:
        ids = [f"d{i}" for i in range(len(rows))]
        writer.append(ids, csr_from_rows([(list(row), list(row.values())) for row in rows], DIM))
    vectors = SparseVectors.open(folder / "v")
    server = served(vectors, None, engine, form, names, folder, cut=False)
    weights = dict(zip(names(list(query)), query.values(), strict=True))
    with create_index(folder / "index", "exact", dim=DIM) as index:
        fill(index, vectors)
        exact = index.search(SparseQuery(np.array(list(query)), np.array(list(query.values()))), size)
    check_same(ask(server, engine, form, weights, size), exact, 1e-5)


def test_the_scorer_can_tell_a_wrong_export(world, student, tmp_path):
    vectors, _, index, queries = world
    server = served(vectors, None, "opensearch", "neural_sparse", student.terms, tmp_path, cut=False)
    name = next(iter(server.documents))
    server.documents[name]["emb"] = {term: 1.01 * w for term, w in server.documents[name]["emb"].items()}
    query = queries[0]
    weights = dict(zip(student.terms(query.indices.tolist()), query.values.tolist(), strict=True))
    found, exact = ask(server, "opensearch", "neural_sparse", weights, 100), index.search(query, 100)
    assert name in dict(found)
    with pytest.raises(AssertionError):
        check_same(found, exact, 1e-5)
