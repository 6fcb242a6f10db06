"""Dense students: pooling, gate and scores against what they are defined to be, and folders that others open."""

import json
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from distillir.conversation import Conversation
from distillir.errors import ConfigError, ModelError
from distillir.objectives.contract import Targets
from distillir.rendering import RenderSettings, to_string
from distillir.students.backbone import quiet
from distillir.students.dense import DenseSettings, DenseStudent
from distillir.students.dense_batch import DenseBatch
from distillir.students.dense_checkpoint import dense_opens_plainly
from distillir.students.packaged import ALL_MINILM, locate

SMALL = RenderSettings(max_length=48)
WORDS = ("who", "wrote", "dune", "frank", "herbert", "and", "when", "?", "in", "1965", "the", "spice", "flow", "river")
FRESH = """
import json, sys
plain, knowing, inputs, out = sys.argv[1:]
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "distillir":
            raise ModuleNotFoundError("No module named 'distillir'", name="distillir")
absent = Absent()
sys.meta_path.insert(0, absent)
import numpy as np
from sentence_transformers import SentenceTransformer
inputs = json.loads(open(inputs, encoding="utf-8").read())
vectors = {"plain": SentenceTransformer(plain, device="cpu").encode(inputs["plain"])}
assert "distillir" not in sys.modules
sys.meta_path.remove(absent)
encoder = SentenceTransformer(knowing, device="cpu", trust_remote_code=True)
vectors["knowing"] = encoder.encode(inputs["knowing"])
np.savez(out, **vectors)
"""


def conversations(count: int, turns: int, seed: int = 3) -> list[Conversation]:
    rng = random.Random(seed)

    def says(longest: int) -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(1, longest)))

    return [Conversation.from_pairs([(says(6), says(9)) for _ in range(i % turns)], says(6)) for i in range(count)]


def small(make, kind: str = "bert", **changes) -> DenseStudent:
    return DenseStudent.from_pretrained(
        make(kind), DenseSettings(**{"render": SMALL, "document_length": 40, **changes})
    )


