"""The quickstart's recipe, on a part of its corpus; the whole of it is a slow test."""

import json

import pytest

from distillir.data import read_contexts
from distillir.quickstart import quickstart_turns, run, standard_library
from distillir.recipes import open_retriever


@pytest.fixture(scope="module")
def part():
    """Every entry that a turn asks for, and some that none does."""
    wanted = {entry for turn in quickstart_turns() for entry in turn.relevant}
    return [p for i, p in enumerate(standard_library()) if p["id"] in wanted or i % 200 == 0]


@pytest.fixture
def small(part, monkeypatch):
    monkeypatch.setattr(run, "standard_library", lambda: iter(part))
    monkeypatch.setattr(run, "TRAINING", {"epochs": 1, "max_steps": 2, "batch_size": 8})


@pytest.mark.usefixtures("small")
def test_the_recipe_writes_corpus_and_splits(part, tmp_path):
    recipe = run.quickstart_recipe(tmp_path / "out")
    rows = [json.loads(line) for line in recipe.corpus.read_text(encoding="utf-8").splitlines()]
    assert rows == [{"_id": p["id"], "title": p["title"], "text": p["text"]} for p in part]
    for split in ("train", "dev", "test"):
        contexts = read_contexts(getattr(recipe, split))
        turns = quickstart_turns(split)
        assert [c.id for c in contexts] == [t.id for t in turns]
        assert [c.group for c in contexts] == [t.group for t in turns]
        assert [c.rewrites["human"] for c in contexts] == [t.rewrite for t in turns]
        assert [tuple(c.relevant) for c in contexts] == [t.relevant for t in turns]
        assert [c.conversation.question for c in contexts] == [t.question for t in turns]
    recipe.check()


@pytest.mark.usefixtures("small")
def test_an_unchanged_corpus_file_is_left_alone(tmp_path):
    corpus = run.quickstart_recipe(tmp_path).corpus
    before = corpus.stat().st_mtime_ns
    assert run.quickstart_recipe(tmp_path).corpus.stat().st_mtime_ns == before
    content = corpus.read_text(encoding="utf-8")
    corpus.write_text(content[: len(content) // 2], encoding="utf-8")  # as a kill might leave it
    assert run.quickstart_recipe(tmp_path).corpus.read_text(encoding="utf-8") == content


def test_the_training_constants_are_settings_of_the_loop(tmp_path, monkeypatch, part):
    monkeypatch.setattr(run, "standard_library", lambda: iter(part))
    assert run.quickstart_recipe(tmp_path).train_settings().epochs == run.TRAINING["epochs"]


@pytest.mark.slow
def test_the_whole_quickstart_finds_what_is_asked_for(tmp_path):
    done = run.quickstart(tmp_path / "out", quiet=True)
    cells = done.comparison.cells
    assert cells["student"]["r10"].mean > cells["last_turn"]["r10"].mean
    assert cells["student"]["r10"].mean > cells["full_context"]["r10"].mean
    retriever = open_retriever(tmp_path / "out")
    with retriever.index:
        hits = retriever.retrieve([{"role": "user", "content": "how do i read a csv file"}])
    assert any(hit.id.startswith("csv.") for hit in hits)
