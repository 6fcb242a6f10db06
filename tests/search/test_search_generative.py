"""Generative search: what is found holds what was written, and scores are those of a plain loop."""

import math

import pytest

from distillir.conversation import Conversation
from distillir.data import Corpus
from distillir.data.views import BODY, QUESTION, TITLE, View
from distillir.errors import ConfigError, ConversationError, SearchIndexError
from distillir.index.identifiers import IdentifierIndex
from distillir.rendering import RenderSettings
from distillir.search import GenerativeRetriever
from distillir.students import GenerativeSettings, GenerativeStudent

VIEWS = (TITLE, View("body", "\nPassage:", whole=False, length=4, least=2))
CHAT = [
    {"role": "user", "content": "what does the whale eat"},
    {"role": "assistant", "content": "The whale eats what it finds near the water and in the fields."},
    {"role": "user", "content": "where does it live"},
]


@pytest.fixture(scope="module")
def student(tiny_writer):
    return GenerativeStudent.from_pretrained(tiny_writer, GenerativeSettings(RenderSettings(max_length=64), VIEWS))


@pytest.fixture(scope="module")
def corpus(animals, tmp_path_factory):
    folder = animals(tmp_path_factory.mktemp("animals"))
    return Corpus.build(folder / "corpus.jsonl", folder / "corpus.arrow")


@pytest.fixture(scope="module")
def index(student, corpus, tmp_path_factory):
    fingerprint = student.reader.fingerprint()
    folder = tmp_path_factory.mktemp("ids") / "ids"
    return IdentifierIndex.build(corpus, folder, VIEWS, student.reader.text, tokenizer=fingerprint)


def plain_scores(student, index, corpus, conversation, beams):
    """Passage → score, from the student's own keys by loops over passages."""
    keys = []
    for view in VIEWS:
        found = student.generate([conversation], view.name, index.views[view.name], beams=beams)
        for tokens, lp, ended in zip(found.tokens, found.log_probs.clip(max=-1e-6), found.ended, strict=True):
            held = {}
            for p in range(len(corpus)):
                document = corpus.document(p)
                text = student.reader.text(document.title if view.whole else document.text)
                starts = [0] if view.whole else range(len(text))
                whole = view.whole and ended
                times = sum(
                    text[i : i + len(tokens)] == tokens and (not whole or len(text) == len(tokens)) for i in starts
                )
                if times:
                    held[p] = times
            snr = math.log((sum(held.values()) + 5) / (index.tokens + 5))
            odds = (lp + math.log(1 - math.exp(snr))) - (snr + math.log(1 - math.exp(lp)))
            keys.append((max(0.0, odds) ** 2, tokens, held))
    scores = {}
    for p in range(len(corpus)):
        covered = set()
        mine = [(w, tokens) for w, tokens, held in keys if p in held and w > 0]
        for w, tokens in sorted(mine, key=lambda one: -one[0]):
            new = set(tokens) - covered
            scores[p] = scores.get(p, 0) + w * (0.2 + 0.8 * len(new) / len(set(tokens)))
            covered |= new
    return scores


def test_scores_are_those_of_plain_loops(student, index, corpus):
    retriever = GenerativeRetriever(student, index, corpus, beams=5)
    chat = Conversation.from_messages(CHAT)
    expected = plain_scores(student, index, corpus, chat, 5)
    (made,) = retriever.score([chat])
    assert len(expected) > 3
    assert set(made.passages.tolist()) == set(expected)
    assert made.scores.tolist() == pytest.approx([expected[p] for p in made.passages.tolist()], rel=1e-4)
    assert (made.scores[:-1] >= made.scores[1:]).all()


def test_hits_hold_their_terms_and_terms_add_up(student, index, corpus):
    with GenerativeRetriever(student, index, corpus, beams=5) as retriever:
        hits = retriever.retrieve(CHAT, k=6)
    assert len(hits) == 6
    for hit in hits:
        assert sum(value for _, value in hit.terms) == pytest.approx(hit.score)
        text = " ".join(student.tokenizer.tokenize(hit.text))
        assert all(term in text or term == hit.title for term, _ in hit.terms)


def test_many_are_each_alone(student, index, corpus):
    retriever = GenerativeRetriever(student, index, corpus, beams=4)
    other = [{"role": "user", "content": "how big is the tiger"}]
    together = retriever.retrieve_batch([CHAT, other], k=8)
    retriever.batch_size = 1
    assert retriever.retrieve_batch([]) == []
    for hits, chat in zip(together, (CHAT, other), strict=True):
        alone = retriever.retrieve(chat, k=8)
        assert [hit.id for hit in hits] == [hit.id for hit in alone]
        assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in alone], rel=1e-3)


def test_frequent_keys_can_be_left_out(student, index, corpus):
    (wide,) = GenerativeRetriever(student, index, corpus, beams=5).score([Conversation.from_messages(CHAT)])
    (narrow,) = GenerativeRetriever(student, index, corpus, beams=5, widest=1).score([Conversation.from_messages(CHAT)])
    assert len(narrow.keys.tokens) < len(wide.keys.tokens)
    assert all((narrow.keys.pair_key == k).sum() == 1 for k in range(len(narrow.keys.tokens)))


def test_a_reranker_orders_what_was_found(student, index, corpus):
    class Shortest:
        def predict(self, pairs):
            import numpy as np

            return np.array([-len(text) for _, text in pairs], np.float32)

    hits = GenerativeRetriever(student, index, corpus, beams=5, reranker=Shortest(), rerank_depth=20).retrieve(
        CHAT, k=3
    )
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert hits[0].score < 0


def test_what_does_not_fit_is_refused(student, index, corpus, tmp_path):
    for options in (
        {"smoothing": 0.0},
        {"batch_size": 0},
        {"beams": 0},
        {"widest": 0},
        {"rerank_depth": 0},
        {"repeat": 2.0},
    ):
        with pytest.raises(ConfigError, match=next(iter(options))):
            GenerativeRetriever(student, index, corpus, **options).retrieve(CHAT)
    other = Corpus.build([{"_id": "x", "text": "The otter sleeps"}], tmp_path / "other.arrow")
    with pytest.raises(SearchIndexError, match="another corpus"):
        GenerativeRetriever(student, index, other)
    foreign = IdentifierIndex.build(corpus, tmp_path / "ids", VIEWS, student.reader.text, tokenizer="other")
    with pytest.raises(SearchIndexError, match="another tokenizer"):
        GenerativeRetriever(student, foreign, corpus)
    fingerprint = student.reader.fingerprint()
    titles = IdentifierIndex.build(corpus, tmp_path / "titles", (TITLE,), student.reader.text, tokenizer=fingerprint)
    GenerativeRetriever(student, titles, corpus)  # what an index lacks is not written
    asked = IdentifierIndex.build(
        corpus, tmp_path / "asked", (QUESTION,), student.reader.text, tokenizer=fingerprint,
        questions={"otter-food": ["what does the otter eat"]},
    )  # fmt: skip
    with pytest.raises(ConfigError, match="the student writes title, body, and the index has question"):
        GenerativeRetriever(student, asked, corpus)
    with pytest.raises(ConversationError, match="blank"):
        GenerativeRetriever(student, index, corpus).retrieve([{"role": "user", "content": " "}])
    assert BODY.least == 2