def moved(student: DenseStudent) -> DenseStudent:
    """As after a training: every weight of ours is non-zero."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if not name.startswith("model."):
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return student


def strings(student: DenseStudent, chats: list[Conversation]) -> list[str]:
    return [to_string(c, sep=student.tokenizer.sep_token, specials=student.tokens.specials) for c in chats]


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("normalise", [True, False])
def test_vectors_are_those_of_the_encoder_pooled_by_hand(make, kind, pooling, normalise):
    student = small(make, kind, pooling=pooling, normalise=normalise, document_length=48)
    texts = ["who wrote dune ?", "the spice", "a river and the spice must flow in 1965 ."]
    made = student.encode_documents(texts, batch_size=2)
    for text, vector in zip(texts, made, strict=True):
        ids = torch.tensor([student.document_ids(text)])
        with torch.no_grad():
            states = student.model(input_ids=ids).last_hidden_state[0].numpy()
        pooled = states.mean(0) if pooling == "mean" else states[0]
        np.testing.assert_allclose(vector, pooled / np.linalg.norm(pooled) if normalise else pooled, atol=1e-5)
    alone = [Conversation.from_pairs([], text) for text in texts]
    np.testing.assert_allclose(student.encode_queries(alone), made, atol=1e-6)  # a first turn is read like a document
    assert made.shape == (3, student.dim)
    assert made.dtype == np.float32


def test_a_gate_weighs_the_tokens_of_earlier_turns_down(make):
    chat = Conversation.from_pairs([("who wrote dune ?", "frank herbert")], "and when ?")
    student = small(make, gate=True, gate_offset=1.5, normalise=False)
    rendered = student.render(chat)
    with torch.no_grad():
        states = student.model(input_ids=torch.tensor([rendered.ids])).last_hidden_state[0].numpy()
    weights = np.where(np.array(rendered.types) == 0, 1.0, np.exp(-1.5))
    assert 0 < (weights == 1).sum() < len(weights)
    expected = (weights[:, None] * states).sum(0) / weights.sum()
    np.testing.assert_allclose(student.encode_queries([chat])[0], expected, atol=1e-5)
    alone = [Conversation.from_pairs([], "and when ?")]  # a first turn has one type: the gate changes nothing
    plain = small(make, normalise=False)
    np.testing.assert_allclose(student.encode_queries(alone), plain.encode_queries(alone), atol=1e-6)
    open_gate = small(make, gate=True, gate_offset=0.0, normalise=False)
    np.testing.assert_allclose(open_gate.encode_queries([chat]), plain.encode_queries([chat]), atol=1e-6)


def test_turn_embeddings_start_at_nothing_and_tell_turns_apart(make):
    chats = conversations(6, 3)
    plain, turned = small(make), small(make, turn_embeddings=True)
    np.testing.assert_allclose(turned.encode_queries(chats), plain.encode_queries(chats), atol=1e-6)
    assert np.abs(moved(turned).encode_queries(chats) - plain.encode_queries(chats)).max() > 1e-3


def test_padding_company_and_threads_change_no_vector(make):
    student, chats = small(make, gate=True), conversations(20, 5)
    together = student.encode_queries(chats, batch_size=7)
    apart = np.concatenate([student.encode_queries([chat]) for chat in chats])
    np.testing.assert_allclose(together, apart, atol=1e-5)
    assert student.encode_queries([]).shape == (0, student.dim)


def test_scores_are_dot_products_with_the_stored_rows(make):
    student = small(make)
    ids = torch.tensor([[2, 5, 6, 3], [2, 7, 3, 0]])
    documents = torch.randn(5, student.dim)
    batch = DenseBatch(
        ids=ids,
        mask=ids != 0,
        documents=documents,
        candidates=torch.tensor([[4, 0, 2], [1, 3, -1]]),
        shared=torch.tensor([0, 3]),
        shared_mask=torch.tensor([[False, True], [True, False]]),
        targets=Targets(gold=torch.zeros(2, 3, dtype=torch.bool)),
    )
    output = student.eval()(batch)
    vectors = student.represent(ids, ids != 0)
    expected = vectors @ documents.t()
    torch.testing.assert_close(output.scores[0], expected[0, [4, 0, 2]])
    torch.testing.assert_close(output.scores[1, :2], expected[1, [1, 3]])
    assert output.mask.tolist() == [[True] * 3, [True, True, False]]
    torch.testing.assert_close(output.shared, expected[:, [0, 3]])
    assert output.shared_mask.tolist() == [[False, True], [True, False]]
    torch.testing.assert_close(output.vectors, vectors)
    every = DenseBatch(
        ids, ids != 0, documents, None, torch.tensor([], dtype=torch.long), torch.empty(2, 0), batch.targets
    )
    output = student(every.to("cpu"))
    torch.testing.assert_close(output.scores, expected)
    assert output.mask.all()
    assert output.shared is None
    output.scores.sum().backward()
    touched = [name for name, p in student.named_parameters() if p.requires_grad and p.grad is None]
    assert touched == []  # nothing is left to weight decay alone


def test_bfloat16_is_close_and_not_the_same(make):
    student, chats = small(make), conversations(8, 3)
    exact = student.encode_queries(chats)
    student.bf16 = True
    near = student.encode_queries(chats)
    assert not np.array_equal(near, exact)
    assert (near * exact).sum(1).min() > 0.999


def test_the_reading_of_a_sentence_transformers_folder(make, tmp_path):
    student = small(make, pooling="cls", normalise=False, query_prefix="what is ", document_prefix="the ")
    student.save(tmp_path / "s")
    (tmp_path / "s" / "distillir.json").unlink()  # as anybody else's folder
    about = tmp_path / "s" / "config_sentence_transformers.json"
    content = json.loads(about.read_text())
    content["prompts"]["passage"] = "the "
    content["prompts"]["document"] = ""
    about.write_text(json.dumps(content))
    read = DenseSettings.of(tmp_path / "s", turn_embeddings=True)
    assert (read.pooling, read.normalise, read.turn_embeddings) == ("cls", False, True)
    assert (read.query_prefix, read.document_prefix, read.document_length) == ("what is ", "the ", 48)
    legacy = {"word_embedding_dimension": 16, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    (tmp_path / "s" / "1_Pooling" / "config.json").write_text(json.dumps(legacy))
    assert DenseSettings.of(tmp_path / "s").pooling == "mean"
    assert DenseSettings.of(make("bert")) == DenseSettings()  # no sentence-transformers folder: defaults
    for bad in ({**legacy, "pooling_mode_cls_token": True}, {"pooling_mode": "lasttoken"}, {}):
        (tmp_path / "s" / "1_Pooling" / "config.json").write_text(json.dumps(bad))
        with pytest.raises(ModelError, match=r"pooling .* is not supported"):
            DenseSettings.of(tmp_path / "s")
    (tmp_path / "s" / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Dense"}]))
    with pytest.raises(ModelError, match="module Dense is not supported"):
        DenseSettings.of(tmp_path / "s")
    (tmp_path / "s" / "modules.json").write_text("[")
    with pytest.raises(ModelError, match=r"modules\.json cannot be read"):
        DenseSettings.of(tmp_path / "s")


def test_prefixes_are_put_before_question_and_document(make):
    student, plain = small(make, query_prefix="what is ", document_prefix="the "), small(make)
    chat = Conversation.from_pairs([("who wrote dune ?", "")], "a river")
    asked = Conversation.from_pairs([("who wrote dune ?", "")], "what is a river")
    np.testing.assert_array_equal(student.encode_queries([chat]), plain.encode_queries([asked]))
    np.testing.assert_array_equal(student.encode_documents(["river"]), plain.encode_documents(["the river"]))


@pytest.mark.slow
def test_saved_students_open_in_sentence_transformers_in_a_fresh_process(make, tmp_path):
    plain = small(make, query_prefix="what is ")
    knowing = moved(small(make, gate=True, turn_embeddings=True))
    assert dense_opens_plainly(plain)
    assert not dense_opens_plainly(knowing)
    plain.save(tmp_path / "plain")
    knowing.save(tmp_path / "knowing")
    fitting = [chat for chat in conversations(40, 4) if not plain.render(chat).cut.anything]
    assert len(fitting) > 20
    chats = conversations(30, 9)
    assert any(knowing.render(chat).cut.anything for chat in chats)  # the budget is part of the checkpoint
    inputs = {
        "plain": strings(plain, fitting),
        "knowing": [*strings(knowing, chats), *(chat.messages() for chat in chats[:5])],
    }
    (tmp_path / "in.json").write_text(json.dumps(inputs), encoding="utf-8")
    arguments = [str(tmp_path / name) for name in ("plain", "knowing", "in.json", "out.npz")]
    done = subprocess.run(
        [sys.executable, "-c", FRESH, *arguments], check=False, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    theirs = np.load(tmp_path / "out.npz")
    np.testing.assert_allclose(theirs["plain"], plain.encode_queries(fitting), atol=1e-4)
    ours = knowing.encode_queries(chats)
    np.testing.assert_allclose(theirs["knowing"], np.concatenate([ours, ours[:5]]), atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"gate": True}, {"turn_embeddings": True, "document_encoder": "abc"}])
def test_saved_and_opened_again(options, make, tmp_path):
    student = moved(small(make, **options)).train()
    student.save(tmp_path / "s")
    assert student.training
    again = DenseStudent.from_pretrained(tmp_path / "s")
    assert again.settings == student.settings
    assert not again.training
    assert again.fingerprint() == student.fingerprint()
    again.save(tmp_path / "s")  # over itself
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s"]
    with pytest.raises(ModelError, match="settings of its own"):
        DenseStudent.from_pretrained(tmp_path / "s", student.settings)


def test_only_a_student_or_an_empty_folder_is_written_over(make, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(ModelError, match="something else than a saved student"):
        small(make).save(tmp_path / "thesis")
    assert [p.name for p in (tmp_path / "thesis").iterdir()] == ["chapter.tex"]


@pytest.mark.parametrize("damage", ["settings", "sparse", "unknown", "gone", "truncated", "other"])
def test_a_damaged_folder_is_named(damage, make, tmp_path):
    small(make, gate=True).save(tmp_path / "s")
    settings, turns = tmp_path / "s" / "distillir.json", tmp_path / "s" / "turns.safetensors"
    record = json.loads(settings.read_text())
    if damage == "settings":
        settings.write_text("{")
    if damage == "sparse":
        settings.write_text(json.dumps({**record, "student": "sparse"}))
    if damage == "unknown":
        settings.write_text(json.dumps({**record, "colour": "red"}))
    if damage == "gone":
        turns.unlink()
    if damage == "truncated":
        turns.write_bytes(turns.read_bytes()[:-4])
    if damage == "other":
        settings.write_text(json.dumps({**record, "turn_embeddings": True}))
    with pytest.raises(ModelError, match=r"distillir\.json|turns\.safetensors"):
        DenseStudent.from_pretrained(tmp_path / "s")


def test_checkpoints_that_cannot_serve(make, tmp_path):
    with pytest.raises(ModelError, match="no encoder could be loaded"):
        DenseStudent.from_pretrained(tmp_path / "none", DenseSettings())
    with pytest.raises(ModelError, match="passes the model's 64 positions"):
        small(make, document_length=65)
    config = json.loads((make("bert") / "config.json").read_text())
    for file in make("bert").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(ModelError, match="no trained weights for"):
        DenseStudent.from_pretrained(tmp_path, DenseSettings(SMALL, document_length=40))


def test_an_untrained_pooler_makes_no_other_encoder(make):
    # the checkpoint has none, and transformers would draw one at random on every load
    assert small(make).fingerprint() == small(make).fingerprint()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"pooling": "max"}, "pooling is 'max'"),
        ({"pooling": "cls", "gate": True}, "turn gate"),
        ({"gate_offset": -1.0}, "gate_offset"),
        ({"document_length": 2}, "document_length"),
    ],
)
def test_settings_that_cannot_be(options, named):
    with pytest.raises(ConfigError, match=named):
        DenseSettings(**options)


def test_minilm_is_read_as_its_authors_publish_it(tmp_path):
    source = locate(ALL_MINILM)
    with quiet():
        student = DenseStudent.from_pretrained(source)
    assert (student.settings.pooling, student.settings.normalise, student.dim) == ("mean", True, 384)
    vectors = student.encode_documents(["That is a happy person", "That is a happy dog", "Today is a sunny day"])
    # similarities on the model's published page: 0.6945, 0.2569
    np.testing.assert_allclose(vectors[0] @ vectors[1:].T, [0.6945, 0.2569], atol=1e-3)
    student.save(tmp_path / "s")
    with quiet():
        theirs = SentenceTransformer(str(tmp_path / "s"), device="cpu").encode(["That is a happy person"])
    np.testing.assert_allclose(theirs, vectors[:1], atol=1e-5)
