"""From a conversation to documents by dense vectors."""

from types import SimpleNamespace

import numpy as np
import pytest

from distillir.conversation import Conversation
from distillir.data import Corpus
from distillir.errors import ConversationError, SearchIndexError
from distillir.index.dense import DenseIndex
from distillir.search.dense import DenseRetriever
from distillir.vectors.dense import DenseVectors
from distillir.vectors.dense_writer import DenseVectorsWriter


class Encoder:
    """Counts in a question's words, and in all before it at a tenth."""

    dim = 3
    words = ("dune", "river", "spice")

    def __init__(self, document_encoder: str = "e1") -> None:
        self.document_encoder = document_encoder

    def encode_queries(self, conversations):
        def count(text: str) -> np.ndarray:
            return np.array([text.split().count(word) for word in self.words], np.float32)

        earlier = [sum((count(e.question + " " + e.answer) for e in c.exchanges), np.zeros(3)) for c in conversations]
        return np.stack([count(c.question) + 0.1 * e + 1e-3 for c, e in zip(conversations, earlier, strict=True)])


@pytest.fixture
def index(tmp_path) -> DenseIndex:
    with DenseVectorsWriter(tmp_path / "v", 3, "float32", meta={"encoder": "e1"}) as writer:
        writer.append(["d", "r", "s"], np.eye(3))
    return DenseIndex(DenseVectors.open(tmp_path / "v"))


def test_the_conversation_is_searched_and_texts_come_along(index, tmp_path):
    rows = [{"_id": n, "title": n.upper(), "text": f"about {n}"} for n in "drs"]
    corpus = Corpus.build(rows, tmp_path / "c.arrow")
    messages = [
        {"role": "user", "content": "tell me of spice"},
        {"role": "assistant", "content": "It flows."},
        {"role": "user", "content": "and the river"},
    ]
    with DenseRetriever(Encoder(), index, corpus) as retriever:
        hits = retriever.retrieve(messages, k=2)
        assert [(h.id, h.title, h.text, h.terms) for h in hits] == [
            ("r", "R", "about r", ()),
            ("s", "S", "about s", ()),
        ]
        assert hits[0].score == pytest.approx(1 / np.sqrt(1 + 0.1**2), abs=1e-3)
        assert [h.id for h in retriever.retrieve(Conversation.from_messages(messages), among=["d", "s"])] == ["s", "d"]
        many = retriever.retrieve_batch([messages, messages[:1]], k=1)
        assert [[h.id for h in one] for one in many] == [["r"], ["s"]]
        assert retriever.retrieve_batch([]) == []
    assert DenseRetriever(Encoder(), DenseIndex(index.store)).retrieve(messages, 1)[0].text == ""


def test_nothing_to_search_for(index):
    retriever = DenseRetriever(Encoder(), index)
    with pytest.raises(ConversationError, match="blank"):
        retriever.retrieve([{"role": "user", "content": "  "}])
    with pytest.raises(ConversationError):
        retriever.retrieve([])


def test_student_and_index_must_be_of_one_space(index):
    with pytest.raises(SearchIndexError, match="distilled against vectors of 'e2', the index holds those of 'e1'"):
        DenseRetriever(Encoder("e2"), index)
    with pytest.raises(SearchIndexError, match="width 4, the index holds 3"):
        DenseRetriever(SimpleNamespace(dim=4, document_encoder=""), index)
    assert DenseRetriever(Encoder(""), index).encoder.document_encoder == ""  # nobody said: the width must do
