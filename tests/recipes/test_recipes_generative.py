"""The generative recipe on forty documents: both trainings, what it asks for, what it reuses, what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from distillir.cli.app import app
from distillir.data import Corpus, cropped_sentences, read_contexts, read_run, write_run
from distillir.errors import ConfigError, DataError, LabelError, SearchIndexError
from distillir.labels import Label, LabelRequest, LabelStore
from distillir.recipes import (
    GenerativeRecipe,
    Method,
    RerankRecipe,
    ResponseRecipe,
    open_any,
    read_generative_recipe,
    run_generative,
)
from distillir.recipes.assemble import check_method
from distillir.recipes.dense_recipe import check_dense_method
from distillir.recipes.generative import start_of
from distillir.recipes.generative_lists import _read, own_lists
from distillir.recipes.generative_open import index_for, open_generative_retriever
from distillir.recipes.generative_recipe import generative_preset
from distillir.search import GenerativeRetriever
from distillir.students import GenerativeStudent

RECIPES = Path(__file__).parents[2] / "recipes"
LEARN = {
    "objective": {"likelihood": {}},
    "spans": 2,
    "training": {"epochs": 12, "batch_size": 4, "lr": 1e-2, "keep_best": False, "evaluate_every": 1000},
}
SHORT = {**LEARN, "training": {**LEARN["training"], "epochs": 4}}
RANK = {
    "objective": {"rank_gap": {"gold_first": True, "relative": True, "margin": 0.2}, "likelihood": {"weight": 0.5}},
    "draw": {"uniform_band": {"n": 3, "first": 1, "last": 10}},
    "gold": "one",
    "lists": 2,
    "training": {"epochs": 2, "batch_size": 1, "accumulate": 4, "lr": 1e-3, "evaluate_every": 1000},
}


def recipe_of(folder, tiny_writer, **more) -> GenerativeRecipe:
    named = {name: folder / f"{name}.jsonl" for name in ("train", "dev", "test")}
    given = {
        "student": "generative",
        "model": str(tiny_writer),
        "out": folder / "run",
        "corpus": folder / "corpus.jsonl",
    }
    size = {"max_length": 40, "beams": 5, "smoothing": 0.5}
    return GenerativeRecipe(**{**given, **size, **named, "method": {"learn": LEARN, "rank": RANK, "depth": 20}, **more})


@pytest.fixture
def folder(animals, tmp_path):
    return animals(tmp_path / "data")


def test_it_learns_to_write_asks_for_labels_and_learns_to_rank(folder, tiny_writer, capsys):
    recipe = recipe_of(folder, tiny_writer)
    with pytest.raises(LabelError, match=r"label listwise .*queries\.jsonl .*candidates\.trec .*distillir rerank"):
        run_generative(recipe, quiet=True)
    learnt = GenerativeStudent.from_pretrained(folder / "run" / "learnt" / "student")
    assert learnt.fingerprint() != start_of(recipe).fingerprint()
    found = read_run(folder / "run" / "candidates.trec")
    assert len(found) > 6
    orders = {name: sorted(scores, key=lambda d: d) for name, scores in found.items()}
    with LabelStore(folder / "run" / "labels.sqlite") as store:
        for name, order in orders.items():
            request = LabelRequest("listwise", "model", "v1", {"context": name}, context_id=name)
            store.put(request, Label("order", order, json.dumps(order)))
    capsys.readouterr()
    run = run_generative(recipe)
    said = capsys.readouterr().err
    assert "reused" in said  # the first training
    assert "own lists:" not in said
    assert run.student.fingerprint() != learnt.fingerprint()
    assert list(run.comparison.systems) == ["bm25", "untrained", "learnt", "student"]
    assert run.report.is_file()
    record = json.loads((run.out / "run.json").read_text(encoding="utf-8"))
    assert record["data"]["index_bytes"] > 0
    again = run_generative(recipe, quiet=True)
    assert again.student.fingerprint() == run.student.fingerprint()
    with open_any(run.out) as retriever:
        assert isinstance(retriever, GenerativeRetriever)
        assert (retriever.beams, retriever.smoothing) == (5, 0.5)
        hits = retriever.retrieve([{"role": "user", "content": "what does the otter eat"}], k=3)
        assert hits
    # No burden: what is searched, and how wide, is the same before and after.
    assert learnt.settings == run.student.settings
    assert sum(p.numel() for p in learnt.parameters()) == sum(p.numel() for p in run.student.parameters())


def test_hard_labels_need_no_teacher_and_a_run_can_teach(folder, tiny_writer):
    hard = {**RANK, "objective": {"rank_gap": {"by": "gold", "relative": True}}}
    run = run_generative(recipe_of(folder, tiny_writer, method={"learn": SHORT, "rank": hard}), quiet=True)
    assert run.comparison is not None
    found = read_run(folder / "run" / "candidates.trec")
    write_run(folder / "teacher.trec", found, tag="teacher")
    margin = {"objective": {"margin_mse": {}}, "draw": {"all": {}}, "training": {"max_steps": 2, "batch_size": 2}}
    method = {"learn": SHORT, "rank": margin, "kind": "scores", "depth": 20}
    other = recipe_of(folder, tiny_writer, method=method, teacher_run=folder / "teacher.trec", test=None)
    made = run_generative(other, quiet=True)
    assert made.comparison is None
    assert made.training.steps == 2
    with pytest.raises(LabelError, match=r"absent\.trec, whose order is to teach, is not there.*distillir rerank"):
        run_generative(other.model_copy(update={"teacher_run": folder / "absent.trec"}), quiet=True)


def test_questions_that_a_model_wrote_are_a_view_and_are_learnt_from(folder, tiny_writer):
    recipe = recipe_of(
        folder,
        tiny_writer,
        method={"learn": SHORT},
        questions="synthetic",
        views=["body", "question"],
        train=None,
        test=None,
    )
    with pytest.raises(LabelError, match=r"no questions by 'synthetic'.*--name synthetic --store .*labels\.sqlite"):
        run_generative(recipe, quiet=True)
    with LabelStore(folder / "run" / "labels.sqlite") as store:
        for name in ("otter-food", "tiger-home"):
            value = {"messages": [{"role": "user", "content": f"what is known of the {name.split('-')[0]}"}]}
            request = LabelRequest("synthetic/questions", "model", "v1", {"document": name}, context_id=name)
            store.put(request, Label("conversation", value, json.dumps(value)))
    run = run_generative(recipe, quiet=True)
    index = open_generative_retriever(run.out).index
    assert index.views["question"].ngrams.texts == 2
    names = [json.loads(line)["_id"] for line in (folder / "corpus.jsonl").read_text().splitlines()]
    assert [len(index.texts("question", i)) for i in range(len(names))] == [
        name in ("otter-food", "tiger-home") for name in names
    ]


def test_writing_alone_finds_more_than_before(folder, tiny_writer):
    recipe = recipe_of(folder, tiny_writer, method={"learn": LEARN}, crops=20)
    run = run_generative(recipe, quiet=True)
    assert list(run.comparison.systems) == ["bm25", "untrained", "student"]
    retriever = open_generative_retriever(run.out)
    contexts = read_contexts(folder / "train.jsonl")

    def found(student):
        retriever.student = student
        hits = retriever.retrieve_batch([c.conversation for c in contexts], 3)
        return sum(any(hit.id in c.relevant for hit in own) for c, own in zip(contexts, hits, strict=True))

    assert found(run.student) >= found(start_of(recipe)) + 4  # of twelve


def test_another_corpus_becomes_searchable_from_the_command_line(folder, tiny_writer, tmp_path):
    run_generative(recipe_of(folder, tiny_writer, method={"learn": SHORT}, test=None), quiet=True)
    rows = [
        {"_id": f"n{i}", "title": "otter", "text": f"The otter sleeps {w}"}
        for i, w in enumerate(("here", "in the river"))
    ]
    (tmp_path / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = CliRunner().invoke(
        app, ["identifiers", str(folder / "run"), str(tmp_path / "other.jsonl"), str(tmp_path / "o"), "--json"]
    )
    assert made.exit_code == 0, made.output
    assert json.loads(made.output)["passages"] == 2
    asked = CliRunner().invoke(app, ["search", str(tmp_path / "o"), "when does the otter sleep", "--json"])
    assert asked.exit_code == 0, asked.output
    assert {hit["id"] for hit in json.loads(asked.output)["hits"]} <= {"n0", "n1"}
    bare = index_for(folder / "run" / "student", tmp_path / "other.jsonl", tmp_path / "p")
    assert bare.tokens == json.loads(made.output)["tokens"]
    with pytest.raises(DataError, match="not a folder"):
        open_generative_retriever(tmp_path)
    (tmp_path / "p" / "generative.json").write_text("{}")
    with pytest.raises(DataError, match="unreadable"):
        open_generative_retriever(tmp_path / "p")


def test_own_lists_go_on_where_they_stopped(folder, tiny_writer, monkeypatch, tmp_path):
    run = run_generative(recipe_of(folder, tiny_writer, method={"learn": SHORT}, test=None), quiet=True)
    contexts = read_contexts(folder / "train.jsonl")
    monkeypatch.setattr("distillir.recipes.generative_lists.SHARD", 5)
    retriever = open_generative_retriever(run.out)
    whole = own_lists(retriever, contexts, tmp_path / "lists", "a", depth=7)
    paths = sorted((tmp_path / "lists").glob("*.safetensors"))
    assert len(paths) == 3
    paths[1].write_bytes(paths[1].read_bytes()[:50])
    assert _read(paths[1]) is None
    asked = []
    plain = GenerativeRetriever.score
    monkeypatch.setattr(GenerativeRetriever, "score", lambda self, chats: (asked.extend(chats), plain(self, chats))[1])
    again = own_lists(retriever, contexts, tmp_path / "lists", "a", depth=7)
    assert len(asked) == 5
    for name, keys in whole.keys.items():
        assert again.keys[name].tokens == keys.tokens
        assert again.keys[name].views == keys.views
        np.testing.assert_array_equal(again.rankings[name].positions, whole.rankings[name].positions)
        positions = whole.rankings[name].positions
        assert len(positions) <= 7
        np.testing.assert_allclose(again.keys[name].matrix(positions), keys.matrix(positions))
        # What was kept of the keys still gives the scores of the list.
        np.testing.assert_allclose(keys.matrix(positions) @ keys.weights, whole.rankings[name].scores, rtol=1e-4)
    own_lists(retriever, contexts, tmp_path / "lists", "b", depth=7)
    assert len(asked) == 5 + len(contexts)


def test_a_corpus_that_was_replaced_under_a_student_is_not_searched(folder, tiny_writer, tmp_path):
    """Ids stay, texts change, and what was made of the old ones stands beside them after a stop."""
    run = run_generative(recipe_of(folder, tiny_writer, method={"learn": SHORT}, test=None), quiet=True)
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    (tmp_path / "o.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    index_for(run.out, tmp_path / "o.jsonl", tmp_path / "o")
    (tmp_path / "o.jsonl").write_text("".join(json.dumps({**row, "text": "", "title": ""}) + "\n" for row in rows))
    with pytest.raises(SearchIndexError, match="the student writes title, body, and the documents have none"):
        index_for(run.out, tmp_path / "o.jsonl", tmp_path / "o")
    with pytest.raises(DataError, match="its passages are others"):
        open_generative_retriever(tmp_path / "o")
    (folder / "corpus.jsonl").write_text("".join(json.dumps({**row, "text": "other words"}) + "\n" for row in rows))
    again = recipe_of(folder, tiny_writer, method={"learn": SHORT, "rank": RANK, "depth": 20}, test=None)
    with pytest.raises(LabelError, match="label listwise"):
        run_generative(again, quiet=True)
    with pytest.raises(DataError, match="run the same recipe or command to its end"):
        open_any(run.out)


def test_a_view_without_texts_is_left_out_of_another_corpus(folder, tiny_writer, tmp_path):
    run = run_generative(recipe_of(folder, tiny_writer, method={"learn": SHORT}, test=None), quiet=True)
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    (tmp_path / "other.jsonl").write_text("".join(json.dumps({**row, "title": ""}) + "\n" for row in rows))
    index = index_for(run.out, tmp_path / "other.jsonl", tmp_path / "o")
    assert list(index.views) == ["body"]
    with open_generative_retriever(tmp_path / "o", beams=3) as retriever:
        assert retriever.beams == 3
        assert retriever.retrieve([{"role": "user", "content": "when does the otter sleep"}], k=2)
    with pytest.raises(ConfigError, match="width"):
        open_generative_retriever(tmp_path / "o", width=3)


def test_turns_alone_are_ranked_where_the_method_says_so(folder, tiny_writer):
    hard = {**RANK, "objective": {"rank_gap": {"by": "gold", "relative": True}}, "queries": "turns"}
    method = {"learn": SHORT, "rank": hard, "depth": 20}
    run_generative(recipe_of(folder, tiny_writer, method=method, crops=10, test=None), quiet=True)
    asked = {c.id for c in read_contexts(folder / "run" / "queries.jsonl")}
    assert asked == {c.id for c in read_contexts(folder / "train.jsonl")}
    recipe = recipe_of(folder, tiny_writer, method=method, train=None, crops=10)
    assert recipe.learnt_from(recipe.chosen_method().rank, cropped := cropped_sentences_of(folder)) == cropped


def cropped_sentences_of(folder):
    return cropped_sentences(Corpus.build(folder / "corpus.jsonl", folder / "c.arrow"), 5, seed=1)


def test_a_gold_that_the_teacher_did_not_score_is_no_gold_of_a_list(folder, tiny_writer):
    """Passages without a score leave the list; a list that loses its gold so has a negative on top."""
    hard = {**RANK, "objective": {"rank_gap": {"by": "gold", "relative": True}}}
    run_generative(recipe_of(folder, tiny_writer, method={"learn": SHORT, "rank": hard, "depth": 20}), quiet=True)
    golds = {c.id: c.relevant for c in read_contexts(folder / "train.jsonl")}
    found = read_run(folder / "run" / "candidates.trec")
    bare = {name: {d: s for d, s in own.items() if d not in golds[name]} for name, own in found.items()}
    write_run(folder / "bare.trec", bare, tag="teacher")
    rank = {**RANK, "objective": {"rank_gap": {"by": "scores", "gold_first": True}}}
    method = {"learn": SHORT, "rank": rank, "kind": "scores", "depth": 20}
    recipe = recipe_of(folder, tiny_writer, method=method, teacher_run=folder / "bare.trec", test=None)
    with pytest.raises(DataError, match="none has what the objective reads"):
        run_generative(recipe, quiet=True)


def test_splits_of_another_corpus_are_refused(folder, tiny_writer):
    rows = [json.loads(line) for line in (folder / "dev.jsonl").read_text().splitlines()]
    (folder / "dev.jsonl").write_text("".join(json.dumps({**row, "relevant": ["nowhere"]}) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"dev\.jsonl: none of its relevant documents is in the corpus"):
        run_generative(recipe_of(folder, tiny_writer), quiet=True)


@pytest.mark.parametrize("name", ["paper", "small"])
def test_published_recipes_are_read(name):
    recipe = read_generative_recipe(RECIPES / name / "dgr.yaml")
    assert recipe.resolved()["method"]["rank"]["lists"] == 2
    for preset in ("dgr", "rank_gap", "hard", "learn"):
        assert generative_preset(preset).learn.writes
    # What a run keeps of its recipe, defaults spelled out, is a recipe again.
    kept = {key: value for key, value in recipe.resolved().items() if key != "stages"}
    GenerativeRecipe.model_validate(kept).check()


def test_what_cannot_be_is_refused_before_anything_is_computed(folder, tiny_writer):
    def refused(match, error=ConfigError, **more):
        with pytest.raises(error, match=match):
            run_generative(recipe_of(folder, tiny_writer, **more), quiet=True)

    refused("unknown view", views=["letters"])
    refused("'question' has no questions", views=["body", "question"])
    refused("reads lists", method={"learn": RANK})
    refused("reads no list", method={"learn": LEARN, "rank": LEARN})
    refused("and labels are order", method={"learn": LEARN, "rank": {"objective": {"kld": {}}}})
    vectors = {"objective": {"likelihood": {}, "representation_mse": {}}}
    refused("reads vectors", method={"learn": vectors})
    refused("rank_to_score", method={"learn": LEARN, "rank_to_score": "nothing"})
    refused("nothing to learn from", train=None, dev=None, test=None)
    refused("no preset", method="unheard")
    refused("learn: gold, lists: the first training", method={"learn": {**LEARN, "gold": "one", "lists": 2}})
    refused("there are none", method={"learn": {**LEARN, "queries": "crops"}})
    assert not (folder / "run").exists()
    assert generative_preset("hard").rank.build_objective().reads_targets == {"gold"}


def test_other_students_write_nothing(folder):
    told = {"likelihood": {}}
    with pytest.raises(ConfigError, match="this one writes nothing"):
        check_method(Method(objective=told))
    with pytest.raises(ConfigError, match="this one writes nothing"):
        check_dense_method(Method(objective=told))
    for recipe in (
        RerankRecipe(student="reranker", out="o", corpus="c", train="t", method={"stages": [{"objective": told}]}),
        ResponseRecipe(
            student="response", out="o", responses="r", train="t", dev="d", method={"objective": told, "responders": []}
        ),
    ):
        with pytest.raises(ConfigError, match="this one writes nothing"):
            recipe.check()


def test_documents_without_titles_have_no_title_view(folder, tiny_writer):
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    (folder / "corpus.jsonl").write_text("".join(json.dumps({**row, "title": ""}) + "\n" for row in rows))
    with pytest.raises(SearchIndexError, match="view 'title'"):
        run_generative(recipe_of(folder, tiny_writer), quiet=True)
