"""`distillir export-onnx`: measured before it counts, refused past the tolerance, served afterwards."""

import json
import shutil

import pytest

from distillir.errors import ConfigError, DataError, ModelError
from distillir.recipes import SparseRecipe, index_alone, open_retriever
from distillir.recipes.onnx import compared, export_run
from distillir.students import OnnxEncoder
from distillir.vectors import SparseVectors, csr_from_rows

pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")


@pytest.fixture(scope="module")
def run(animals, tmp_path_factory):
    folder = animals(tmp_path_factory.mktemp("export"))
    recipe = SparseRecipe(
        out=folder / "run", engine="exact", corpus=folder / "corpus.jsonl", dev=folder / "dev.jsonl", max_length=64
    )
    index_alone(recipe, quiet=True)
    return folder / "run"


@pytest.fixture(scope="module")
def made(run):
    return export_run(run, tolerance=0.2)


def test_an_export_says_what_it_costs_and_finds_the_same(run, made):
    assert (made.measure, made.contexts, made.precision) == ("R@100", 6, "int8")
    assert made.before == made.after == 1.0  # 40 documents: all within the first hundred
    encoder = OnnxEncoder.open(run / "onnx")
    assert encoder.about["quality"]["after"] == 1.0
    with open_retriever(run) as retriever:
        chat = [{"role": "user", "content": "what does the otter eat"}]
        hits = retriever.retrieve(chat, 3)
        assert encoder.student == retriever.encoder.fingerprint()
        retriever.encoder = encoder
        assert retriever.retrieve(chat, 3)[0].id == hits[0].id


def test_past_the_tolerance_it_is_refused(run, made, monkeypatch, tmp_path):
    traced = tmp_path / "model.onnx"
    shutil.copy(run / "onnx" / "model.onnx", traced)  # tracing takes seconds
    monkeypatch.setattr("distillir.students.onnx_graph.write_onnx", lambda student, path: shutil.copy(traced, path))
    monkeypatch.setattr("distillir.students.onnx_graph.quantise", shutil.copy)
    kept = (run / "onnx" / "onnx.json").read_bytes()
    monkeypatch.setattr("distillir.recipes.onnx.compared", lambda *_: ("R@100", 0.8, 0.79))
    with pytest.raises(ModelError, match=r"int8 loses 1.25% of R@100 \(0.8000 before, 0.7900 after\)"):
        export_run(run, tolerance=0.01)
    assert (run / "onnx" / "onnx.json").read_bytes() == kept
    with pytest.raises(ConfigError, match="tolerance"):
        export_run(run, tolerance=1.5)


def test_without_judgements_the_overlap_counts(run, tmp_path):
    documents = SparseVectors.open(run / "corpus.vectors")
    first, _ = documents.gather([0]).row(0)
    second = sorted(set(documents.gather([7]).row(0)[0].tolist()) - set(first.tolist()))
    from distillir.conversation import Conversation
    from distillir.data import Context

    contexts = [Context("a", Conversation.from_pairs([], "x"))]
    rows = csr_from_rows([(first[:1], [1.0])], documents.dim)
    assert compared(rows, rows, contexts, documents) == ("overlap@100", 1.0, 1.0)
    other = csr_from_rows([(second[:1], [1.0])], documents.dim)
    assert compared(rows, other, contexts, documents)[2] < 1.0


def test_no_contexts_to_measure_by(run, tmp_path):
    recipe = json.loads((run / "recipe.json").read_text())
    (run / "recipe.json").write_text(json.dumps(recipe | {"dev": None}))
    try:
        with pytest.raises(DataError, match="no dev contexts"):
            export_run(run)
    finally:
        (run / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(DataError, match="no recipe of a sparse run"):
        export_run(tmp_path)
