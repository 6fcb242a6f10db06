"""What an estimate is measured on: some of all that a recipe learns from, and the documents that go with it."""

import json

import pytest

from distillir.data import Corpus, cropped_sentences, read_contexts, read_documents, read_queries, write_run
from distillir.errors import LabelError
from distillir.labels import Label, LabelRequest, LabelStore
from distillir.recipes import SparseRecipe, estimate_documents, estimate_sample
from distillir.recipes.estimate import estimate_run
from distillir.recipes.estimate_sample import sample_of
from distillir.recipes.generative_recipe import GenerativeRecipe
from distillir.recipes.rerank import run_rerank
from distillir.recipes.rerank_recipe import RerankRecipe

BY_GOLD = {"objective": {"infonce": {}}, "draw": {"top": {"n": 3}}, "gold": "one"}
TAUGHT = {"objective": {"ranknet": {}}}
SEED = 13  # of the crops, where a recipe names none


def recipe_of(folder, *stages, **more) -> RerankRecipe:
    given = {"student": "reranker", "out": folder / "run", "corpus": folder / "corpus.jsonl", "model": "splade-tiny"}
    sizes = {"max_length": 32, "passage_length": 24, "training": {"batch_size": 4, "epochs": 2}}
    return RerankRecipe(**given, **sizes, method={"depth": 4, "stages": list(stages) or [BY_GOLD]}, **more)


def ask(folder, count: int) -> None:
    """A teacher's questions of the first documents."""
    with LabelStore(folder / "run" / "labels.sqlite") as store:
        for _, document in [*read_documents(folder / "corpus.jsonl")][:count]:
            request = LabelRequest("synthetic/questions", "model", "v1", {"of": document.id}, context_id=document.id)
            messages = [{"role": "user", "content": f"what of {document.id}"}, {"role": "assistant", "content": "It."}]
            store.put(request, Label("conversation", {"messages": messages}))
        request = LabelRequest("listwise", "model", "v1", {}, context_id="question-otter-food")
        store.put(request, Label("order", ["otter-food", "tiger-home"]))


@pytest.fixture
def folder(animals, tmp_path, monkeypatch):
    monkeypatch.setattr(estimate_documents, "DOCUMENTS", 4)
    monkeypatch.setattr(estimate_sample, "CONTEXTS", 8)
    (tmp_path / "small").mkdir()
    return animals(tmp_path / "data")


def crops_of(folder, file, number: int) -> list[str]:
    return [c.id for c in cropped_sentences(Corpus.build(file, folder / f"{file.stem}.arrow"), number, SEED)]


def test_a_reranker_of_crops_alone_is_estimated(folder):
    told = estimate_run(recipe_of(folder, crops=20), lambda small: run_rerank(small, quiet=True))
    assert (told.documents, told.contexts, told.steps) == (40, 20, 10)  # ⌈20 / 4⌉ batches, twice
    assert told.measured["contexts"] == 8
    assert told.measured["documents"] < 20
    assert told.seconds["train"] > 0


def test_crops_of_the_sample_are_of_the_whole_run_so_their_labels_are_found(folder, tmp_path):
    whole = crops_of(tmp_path, folder / "corpus.jsonl", 20)
    recipe = recipe_of(folder, TAUGHT, crops=20, teacher_run=folder / "teacher.trec")
    write_run(folder / "teacher.trec", {name: {"otter-food": 2.0, "tiger-home": 1.0} for name in whole})
    sample = sample_of(recipe, tmp_path / "small")
    assert crops_of(tmp_path, sample.recipe.corpus, sample.recipe.crops) == whole[:8]
    assert estimate_run(recipe, lambda small: run_rerank(small, quiet=True)).seconds["train"] > 0


