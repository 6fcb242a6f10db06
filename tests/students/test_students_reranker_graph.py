"""The graph of a reranker scores as the reranker does, belongs to its weights, and is dropped when they are trained."""

import copy
import json
import shutil

import numpy as np
import pytest
import torch

from distillir.conversation import Conversation
from distillir.errors import ModelError
from distillir.rendering import RenderSettings
from distillir.students import RerankerSettings, RerankerStudent, load_reranker
from distillir.students.reranker_graph import ABOUT, FOLDER, GRAPH, save_graph

pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

CHAT = Conversation.from_pairs([("who wrote dune ?", "frank herbert in 1965 .")], "and when ?")
ALONE = Conversation.from_pairs([], "what is a river ?")
PAIRS = [
    (chat, text) for chat in (CHAT, ALONE) for text in ("the spice", "a river in 1965 " * 12, "who ?", "dune . " * 30)
]


@pytest.fixture(scope="module", params=["bert", pytest.param("roberta", marks=pytest.mark.slow)])
def saved(request, paired, tmp_path_factory):
    settings = RerankerSettings(RenderSettings(max_length=24), passage_length=30)
    student = RerankerStudent.from_pretrained(paired(request.param), settings)
    with torch.no_grad():  # random layers hardly tell pairs apart
        next(p for p in reversed(list(student.model.parameters())) if p.ndim == 2).mul_(100)
    folder = tmp_path_factory.mktemp("reranker") / "student"
    student.save(folder)
    gap = save_graph(student, folder)
    return folder, gap


def test_scores_are_the_same_in_any_batch(saved):
    folder, gap = saved
    made = load_reranker(folder)
    assert made.graph is not None
    by_graph = {budget: made.predict(PAIRS, budget) for budget in (40, 200, 4000)}
    made.graph = None
    plain = made.predict(PAIRS)
    assert np.ptp(plain) > 0.05
    for scores in by_graph.values():
        np.testing.assert_allclose(scores, plain, atol=1e-4)
    assert 0 <= gap <= 1e-4
    assert made.predict(PAIRS[:1]).shape == (1,)


def test_the_graph_is_what_computes(saved, monkeypatch):
    made = load_reranker(saved[0])
    monkeypatch.setattr(RerankerStudent, "score_pairs", None)  # whatever calls it fails
    assert made.predict(PAIRS).shape == (8,)
    assert copy.deepcopy(made).predict(PAIRS).tolist() == made.predict(PAIRS).tolist()
    made.bf16 = True
    with pytest.raises(TypeError):
        made.predict(PAIRS)


def test_training_drops_it_and_saving_anew_leaves_none(saved, tmp_path):
    made = load_reranker(saved[0])
    made.eval()
    assert made.graph is not None
    made.train()
    assert made.graph is None
    made.save(tmp_path / "again")
    assert load_reranker(tmp_path / "again").graph is None


def test_a_graph_of_other_weights_is_refused(saved, tmp_path):
    folder = tmp_path / "student"
    shutil.copytree(saved[0], folder)
    about = folder / FOLDER / ABOUT
    about.write_text(json.dumps(json.loads(about.read_text()) | {"student": "other"}))
    with pytest.raises(ModelError, match=r"of another student.*export it again, or delete it"):
        load_reranker(folder)
    shutil.rmtree(folder / FOLDER)
    other = load_reranker(folder)
    with torch.no_grad():
        next(other.parameters()).add_(1.0)
    with pytest.raises(ModelError, match="holds another reranker"):
        save_graph(other, folder)
    assert not (folder / FOLDER).exists()


def test_a_damaged_graph_is_named(saved, tmp_path):
    folder = tmp_path / "student"
    shutil.copytree(saved[0], folder)
    (folder / FOLDER / GRAPH).write_bytes(b"\x08")
    with pytest.raises(ModelError, match=r"model\.onnx.*export the reranker again"):
        load_reranker(folder)


def test_a_graph_that_scores_otherwise_does_not_count(saved, tmp_path, monkeypatch):
    folder = tmp_path / "student"
    shutil.copytree(saved[0], folder)
    kept = (folder / FOLDER / GRAPH).read_bytes()
    made = load_reranker(folder)
    monkeypatch.setattr("distillir.students.reranker_graph.GAP", -1.0)
    monkeypatch.setattr(
        "distillir.students.reranker_graph.exported", lambda *given: shutil.copy(saved[0] / FOLDER / GRAPH, given[3])
    )
    with pytest.raises(ModelError, match="scores differ by"):
        save_graph(made, folder)
    assert (folder / FOLDER / GRAPH).read_bytes() == kept
