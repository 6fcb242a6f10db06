"""Encoder rerankers: what a pair is, equal scores in transformers and sentence-transformers, chunks, refusals."""

import json
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from distillir.conversation import Conversation
from distillir.errors import ConfigError, ConversationError, ModelError
from distillir.objectives import RankNet
from distillir.objectives.contract import Targets
from distillir.rendering import RenderSettings
from distillir.students.backbone import quiet
from distillir.students.packaged import ALL_MINILM, locate
from distillir.students.reranker import RerankerSettings, RerankerStudent
from distillir.students.reranker_batch import RerankBatch, token_batches

SMALL = RerankerSettings(RenderSettings(max_length=24), passage_length=12)
WORDS = ("who", "wrote", "dune", "frank", "herbert", "and", "when", "?", "in", "1965", "the", "spice", "flow", "river")
FRESH = """
import json, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "distillir":
            raise ModuleNotFoundError("No module named 'distillir'", name="distillir")
sys.meta_path.insert(0, Absent())
from sentence_transformers import CrossEncoder
folder, pairs, out = sys.argv[1:]
pairs = [tuple(pair) for pair in json.load(open(pairs, encoding="utf-8"))]
scores = CrossEncoder(folder, device="cpu").predict(pairs)
json.dump(scores.tolist(), open(out, "w", encoding="utf-8"))
"""


def says(rng: random.Random, longest: int) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(1, longest)))


def pairs_of(count: int, seed: int = 3) -> list[tuple[Conversation, str]]:
    rng = random.Random(seed)
    return [
        (Conversation.from_pairs([(says(rng, 6), says(rng, 9)) for _ in range(i % 4)], says(rng, 6)), says(rng, 20))
        for i in range(count)
    ]


def batch_of(student: RerankerStudent, lists: list[tuple[Conversation, list[str]]], budget: int) -> RerankBatch:
    reader = student.reader
    pairs = [reader.join(reader.query(c), reader.passage(text)) for c, texts in lists for text in texts]
    chunks = token_batches([len(pair) for pair in pairs], budget)
    place = {old: new for new, old in enumerate(i for chunk in chunks for i in chunk)}
    candidates = torch.full((len(lists), max(len(texts) for _, texts in lists)), -1)
    at = iter(range(len(pairs)))
    for row, (_, texts) in enumerate(lists):
        for column in range(len(texts)):
            candidates[row, column] = place[next(at)]
    order = torch.arange(candidates.shape[1]).expand_as(candidates).masked_fill(candidates < 0, -1)
    return RerankBatch(tuple(reader.pad([pairs[i] for i in c]) for c in chunks), candidates, Targets(order=order))


def test_a_pair_is_conversation_newest_first_then_passage(paired):
    student = RerankerStudent.from_pretrained(paired("bert"), SMALL)
    chat = Conversation.from_pairs([("who wrote dune ?", "frank herbert")], "and when ?")
    pair = student.reader.join(student.reader.query(chat), student.reader.passage("in 1965 ."))
    tokens = student.tokenizer.convert_ids_to_tokens(pair.ids)
    side = ["[CLS]", "and", "when", "?", "[SEP]", "frank", "herbert", "[SEP]", "who", "wrote", "dune", "?", "[SEP]"]
    assert tokens == [*side, "in", "1965", ".", "[SEP]"]
    padded = student.reader.pad([pair, student.reader.join((7,), (8,))])
    assert padded.types[0].tolist() == [0] * len(side) + [1] * 4
    assert padded.types[1, :5].tolist() == [0, 0, 0, 1, 1]
    assert padded.mask.sum(1).tolist() == [len(pair), 5]