def test_every_kind_is_sampled_in_proportion_and_counted_in_the_steps(folder, tmp_path):
    rows = [json.dumps({"_id": f"q{i}", "text": f"who eats animal {i}"}) for i in range(16)]
    (folder / "queries.jsonl").write_text("\n".join(rows), encoding="utf-8")
    ask(folder, 8)
    crops = {"queries": "crops", "training": {"batch_size": 3}}
    recipe = recipe_of(
        folder, BY_GOLD, {**BY_GOLD, **crops}, train=folder / "train.jsonl", queries=folder / "queries.jsonl",
        questions="synthetic", crops=28,
    )  # fmt: skip
    sample = sample_of(recipe, tmp_path / "small")
    # Of 12 + 16 + 8 + 28 = 64 an eighth, rounded up; crops fill a batch of the stage that has nothing else.
    small = sample.recipe
    assert (len(read_contexts(small.train)), len(read_queries(small.queries)), small.crops) == (2, 2, 4)
    assert read_queries(small.queries)[1].conversation.question == "who eats animal 8"
    held = {document.id for _, document in read_documents(small.corpus)}
    with LabelStore(small.labels) as store:
        assert list(store.values("synthetic/questions", "conversation")) == ["otter-food"]
        assert list(store.values("listwise", "order")) == ["question-otter-food"]
    assert "otter-food" in held
    with LabelStore(recipe.out / "labels.sqlite") as store:
        assert len(store.values("synthetic/questions", "conversation")) == 8
    told = estimate_run(recipe, lambda small: small.out.mkdir())
    # ⌈64 / 4⌉ batches twice, then ⌈28 / 4⌉ of crops: what the recipe says goes before what the stage says.
    assert (told.contexts, told.steps) == (64, 2 * 16 + 2 * 7)


def test_documents_that_runs_and_labels_list_are_in_the_sample(folder, tmp_path):
    (folder / "queries.tsv").write_text("q1\twho eats\n", encoding="utf-8")
    ask(folder, 1)
    found = {"q1": {"whale-size": 9.0, "whale-home": 8.0, "parrot-food": 7.0, "parrot-size": 6.0, "parrot-young": 5.0}}
    write_run(folder / "other.trec", {**found, "unasked": {"falcon-young": 1.0}})
    recipe = recipe_of(
        folder, TAUGHT, queries=folder / "queries.tsv", questions="synthetic",
        retrievers={"other": str(folder / "other.trec"), "bm25": "bm25"},
    )  # fmt: skip
    held = {document.id for _, document in read_documents(sample_of(recipe, tmp_path / "small").recipe.corpus)}
    assert held >= {"whale-size", "whale-home", "parrot-food", "parrot-size", "tiger-home"}
    assert not held & {"parrot-young", "falcon-young"}  # beyond the depth of four; of no query


def test_a_candidate_corpus_is_sampled_by_itself(folder, tmp_path):
    rows = [json.dumps({"_id": f"n{i}", "text": "news"}) for i in range(90)]
    (folder / "news.jsonl").write_text("\n".join(rows), encoding="utf-8")
    files = {name: folder / f"{name}.jsonl" for name in ("corpus", "train", "dev")}
    sample = sample_of(
        SparseRecipe(out=folder / "run", candidate_corpus=folder / "news.jsonl", **files), tmp_path / "small"
    )
    taken = [document.id for _, document in read_documents(sample.recipe.candidate_corpus)]
    assert taken == ["n0", "n22", "n44", "n66", "n88"]
    assert sample.candidates.scale == 90 / 5
    assert sample.documents.whole == 40
    assert sample.documents.taken == sum(1 for _ in read_documents(sample.recipe.corpus))


def test_a_generative_recipe_of_questions_alone_gets_their_documents(folder, tmp_path):
    ask(folder, 40)
    recipe = GenerativeRecipe(
        student="generative", out=folder / "run", corpus=folder / "corpus.jsonl", questions="synthetic"
    )
    small = sample_of(recipe, tmp_path / "small").recipe
    with LabelStore(small.labels) as store:
        asked = set(store.values("synthetic/questions", "conversation"))
    assert len(asked) == 8
    assert asked <= {document.id for _, document in read_documents(small.corpus)}


def test_missing_labels_are_told_without_files_that_are_gone(folder):
    with pytest.raises(LabelError, match="no order by 'listwise' → run the recipe") as raised:
        estimate_run(recipe_of(folder, TAUGHT, crops=5), lambda small: run_rerank(small, quiet=True))
    assert ".estimate-" not in str(raised.value)
