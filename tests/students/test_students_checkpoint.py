"""Saved students: opened by this package and by sentence-transformers, in processes of their own."""

import json
import random
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SparseEncoder

from distillir.conversation import Conversation
from distillir.errors import ConversationError, ModelError
from distillir.rendering import RenderSettings, to_string
from distillir.students import SparseSettings, SparseStudent
from distillir.students.checkpoint import opens_plainly
from distillir.students.st_module import ConversationSplade

SMALL = RenderSettings(max_length=48)
TEXT = (
    "who wrote the book about sand worms and spice when was it made into a film where does the river Main flow "
    "Frankfurt café naïve 😀 C++ e-mail 1965 isn't tokenization antidisestablishmentarianism"
)
FRESH = """
import json, sys
import numpy as np
from sentence_transformers import SparseEncoder
folder, inputs, out, trust = sys.argv[1:]
encoder = SparseEncoder(folder, device="cpu", trust_remote_code=trust == "trust")
vectors = encoder.encode(json.loads(open(inputs, encoding="utf-8").read()), convert_to_sparse_tensor=False)
np.save(out, np.asarray(vectors.cpu()))
"""
WITHOUT_DISTILLIR = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "distillir":
            raise ModuleNotFoundError("No module named 'distillir'", name="distillir")
sys.meta_path.insert(0, Absent())
try:
    import distillir
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("distillir is importable")
"""


def conversations(count: int, turns: int, seed: int = 3) -> list[Conversation]:
    rng = random.Random(seed)

    def says(longest: int) -> str:
        return " ".join(rng.choices(TEXT.split(), k=rng.randint(1, longest)))

    return [
        Conversation.from_pairs([(says(8), says(20)) for _ in range(i % turns)], says(8) + "?") for i in range(count)
    ]


def dense(student: SparseStudent, chats: list[Conversation]) -> np.ndarray:
    rows = student.encode_queries(chats)
    out = np.zeros((len(chats), student.dim), np.float32)
    for i in range(len(chats)):
        indices, values = rows.row(i)
        out[i, indices] = values
    return out


def opened_fresh(folder: Path, inputs: list, tmp_path: Path, *, distillir: bool) -> np.ndarray:
    (tmp_path / "in.json").write_text(json.dumps(inputs), encoding="utf-8")
    code = FRESH if distillir else WITHOUT_DISTILLIR + FRESH
    arguments = [str(folder), str(tmp_path / "in.json"), str(tmp_path / "out.npy"), "trust" if distillir else "plain"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], check=False, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return np.load(tmp_path / "out.npy")


def moved(student: SparseStudent) -> SparseStudent:
    """As after a training: every weight of ours is non-zero."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if not name.startswith("model."):
                parameter.add_(torch.randn_like(parameter) * 0.01)
    return student


@pytest.mark.slow
def test_a_trained_gate_opens_in_sentence_transformers_in_a_fresh_process(splade_tiny, tmp_path):
    settings = SparseSettings(gate=True, gate_offset=1.0, turn_embeddings=True)
    student = moved(SparseStudent.from_pretrained(splade_tiny, settings))
    student.save(tmp_path / "student")
    chats = conversations(100, 12)
    assert {chat.depth for chat in chats} == set(range(1, 13))
    assert any(student.render(chat).cut.anything for chat in chats)  # the budget is part of the checkpoint
    specials = student.tokens.specials
    strings = [to_string(chat, sep="[SEP]", specials=specials) for chat in chats]
    messages = [chat.messages() for chat in chats[:24]]
    theirs = opened_fresh(tmp_path / "student", [*strings, *messages], tmp_path, distillir=True)
    ours = dense(student, chats)
    assert (ours > 0).sum(1).min() > 3
    np.testing.assert_allclose(theirs[:100], ours, atol=1e-4)
    np.testing.assert_allclose(theirs[100:], ours[:24], atol=1e-4)


@pytest.mark.slow
def test_a_plain_student_opens_where_distillir_is_not_installed(splade_tiny, tmp_path):
    student = SparseStudent.from_pretrained(splade_tiny, SparseSettings(gate=False))
    student.save(tmp_path / "student")
    fitting = [chat for chat in conversations(45, 7) if not student.render(chat).cut.anything]
    fitting.append(Conversation.from_pairs([("", "hello"), ("a [SEP] b", "")], "what about [MASK]?"))
    assert len(fitting) > 20
    strings = [to_string(chat, sep="[SEP]", specials=student.tokens.specials) for chat in fitting]
    theirs = opened_fresh(tmp_path / "student", strings, tmp_path, distillir=False)
    np.testing.assert_allclose(theirs, dense(student, fitting), atol=1e-4)


def test_a_plain_student_cuts_at_its_own_length_outside(make, tmp_path):
    student = SparseStudent.from_pretrained(make("bert"), SparseSettings(SMALL, gate=False, document_length=48))
    student.save(tmp_path / "s")
    assert SparseEncoder(str(tmp_path / "s"), device="cpu").max_seq_length == 48
    types = [module["type"] for module in json.loads((tmp_path / "s" / "modules.json").read_text())]
    assert all(one.startswith("sentence_transformers.") for one in types)


