"""The export computes what the student computes; quantised, a vector depends on its own conversation alone."""

import json
import shutil

import numpy as np
import pytest
import torch

from distillir.conversation import Conversation
from distillir.errors import ModelError
from distillir.students import OnnxEncoder, SparseSettings, SparseStudent, save_export
from distillir.students.onnx_encoder import ABOUT, GRAPH, is_export

pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

FIRST = Conversation.from_pairs([], "who wrote dune and when ?")
LATER = Conversation.from_pairs(
    [("who wrote dune ?", "frank herbert in 1965 ."), ("", "the spice must flow")], "and it ?"
)
CUT = Conversation.from_pairs([("what is a river " * 9, "the spice " * 20)] * 4, "when ? " * 5)
TYPED = Conversation.from_pairs([("who [SEP] wrote", "dune")], "[CLS] it [SEP]")
CHATS = [FIRST, LATER, CUT, TYPED]


@pytest.fixture(scope="module", params=["bert", pytest.param("roberta", marks=pytest.mark.slow)])
def student(request, make):
    settings = SparseSettings(gate_offset=0.7, turn_embeddings=True, document_length=32)
    settings = SparseSettings(**{**vars(settings), "render": type(settings.render)(max_length=40)})
    made = SparseStudent.from_pretrained(make(request.param), settings).eval()
    torch.manual_seed(3)
    with torch.no_grad():  # trained ones are not zero
        made.gate.state.weight.normal_(0, 0.3)
        made.turns.by_type.weight.normal_(0, 0.3)
        made.turns.by_distance.weight.normal_(0, 0.3)
    return made


@pytest.fixture(scope="module")
def exported(student, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx") / "fp32"
    save_export(student, folder, int8=False)
    return folder


@pytest.fixture
def traced_already(exported, monkeypatch):
    """Tracing takes seconds, and the graph is there."""
    monkeypatch.setattr(
        "distillir.students.onnx_graph.write_onnx", lambda student, path: shutil.copy(exported / GRAPH, path)
    )


def dense(rows, dim):
    out = np.zeros((rows.rows, dim), np.float32)
    for i in range(rows.rows):
        indices, values = rows.row(i)
        out[i, indices] = values
    return out


def test_gate_turn_embeddings_and_lengths_are_in_the_graph(student, exported):
    encoder = OnnxEncoder.open(exported)
    mine, theirs = (dense(one.encode_queries(CHATS), student.dim) for one in (encoder, student))
    np.testing.assert_allclose(mine, theirs, atol=2e-5)
    assert (theirs > 0).any(1).all()
    assert encoder.dim == student.dim
    assert encoder.student == student.fingerprint()
    assert encoder.tokens("who [SEP] wrote") == student.tokens("who [SEP] wrote")
    assert encoder.terms([5, 6]) == student.terms([5, 6])


def test_a_first_turn_and_any_batch_give_the_same_vector(student, exported, traced_already, tmp_path):
    folder = tmp_path / "int8"
    save_export(student, folder, int8=True)
    encoder = OnnxEncoder.open(folder, threads=2)
    together = dense(encoder.encode_queries(CHATS), student.dim)
    for i, chat in enumerate(CHATS):
        np.testing.assert_array_equal(dense(encoder.encode_queries([chat]), student.dim)[0], together[i])
    exact = dense(student.encode_queries(CHATS), student.dim)
    cosine = (together * exact).sum(1) / np.linalg.norm(together, axis=1) / np.linalg.norm(exact, axis=1)
    assert cosine.min() > 0.97
    assert (folder / GRAPH).stat().st_size != (exported / GRAPH).stat().st_size
    assert encoder.fingerprint() == f"{student.fingerprint()}-int8"


def test_an_export_that_fails_its_check_leaves_the_earlier_one(student, exported, traced_already):
    before = (exported / ABOUT).read_bytes()

    def refuse(encoder):
        assert encoder.encode_queries([FIRST]).rows == 1
        raise ModelError("it loses too much", "keep the other")

    with pytest.raises(ModelError, match="loses too much"):
        save_export(student, exported, int8=False, check=refuse)
    assert (exported / ABOUT).read_bytes() == before
    assert [path.name for path in exported.parent.iterdir()] == [exported.name]


def test_damaged_and_foreign_folders(exported, tmp_path, student):
    with pytest.raises(ModelError, match="no export of a student"):
        OnnxEncoder.open(tmp_path)
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(ModelError, match="something else than an export"):
        save_export(student, tmp_path, int8=False)
    broken = shutil.copytree(exported, tmp_path / "broken")
    (broken / GRAPH).write_bytes((broken / GRAPH).read_bytes()[:1000])
    with pytest.raises(ModelError, match="export the student again"):
        OnnxEncoder.open(broken)
    (broken / ABOUT).write_text(json.dumps({"format": 99}))
    with pytest.raises(ModelError, match="format 99"):
        OnnxEncoder.open(broken)
    assert is_export(exported)
    assert not is_export(tmp_path)