def test_a_long_conversation_never_crowds_out_the_passage(paired):
    student = RerankerStudent.from_pretrained(paired("bert"), SMALL)
    long = Conversation.from_pairs([("who " * 50, "spice " * 50)] * 5, "river " * 50)
    pair = student.reader.join(student.reader.query(long), student.reader.passage("frank " * 50))
    passage = student.tokenizer.convert_tokens_to_ids("frank")
    assert len(pair) == student.reader.longest == 22 + 12 + 3
    assert pair.ids.count(passage) == 12
    # What a user writes is never structure.
    typed = Conversation.from_pairs([], "[SEP] who [CLS]")
    assert student.tokenizer.sep_token_id not in student.reader.query(typed)


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta"])
def test_scores_are_those_of_transformers_on_the_joined_texts(paired, kind):
    settings = RerankerSettings(RenderSettings(max_length=32), 16) if kind != "roberta" else SMALL
    student = RerankerStudent.from_pretrained(paired(kind), settings)
    given = pairs_of(9)
    own = student.predict(given, budget=60)
    model = AutoModelForSequenceClassification.from_pretrained(paired(kind), num_labels=1).eval()
    for (chat, passage), score in zip(given, own, strict=True):
        inputs = student.tokenizer(*student.reader.strings(chat, passage), return_tensors="pt")
        with torch.no_grad():
            assert model(**inputs).logits.item() == pytest.approx(float(score), abs=1e-4)
    assert len(np.unique(own)) == 9


@pytest.mark.slow
def test_a_saved_student_gives_equal_scores_in_a_fresh_process_without_this_package(paired, tmp_path):
    student = RerankerStudent.from_pretrained(paired("bert"), SMALL)
    given = pairs_of(12)
    own = student.predict(given)
    student.save(tmp_path / "student")
    texts = [student.reader.strings(*pair) for pair in given]
    (tmp_path / "pairs.json").write_text(json.dumps(texts), encoding="utf-8")
    command = [sys.executable, "-c", FRESH, tmp_path / "student", tmp_path / "pairs.json", tmp_path / "out.json"]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    np.testing.assert_allclose(json.loads((tmp_path / "out.json").read_text()), own, atol=1e-4)
    again = RerankerStudent.from_pretrained(tmp_path / "student")
    assert again.settings == SMALL
    assert again.fingerprint() == student.fingerprint()
    np.testing.assert_allclose(again.predict(given), own, atol=1e-6)
    assert "CrossEncoder" in (tmp_path / "student" / "README.md").read_text(encoding="utf-8")
    again.save(tmp_path / "student")  # replaces the one it was opened from
    with pytest.raises(ModelError, match="settings of its own"):
        RerankerStudent.from_pretrained(tmp_path / "student", SMALL)


def test_one_chunk_and_many_give_the_same_lists_and_gradients(paired):
    student = RerankerStudent.from_pretrained(paired("bert"), SMALL)
    rng = random.Random(1)
    lists = [
        (chat, [says(rng, 14) for _ in range(size)]) for (chat, _), size in zip(pairs_of(3), (4, 1, 6), strict=True)
    ]
    found = []
    for budget in (10_000, 50):
        batch = batch_of(student, lists, budget)
        student.zero_grad()
        output = student(batch)
        RankNet()(output, batch.targets).backward()
        found.append(
            (
                len(batch.chunks),
                output,
                {n: p.grad.clone() for n, p in student.named_parameters() if p.grad is not None},
            )
        )
    (one, whole, gradient), (many, parts, again) = found
    assert one == 1
    assert many > 3
    assert whole.scores.shape == (3, 6)
    assert whole.mask.sum(1).tolist() == [4, 1, 6]
    torch.testing.assert_close(whole.scores[whole.mask], parts.scores[parts.mask], atol=1e-5, rtol=0)
    for name, value in gradient.items():
        torch.testing.assert_close(value, again[name], atol=1e-5, rtol=1e-4)
    expected = student.predict([(chat, text) for chat, texts in lists for text in texts])
    np.testing.assert_allclose(whole.scores[whole.mask].detach().numpy(), expected, atol=1e-5)


def test_batches_stay_under_the_budget_and_hold_every_pair_once():
    rng = random.Random(5)
    lengths = [rng.randint(1, 90) for _ in range(200)] + [500]
    found = token_batches(lengths, 256)
    assert sorted(i for batch in found for i in batch) == list(range(201))
    assert found[0] == [200]  # longer than the budget by itself
    assert all(len(batch) * max(lengths[i] for i in batch) <= 256 for batch in found[1:])
    padding = sum(len(batch) * max(lengths[i] for i in batch) for batch in found) - sum(lengths)
    assert padding < 0.1 * sum(lengths)
    assert token_batches([], 10) == []