def test_a_tokenizer_that_reads_spaces_keeps_our_module(make, tmp_path):
    # byte-level tokens of "a </s> b" are not those of "a" and "b"; sentence-transformers' own module would differ
    student = SparseStudent.from_pretrained(make("roberta"), SparseSettings(SMALL, gate=False, document_length=48))
    assert not opens_plainly(student)
    student.save(tmp_path / "s")
    chat = Conversation.from_pairs([("who ?", "me")], "when ?")
    encoder = SparseEncoder(str(tmp_path / "s"), device="cpu", trust_remote_code=True)
    theirs = encoder.encode([to_string(chat, sep="</s>", specials=student.tokens.specials)]).to_dense()
    np.testing.assert_allclose(theirs, dense(student, [chat]), atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"turn_embeddings": True}, {"gate": False, "turn_embeddings": True}])
def test_saved_and_opened_again(options, make, tmp_path):
    settings = SparseSettings(SMALL, document_length=40, dropout=0.2, **options)
    student = moved(SparseStudent.from_pretrained(make("bert"), settings)).train()
    student.save(tmp_path / "s")
    assert student.training
    again = SparseStudent.from_pretrained(tmp_path / "s")
    assert again.settings == settings
    assert not again.training
    for name, weight in student.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
    assert again.fingerprint() == student.fingerprint()
    again.save(tmp_path / "s")  # over itself
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s"]
    with pytest.raises(ModelError, match="settings of its own"):
        SparseStudent.from_pretrained(tmp_path / "s", settings)


def test_every_form_of_a_conversation_is_read(make):
    student = moved(SparseStudent.from_pretrained(make("bert"), SparseSettings(SMALL, document_length=48)))
    encoder = SparseEncoder(modules=[ConversationSplade(student)], device="cpu")
    chat = Conversation.from_pairs([("who wrote dune ?", "frank herbert")], "and when ?")
    expected = dense(student, [chat])[0]
    string = to_string(chat, sep="[SEP]", specials=student.tokens.specials)
    for one in (string, chat.messages(), chat, {"messages": chat.messages()}):
        out = encoder.encode([one], convert_to_sparse_tensor=False)[0]
        np.testing.assert_allclose(out.cpu(), expected, atol=1e-6)
    assert encoder.encode(string).shape == encoder.encode(chat.messages()).shape == (student.dim,)
    question = encoder.encode({"role": "user", "content": "and when ?"}, convert_to_sparse_tensor=False)
    np.testing.assert_allclose(
        question.cpu(), dense(student, [Conversation.from_pairs([], "and when ?")])[0], atol=1e-6
    )
    with pytest.raises(ConversationError, match="cannot read a int"):
        ConversationSplade(student).read(7)


def test_decoding_gives_vocabulary_terms(make):
    student = SparseStudent.from_pretrained(make("bert"), SparseSettings(SMALL, document_length=48))
    encoder = SparseEncoder(modules=[ConversationSplade(student)], device="cpu")
    chat = Conversation.from_pairs([], "who wrote dune ?")
    ours = student.encode_queries([chat])
    assert {term for term, _ in encoder.decode(encoder.encode(["who wrote dune ?"]))[0]} == set(
        student.terms(ours.row(0)[0])
    )


def test_only_a_student_or_an_empty_folder_is_written_over(make, tmp_path):
    student = SparseStudent.from_pretrained(make("bert"), SparseSettings(SMALL, document_length=48))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    (tmp_path / "file").write_text("")
    for name in ("thesis", "file"):
        with pytest.raises(ModelError, match="something else than a saved student"):
            student.save(tmp_path / name)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    student.save(tmp_path / "empty")


def test_a_full_disk_leaves_the_student_saved_before(make, tmp_path):
    student = moved(SparseStudent.from_pretrained(make("bert"), SparseSettings(SMALL, document_length=48)))
    student.save(tmp_path / "s")
    before = student.fingerprint()
    with torch.no_grad():
        student.gate.offset += 1
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # of a file, the way the system says a disk is full
    try:
        with pytest.raises(ModelError, match=r"cannot write .*as it was"):
            student.save(tmp_path / "s")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s"]
    assert SparseStudent.from_pretrained(tmp_path / "s").fingerprint() == before


@pytest.mark.parametrize("damage", ["settings", "format", "unknown", "gone", "truncated", "other"])
def test_a_damaged_folder_is_named(damage, make, tmp_path):
    student = SparseStudent.from_pretrained(make("bert"), SparseSettings(SMALL, document_length=48))
    student.save(tmp_path / "s")
    settings, turns = tmp_path / "s" / "distillir.json", tmp_path / "s" / "turns.safetensors"
    record = json.loads(settings.read_text())
    if damage == "settings":
        settings.write_text("{")
    if damage == "format":
        settings.write_text(json.dumps({**record, "format": 99}))
    if damage == "unknown":
        settings.write_text(json.dumps({**record, "colour": "red"}))
    if damage == "gone":
        turns.unlink()
    if damage == "truncated":
        turns.write_bytes(turns.read_bytes()[:-4])
    if damage == "other":
        settings.write_text(json.dumps({**record, "turn_embeddings": True}))
    with pytest.raises(ModelError, match=r"distillir\.json|turns\.safetensors"):
        SparseStudent.from_pretrained(tmp_path / "s")
