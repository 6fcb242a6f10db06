"""`distillir query-terms` and `distillir prune` on a run folder."""

import json

import pytest
import typer
from typer.testing import CliRunner

from distillir.cli.query import numbers, prune, query_terms
from distillir.data import write_qrels
from distillir.errors import ConfigError, DataError
from distillir.recipes import open_retriever, read_recipe, run_sparse

TURNS = ("what does the tiger eat", "What it finds.", "where does it live")
RECIPE = "out: run\ncorpus: corpus.jsonl\ntrain: train.jsonl\ndev: dev.jsonl\ntraining: {max_steps: 1, batch_size: 4}\n"


@pytest.fixture(scope="module")
def folder(animals, tmp_path_factory):
    folder = animals(tmp_path_factory.mktemp("query"))
    (folder / "recipe.yaml").write_text(RECIPE)
    run_sparse(read_recipe(folder / "recipe.yaml"), quiet=True)
    return folder


@pytest.fixture(scope="module")
def call():
    app = typer.Typer()
    app.command("query-terms")(query_terms)
    app.command("prune")(prune)

    def run(*arguments):
        done = CliRunner().invoke(app, list(map(str, arguments)))
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.stdout

    return run


@pytest.fixture(scope="module")
def terms(folder):
    from distillir.cli.common import conversation_of

    with open_retriever(folder / "run") as retriever:
        return retriever.query_terms(conversation_of(list(TURNS)))


def test_terms_as_text_and_json(call, folder, terms):
    code, out = call("query-terms", folder / "run", *TURNS, "--json")
    assert code == 0
    assert json.loads(out)["terms"] == pytest.approx(terms)
    assert list(json.loads(out)["terms"]) == list(terms)
    lines = call("query-terms", folder / "run", *TURNS, "--top", "3")[1].splitlines()
    assert [line.split(maxsplit=1)[1] for line in lines] == list(terms)[:3]
    assert float(lines[0].split()[0]) == pytest.approx(next(iter(terms.values())), abs=1e-4)


def test_requests(call, folder, terms):
    top = ("--top", "4", "-k", "7", "--field", "emb")
    asked = json.loads(call("query-terms", folder / "run", *TURNS, "--engine", "opensearch", *top)[1])
    assert asked["size"] == 7
    tokens = asked["query"]["neural_sparse"]["emb"]["query_tokens"]
    assert tokens == pytest.approx(dict(list(terms.items())[:4]))
    asked = json.loads(call("query-terms", folder / "run", *TURNS, "--engine", "elasticsearch", *top)[1])
    assert asked["query"]["sparse_vector"]["query_vector"] == tokens
    form = ("--engine", "elasticsearch", "--form", "rank_feature")
    asked = json.loads(call("query-terms", folder / "run", *TURNS, *form, *top)[1])
    assert len(asked["query"]["bool"]["should"]) == 4


def test_requests_by_dimension(call, folder, terms):
    form = ("--engine", "opensearch", "--form", "neural_sparse_ann", "--top", "4")
    asked = json.loads(call("query-terms", folder / "run", *TURNS, *form)[1])
    tokens = asked["query"]["neural_sparse"]["vector"]["query_tokens"]
    with open_retriever(folder / "run") as retriever:
        named = retriever.encoder.terms([int(dimension) for dimension in tokens])
    assert dict(zip(named, tokens.values(), strict=True)) == pytest.approx(dict(list(terms.items())[:4]))
    form = ("--engine", "elasticsearch", "--by-dimension", "--top", "4")
    asked = json.loads(call("query-terms", folder / "run", *TURNS, *form)[1])
    assert asked["query"]["sparse_vector"]["query_vector"] == tokens
    assert json.loads(call("query-terms", folder / "run", *TURNS, *form[2:], "--json")[1])["terms"] == pytest.approx(
        tokens
    )


def test_requests_in_two_phases(call, folder):
    one = json.loads(call("query-terms", folder / "run", *TURNS, "--engine", "opensearch")[1])
    two = ("--engine", "opensearch", "--two-phase", "0.5")
    asked = json.loads(call("query-terms", folder / "run", *TURNS, *two)[1])
    (processor,) = asked.pop("search_pipeline")["request_processors"]
    assert asked == one
    parameters = {"prune_ratio": 0.5, "expansion_rate": 5.0, "max_window_size": 10_000}
    assert processor["neural_sparse_two_phase_processor"]["two_phase_parameter"] == parameters
    two = ("--engine", "elasticsearch", "--two-phase", "0.5", "--expansion", "2", "-k", "7")
    asked = json.loads(call("query-terms", folder / "run", *TURNS, *two)[1])
    assert asked["rescore"]["window_size"] == 14
    heavy = asked["query"]["sparse_vector"]["query_vector"]
    light = asked["rescore"]["query"]["rescore_query"]["sparse_vector"]["query_vector"]
    assert min(heavy.values()) >= 0.5 * max(heavy.values()) > max(light.values())
    assert {**heavy, **light} == one["query"]["neural_sparse"]["vector"]["query_tokens"]


