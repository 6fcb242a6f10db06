"""Requests in two phases: as documented, and executed as the engines execute them."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from distillir.engines import ENGINES, TokenPruning, TwoPhase, bulk_rows, elasticsearch, opensearch, write_bulk
from distillir.errors import ConfigError, SearchIndexError
from distillir.vectors import SparseVectors, SparseVectorsWriter, csr_from_rows
from engine_scorer import Server, float32

HERE = Path(__file__).parent
FORMS = [(engine, form) for engine in ENGINES for form, kind in ENGINES[engine].forms.items() if kind.two_phases]
WEIGHTS = {"dune": 1.0, "desert": 0.5, "u.s.": 0.3, "##s": 0.125}
KEEP = {"term": {"lang": {"value": "en"}}}
DIM = 9
TERMS = [".", "%", "%2E", "u.s.", "##s", "[unused12]", "é", '"', "plain"]
WEIGHT = st.sampled_from([2.0**n for n in range(-6, 9)])  # sums without rounding, and many ties
ROW = st.dictionaries(st.integers(0, DIM - 1), WEIGHT, max_size=6)


def valid(engine, body):
    schema = json.loads((HERE / f"{engine}_schema.json").read_text(encoding="utf-8"))
    whole = Draft202012Validator({**schema, "$ref": "#/$defs/SearchRequest"})
    return not list(whole.iter_errors(json.loads(json.dumps(body, allow_nan=False))))


def test_opensearch_splits_neural_sparse_itself():
    asked = opensearch.query(WEIGHTS, size=20, two_phase=TwoPhase(0.4, 3.0, 5000))
    assert asked.pop("search_pipeline") == {
        "request_processors": [
            {
                "neural_sparse_two_phase_processor": {
                    "enabled": True,
                    "two_phase_parameter": {"prune_ratio": 0.4, "expansion_rate": 3.0, "max_window_size": 5000},
                }
            }
        ]
    }
    assert asked == opensearch.query(WEIGHTS, size=20)
    # A query in `must` would be passed by.
    filtered = opensearch.query(WEIGHTS, where={"lang": "en"}, two_phase=TwoPhase())["query"]["bool"]
    whole = opensearch.query(WEIGHTS)["query"]
    assert filtered == {"should": [whole], "minimum_should_match": 1, "filter": [KEEP]}


def test_a_window_above_what_the_processor_takes_is_narrowed():
    pipeline = opensearch.query(WEIGHTS, size=4000, two_phase=TwoPhase())["search_pipeline"]
    (processor,) = pipeline["request_processors"]
    assert processor["neural_sparse_two_phase_processor"]["two_phase_parameter"]["expansion_rate"] == 2.5
    assert opensearch.pipeline(TwoPhase())["request_processors"][0]["neural_sparse_two_phase_processor"] == {
        "enabled": True,
        "two_phase_parameter": {"prune_ratio": 0.4, "expansion_rate": 5.0, "max_window_size": 10_000},
    }
    for size in (1, 7, 333, 3333, 9999, 10_000):
        rate = opensearch.pipeline(TwoPhase(expansion_rate=9999), size)["request_processors"][0][
            "neural_sparse_two_phase_processor"
        ]["two_phase_parameter"]["expansion_rate"]
        assert size <= int(float32(size * float32(rate))) <= 10_000  # as the engine computes it
        assert rate >= 1


def test_elasticsearch_rescores_by_the_light_terms():
    asked = elasticsearch.query(WEIGHTS, size=20, where={"lang": "en"}, two_phase=TwoPhase())
    light = {"u%2Es%2E": 0.3, "##s": 0.125}
    assert asked["rescore"] == {
        "window_size": 100,
        "query": {"rescore_query": {"sparse_vector": {"field": "vector", "query_vector": light, "prune": False}}},
    }
    heavy = {"sparse_vector": {"field": "vector", "query_vector": {"dune": 1.0, "desert": 0.5}, "prune": False}}
    assert asked["query"] == {"bool": {"must": [heavy], "filter": [KEEP]}}


@pytest.mark.parametrize("module", [opensearch, elasticsearch])
def test_rank_feature_rescores_by_the_light_terms(module):
    asked = module.query(WEIGHTS, form="rank_feature", where={"lang": "en"}, two_phase=TwoPhase(0.2, 1.0))
    assert asked["rescore"] == {
        "window_size": 10,
        "query": {
            "rescore_query": {
                "bool": {
                    "should": [{"rank_feature": {"field": "vector.##s", "linear": {}, "boost": 0.125}}],
                    "minimum_should_match": 1,
                }
            }
        },
    }
    searched = asked["query"]["bool"]
    assert [clause["rank_feature"]["boost"] for clause in searched["should"]] == [1.0, 0.5, 0.3]
    assert searched["filter"] == [KEEP]


@pytest.mark.parametrize(("engine", "form"), FORMS)
@pytest.mark.parametrize("where", [None, {"lang": "en", "year": [2023]}])
def test_requests_follow_the_published_schema(engine, form, where):
    phases = TwoPhase(expansion_rate=2)
    body = ENGINES[engine].query(WEIGHTS, form=form, where=where, two_phase=phases)
    assert valid(engine, body)
    part = "search_pipeline" if form == "neural_sparse" else "rescore"
    assert part in body
    assert not valid(engine, {**body, part: {**body[part], "rate": 2}})


@pytest.mark.parametrize(("engine", "form"), FORMS)
@given(weights=st.dictionaries(st.sampled_from(TERMS), WEIGHT, min_size=1), where=st.sampled_from([None, {"a": 1}]))
def test_nothing_light_is_a_search_in_one_phase(engine, form, weights, where):
    ask = ENGINES[engine].query
    whole = ask(weights, form=form, where=where)
    assert ask(weights, form=form, where=where, two_phase=TwoPhase(0)) == whole
    level = dict.fromkeys(weights, 3.0)
    assert ask(level, form=form, two_phase=TwoPhase(0.99)) == ask(level, form=form)


def best_first(scores):
    return sorted(scores.items(), key=lambda hit: (-hit[1], hit[0]))


def reference(rows, query, size, phases):
    """By the definition: the window's best by heavy terms, then by all; of equal scores, the first by name."""
    least = phases.prune_ratio * max(query.values())
    heavy = {term: weight for term, weight in query.items() if weight >= least}

    def scores(asked, names):
        return {n: sum(w * rows[n][t] for t, w in asked.items() if t in rows[n]) for n in names}

    matched = [name for name, row in rows.items() if heavy.keys() & row.keys()]
    window = [name for name, _ in best_first(scores(heavy, matched))[: phases.window(size)]]
    return best_first(scores(query, window))[:size]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(ROW, min_size=1, max_size=12),
    ROW.filter(bool),
    st.sampled_from(FORMS),
    st.integers(1, 7),
    st.sampled_from([0, 0.25, 0.5, 0.75]),
    st.sampled_from([1, 1.5, 4]),
    st.booleans(),
)
def test_executed_as_the_engines_do(tmp_path_factory, rows, query, chosen, size, ratio, rate, filtered):
    engine, form = chosen
    folder = tmp_path_factory.mktemp("any")
    ids = [f"d{i:02d}" for i in range(len(rows))]
    with SparseVectorsWriter(folder / "v", DIM, "float32") as writer:
        writer.append(ids, csr_from_rows([(list(row), list(row.values())) for row in rows], DIM))
    stored = SparseVectors.open(folder / "v")
    written = write_bulk(folder / "bulk.ndjson", bulk_rows(stored, lambda dims: [TERMS[i] for i in dims]))
    server = Server(written.files, ENGINES[engine].mapping(form=form), cut=False)
    where, phases = {"id": ids[::2]} if filtered else None, TwoPhase(ratio, rate)
    weights = {TERMS[d]: weight for d, weight in query.items()}
    body = ENGINES[engine].query(weights, size=size, form=form, where=where, two_phase=phases)
    kept = {name: row for name, row in zip(ids, rows, strict=True) if not filtered or name in ids[::2]}
    assert server.search(json.loads(json.dumps(body))) == reference(kept, query, size, phases)