def test_predict_scores_equal_pairs_once_and_keeps_the_order(paired, monkeypatch):
    student = RerankerStudent.from_pretrained(paired("bert"), SMALL)
    given = pairs_of(5)
    seen = []
    scored = RerankerStudent.score_pairs
    monkeypatch.setattr(RerankerStudent, "score_pairs", lambda self, p: (seen.append(len(p)), scored(self, p))[1])
    scores = student.predict([*given, *reversed(given)])
    assert sum(seen) == 5
    np.testing.assert_array_equal(scores[:5], scores[5:][::-1])
    assert student.predict([]).shape == (0,)


def test_a_fresh_head_follows_the_seed_and_the_encoder_is_kept():
    folder = locate(ALL_MINILM)
    torch.manual_seed(99)
    first = RerankerStudent.from_pretrained(folder)
    torch.manual_seed(1)
    assert RerankerStudent.from_pretrained(folder).fingerprint() == first.fingerprint()
    assert RerankerStudent.from_pretrained(folder, seed=1).fingerprint() != first.fingerprint()
    assert first.model.config.num_labels == 1
    assert first.reader.longest == 126 + 256 + 3
    chat, passage = (
        Conversation.from_pairs([("who wrote dune?", "frank herbert")], "and when?"),
        "dune appeared in 1965",
    )
    inputs = first.tokenizer(*first.reader.strings(chat, passage), return_tensors="pt")
    assert inputs["token_type_ids"].sum() > 0  # this tokenizer tells the model the sides apart
    with torch.no_grad():
        score = first.model(**inputs).logits.item()
    assert float(first.predict([(chat, passage)])[0]) == pytest.approx(score, abs=1e-4)


def test_what_cannot_rerank_is_refused(paired, make, tmp_path):
    with pytest.raises(ModelError, match="no separator between"):
        RerankerStudent.from_pretrained(make("bert"), SMALL)  # its tokenizer joins no pairs
    with pytest.raises(ModelError, match="64 positions"):
        RerankerStudent.from_pretrained(paired("bert"))
    with pytest.raises(ModelError, match="no cross-encoder could be loaded"):
        RerankerStudent.from_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="passage_length is 0"):
        RerankerSettings(passage_length=0)
    student = RerankerStudent.from_pretrained(paired("bert"), SMALL)
    with pytest.raises(ConversationError, match="blank"):
        student.predict([(Conversation.from_pairs([], " "), "frank")])
    with torch.no_grad():
        student.model.classifier.bias.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        student.predict(pairs_of(1))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ModelError, match="something else"):
        student.save(tmp_path / "other")
    with quiet():
        two = AutoModelForSequenceClassification.from_pretrained(
            paired("bert"), num_labels=2, ignore_mismatched_sizes=True
        )
        two.save_pretrained(tmp_path / "two")
        student.tokenizer.save_pretrained(tmp_path / "two")
    with pytest.raises(ModelError, match="2 outputs"):
        RerankerStudent.from_pretrained(tmp_path / "two", SMALL)


def test_lost_weights_are_named(paired, tmp_path):
    from safetensors.torch import load_file, save_file

    RerankerStudent.from_pretrained(paired("bert"), SMALL).save(tmp_path / "student")
    path = tmp_path / "student" / "model.safetensors"
    weights = {name: value for name, value in load_file(path).items() if "classifier.weight" not in name}
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"no trained weights for classifier\.weight"):
        RerankerStudent.from_pretrained(tmp_path / "student")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="no cross-encoder could be loaded"):
        RerankerStudent.from_pretrained(tmp_path / "student")


def test_bfloat16_scores_are_nearly_the_same(paired):
    student, given = RerankerStudent.from_pretrained(paired("bert"), SMALL), pairs_of(8)
    exact = student.predict(given)
    student.bf16 = True
    rough = student.predict(given)
    assert not np.array_equal(rough, exact)
    np.testing.assert_allclose(rough, exact, atol=0.03 * float(np.abs(exact).max()))