def test_mistakes_are_met_before_anything_is_loaded(call, tmp_path):
    with pytest.raises(ConfigError, match="opensearch, elasticsearch"):
        call("query-terms", tmp_path, "q", "--engine", "solr")
    with pytest.raises(ConfigError, match="--engine"):
        call("query-terms", tmp_path, "q", "--form", "rank_feature")
    with pytest.raises(ConfigError, match="sparse_vector, rank_feature"):
        call("query-terms", tmp_path, "q", "--engine", "elasticsearch", "--form", "neural_sparse")
    with pytest.raises(ConfigError, match="name the engine with --engine"):
        call("query-terms", tmp_path, "q", "--two-phase", "0.4")
    with pytest.raises(ConfigError, match="--expansion without --two-phase"):
        call("query-terms", tmp_path, "q", "--engine", "opensearch", "--expansion", "3")
    with pytest.raises(ConfigError, match=r"prune_ratio is 1.0 → use a share"):
        call("query-terms", tmp_path, "q", "--engine", "opensearch", "--two-phase", "1")
    with pytest.raises(ConfigError, match="neural_sparse_ann is not searched in two phases"):
        call("query-terms", tmp_path, "q", "--engine", "opensearch", "--form", "neural_sparse_ann", "--two-phase", ".4")
    with pytest.raises(DataError, match="run folder"):
        call("query-terms", tmp_path, "q")
    assert call("query-terms", tmp_path, "q", "--top", "0")[0] == 2


def test_loss_of_pruned_queries(call, folder):
    arguments = (folder / "run", "--queries", folder / "test.jsonl", "--at", "1,4", "--ratio", "0.5")
    code, out = call("prune", *arguments, "--json")
    assert code == 0
    table = json.loads(out)
    assert (table["pruned"], table["queries"], table["documents"]) == ("queries", 6, 40)
    rows = {row["kept"]: row for row in table["rows"]}
    assert list(rows) == ["all", "all, 9 bits", "top 1", "top 4", "ratio 0.5"]
    assert rows["all"]["mass"] == 1 > rows["top 4"]["mass"] > rows["top 1"]["mass"] > 0
    assert rows["all"]["postings"] > rows["top 4"]["postings"] > rows["top 1"]["postings"] > 0
    assert rows["top 1"]["terms"] == 1
    assert rows["all, 9 bits"]["overlap"]["10"] > 0.9
    assert set(rows["all"]["measures"]) == {"nDCG@10", "R@100"}
    text = call("prune", *arguments, "-m", "RR")[1]
    assert "queries pruned: 6 queries on 40 documents" in text
    assert "(+0.0000)" in text
    assert " RR" in text


def test_loss_of_pruned_documents_on_a_sample_with_other_judgements(call, folder):
    write_qrels(folder / "qrels.txt", {"test-parrot#1": {"parrot-food": 1}, "unknown": {"x": 1}})
    arguments = (folder / "run", "--queries", folder / "test.jsonl", "--documents", "--at", "5")
    code, out = call("prune", *arguments, "--sample", "2", "--qrels", folder / "qrels.txt", "-m", "R@10", "--json")
    assert code == 0
    table = json.loads(out)
    assert (table["pruned"], table["queries"]) == ("documents", 2)
    assert table["rows"][2]["terms"] == 5
    assert list(table["rows"][0]["measures"]) == ["R@10"]


def test_without_judgements_there_are_no_measures(call, folder):
    row = {"id": "q", "messages": [{"role": "user", "content": "what does the otter eat"}]}
    (folder / "plain.jsonl").write_text(json.dumps(row) + "\n")
    table = json.loads(call("prune", folder / "run", "--queries", folder / "plain.jsonl", "--json")[1])
    assert [row["kept"] for row in table["rows"][2:]] == ["top 8", "top 16", "top 32", "top 64"]
    assert table["rows"][0]["measures"] == {}


def test_numbers():
    assert numbers("8,16, 32,", int, "--at") == [8, 16, 32]
    assert numbers("", float, "--ratio") == []
    with pytest.raises(ConfigError, match="--at is '8;16'"):
        numbers("8;16", int, "--at")
