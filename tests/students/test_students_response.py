"""Response students: scores by their definition, gradients on both sides, folders that others open."""

import json

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from distillir.conversation import Conversation
from distillir.errors import ConfigError, ModelError
from distillir.objectives.contract import Targets
from distillir.rendering import RenderSettings, to_string
from distillir.students.backbone import quiet
from distillir.students.batch import pad
from distillir.students.dense import DenseSettings, DenseStudent
from distillir.students.response import ResponseStudent
from distillir.students.response_batch import ResponseBatch, Texts
from distillir.students.response_checkpoint import is_response_student

SMALL = {"render": RenderSettings(max_length=32), "document_length": 16}
CHATS = [
    Conversation.from_pairs([], "who wrote dune ?"),
    Conversation.from_pairs([("who wrote dune ?", "frank herbert .")], "and when ?"),
    Conversation.from_pairs([], "what is a river"),
]
SAID = ["frank herbert", "in 1965 .", "it is the spice", "the spice must flow in the river .", "what ?"]


def small(make, towers: int = 1, scale: float | None = None, **changes) -> ResponseStudent:
    settings = DenseSettings(**{**SMALL, **changes})
    return ResponseStudent.from_pretrained(make("bert"), settings, towers=towers, scale=scale)


def apart(student: ResponseStudent) -> ResponseStudent:
    """As after a training: the towers differ."""
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return student


def batch_of(student: ResponseStudent, sizes: tuple[int, ...] = (5,)) -> ResponseBatch:
    """Three contexts with two, one and no own candidates; the last two responses are shared."""
    ids, mask = pad([student.contexts.render(chat).ids for chat in CHATS], 0)
    tokens = [student.response_tower.document_ids(text) for text in SAID]
    ends = np.cumsum(sizes)
    chunks = [Texts(*pad(tokens[end - size : end], 0)) for size, end in zip(sizes, ends, strict=True)]
    return ResponseBatch(
        ids=ids,
        mask=mask,
        chunks=tuple(chunks),
        candidates=torch.tensor([[0, 2], [1, -1], [3, -1]]),
        shared=torch.tensor([3, 4]),
        shared_mask=torch.tensor([[True, True], [True, True], [False, True]]),
        targets=Targets(gold=torch.tensor([[True, True], [True, False], [True, False]])),
        names=("a", "b", "c"),
    )


