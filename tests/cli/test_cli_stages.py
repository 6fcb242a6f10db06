"""Stages by themselves: encode, index, evaluate and chat need a corpus, not a training."""

import json

import pytest
import yaml


@pytest.fixture
def recipe(animals, tmp_path):
    """A recipe over documents and test contexts alone."""
    folder = animals(tmp_path)
    options = {"out": "run", "corpus": "corpus.jsonl", "test": "test.jsonl", "engine": "exact"}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(options), encoding="utf-8")
    return folder / "recipe.yaml"


def talk(call, monkeypatch, tmp_path, source, *lines):
    (tmp_path / "typed").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    with (tmp_path / "typed").open(encoding="utf-8") as typed:
        monkeypatch.setattr("sys.stdin", typed)
        return call("chat", source)


def test_stages_one_after_the_other_reuse_what_is_there(call, recipe):
    code, out, err = call("encode", recipe, "--json")
    assert code == 0
    assert json.loads(out) == {"out": str(recipe.parent / "run"), "documents": {"corpus": 40}}
    assert "encode corpus: 40 of 40" in err
    code, out, err = call("index", recipe)
    assert (code, out) == (0, f"40 documents in {recipe.parent / 'run' / 'index'} (exact)\n")
    assert "40 document vectors reused" in err
    code, _, err = call("index", recipe)
    assert code == 0
    assert "index of 40 documents reused" in err
    code, out, _ = call("search", recipe, "what does the otter eat", "--json")
    assert code == 0
    assert json.loads(out)["hits"][0]["id"] == "otter-food"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_encode_on_ray_is_what_the_run_goes_on_with(call, recipe, monkeypatch):
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'distillir[ray]'")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    try:
        code, out, err = call("encode", recipe, "--ray", "local", "--workers", "1", "--json")
    finally:
        ray.shutdown()
    assert code == 0, err
    assert json.loads(out)["documents"] == {"corpus": 40}
    code, _, err = call("index", recipe)
    assert code == 0
    assert "40 document vectors reused" in err


def test_evaluate_before_any_training_compares_what_needs_none(call, recipe):
    code, out, err = call("evaluate", recipe, "--json")
    assert code == 0
    told = json.loads(out)
    assert [system["system"] for system in told["comparison"]["systems"]] == [
        "bm25_last",
        "last_turn",
        "full_context",
        "untrained_gate",
        "teacher",
    ]
    assert "holds no trained student" in err
    assert (recipe.parent / "run" / "report.html").is_file()


def test_evaluate_tells_recipes_from_runs(call, recipe, tmp_path):
    code, _, err = call("evaluate", recipe, "-m", "R@10")
    assert code == 1
    assert "a recipe names its own test contexts" in err
    (tmp_path / "mine.trec").write_text("q1 Q0 d1 1 1.0 x\n", encoding="utf-8")
    code, _, err = call("evaluate", tmp_path / "mine.trec")
    assert code == 1
    assert "no judgements were given" in err
    recipe.write_text("out: run\ncorpus: corpus.jsonl\n", encoding="utf-8")
    code, _, err = call("evaluate", recipe)
    assert code == 1
    assert "names no test contexts" in err


def test_training_without_contexts_names_the_option(call, recipe):
    code, _, err = call("train", recipe)
    assert code == 1
    assert "train: the recipe names no train contexts →" in err


def test_chat_shows_hits_terms_and_the_turn_each_term_came_from(call, recipe, monkeypatch, tmp_path):
    assert call("index", recipe, "--quiet")[0] == 0
    code, out, _ = talk(
        call, monkeypatch, tmp_path, recipe, "what does the otter eat", "and when does it sleep?", "/quit", "never read"
    )
    assert code == 0
    first, second = out.split("assistant: ")[:2]
    assert "The otter eats what it finds" in first
    assert "1 back" not in first
    assert "1. " in second
    assert "otter: The otter sleeps at night" in second
    assert "this question     sleep" in second
    assert "1 back, " in second
    assert "never read" not in out


def test_chat_takes_answers_new_conversations_and_nonsense(call, recipe, monkeypatch, tmp_path):
    call("index", recipe, "--quiet")
    lines = [
        "/answer too early",
        "what does the otter eat",
        "/answer the whale eats",
        "and it?",
        "/new",
        "/what",
        "",
        "…",
    ]
    code, out, _ = talk(call, monkeypatch, tmp_path, recipe, *lines)
    assert code == 0
    assert "nobody has asked yet" in out
    assert "1 back, answer    whale" in out
    assert "unknown command; known are: /answer" in out


def test_chat_with_what_has_no_index_is_one_line(call, tmp_path):
    code, _, err = call("chat", tmp_path)
    assert code == 1
    assert "not a run folder with an index → run `distillir index RECIPE`" in err


def test_a_folder_of_files_is_a_corpus(call, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "otter.md").write_text("# Otters\n\nAn otter eats fish and crabs.\n", encoding="utf-8")
    (tmp_path / "docs" / "whale.txt").write_text("A whale sings in the sea.\n", encoding="utf-8")
    assert call("init", tmp_path)[0] == 0
    code, _, err = call("index", tmp_path / "recipe.yaml")
    assert code == 0
    assert "2 passages of 2 files" in err
    _, out, _ = call("search", tmp_path / "recipe.yaml", "what does an otter eat", "--json")
    assert json.loads(out)["hits"][0]["id"] == "otter.md#1"
