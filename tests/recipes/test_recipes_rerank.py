"""The reranker recipe on forty documents: four kinds of queries, two stages, presets, what it asks for and refuses."""

import json

import pytest

from distillir.data import Corpus, read_contexts, read_run, write_run
from distillir.errors import ConfigError, DataError, LabelError
from distillir.labels import Label, LabelRequest, LabelStore
from distillir.objectives import RankNet
from distillir.recipes.rerank import run_rerank, student_of
from distillir.recipes.rerank_fit import label_lists
from distillir.recipes.rerank_pool import merged_pool, pool_run, retrieved
from distillir.recipes.rerank_recipe import RerankRecipe, read_rerank_recipe, rerank_preset
from distillir.recipes.taught import run_labels
from distillir.students import RerankerStudent

TWO_STAGES = {
    "teacher": "listwise",
    "depth": 6,
    "stages": [
        {"objective": {"infonce": {}}, "draw": {"top": {"n": 3}}, "gold": "one", "training": {"lr": 2e-5}},
        {"objective": {"ranknet": {}, "adr_mse": {"weight": 0.1}}},
    ],
}


def recipe_of(folder, **more) -> RerankRecipe:
    named = {name: folder / f"{name}.jsonl" for name in ("corpus", "train", "dev", "test")}
    given = {"student": "reranker", "model": "splade-tiny", "out": folder / "run", "method": TWO_STAGES}
    size = {"max_length": 32, "passage_length": 24, "training": {"max_steps": 2, "batch_size": 2, "accumulate": 1}}
    return RerankRecipe(**{**given, **size, **named, **more})


def label(folder, *, kind: str = "order") -> None:
    """A teacher that turns the candidates round."""
    with LabelStore(folder / "run" / "labels.sqlite") as store:
        for query, scores in read_run(folder / "run" / "candidates.trec").items():
            order = sorted(scores, key=scores.get)
            value = order if kind == "order" else {name: float(-i) for i, name in enumerate(order)}
            name = "listwise" if kind == "order" else "pointwise"
            request = LabelRequest(name, "model", "v1", {"query": query}, context_id=query)
            store.put(request, Label(kind, value, json.dumps(value)))


@pytest.fixture
def folder(animals, tmp_path):
    return animals(tmp_path / "data")


def test_it_names_the_labelling_then_trains_in_two_stages(folder, capsys):
    (folder / "queries.tsv").write_text("q1\twhere does the horse live\n", encoding="utf-8")
    recipe = recipe_of(folder, queries=folder / "queries.tsv", crops=3)
    with pytest.raises(LabelError, match=r"label listwise .*queries\.jsonl .*candidates\.trec"):
        run_rerank(recipe, quiet=True)
    asked = read_contexts(folder / "run" / "queries.jsonl")
    assert {c.source for c in asked} == {"train.jsonl", "query", "crop"}
    assert len(asked) == 12 + 1 + 3
    label(folder)
    run = run_rerank(recipe)
    assert "stage 2 of 2: ranknet, adr_mse" in capsys.readouterr().err
    assert run.training.steps == 4
    assert list(run.comparison.systems) == ["candidates", "student"]
    before, after = (read_run(run.out / "runs" / f"{name}.trec") for name in ("candidates", "student"))
    assert {q: set(found) for q, found in before.items()} == {q: set(found) for q, found in after.items()}
    record = json.loads((run.out / "run.json").read_text(encoding="utf-8"))
    assert record["data"]["labelled"] == sum(record["data"]["queries"].values())
    assert RerankerStudent.from_pretrained(run.out / "student").fingerprint() == run.student.fingerprint()
    assert run.student.fingerprint() != student_of(recipe).fingerprint()
    again = run_rerank(recipe)
    assert "student of 4 steps reused" in capsys.readouterr().err
    assert again.student.fingerprint() == run.student.fingerprint()


def test_queries_are_written_before_runs_made_elsewhere_are_looked_for(folder):
    recipe = recipe_of(folder, train=None, dev=None, test=None, crops=5, retrievers={"other": str(folder / "no.trec")})
    with pytest.raises(DataError, match=r"no\.trec"):
        run_rerank(recipe, quiet=True)
    assert [c.source for c in read_contexts(folder / "run" / "queries.jsonl")] == ["crop"] * 5


def test_the_published_method_runs_at_small_scale_from_the_order_of_a_run(folder):
    twolar = rerank_preset("twolar")
    assert (twolar.depth, twolar.merge, len(twolar.stages)) == (30, "stratified", 1)
    recipe = recipe_of(folder, method="twolar", dev=None, test=None)
    settings = recipe.model_copy(update={"training": {}}).train_settings(twolar.stages[0])
    assert (settings.lr, settings.accumulate, settings.schedule, settings.clip) == (5e-5, 32, "constant", 1.0)
    assert isinstance(twolar.stages[0].build_objective().terms[0][1], RankNet)
    order = {
        c.id: {"otter-food": 2.0, "otter-home": 1.0, "falcon-food": 0.5} for c in read_contexts(folder / "train.jsonl")
    }
    write_run(folder / "teacher.trec", order)
    run = run_rerank(recipe.model_copy(update={"teacher_run": folder / "teacher.trec"}), quiet=True)
    assert run.training.steps == 2
    assert run.comparison is None