def test_what_a_small_window_misses(tmp_path):
    """`a` is best by the heavy term, `b` by all; a third document has light terms only."""
    rows = [([0, 1], [2.0, 0.5]), ([0, 1], [1.5, 8.0]), ([1], [9.0])]
    with SparseVectorsWriter(tmp_path / "v", DIM, "float32") as writer:
        writer.append(["a", "b", "c"], csr_from_rows(rows, DIM))
    stored = SparseVectors.open(tmp_path / "v")
    written = write_bulk(tmp_path / "bulk.ndjson", bulk_rows(stored, lambda dims: [f"t{i}" for i in dims]))
    asked = {"t0": 1.0, "t1": 0.25}
    for engine, form in FORMS:
        server = Server(written.files, ENGINES[engine].mapping(form=form), cut=False)
        found = {
            rate: server.search(ENGINES[engine].query(asked, size=1, form=form, two_phase=TwoPhase(0.5, rate)))
            for rate in (1, 2)
        }
        assert found == {1: [("a", 2.125)], 2: [("b", 3.5)]}
        assert server.search(ENGINES[engine].query(asked, size=3, form=form)) == [("b", 3.5), ("c", 2.25), ("a", 2.125)]


def test_what_two_phases_refuse():
    with pytest.raises(ConfigError, match="neural_sparse_ann is not searched in two phases"):
        opensearch.query({"7": 1.0}, form="neural_sparse_ann", two_phase=TwoPhase())
    with pytest.raises(ConfigError, match="choose pruning or two_phase"):
        elasticsearch.query(WEIGHTS, pruning=TokenPruning(), two_phase=TwoPhase())
    for engine, form in FORMS:
        ask = ENGINES[engine].query
        ask(WEIGHTS, form=form, size=50, two_phase=TwoPhase(max_window_size=50))
        with pytest.raises(SearchIndexError, match="51 documents are asked for, two phases rescore 50"):
            ask(WEIGHTS, form=form, size=51, two_phase=TwoPhase(max_window_size=50))
        with pytest.raises(ConfigError, match="size is 0"):
            ask(WEIGHTS, form=form, size=0, two_phase=TwoPhase())
