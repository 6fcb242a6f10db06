"""Orders of a teacher travel: out with `labels export`, in with `labels import`, and train a reranker there."""

import json

import pytest
from typer.testing import CliRunner

from distillir.cli.app import app
from distillir.data import open_or_build, read_contexts, read_run
from distillir.errors import LabelError
from distillir.labels import LabelStore
from distillir.recipes.rerank import run_rerank
from distillir.recipes.rerank_recipe import RerankRecipe
from distillir.teachers import Generated, Usage
from distillir.teachers.listwise import Listwise, ListwiseSettings
from distillir.teachers.teacher import Candidates, teach

DEPTH = 6
DISTINCT = 6  # of twelve lists: a later turn's open question is the same for all four animals, and asked once


class Backwards:
    """Turns every window round, and counts the calls."""

    name, in_flight = "backwards@1", 1

    def __init__(self):
        self.calls = 0

    def bound(self, question):
        return Usage(100, 10, calls=1)

    async def ask(self, question, *, pause=None):
        self.calls += 1
        lines = question.messages[-1].content.splitlines()
        marks = [line[: line.index("]") + 1] for line in lines if line.startswith("[")]
        return Generated((" > ".join(reversed(marks)),), Usage(7, 3, calls=1, attempts=1), "backwards-2026", ("stop",))

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return None


def recipe_of(folder):
    return RerankRecipe(
        student="reranker",
        out=folder / "run",
        corpus=folder / "corpus.jsonl",
        train=folder / "train.jsonl",
        model="splade-tiny",
        max_length=32,
        passage_length=24,
        method={"depth": DEPTH, "stages": [{"objective": {"ranknet": {}}}]},
        training={"max_steps": 2, "batch_size": 2},
    )


def lists_of(folder):
    """What `distillir label listwise` reads: the queries and candidates that the recipe left."""
    asked = read_contexts(folder / "run" / "queries.jsonl")
    run = read_run(folder / "run" / "candidates.trec")
    corpus = open_or_build(folder / "corpus.jsonl", folder / "run" / "corpus.arrow")
    return [
        Candidates(c.id, c.conversation.question, {d: corpus[d].contents for d in run[c.id]}, c.conversation)
        for c in asked
    ]


def command(*words):
    result = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_orders_with_their_candidates_and_prompt_train_a_student_elsewhere(animals, tmp_path):
    here, there = animals(tmp_path / "here"), animals(tmp_path / "there")
    for folder in (here, there):
        with pytest.raises(LabelError, match="label listwise"):
            run_rerank(recipe_of(folder), quiet=True)
    store, settings, model = here / "run" / "labels.sqlite", ListwiseSettings(window=4, step=2), Backwards()
    with LabelStore(store) as opened:
        teach(Listwise(lists_of(here), settings), model, opened)
    assert model.calls == DISTINCT * 2
    told = command("labels", "export", store, tmp_path / "bundle", "--licence", "cc-by-4.0", "--title", "Orders")
    assert told["labels"] == DISTINCT * 3  # a list and its two windows

    card = (tmp_path / "bundle" / "README.md").read_text(encoding="utf-8")
    prompt = Listwise([]).prompt
    assert "license: cc-by-4.0" in card
    assert "| listwise | order | backwards@1 | " in card
    assert f"- listwise, order, prompt {prompt.version}: " in card
    assert '"step":2,"temperature":0.0,"window":4' in card
    taken = command("labels", "import", there / "run" / "labels.sqlite", tmp_path / "bundle")
    assert [source["new"] for source in taken["sources"]] == [DISTINCT * 3]

    with LabelStore(there / "run" / "labels.sqlite") as opened:
        orders = opened.values("listwise", "order")
        listed = {query: list(found) for query, found in read_run(there / "run" / "candidates.trec").items()}
        assert {query: set(order) for query, order in orders.items()} == {q: set(found) for q, found in listed.items()}
        # Windows of 4, step 2, turned round: a b c d e f → a b f e d c → e f b a d c.
        for query, (a, b, c, d, e, f) in listed.items():
            assert orders[query] == [e, f, b, a, d, c]
        windows = list(opened.rows("listwise/windows"))
        assert {row.label.raw for row in windows} == {"[4] > [3] > [2] > [1]"}
        assert {row.prompt_version for row in windows} == {prompt.version}
        again = Backwards()
        teach(Listwise(lists_of(there), settings), again, opened)
        assert again.calls == 0  # the same candidates under the same prompt are answered
    ours, theirs = (run_rerank(recipe_of(folder), quiet=True) for folder in (here, there))
    assert theirs.training.steps == 2
    assert json.loads((theirs.out / "run.json").read_text(encoding="utf-8"))["data"]["labelled"] == 12
    assert theirs.student.fingerprint() == ours.student.fingerprint()
