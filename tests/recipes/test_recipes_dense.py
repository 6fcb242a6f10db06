"""The dense recipe on forty documents: what it leaves and reuses, own vectors, and what it refuses."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distillir.conversation import Conversation
from distillir.data import Corpus, read_contexts, read_qrels, read_run
from distillir.errors import ConfigError, DataError, DistillirError, VectorsError
from distillir.evaluation import evaluate
from distillir.recipes.dense import open_dense_retriever, run_dense
from distillir.recipes.dense_fit import label_dense
from distillir.recipes.dense_recipe import DenseRecipe, dense_preset, is_dense, read_dense_recipe
from distillir.recipes.dense_stages import dense_encoder, dense_start
from distillir.vectors.dense import DenseVectors
from distillir.vectors.dense_writer import DenseVectorsWriter

QUESTIONS = [
    {"role": "user", "content": "what does the tiger eat"},
    {"role": "assistant", "content": "What it finds."},
    {"role": "user", "content": "where does it live"},
]
TINY = "splade-tiny"  # any encoder will do: its token states, averaged


def recipe_of(folder, **more) -> DenseRecipe:
    named = {name: folder / f"{name}.jsonl" for name in ("corpus", "train", "dev", "test")}
    training = {"max_steps": 3, "batch_size": 6, "epochs": 2}
    given = {"student": "dense", "model": TINY, "out": folder / "run", "training": training}
    return DenseRecipe(**{**given, **named, **more})


def edit(path, old: str, new: str) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


@pytest.fixture(scope="module")
def finished(animals, tmp_path_factory):
    folder = animals(tmp_path_factory.mktemp("dense") / "data")
    return folder, run_dense(recipe_of(folder), quiet=True)


@pytest.fixture
def copied(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "data")
    return tmp_path / "data"


def test_a_run_leaves_student_runs_table_and_record(finished):
    folder, run = finished
    rows = ["bm25_last", "last_turn", "full_context", "untrained", "rewrite", "teacher", "student"]
    assert run.training.steps == 3
    assert list(run.comparison.systems) == rows
    assert {p.name for p in (run.out / "runs").iterdir()} == {"qrels.txt", *(f"{name}.trec" for name in rows)}
    scored = evaluate(read_run(run.out / "runs" / "student.trec"), read_qrels(run.out / "runs" / "qrels.txt"))
    assert scored.means["R@10"] == pytest.approx(run.comparison.cells["student"]["r10"].mean)
    assert run.comparison.latency["student"].median_ms > 0
    record = json.loads((run.out / "run.json").read_text(encoding="utf-8"))
    assert record["settings"] == recipe_of(folder).resolved()
    assert record["settings"]["training"]["lr"] == 5e-5
    assert record["data"]["train_contexts"] == 12
    assert record["contexts_with_gold"] == {"train.jsonl": 1.0}
    assert record["student"]["fingerprint"] == run.student.fingerprint()
    assert "untrained" in run.report.read_text(encoding="utf-8")


def test_the_run_folder_answers(finished):
    _, run = finished
    with open_dense_retriever(run.out) as retriever:
        hits = retriever.retrieve(QUESTIONS, k=3)
    assert retriever.encoder.fingerprint() == run.student.fingerprint()
    assert [hit.title for hit in hits] == [hit.id.split("-")[0] for hit in hits]
    vectors = DenseVectors.open(run.out / "corpus.vectors")
    query = run.student.encode_queries([Conversation.from_messages(QUESTIONS)])[0]
    assert hits[0].score == pytest.approx(float((vectors.gather(range(40)) @ query).max()), abs=1e-5)
    assert run.student.document_encoder == vectors.encoder
    assert vectors.encoder


def test_run_again_reuses_every_stage_and_says_so(copied, capsys):
    before = {p: p.stat().st_mtime_ns for p in (copied / "run" / "student").iterdir()}
    again = run_dense(recipe_of(copied))
    told = capsys.readouterr().err
    assert "corpus: 40 document vectors reused" in told
    assert "student of 3 steps reused" in told
    assert "train: step" not in told
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert again.training.history
    changed = run_dense(recipe_of(copied, test=None, gate=False, training={"max_steps": 2, "batch_size": 6}))
    told = capsys.readouterr().err
    assert "settings or data changed: training starts anew" in told
    assert "40 document vectors reused" in told
    assert changed.comparison is None


def test_a_changed_document_is_encoded_anew(copied, capsys):
    edit(copied / "corpus.jsonl", "The otter eats", "The otter, wet, eats")
    before = DenseVectors.open(copied / "run" / "corpus.vectors").gather([0, 1])
    run_dense(recipe_of(copied, test=None))
    assert "encoder changed, starting anew" in capsys.readouterr().err
    after = DenseVectors.open(copied / "run" / "corpus.vectors").gather([0, 1])
    assert not np.allclose(before[0], after[0], atol=1e-3)
    np.testing.assert_allclose(before[1], after[1], atol=1e-3)  # another length beside it pads it otherwise


def test_the_untrained_student_teaches_beside_the_rewrites(copied):
    recipe = recipe_of(copied)
    encoder, start = dense_encoder(recipe), dense_start(recipe)
    documents = DenseVectors.open(copied / "run" / "corpus.vectors")
    contexts = [replace(c, rewrites={"human": "where does the otter live"}) for c in read_contexts(recipe.train)[:3]]
    method = recipe.chosen_method()
    labelled = label_dense(contexts, encoder, documents, method, copied / "rewrites", start=start)
    said = encoder.encode_queries([Conversation.from_pairs([], "where does the otter live")])[0]
    read = start.encode_queries([c.conversation for c in contexts])
    np.testing.assert_allclose(labelled.teacher, (said + 1.5 * read) / 2.5, atol=1e-6)  # no llm: its share goes round
    scores = labelled.teacher @ documents.gather(range(40)).T
    np.testing.assert_array_equal(labelled.pool[contexts[1].id].positions, np.argsort(-scores[1], kind="stable"))
    assert [documents.ids[int(i)] for i in labelled.golds[0]] == list(contexts[0].relevant)
    alone = method.model_copy(update={"teachers": {"human": 1.0}})
    plain = label_dense(contexts, encoder, documents, alone, copied / "rewrites")
    np.testing.assert_allclose(plain.teacher, np.tile(said, (3, 1)), atol=1e-6)
    with pytest.raises(ConfigError, match="needs the untrained student"):
        label_dense(contexts, encoder, documents, method, copied / "rewrites")
    with pytest.raises(DataError, match="has no rewrite by human or llm"):
        label_dense([replace(contexts[0], rewrites={})], encoder, documents, method, copied / "rewrites", start=start)


@pytest.mark.parametrize("method", ["mse", {"pool": "collection", "objective": {"kld": {"tau": 0.05}}}])
def test_other_methods_run_end_to_end(copied, method):
    run = run_dense(recipe_of(copied, method=method, test=None, turn_embeddings=True), quiet=True)
    assert run.training.steps == 3
    assert run.student.turns is not None


@pytest.fixture
def own(copied):
    """Vectors a user has already, of the model the recipe names, in an order of their own."""
    corpus, recipe = Corpus.open(copied / "run" / "corpus.arrow"), recipe_of(copied)
    rows = dense_encoder(recipe).encode_documents([corpus.text(i) for i in range(40)])
    order = np.random.default_rng(1).permutation(40)
    shutil.rmtree(copied / "run")
    return copied, [corpus.ids[i] for i in order], rows[order]


def test_own_vectors_are_served_as_they_are(own, capsys):
    folder, ids, rows = own
    np.save(folder / "v.npy", rows)
    (folder / "ids.txt").write_text("\n".join(ids), encoding="utf-8")
    recipe = recipe_of(folder, vectors=folder / "v.npy", vector_ids=folder / "ids.txt")
    run = run_dense(recipe)
    assert "40 documents, mean cosine with the model's own 1.000" in capsys.readouterr().err
    vectors = DenseVectors.open(run.out / "corpus.vectors")
    assert list(vectors.ids) == ids
    np.testing.assert_allclose(vectors.gather(range(40)), rows, atol=1e-6)
    with open_dense_retriever(run.out) as retriever:
        assert retriever.retrieve(QUESTIONS, k=1)[0].title
    run_dense(recipe)
    assert "40 document vectors reused" in capsys.readouterr().err
    pq.write_table(pa.table({"name": ids[:30], "e": list(rows[:30])}), folder / "v.parquet")
    columns = {"id_column": "name", "vector_column": "e"}
    run_dense(recipe_of(folder, vectors=folder / "v.parquet", **columns, test=None))
    assert "10 documents have none and cannot be found" in capsys.readouterr().err


def test_a_folder_of_vectors_is_searched_where_it_lies(own):
    folder, ids, rows = own
    with DenseVectorsWriter(folder / "elsewhere", 128, "float32", meta={"encoder": "theirs"}) as writer:
        writer.append(ids, rows)
    run = run_dense(recipe_of(folder, vectors=folder / "elsewhere", test=None), quiet=True)
    assert not (run.out / "corpus.vectors").exists()
    assert run.student.document_encoder == "theirs"
    with open_dense_retriever(run.out) as retriever:
        assert retriever.index.store.path == folder / "elsewhere"


def test_own_vectors_that_are_not_the_model_s_are_refused(own):
    folder, ids, rows = own
    (folder / "ids.txt").write_text("\n".join(ids), encoding="utf-8")
    np.save(folder / "v.npy", np.random.default_rng(0).normal(size=rows.shape))
    given = {"vectors": folder / "v.npy", "vector_ids": folder / "ids.txt"}
    with pytest.raises(VectorsError, match="does not hold this encoder's vectors"):
        run_dense(recipe_of(folder, **given), quiet=True)
    np.save(folder / "v.npy", rows[:, :5])
    with pytest.raises(VectorsError, match="width 5, expected 128"):
        run_dense(recipe_of(folder, **given), quiet=True)
    with DenseVectorsWriter(folder / "dot", 128, similarity="dot") as writer:
        writer.append(ids, rows)
    with pytest.raises(VectorsError, match="compared by dot, the encoder's vectors by cosine"):
        run_dense(recipe_of(folder, vectors=folder / "dot", normalise=True), quiet=True)
    assert not (folder / "run" / "checkpoints").exists()


def test_data_that_cannot_serve_is_refused_before_training(copied, tmp_path):
    with pytest.raises(ConfigError, match="dev: the recipe names no dev contexts"):
        run_dense(recipe_of(copied, dev=None), quiet=True)
    with pytest.raises(ConfigError, match="is in both train and test"):
        run_dense(recipe_of(copied, test=copied / "train.jsonl"), quiet=True)
    with pytest.raises(DistillirError, match=r"none\.jsonl"):
        run_dense(recipe_of(copied, train=copied / "none.jsonl"), quiet=True)
    with pytest.raises(DataError, match="not a finished run folder"):
        open_dense_retriever(tmp_path)
    edit(copied / "train.jsonl", '"rewrite"', '"source"')
    with pytest.raises(DataError, match="no context has a rewrite by human or llm"):
        run_dense(recipe_of(copied, out=tmp_path / "run"), quiet=True)


FILE = "student: dense\nout: run\ncorpus: c.jsonl\ntrain: t.jsonl\ndev: d.jsonl\nmodel: splade-tiny\n"


def test_a_recipe_file_is_read_and_told_from_a_sparse_one(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(FILE + "vectors: v.npy\nvector_ids: ids.txt\ntraining: {epochs: 2}\nquery_prefix: 'query: '\n")
    recipe = read_dense_recipe(path)
    assert is_dense(path)
    assert (recipe.out, recipe.vectors) == (tmp_path / "run", tmp_path / "v.npy")
    assert recipe.train_settings().lr == 5e-5
    assert recipe.train_settings().epochs == 2
    assert recipe.dense_settings().query_prefix == "query: "
    assert recipe.chosen_method() == dense_preset()
    assert dense_preset().objective == {"kld": {"weight": 1.0, "tau": 0.05}}
    assert DenseRecipe.model_validate(recipe.resolved()).resolved() == recipe.resolved()
    path.write_text(FILE.replace("student: dense\n", ""))
    assert not is_dense(path)
    with pytest.raises(ConfigError, match="student: Field required"):
        read_dense_recipe(path)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ("colour: red\n", "colour"),
        ("engine: qdrant_edge\n", "engine"),
        ("pooling: max\n", "pooling"),
        ("pooling: cls\n", "turn gate"),
        ("method: {penalties: {l1: 0.1}}\n", "penalties: l1"),
        ("method: {objective: {full_collection_kld: {}}, pool: collection}\n", "full_collection_kld"),
        ("method: {objective: {kdl: {}}}\n", "kdl"),
        ("method: {objective: {kld: {tau: hot}}}\n", "tau"),
        ("method: {objective: {kld: {weight: heavy}}}\n", "weight is 'heavy'"),
        ("method: {objective: {}}\n", "names no objective"),
        ("method: {draw: {top: {}, all: {}}}\n", "2 draws"),
        ("method: disco\n", "penalties: anti_zero"),
        ("method: {score_rule: rank_11}\n", "score_rule"),
        ("method: {teachers: {untrained: 1.0}}\n", "teaches nothing"),
        ("training: {learning_rate: 1}\n", "learning_rate"),
    ],
)
def test_a_bad_key_or_value_is_refused_by_name(tmp_path, more, named):
    (tmp_path / "recipe.yaml").write_text(FILE + more)
    with pytest.raises(DistillirError) as caught:
        read_dense_recipe(tmp_path / "recipe.yaml")
    assert named in str(caught.value)
    assert caught.value.cure


VICTIM = """
import sys
from distillir.recipes.dense import run_dense
from distillir.recipes.dense_recipe import read_dense_recipe
run_dense(read_dense_recipe(sys.argv[1]), quiet=True)
"""


@pytest.mark.slow  # loop and store are killed in tests of their own
def test_a_killed_training_goes_on_where_it_stopped(animals, tmp_path, capsys):
    folder = animals(tmp_path)
    training = {"epochs": 200, "max_steps": 7, "batch_size": 4, "checkpoint_every": 1, "evaluate_every": 7}
    text = FILE.replace("c.jsonl", "corpus.jsonl").replace("t.jsonl", "train.jsonl").replace("d.jsonl", "dev.jsonl")
    (folder / "recipe.yaml").write_text(f"{text}training: {json.dumps(training)}\n")
    command = [sys.executable, "-c", VICTIM, str(folder / "recipe.yaml")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
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
    assert not (folder / "run" / "student").exists()
    recipe = read_dense_recipe(folder / "recipe.yaml")
    run = run_dense(recipe)
    told = capsys.readouterr().err
    assert "corpus: 40 document vectors reused" in told
    assert "training goes on from its last checkpoint" in told
    assert run.training.steps == 7
    at_once = {"out": tmp_path / "whole", "training": {**training, "checkpoint_every": 0}}
    whole = run_dense(recipe.model_copy(update=at_once), quiet=True)
    assert whole.student.fingerprint() == run.student.fingerprint()  # as if nobody had killed it
