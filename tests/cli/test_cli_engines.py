"""The same recipe with another `engine:` line, from index to search, and an index that moves."""

import json
import socket

import pytest
import yaml

QUESTION = ("what does the otter eat", "The otter eats fish.", "and where does it live?")


@pytest.fixture
def recipe(animals, tmp_path):
    """Writes a recipe with an engine line; its path."""
    folder = animals(tmp_path)

    def write(line, out="run"):
        options = {"out": out, "corpus": "corpus.jsonl", "test": "test.jsonl", "engine": line}
        (folder / "recipe.yaml").write_text(yaml.safe_dump(options), encoding="utf-8")
        return folder / "recipe.yaml"

    return write


def hits(call, source):
    code, out, err = call("search", source, *QUESTION, "--json")
    assert code == 0, err
    return [(hit["id"], pytest.approx(hit["score"], rel=1e-5), hit["title"]) for hit in json.loads(out)["hits"]]


@pytest.mark.parametrize("engine", ["qdrant", "milvus", "seismic"])
def test_another_engine_line_finds_the_same(call, recipe, engine_line, engine):
    exact = recipe("exact", "exact")
    assert call("index", exact, "--quiet")[0] == 0
    wanted = hits(call, exact)
    line = engine_line(engine)
    chosen = recipe(line)
    code, out, err = call("index", chosen)
    assert code == 0, err
    where = f"{engine}, collection {line['collection']}" if isinstance(line, dict) else engine
    assert out == f"40 documents in {chosen.parent / 'run' / 'index'} ({where})\n"
    assert "index of 40 documents reused" in call("index", chosen)[2]
    assert hits(call, chosen) == wanted
    assert hits(call, chosen.parent / "run") == wanted


def test_how_an_engine_is_asked_is_no_reason_to_index_again(call, recipe, engine_line):
    line = engine_line("qdrant")
    run = recipe(line).parent / "run"
    assert call("index", run.with_name("recipe.yaml"), "--quiet")[0] == 0
    every = hits(call, run)
    asked = recipe({**line, "timeout": 9, "two_phase": {"prune_ratio": 0.99, "expansion_rate": 1}})
    assert "index of 40 documents reused" in call("index", asked)[2]
    assert [name for name, *_ in hits(call, run)] != [name for name, *_ in every]
    assert json.loads((run / "index" / "data" / "remote.json").read_text())["options"]["timeout"] == 9
    elsewhere = recipe({**line, "collection": line["collection"] + "b"})
    assert "index of 40 documents reused" not in call("index", elsewhere)[2]
    assert hits(call, run) == every


def test_evaluate_with_an_engine_elsewhere(call, recipe, engine_line):
    code, out, err = call("evaluate", recipe(engine_line("qdrant")), "--json", "--quiet")
    assert code == 0, err
    assert json.loads(out)["comparison"]["systems"]


def test_a_run_moves_to_what_its_recipe_says_now(call, recipe, engine_line):
    before = recipe("exact")
    assert call("index", before, "--quiet")[0] == 0
    wanted = hits(call, before)
    after = recipe(engine_line("qdrant"))
    code, out, err = call("index-migrate", after)
    assert code == 0, err
    assert "40 documents, 40 written now; 40 queries find the same" in out
    assert hits(call, after) == wanted
    assert "index of 40 documents reused" in call("index", after)[2], "the move is no reason to index again"
    code, _, err = call("index-migrate", after, "--quiet")
    assert code == 1
    assert "in the way → remove it" in err


def test_a_run_moves_to_an_engine_named_on_the_line(call, recipe, engine_line):
    run = recipe("exact").parent / "run"
    assert call("index", run.with_name("recipe.yaml"), "--quiet")[0] == 0
    code, out, err = call("index-migrate", run, "--engine", json.dumps(engine_line("milvus")), "--json", "--quiet")
    assert code == 0, err
    assert json.loads(out) == {"documents": 40, "written": 40, "queries": 40}
    assert hits(call, run)[0][0] == "otter-home"
    for given, cause in (
        (("--engine", "{"), "--engine:1: not YAML"),
        (("--engine", "[1]"), "is no engine"),
        ((), "no engine"),
    ):
        code, _, err = call("index-migrate", run, *given)
        assert code == 1
        assert cause in err


def test_an_engine_that_is_away_is_one_line(call, recipe):
    pytest.importorskip("qdrant_client")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    line = {"name": "qdrant", "url": url, "collection": "docs", "retries": 0, "timeout": 1}
    code, out, err = call("index", recipe(line), "--quiet")
    assert (code, out) == (1, "")
    assert f"error: Qdrant at {url} cannot be reached" in err.splitlines()[-1]
    assert "→ start it, or correct the engine's `url`" in err
    code, _, err = call("index", recipe("qdrant"), "--quiet")
    assert code == 1
    assert "no collection is named" in err
