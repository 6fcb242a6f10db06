"""Search requests and index bodies, by hand and by the engines' published schemas."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from distillir.engines import ENGINES, TokenPruning, elasticsearch, engine_named, opensearch
from distillir.errors import ConfigError, SearchIndexError

HERE = Path(__file__).parent
WEIGHTS = {"dune": 1.5, "##s": 0.25, "u.s.": 2.0}
NUMBERED = {"17": 1.5, "4": 0.25}
FORMS = [(engine, form) for engine in ENGINES for form in ENGINES[engine].forms]
WHERE = {"lang": "en", "year": [2023, 2024], "draft": False}


def problems(engine, part, body):
    schema = json.loads((HERE / f"{engine}_schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    whole = {**schema, "$ref": f"#/$defs/{part}"}
    sent = json.loads(json.dumps(body, allow_nan=False))
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(whole).iter_errors(sent)]


def weights_for(engine, form):
    return NUMBERED if ENGINES[engine].forms[form].by_dimension else WEIGHTS


def test_opensearch_neural_sparse():
    assert opensearch.query(WEIGHTS, size=3) == {
        "size": 3,
        "_source": {"excludes": ["vector"]},
        "track_total_hits": False,
        "query": {"neural_sparse": {"vector": {"query_tokens": {"u%2Es%2E": 2.0, "dune": 1.5, "##s": 0.25}}}},
    }


def test_filters_stand_beside_the_score():
    body = opensearch.query({"dune": 1.5}, field="emb", where=WHERE, source=["id", "text"])
    assert body["_source"] == {"includes": ["id", "text"]}
    assert body["query"] == {
        "bool": {
            "must": [{"neural_sparse": {"emb": {"query_tokens": {"dune": 1.5}}}}],
            "filter": [
                {"term": {"lang": {"value": "en"}}},
                {"terms": {"year": [2023, 2024]}},
                {"term": {"draft": {"value": False}}},
            ],
        }
    }


@pytest.mark.parametrize("engine", [opensearch, elasticsearch])
def test_rank_feature(engine):
    body = engine.query(WEIGHTS, form="rank_feature", where={"lang": "en"})
    assert body["query"] == {
        "bool": {
            "should": [
                {"rank_feature": {"field": "vector.u%2Es%2E", "linear": {}, "boost": 2.0}},
                {"rank_feature": {"field": "vector.dune", "linear": {}, "boost": 1.5}},
                {"rank_feature": {"field": "vector.##s", "linear": {}, "boost": 0.25}},
            ],
            "minimum_should_match": 1,
            "filter": [{"term": {"lang": {"value": "en"}}}],
        }
    }
    assert "filter" not in engine.query(WEIGHTS, form="rank_feature")["query"]["bool"]


def test_elasticsearch_sparse_vector_says_that_it_does_not_prune():
    asked = elasticsearch.query({"dune": 1.5}, field="ml.tokens")["query"]["sparse_vector"]
    assert asked == {"field": "ml.tokens", "query_vector": {"dune": 1.5}, "prune": False}
    pruned = elasticsearch.query({"dune": 1.5}, pruning=TokenPruning(tokens_weight_threshold=0.3))
    assert pruned["query"]["sparse_vector"] == {
        "field": "vector",
        "query_vector": {"dune": 1.5},
        "prune": True,
        "pruning_config": {"tokens_freq_ratio_threshold": 5.0, "tokens_weight_threshold": 0.3},
    }


def test_opensearch_ann_filters_inside():
    body = opensearch.query(NUMBERED, form="neural_sparse_ann", size=7, where={"lang": "en"})
    assert body["query"] == {
        "neural_sparse": {
            "vector": {
                "query_tokens": {"17": 1.5, "4": 0.25},
                "method_parameters": {"k": 7, "filter": {"bool": {"filter": [{"term": {"lang": {"value": "en"}}}]}}},
            }
        }
    }
    with pytest.raises(SearchIndexError, match="'dune' is not a dimension's number"):
        opensearch.query({"dune": 1.0}, form="neural_sparse_ann")


def test_weights_above_what_neural_sparse_takes_move_into_the_boost():
    asked = opensearch.query({"a": 100.0, "b": 3.0})["query"]["neural_sparse"]["vector"]
    assert asked == {"query_tokens": {"a": 50.0, "b": 1.5}, "boost": 2.0}
    assert "boost" not in opensearch.query({"a": 64.0})["query"]["neural_sparse"]["vector"]
    assert elasticsearch.query({"a": 100.0})["query"]["sparse_vector"]["query_vector"] == {"a": 100.0}


def test_mappings_by_hand():
    own = {"id": {"type": "keyword"}, "title": {"type": "text"}, "text": {"type": "text"}}
    assert opensearch.mapping(fields={"year": "long", "lang": "keyword"}) == {
        "mappings": {
            "dynamic": False,
            "properties": {
                **own,
                "vector": {"type": "rank_features"},
                "year": {"type": "long"},
                "lang": {"type": "keyword", "ignore_above": 8191},
            },
        }
    }
    assert elasticsearch.mapping(field="emb")["mappings"]["properties"] == {**own, "emb": {"type": "sparse_vector"}}
    ann = opensearch.mapping(form="neural_sparse_ann", approximate_threshold=1000)
    assert ann["settings"] == {"index": {"sparse": True}}
    assert ann["mappings"]["properties"]["vector"] == {
        "type": "sparse_vector",
        "method": {"name": "seismic", "parameters": {"approximate_threshold": 1000}},
    }


@pytest.mark.parametrize(("engine", "form"), FORMS)
@pytest.mark.parametrize("where", [None, WHERE, {"lang": []}])
def test_requests_follow_the_published_schema(engine, form, where):
    for source in (None, ["id"]):
        body = ENGINES[engine].query(weights_for(engine, form), form=form, where=where, source=source)
        assert problems(engine, "SearchRequest", body) == []


@pytest.mark.parametrize(("engine", "form"), FORMS)
def test_index_bodies_follow_the_published_schema(engine, form):
    kinds = {kind: kind for kind in ("keyword", "long", "double", "boolean", "date")}
    body = ENGINES[engine].mapping(form=form, fields=kinds)
    assert problems(engine, "CreateIndexRequest", body) == []
    assert body["mappings"]["properties"]["vector"]["type"] == ENGINES[engine].forms[form].field_type


def test_large_weights_and_pruning_follow_the_schema():
    assert problems("opensearch", "SearchRequest", opensearch.query({"a": 1e6, "b": 1e-6})) == []
    pruned = elasticsearch.query({"a": 1.0}, pruning=TokenPruning())
    assert problems("elasticsearch", "SearchRequest", pruned) == []
    threshold = opensearch.mapping(form="neural_sparse_ann", approximate_threshold=0)
    assert problems("opensearch", "CreateIndexRequest", threshold) == []


def test_the_schemas_refuse_what_the_engines_refuse():
    good = opensearch.query({"a": 1.0})
    assert problems("elasticsearch", "SearchRequest", good)  # no neural_sparse there
    assert problems("opensearch", "SearchRequest", elasticsearch.query({"a": 1.0}))
    assert problems("opensearch", "SearchRequest", {**good, "querry": {}})
    assert problems("opensearch", "SearchRequest", {"query": {"neural_sparse": {"vector": {"tokens": {"a": 1.0}}}}})
    assert problems("opensearch", "SearchRequest", {"query": {"neural_sparse": {"v": {"query_tokens": {"a": "1"}}}}})
    assert problems("opensearch", "SearchRequest", {"query": {"bool": {"should": [], "filters": []}}})
    assert problems("elasticsearch", "SearchRequest", {"query": {"sparse_vector": {"query_vector": {"a": 1.0}}}})
    assert problems("elasticsearch", "SearchRequest", {"query": {"rank_feature": {"field": "v.a", "linear": {"b": 1}}}})
    wrong = {"mappings": {"properties": {"v": {"type": "rank_features", "method": {}}}}}
    assert problems("opensearch", "CreateIndexRequest", wrong)


@pytest.mark.parametrize("module", [opensearch, elasticsearch])
def test_more_clauses_than_a_cluster_takes(module):
    weights = {f"t{i}": 1.0 for i in range(1024)}
    for form in ("rank_feature", None):
        module.query(weights, form=form)
        with pytest.raises(SearchIndexError, match="1,025 clauses"):
            module.query(weights, form=form, where={"lang": "en"})
        module.query(weights, form=form, where={"lang": "en"}, max_clauses=2048)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), {"a": 1}, [1, None], [[1]]])
def test_what_cannot_be_filtered_by(value):
    with pytest.raises(SearchIndexError, match="'lang'"):
        opensearch.query({"a": 1.0}, where={"lang": value})


@pytest.mark.parametrize("field", ["", "_id", "a*", "a b", "a.", "a..b", ".a", None])
def test_what_is_no_field(field):
    for engine, form in FORMS:
        with pytest.raises(ConfigError, match="not a field's name"):
            ENGINES[engine].query(weights_for(engine, form), form=form, field=field)


def test_options_that_cannot_be():
    with pytest.raises(ConfigError, match="size is 0"):
        opensearch.query({"a": 1.0}, size=0)
    with pytest.raises(ConfigError, match="sparse_vector, rank_feature"):
        elasticsearch.query({"a": 1.0}, form="text_expansion")
    with pytest.raises(ConfigError, match="no pruning"):
        elasticsearch.query({"a": 1.0}, form="rank_feature", pruning=TokenPruning())
    for kwargs in ({"tokens_freq_ratio_threshold": 0.5}, {"tokens_weight_threshold": 1.5}):
        with pytest.raises(ConfigError, match=next(iter(kwargs))):
            TokenPruning(**kwargs)
    for field in ("text", "a.b"):
        with pytest.raises(ConfigError, match=field):
            opensearch.mapping(field=field)
    with pytest.raises(ConfigError, match="'id'"):
        opensearch.mapping(fields={"id": "keyword"})
    with pytest.raises(ConfigError, match="'keywords'"):
        opensearch.mapping(fields={"lang": "keywords"})
    with pytest.raises(ConfigError, match="opensearch, elasticsearch"):
        engine_named("solr")


def test_engines_load_no_model_library():
    program = "import sys, distillir.engines; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
