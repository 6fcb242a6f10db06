"""The whole recipe on forty documents and SPLADE-tiny: what it leaves, what it reuses, how it ends when killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml

from distillir.data import read_qrels, read_run
from distillir.errors import ConfigError, DataError, DistillirError, VectorsError
from distillir.evaluation import evaluate
from distillir.index import open_index
from distillir.labels import LabelStore
from distillir.recipes import SparseRecipe, open_retriever, read_recipe, run_sparse
from distillir.recipes.alone import evaluate_alone
from distillir.students import SparseStudent
from distillir.vectors import SparseVectors
from distillir.vectors.files import FolderLock

QUESTIONS = [
    {"role": "user", "content": "what does the tiger eat"},
    {"role": "assistant", "content": "What it finds."},
    {"role": "user", "content": "where does it live"},
]


def recipe_of(folder, **more) -> SparseRecipe:
    training = {"max_steps": 3, "batch_size": 6, "epochs": 2}
    options = {"engine": "exact", "training": training, "test": folder / "test.jsonl"}
    named = {name: folder / f"{name}.jsonl" for name in ("corpus", "train", "dev")}
    return SparseRecipe(**{"out": folder / "run", **named, **options, **more})


def edit(path, change) -> None:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in map(change, rows) if row is not None]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def finished(animals, tmp_path_factory):
    folder = animals(tmp_path_factory.mktemp("recipe") / "data")
    edit(
        folder / "train.jsonl",
        lambda r: {k: v for k, v in r.items() if not (r["id"].endswith("otter#1") and k == "rewrite")},
    )
    edit(folder / "train.jsonl", lambda r: {**r, "source": "zoo"} if "falcon" in r["id"] else r)
    edit(
        folder / "train.jsonl",
        lambda r: {k: v for k, v in r.items() if not (r["id"].endswith("#3") and k == "relevant")},
    )
    return folder, run_sparse(recipe_of(folder), quiet=True)


@pytest.fixture
def copied(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "data")
    return tmp_path / "data"


def test_a_run_leaves_student_index_runs_tables_and_record(finished):
    _, run = finished
    assert run.training.steps == 3
    assert {p.name for p in (run.out / "runs").iterdir()} == {
        "qrels.txt",
        *(f"{n}.trec" for n in ("bm25_last", "last_turn", "full_context", "untrained_gate", "teacher", "student")),
    }
    scored = evaluate(read_run(run.out / "runs" / "student.trec"), read_qrels(run.out / "runs" / "qrels.txt"))
    assert scored.means["R@10"] == pytest.approx(run.comparison.cells["student"]["r10"].mean)
    assert run.comparison.baseline == "untrained_gate"
    assert run.comparison.latency["student"].median_ms > 0
    assert "tiger" in run.report.read_text(encoding="utf-8")
    with open_index(run.out / "index") as index:
        assert len(index) == 40


def test_the_record_holds_resolved_settings_and_what_became_of_the_data(finished):
    folder, run = finished
    record = json.loads((run.out / "run.json").read_text(encoding="utf-8"))
    assert record["settings"] == recipe_of(folder).resolved()
    assert record["settings"]["method"]["draw"]
    assert record["seed"] == 13
    assert record["contexts_with_gold"] == {"train.jsonl": 0.625, "zoo": pytest.approx(2 / 3)}
    data = record["data"]
    assert data["train_contexts"] == 11
    assert data["train_contexts_dropped"] == {"no rewrite by human or llm": {"train.jsonl": 1}}
    assert data["candidate_corpus"] == str(folder / "corpus.jsonl")
    assert data["splits"]["train"] == {"contexts": 12, "with_relevant": 8, "with_relevant_in_corpus": 8}
    assert record["student"]["fingerprint"] == run.student.fingerprint()
    assert record["training"]["steps"] == 3


def test_the_labels_of_a_run_are_in_its_store(finished):
    with LabelStore(finished[1].out / "labels.sqlite") as store:
        texts = {name: row.label.value for row in store.rows("human", "rewrite") for name in row.context_ids}
    assert texts["train-falcon#2"] == "when does the falcon sleep"
    assert texts["test-tiger#3"] == "where does the tiger live"
    assert "train-otter#1" not in texts
    assert len(texts) == 11 + 6


def test_the_labels_are_audited_before_the_training(copied, capsys):
    rows = [json.loads(line) for line in (copied / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    for row in rows:  # a teacher that answers instead of rewriting
        row["rewrite"] = f"The answer is that it {row['id']} eats, sleeps and lives in many places of the wide world."
    (copied / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    run_sparse(recipe_of(copied))
    told = capsys.readouterr().err
    assert "audit: human, answers: " in told
    assert told.index("audit: human") < told.index("train: step")
    checks = {check["name"] for check in json.loads((copied / "run" / "audit.json").read_text())["checks"]}
    assert {"length", "answers", "score spread", "targets", "gold rank"} <= checks


def test_the_saved_student_is_the_trained_one_and_answers(finished):
    _, run = finished
    assert SparseStudent.from_pretrained(run.out / "student").fingerprint() == run.student.fingerprint()
    retriever = open_retriever(run.out)
    with retriever.index:
        hits = retriever.retrieve(QUESTIONS, k=5)
    assert hits[0].title == "tiger"
    assert sum(weight for _, weight in hits[0].terms) == pytest.approx(hits[0].score, rel=1e-4)


def test_run_again_reuses_every_stage_and_says_so(copied, capsys):
    recipe = recipe_of(copied)
    before = {p: p.stat().st_mtime_ns for p in (copied / "run" / "student").iterdir()}
    again = run_sparse(recipe)
    told = capsys.readouterr().err
    assert "corpus: 40 document vectors reused" in told
    assert "student of 3 steps reused" in told
    assert "index of 40 documents reused" in told
    assert "train: step" not in told
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert again.training.history


def test_changed_settings_train_anew(copied, finished, capsys):
    changed = run_sparse(recipe_of(copied, test=None, training={"max_steps": 2, "batch_size": 6, "lr": 3e-4}))
    told = capsys.readouterr().err
    assert "settings or data changed: training starts anew" in told
    assert "40 document vectors reused" in told
    assert changed.training.steps == 2
    assert changed.student.fingerprint() != finished[1].student.fingerprint()


def test_changed_rewrites_train_anew(copied, capsys):
    edit(copied / "train.jsonl", lambda r: {**r, "rewrite": "how big is the horse"} if r["id"].endswith("#2") else r)
    run_sparse(recipe_of(copied, test=None))
    assert "settings or data changed: training starts anew" in capsys.readouterr().err


def test_a_document_whose_text_changed_does_not_keep_its_old_vector(copied, capsys):
    before = SparseVectors.open(copied / "run" / "corpus.vectors").gather([0, 1])
    edit(copied / "corpus.jsonl", lambda r: {**r, "text": "Volcanoes of Iceland."} if r["_id"] == "otter-food" else r)
    os.utime(copied / "corpus.jsonl")
    run_sparse(recipe_of(copied, test=None))
    told = capsys.readouterr().err
    assert "documents or encoder changed, encoding anew" in told
    assert "index (exact)" in told
    after = SparseVectors.open(copied / "run" / "corpus.vectors").gather([0, 1])
    assert before.row(0)[0].tolist() != after.row(0)[0].tolist()
    assert before.row(1)[0].tolist() == after.row(1)[0].tolist()


@pytest.mark.parametrize("method", ["collection", "mse", "disco"])
def test_every_preset_runs_end_to_end(copied, method):
    shutil.rmtree(copied / "run")
    run = run_sparse(recipe_of(copied, method=method, gate=method == "collection", test=None), quiet=True)
    assert run.training.steps == 3
    assert run.training.best is not None
    assert (run.out / "run.json").exists()  # also where nothing is tested


def test_teachers_are_fused_by_fitted_weights_which_the_record_and_the_table_keep(copied, capsys):
    shutil.rmtree(copied / "run")
    method = {"teachers": {"human": 1.0, "untrained": 1.0}, "fusion": "fitted", "draw": {"top": {"n": 4}}}
    run = run_sparse(recipe_of(copied, method=method), quiet=False)
    weights = json.loads((run.out / "run.json").read_text(encoding="utf-8"))["teacher_weights"]
    assert set(weights) == {"human", "untrained"}
    assert sum(weights.values()) == pytest.approx(1, abs=1e-4)
    assert "weights fitted on 7 contexts" in capsys.readouterr().err
    before = run.comparison.cells["teacher"]["r10"].mean
    again, _ = evaluate_alone(recipe_of(copied, method=method), quiet=True)
    assert again.cells["teacher"]["r10"].mean == before


def test_the_teacher_of_a_best_score_is_shown_by_its_mean_and_says_so(copied):
    shutil.rmtree(copied / "run")

    def said_twice(row):
        return {**row, "rewrite": {"human": row["rewrite"], "llm": row["messages"][-1]["content"]}}

    for split in ("train", "test"):
        edit(copied / f"{split}.jsonl", lambda r: said_twice(r) if "rewrite" in r else r)
    run = run_sparse(recipe_of(copied, method={"teachers": {"human": 1, "llm": 1}, "fusion": "max"}), quiet=True)
    assert any("no vector has the max" in note for note in run.comparison.notes["teacher"])


def test_contexts_without_gold_draw_from_a_candidate_corpus_of_their_own(copied):
    shutil.rmtree(copied / "run")
    rows = [
        {"_id": f"n{i}", "text": f"What the {animal} eats, and where it lives."}
        for i, animal in enumerate(("ant", "bee", "cat"))
    ]
    (copied / "news.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    run = run_sparse(recipe_of(copied, candidate_corpus=copied / "news.jsonl", test=None), quiet=True)
    data = json.loads((run.out / "run.json").read_text(encoding="utf-8"))["data"]
    assert (data["documents"], data["candidates"]) == (40, 43)
    assert data["candidate_corpus"].endswith("news.jsonl")
    with open_index(run.out / "index") as index:
        assert len(index) == 40  # what is searched stays the corpus


def test_a_test_context_without_rewrite_costs_the_teacher_its_row_and_nothing_else(copied):
    edit(
        copied / "test.jsonl", lambda r: {k: v for k, v in r.items() if not (r["id"].endswith("#1") and k == "rewrite")}
    )
    run = run_sparse(recipe_of(copied), quiet=True)
    assert "teacher" not in run.comparison.systems
    assert "student" in run.comparison.systems


@pytest.mark.parametrize("key", ["group", "id"])
def test_splits_must_not_share_a_conversation(copied, key):
    shutil.rmtree(copied / "run")
    lines = (copied / "train.jsonl").read_text(encoding="utf-8").splitlines()
    row = json.loads(lines[0])
    row |= {"id": "new"} if key == "group" else {"group": "new"}
    with (copied / "test.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    with pytest.raises(ConfigError, match="is in both train and test"):
        run_sparse(recipe_of(copied), quiet=True)
    assert not (copied / "run").exists()


@pytest.mark.parametrize(
    ("split", "change", "named"),
    [
        ("dev", lambda r: {k: v for k, v in r.items() if k != "relevant"}, "relevant"),
        ("dev", lambda r: {**r, "relevant": ["unicorn"]}, "'unicorn'"),
        ("test", lambda r: {**r, "relevant": ["unicorn"]}, "'unicorn'"),
        ("train", lambda r: {k: v for k, v in r.items() if k != "rewrite"}, "no context has a rewrite by human or llm"),
        ("train", lambda r: {**r, "rewrite": "!"} | {"rewrite": ""}, "blank"),
    ],
)
def test_data_that_cannot_serve_is_refused_before_training(copied, split, change, named):
    shutil.rmtree(copied / "run" / "checkpoints")
    edit(copied / f"{split}.jsonl", change)
    with pytest.raises(DataError, match=named):
        run_sparse(recipe_of(copied), quiet=True)
    assert not (copied / "run" / "checkpoints").exists()


def test_missing_files_and_folders_are_named(copied, tmp_path):
    with pytest.raises(DistillirError, match=r"none\.jsonl"):
        run_sparse(recipe_of(copied, train=copied / "none.jsonl"), quiet=True)
    with pytest.raises(DistillirError, match=r"none\.jsonl"):
        run_sparse(recipe_of(copied, out=tmp_path / "o", corpus=copied / "none.jsonl"), quiet=True)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="out: "):
        run_sparse(recipe_of(copied, out=tmp_path / "file" / "run"), quiet=True)
    with pytest.raises(DataError, match="not a run folder with an index"):
        open_retriever(tmp_path)


def test_an_index_that_was_not_finished_is_not_searched(copied):
    (copied / "run" / "made_from" / "index.json").unlink()
    with pytest.raises(DataError, match="not a run folder with an index"):
        open_retriever(copied / "run")


def test_two_runs_do_not_share_a_folder(copied):
    lock = FolderLock(copied / "run" / ".lock")
    try:
        with pytest.raises(VectorsError, match="another process"):
            run_sparse(recipe_of(copied), quiet=True)
    finally:
        lock.release()


@pytest.mark.slow
def test_a_killed_training_goes_on_where_it_stopped(animals, tmp_path, capsys):
    folder = animals(tmp_path)
    training = {"epochs": 200, "max_steps": 7, "batch_size": 4, "checkpoint_every": 1, "evaluate_every": 7}
    recipe = {"out": "run", "corpus": "corpus.jsonl", "train": "train.jsonl", "dev": "dev.jsonl", "engine": "exact"}
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "training": training}), encoding="utf-8")
    command = [sys.executable, "-m", "distillir.cli", "train", str(folder / "recipe.yaml"), "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        patience = time.monotonic() + 120
        while not any((folder / "run" / "checkpoints").glob("step-*[2-7]")):
            assert process.poll() is None, "the run ended before it was killed"
            assert time.monotonic() < patience
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    reached = max(int(p.name[5:13]) for p in (folder / "run" / "checkpoints").glob("step-*") if p.suffix == "")
    assert 2 <= reached < 7
    assert not (folder / "run" / "student").exists()

    recipe = read_recipe(folder / "recipe.yaml")
    run = run_sparse(recipe)
    told = capsys.readouterr().err
    assert "corpus: 40 document vectors reused" in told
    assert "training goes on from its last checkpoint" in told
    assert "train: step 7 of 7" in told
    assert run.training.steps == 7
    at_once = {"out": tmp_path / "whole", "training": {**training, "checkpoint_every": 0}}
    whole = run_sparse(recipe.model_copy(update=at_once), quiet=True)
    assert whole.student.fingerprint() == run.student.fingerprint()  # as if nobody had killed it
