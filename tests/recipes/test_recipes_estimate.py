"""What a run will take: measured on a sample, scaled to the whole, and nothing left behind."""

import json

import pytest
from typer.testing import CliRunner

from distillir.cli.app import app
from distillir.data import read_contexts, read_documents, write_run
from distillir.errors import ConfigError
from distillir.recipes import SparseRecipe
from distillir.recipes import estimate as estimating
from distillir.recipes.estimate import estimate_run
from distillir.recipes.progress import Mark
from distillir.training import TrainSettings

COMMON = "corpus: corpus.jsonl\ntrain: train.jsonl\ndev: dev.jsonl\ntest: test.jsonl\nout: run\nmax_length: 32\n"


def told_of(folder, text: str) -> dict:
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["train", str(folder / "recipe.yaml"), "--estimate", "--json"])
    assert result.exit_code == 0, result.output + str(result.exception)
    return json.loads(result.stdout)


def test_a_sparse_recipe_is_measured_on_a_sample_and_leaves_nothing(animals, tmp_path, monkeypatch):
    folder = animals(tmp_path / "data")
    before = sorted(path.name for path in folder.iterdir())
    monkeypatch.setattr(estimating, "DOCUMENTS", 10)
    monkeypatch.setattr(estimating, "CONTEXTS", 6)
    told = told_of(folder, f"{COMMON}engine: exact\nmethod: disco\ntraining: {{batch_size: 5, epochs: 4}}\n")
    assert (told["documents"], told["contexts"], told["steps"]) == (40, 12, 12)  # ⌈12 / 5⌉ batches, four times
    assert told["measured"]["contexts"] == 6
    assert 10 <= told["measured"]["documents"] < 40
    assert {"encode", "label", "train", "evaluate on dev"} <= set(told["seconds"])
    assert all(seconds >= 0 for seconds in told["seconds"].values())
    assert told["seconds"]["train"] > 0
    # SPLADE-tiny has 4.4 M weights: the student 17.6 MB, a checkpoint about four times that, three of them.
    assert told["disk_mb"]["student"] == pytest.approx(17.6, rel=0.2)
    assert told["disk_mb"]["checkpoints"] == pytest.approx(3 * 4 * 17.6, rel=0.2)
    assert told["memory_mb"] > 100
    assert sorted(path.name for path in folder.iterdir()) == sorted([*before, "recipe.yaml"])


@pytest.mark.slow
@pytest.mark.parametrize("student", ["dense", "reranker", "response", "generative"])
def test_every_student_is_measured(animals, tiny_writer, tmp_path, student):
    folder = animals(tmp_path / "data")
    names = [document.id for _, document in read_documents(folder / "corpus.jsonl")]
    contexts = read_contexts(folder / "train.jsonl")
    write_run(folder / "teacher.trec", {c.id: {n: float(-i) for i, n in enumerate(names[:8])} for c in contexts})
    recipe = {
        "dense": COMMON + "model: splade-tiny\nmethod: {draw: {top: {n: 4}}}\n",
        "reranker": COMMON + "teacher_run: teacher.trec\npassage_length: 24\nmodel: splade-tiny\n"
        "method: {depth: 4, stages: [{objective: {ranknet: {}}}, {objective: {ranknet: {}}}]}\n",
        "response": COMMON.replace("corpus:", "responses:")
        + "method: pairs\nresponse_length: 16\nmodel: splade-tiny\n",
        "generative": COMMON + f"model: {tiny_writer}\nbeams: 3\nmethod: learn\n",
    }[student]
    told = told_of(folder, f"student: {student}\n{recipe}training: {{batch_size: 4, epochs: 2}}\n")
    assert told["steps"] == (12 if student == "reranker" else 6)
    assert told["seconds"]["train"] > 0
    assert told["disk_mb"]
    assert not (folder / "run").exists()


def test_seconds_are_scaled_by_what_they_grow_with():
    marks = [
        Mark(0.0, "begin encode corpus"), Mark(2.0, "encode corpus"), Mark(2.0, "label"), Mark(3.0, "contexts"),
        *(Mark(10.0 + step, "train", step) for step in (1, 2, 3, 4)), Mark(18.0, "train", 5),
        Mark(18.0, "index (exact)"), Mark(18.5, "evaluate"),
    ]  # fmt: skip
    spent = estimating._seconds(marks, 100.0, 10.0, 5.0, [TrainSettings(epochs=4)], [200])
    assert spent == pytest.approx(
        {"encode": 200.0, "label": 10.0, "train": 200.0, "evaluate on dev": 3.0 * 5.0 * 4, "index": 50.0}
    )


def test_what_cannot_be_estimated_is_refused(animals, tmp_path, monkeypatch):
    folder = animals(tmp_path / "data")
    recipe = SparseRecipe(out=folder / "run", corpus=folder / "corpus.jsonl")
    with pytest.raises(ConfigError, match="names no train contexts"):
        estimate_run(recipe, lambda small: None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="measures one process"):
        estimate_run(recipe, lambda small: None)
