"""Retrieval through a real encoder of words: one dimension a word, a weight for each word of each turn."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import pytest

from distillir.conversation import Conversation
from distillir.data import Document as Known
from distillir.errors import ConfigError, ConversationError, SearchIndexError
from distillir.index import ENGINES, create_index
from distillir.search import Retriever
from distillir.search.added import payload_of
from distillir.vectors import csr_from_rows

DOCUMENTS = {
    "dune": ("Dune", "frank herbert wrote dune a novel of sand"),
    "messiah": ("Dune Messiah", "frank herbert also wrote dune messiah"),
    "who": ("The Who", "the who are a band"),
    "sand": ("", "sand sand sand"),
}


class Words:
    """Questions count double; common words weigh nothing, as a trained sparse encoder has it."""

    def __init__(self, texts, common=()):
        self.vocabulary = sorted({word for text in texts for word in text.split()})
        self.common = set(common)
        self.seen = []

    @property
    def dim(self):
        return len(self.vocabulary)

    def tokens(self, text):
        return [self.vocabulary.index(word) for word in text.lower().split() if word in self.vocabulary]

    def terms(self, indices):
        return [self.vocabulary[i] for i in indices]

    def _row(self, weighted):
        row = {}
        for text, weight in weighted:
            for token in self.tokens(text):
                if self.vocabulary[token] not in self.common:
                    row[token] = row.get(token, 0.0) + weight
        return list(row), list(row.values())

    def encode_queries(self, conversations):
        self.seen.append(len(conversations))
        rows = [self._row([(turn.content, 1.0) for turn in c.turns] + [(c.question, 1.0)]) for c in conversations]
        return csr_from_rows(rows, self.dim)

    def encode_documents(self, texts):
        return csr_from_rows([self._row([(text, 1.0)]) for text in texts], self.dim)


@dataclass(frozen=True)
class Document:
    text: str
    title: str
    metadata: dict


CORPUS = {name: Document(text, title, {"shelf": name[0]}) for name, (title, text) in DOCUMENTS.items()}


@pytest.fixture
def encoder():
    return Words([text for _, text in DOCUMENTS.values()], common=["a", "of", "are"])


@pytest.fixture(params=sorted(ENGINES))
def index(request, tmp_path, encoder, engine_line):
    with create_index(tmp_path / "i", engine_line(request.param), dim=encoder.dim) as made:
        vectors = encoder.encode_documents([text for _, text in DOCUMENTS.values()])
        kept = [
            {"title": title, "text": text, "kind": "book" if title else "toy"} for title, text in DOCUMENTS.values()
        ]
        made.add(list(DOCUMENTS), vectors, kept)
        yield made


def user(*texts):
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def test_history_and_question_find_documents_and_name_their_terms(encoder, index):
    hits = Retriever(encoder, index, CORPUS).retrieve(user("who wrote dune", "frank herbert", "what about sand"), k=3)
    # sand: once in the conversation and once as the question; dune: who+wrote+dune+frank+herbert and sand
    assert [(hit.id, hit.score) for hit in hits] == [("dune", 6.0), ("sand", 6.0), ("messiah", 4.0)]
    assert (hits[0].title, hits[0].text) == DOCUMENTS["dune"]
    assert hits[0].metadata == {"shelf": "d"}
    assert hits[0].terms == (("sand", 2.0), ("dune", 1.0), ("frank", 1.0), ("herbert", 1.0), ("wrote", 1.0))
    assert hits[1].terms == (("sand", 6.0),)
    assert hits[1].title == ""
    for hit in hits:
        assert sum(product for _, product in hit.terms) == hit.score


def test_a_conversation_and_its_messages_find_the_same(encoder, index):
    retriever = Retriever(encoder, index, CORPUS)
    messages = user("dune", "", "messiah")
    assert retriever.retrieve(Conversation.from_messages(messages)) == retriever.retrieve(messages)
    assert retriever.retrieve(messages)[0].id == "messiah"


def test_without_a_corpus_the_payload_is_read(encoder, index):
    hits = Retriever(encoder, index).retrieve(user("messiah"))
    assert [(hit.id, hit.title, hit.text) for hit in hits] == [("messiah", *DOCUMENTS["messiah"])]
    assert hits[0].metadata == {"kind": "book"}
    index.add(["bare"], encoder.encode_documents(["messiah messiah"]))
    assert [(hit.title, hit.text) for hit in Retriever(encoder, index).retrieve(user("messiah"), k=1)] == [("", "")]


def test_a_filter_reaches_the_index(encoder, index):
    retriever = Retriever(encoder, index, CORPUS)
    assert [hit.id for hit in retriever.retrieve(user("sand"), where={"kind": "toy"})] == ["sand"]
    assert retriever.retrieve(user("sand"), where={"kind": "boat"}) == []


def test_an_empty_query_falls_back_to_the_questions_own_tokens(index):
    silent = Words([text for _, text in DOCUMENTS.values()], common=["a", "of", "are", "the", "who"])
    retriever = Retriever(silent, index, CORPUS)
    hits = retriever.retrieve(user("the the who"))
    assert [(hit.id, hit.score) for hit in hits] == [("who", 2.0)]
    assert hits[0].terms == (("the", 1.0), ("who", 1.0))
    with pytest.raises(ConversationError, match="'zzz' has nothing to search for"):
        retriever.retrieve(user("zzz"))
    with pytest.raises(ConversationError, match="conversation 'c9'"):
        retriever.retrieve(Conversation.from_messages(user(""), id="c9"))


def test_a_batch_is_encoded_at_once_and_answers_in_order(encoder, index):
    retriever = Retriever(encoder, index, CORPUS)
    many = [user("messiah"), user("band"), user("novel")]
    batch = retriever.retrieve_batch(many, k=2)
    assert encoder.seen[-1] == 3
    assert batch == [retriever.retrieve(messages, k=2) for messages in many]
    assert [hits[0].id for hits in batch] == ["messiah", "who", "dune"]
    assert retriever.retrieve_batch([]) == []


def test_messages_that_are_no_conversation_are_refused(encoder, index):
    retriever = Retriever(encoder, index, CORPUS)
    for messages in ([], [{"role": "wizard", "content": "dune"}], user("dune", "an answer")):
        with pytest.raises(ConversationError):
            retriever.retrieve(messages)


def test_another_vocabulary_is_refused(encoder, tmp_path):
    with (
        create_index(tmp_path / "other", "exact", dim=encoder.dim + 1) as index,
        pytest.raises(SearchIndexError, match="dimensions, the index"),
    ):
        Retriever(encoder, index)


def test_a_document_deleted_while_it_is_read_is_searched_again(encoder, index, monkeypatch):
    retriever = Retriever(encoder, index)
    read = index.vectors

    def vectors_after_a_deletion(ids):
        index.delete(["dune"])
        return read(ids)

    monkeypatch.setattr(index, "vectors", vectors_after_a_deletion)
    assert [hit.id for hit in retriever.retrieve(user("frank herbert"))] == ["messiah"]


def test_an_index_that_never_answers_is_reported(encoder, index, monkeypatch):
    def fails(ids):
        raise SearchIndexError("broken", "mend it")

    monkeypatch.setattr(index, "vectors", fails)
    with pytest.raises(SearchIndexError, match="broken"):
        Retriever(encoder, index).retrieve(user("dune"))


def test_importing_search_loads_no_torch():
    script = "import sys, distillir.search; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"


def test_query_terms_are_words_and_weights_largest_first(encoder, index):
    retriever = Retriever(encoder, index, CORPUS)
    terms = retriever.query_terms(user("who wrote dune", "frank herbert", "sand and dune"))
    # once in the conversation; the words of the question once more
    assert terms == {"dune": 3.0, "sand": 2.0, "frank": 1.0, "herbert": 1.0, "who": 1.0, "wrote": 1.0}
    assert list(terms)[:2] == ["dune", "sand"]
    assert retriever.query_terms(user("dune", "", "sand"), top=1) == {"sand": 2.0}
    with pytest.raises(ConfigError, match="top is 0"):
        retriever.query_terms(user("dune"), top=0)


def test_a_retriever_closes_its_index(encoder, index):
    with Retriever(encoder, index, CORPUS) as retriever:
        assert retriever.retrieve(user("dune"))
    with pytest.raises(SearchIndexError):
        retriever.retrieve(user("dune"))
    retriever.close()


def test_queries_that_exist_already_are_searched_without_encoding(encoder, index):
    retriever = Retriever(encoder, index, CORPUS)
    queries = retriever.queries([Conversation.from_messages(user("messiah")), Conversation.from_messages(user("sand"))])
    seen = list(encoder.seen)
    found = retriever.find(queries, 2)
    assert found == retriever.retrieve_batch([user("messiah"), user("sand")], 2)
    bare = retriever.find(queries, 2, terms=False)
    assert [[(h.id, h.score, h.text) for h in some] for some in bare] == [
        [(h.id, h.score, h.text) for h in some] for some in found
    ]
    assert all(hit.terms == () for some in bare for hit in some)
    assert encoder.seen == [*seen, 2]  # of the one call of retrieve_batch
    assert [[h.id for h in some] for some in retriever.find(queries, 2, {"kind": "toy"})] == [[], ["sand"]]


def test_a_document_that_joined_later_is_newer_than_the_corpus(encoder, index):
    retriever = Retriever(encoder, index, CORPUS)
    fresh = [Known("sand", "sand and dune", "Sand", "g", {"shelf": "new"}), Known("late", "sand", metadata={"n": 1})]
    index.add(["sand", "late"], encoder.encode_documents([d.text for d in fresh]), [payload_of(d) for d in fresh])
    assert retriever.documents(["late", "dune", "sand"])[0] == fresh[1]
    assert retriever.documents(["sand"]) == [fresh[0]]
    assert retriever.documents(["dune"])[0].title == "Dune"
    hits = {hit.id: hit for hit in retriever.retrieve(user("sand"), 10)}
    assert (hits["sand"].text, hits["sand"].title, hits["sand"].metadata) == ("sand and dune", "Sand", {"shelf": "new"})
    assert [hit.id for hit in retriever.retrieve(user("sand"), where={"n": 1})] == ["late"]
    assert [hit.id for hit in retriever.retrieve(user("sand"), where={"group": "g"})] == ["sand"]