@pytest.mark.parametrize("towers", [1, 2])
@pytest.mark.parametrize("normalise", [True, False])
def test_scores_are_scaled_dot_products_of_both_sides(make, towers, normalise):
    student = apart(small(make, towers, normalise=normalise))
    asked, said = student.encode_queries(CHATS), student.encode_responses(SAID)
    assert student.scale == pytest.approx(20 if normalise else student.dim**-0.5)
    batch = batch_of(student)
    with torch.no_grad():
        output = student(batch)
    every = student.scale * asked @ said.T
    assert output.mask.tolist() == [[True, True], [True, False], [True, False]]
    for b, own in enumerate(([0, 2], [1], [3])):
        np.testing.assert_allclose(output.scores[b, : len(own)], every[b, own], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(output.shared, every[:, [3, 4]], rtol=1e-4, atol=1e-4)
    assert torch.equal(output.shared_mask, batch.shared_mask)


def test_the_towers_are_one_or_differ(make):
    one, two = apart(small(make)), apart(small(make, 2))
    alone = [Conversation.from_pairs([], text) for text in SAID]
    np.testing.assert_allclose(one.encode_queries(alone), one.encode_responses(SAID), atol=1e-6)
    assert np.abs(two.encode_queries(alone) - two.encode_responses(SAID)).max() > 1e-3
    assert sum(p.numel() for p in two.parameters()) == 2 * sum(p.numel() for p in one.parameters())


def slopes(student: ResponseStudent, batch: ResponseBatch) -> dict[str, torch.Tensor]:
    student.zero_grad()
    output = student(batch)
    (output.scores.masked_fill(~output.mask, 0).sum() - 0.3 * output.shared.logsumexp(1).sum()).backward()
    return {name: p.grad.clone() for name, p in student.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("towers", [1, 2])
def test_gradients_reach_both_sides_and_do_not_depend_on_chunks(make, towers):
    student = apart(small(make, towers))
    whole, chunked = slopes(student, batch_of(student)), slopes(student, batch_of(student, (2, 1, 2)))
    assert whole.keys() == chunked.keys()
    for name, slope in whole.items():
        torch.testing.assert_close(chunked[name], slope, rtol=1e-4, atol=1e-5)
    sides = {name.split(".")[0] for name, slope in whole.items() if slope.abs().sum() > 0}
    assert sides == ({"contexts"} if towers == 1 else {"contexts", "responses"})


def test_parts_of_a_batch_have_its_scores(make):
    student = apart(small(make, 2))
    batch = batch_of(student, (2, 2, 1))
    with torch.no_grad():
        whole = student(batch)
        parts = [student(batch.part(0, 1)), student(batch.part(1, 3))]
    for name in ("scores", "shared", "vectors"):
        together = torch.cat([getattr(part, name) for part in parts])
        kept = whole.mask if name == "scores" else slice(None)
        torch.testing.assert_close(together[kept], getattr(whole, name)[kept], rtol=1e-5, atol=1e-5)
    assert torch.equal(torch.cat([part.mask for part in parts]), whole.mask)
    assert torch.equal(torch.cat([part.shared_mask for part in parts]), whole.shared_mask)
    assert sum(len(chunk.ids) for chunk in batch.part(1, 2).chunks) == 3  # its own one and the two shared
    assert batch.part(1, 3).names == ("b", "c")


@pytest.mark.parametrize("towers", [1, 2])
@pytest.mark.parametrize("gate", [False, True])
def test_a_saved_student_opens_here_and_in_sentence_transformers(make, tmp_path, towers, gate):
    student = apart(small(make, towers, scale=7.5, gate=gate))
    asked, said = student.encode_queries(CHATS), student.encode_responses(SAID)
    folder = tmp_path / "student"
    student.save(folder)
    student.save(folder)  # over itself
    assert is_response_student(folder)
    again = ResponseStudent.from_pretrained(folder)
    assert (again.scale, again.responses is None, again.training) == (7.5, towers == 1, False)
    assert again.fingerprint() == student.fingerprint()
    np.testing.assert_allclose(again.encode_queries(CHATS), asked, atol=1e-6)
    np.testing.assert_allclose(again.encode_responses(SAID), said, atol=1e-6)
    tower = student.contexts
    strings = [to_string(c, sep=tower.tokenizer.sep_token, specials=tower.tokens.specials) for c in CHATS]
    with quiet():
        contexts = SentenceTransformer(str(folder), device="cpu", trust_remote_code=gate)
        responses = contexts if towers == 1 else SentenceTransformer(str(folder / "responses"), device="cpu")
        np.testing.assert_allclose(contexts.encode(strings), asked, atol=1e-5)
        np.testing.assert_allclose(responses.encode(SAID), said, atol=1e-5)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert ('"{path}/responses"' in card) == (towers == 2)
    assert ("trust_remote_code" in card) == gate


def test_damaged_folders_are_refused(make, tmp_path):
    folder = tmp_path / "student"
    small(make, 2).save(folder)
    with pytest.raises(ModelError, match="settings of its own"):
        ResponseStudent.from_pretrained(folder, DenseSettings())
    (folder / "responses" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no encoder"):
        ResponseStudent.from_pretrained(folder)
    for text in ("{", json.dumps({"format": 2, "towers": 1, "scale": 1}), json.dumps({"format": 1, "towers": 1})):
        (folder / "response.json").write_text(text, encoding="utf-8")
        with pytest.raises(ModelError, match=r"response\.json"):
            ResponseStudent.from_pretrained(folder)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep")
    with pytest.raises(ModelError, match="something else"):
        small(make).save(tmp_path / "notes")


def test_towers_that_do_not_fit_are_refused(make):
    tower = DenseStudent.from_pretrained(make("bert"), DenseSettings(**SMALL))
    raw = DenseStudent.from_pretrained(make("bert"), DenseSettings(**SMALL, normalise=False))
    gated = DenseStudent.from_pretrained(make("bert"), DenseSettings(**SMALL, gate=True))
    for second, why in ((tower, "twice"), (raw, "compared"), (gated, "no turns")):
        with pytest.raises(ConfigError, match=why):
            ResponseStudent(tower, second)
    for scale in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="scale"):
            ResponseStudent(tower, scale=scale)
    with pytest.raises(ConfigError, match="3 towers"):
        small(make, 3)


def test_a_gate_serves_contexts_and_the_second_tower_has_none(make):
    student = small(make, 2, gate=True)
    assert student.contexts.gate is not None
    assert student.response_tower.gate is None