def test_scores_teach_too_and_questions_come_from_the_store(folder):
    method = {"teacher": "pointwise", "kind": "scores", "depth": 5, "stages": [{"objective": {"margin_mse": {}}}]}
    recipe = recipe_of(folder, method=method, questions="synthetic", dev=None, test=None)
    with pytest.raises(LabelError, match="no questions by 'synthetic'"):
        run_rerank(recipe, quiet=True)
    value = {"messages": [{"role": "user", "content": "What eats the tiger?"}, {"role": "assistant", "content": "It."}]}
    with LabelStore(folder / "run" / "labels.sqlite") as store:
        request = LabelRequest("synthetic/questions", "model", "v1", {"document": "tiger"}, context_id="tiger-food")
        store.put(request, Label("conversation", value))
    with pytest.raises(LabelError, match="label pointwise"):
        run_rerank(recipe, quiet=True)
    label(folder, kind="scores")
    assert run_rerank(recipe, quiet=True).training.steps == 2


def test_objectives_of_scores_draw_from_what_has_one(folder):
    stage = {"objective": {"margin_mse": {}}, "draw": {"top": {"n": 2}}}
    method = {"teacher": "pointwise", "kind": "scores", "depth": 6, "stages": [stage]}
    recipe = recipe_of(folder, method=method, dev=None, test=None)
    with pytest.raises(LabelError):
        run_rerank(recipe, quiet=True)
    with LabelStore(folder / "run" / "labels.sqlite") as store:
        for query, scores in read_run(folder / "run" / "candidates.trec").items():
            worst = sorted(scores, key=scores.get)[:2]  # no draw of the first two finds a label
            request = LabelRequest("pointwise", "model", "v1", {"query": query}, context_id=query)
            store.put(request, Label("scores", {name: float(i) for i, name in enumerate(worst)}))
    assert run_rerank(recipe, quiet=True).training.steps == 2


def test_candidates_remember_who_found_them_and_teachers_may_add_some(folder, tmp_path):
    corpus = Corpus.build(folder / "corpus.jsonl", tmp_path / "corpus.arrow")
    contexts = read_contexts(folder / "train.jsonl")[:2]
    first, second = (c.id for c in contexts)
    write_run(tmp_path / "run.trec", {first: {"otter-food": 2.0, "falcon-size": 1.0, "elsewhere": 0.5}})
    runs = {name: retrieved(source, contexts, corpus, 4) for name, source in
            {"bm25": "bm25", "file": str(tmp_path / "run.trec")}.items()}  # fmt: skip
    assert len(runs["bm25"][first]) == 4
    pool = merged_pool(runs, corpus, depth=5, rule="stratified")
    names = [corpus.doc_id(int(i)) for i in pool[first].positions]
    place = names.index("falcon-size")
    assert pool.finders(pool[first], place) == ("file",)
    assert pool.finders(pool[first], names.index("otter-food")) == ("bm25", "file")
    assert list(pool_run(pool, contexts, corpus)[first]) == names
    said = run_labels({first: {"salmon-young": 3.0, "otter-food": 2.0, "unknown": 1.0}})
    labelled = label_lists(contexts, pool, corpus, said)
    listed = [corpus.doc_id(int(i)) for i in labelled.pool[first].positions]
    assert listed == [*names, "salmon-young"]
    assert {corpus.doc_id(i): rank for i, rank in labelled.labels[0].items()} == {"salmon-young": 0, "otter-food": 1}
    assert labelled.labels[1] == {}
    assert [corpus.doc_id(int(i)) for i in labelled.golds[0]] == ["otter-food"]
    write_run(tmp_path / "other.trec", {second: {"elsewhere": 1.0}})
    with pytest.raises(DataError, match="finds no document of the corpus"):
        retrieved(str(tmp_path / "other.trec"), contexts, corpus, 4)
    with pytest.raises(DataError, match="no query has two"):
        label_lists(contexts, merged_pool({"f": {}}, corpus, depth=5, rule="rrf"), corpus, {})


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"method": {"stages": [{"objective": {"margin_mse": {}}}]}}, "reads scores, and labels are order"),
        ({"method": {"kind": "scores", "rank_to_score": "linear", "stages": TWO_STAGES["stages"]}}, "rank_to_score"),
        ({"method": {"rank_to_score": "best", "stages": TWO_STAGES["stages"]}}, "make scores of an order"),
        ({"method": {"stages": [{"objective": {"listwise": {}}}]}}, "unknown objective"),
        ({"method": "monot5"}, "no preset 'monot5'"),
        ({"train": None}, "nothing to learn from"),
        ({"training": {"lr": 0}}, "lr is"),
        ({"max_length": 2}, "max_length is 2"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_computed(folder, more, reason):
    with pytest.raises(ConfigError, match=reason):
        run_rerank(recipe_of(folder, **more), quiet=True)
    assert not (folder / "run").exists()


def test_a_recipe_file_is_read_with_its_relative_paths(folder):
    (folder / "recipe.yaml").write_text(
        "student: reranker\nout: run\ncorpus: corpus.jsonl\ntrain: train.jsonl\nmodel: splade-tiny\n"
        "retrievers: {bm25: bm25, other: other.trec}\nteacher_run: teacher.trec\n"
        "method: {rank_to_score: linear, stages: [{objective: {margin_mse: {}}}]}\n",
        encoding="utf-8",
    )
    recipe = read_rerank_recipe(folder / "recipe.yaml")
    assert recipe.out == folder / "run"
    assert recipe.teacher_run == folder / "teacher.trec"
    assert recipe.retrievers == {"bm25": "bm25", "other": str(folder / "other.trec")}
    assert len(rerank_preset("rerank").stages) == 2
    (folder / "recipe.yaml").write_text("student: reranker\nout: run\ncorpus: c\nmodle: x\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="modle"):
        read_rerank_recipe(folder / "recipe.yaml")
