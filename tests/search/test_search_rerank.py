"""Reranking of hits and of runs, with a scorer whose opinion is known."""

import numpy as np
import pytest

from distillir.conversation import Conversation
from distillir.data import Context
from distillir.errors import ConfigError, DataError, ModelError
from distillir.index import create_index
from distillir.search import Retriever, rerank_run
from distillir.vectors import csr_from_rows

TEXTS = {"a": "one", "b": "one two", "c": "one two three", "d": "two", "e": "one"}
VOCABULARY = ("one", "two", "three")


class Longest:
    """The longer the text, the better; remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def predict(self, pairs):
        self.asked += pairs
        return np.array([len(text.split()) for _, text in pairs], np.float32)


class Words:
    dim = len(VOCABULARY)

    def encode_queries(self, conversations):
        return csr_from_rows([([0], [1.0]) for _ in conversations], self.dim)

    def tokens(self, text):
        return [VOCABULARY.index(word) for word in text.split()]

    def terms(self, indices):
        return [VOCABULARY[i] for i in indices]


@pytest.fixture
def index(tmp_path):
    weights = {"a": 5.0, "b": 4.0, "c": 3.0, "d": 0.0, "e": 2.0}
    with create_index(tmp_path / "index", "exact", dim=3) as made:
        names = [name for name, weight in weights.items() if weight]
        rows = csr_from_rows([([0], [weights[name]]) for name in names], 3)
        made.add(names, rows, [{"text": TEXTS[name], "title": "T" * (name == "e")} for name in names])
        yield made


def test_hits_come_in_the_rerankers_order_with_its_scores(index):
    scorer = Longest()
    retriever = Retriever(Words(), index, reranker=scorer, rerank_depth=3)
    chat = [{"role": "user", "content": "one"}]
    hits = retriever.retrieve(chat, k=2)
    assert [(hit.id, hit.score) for hit in hits] == [("c", 3.0), ("b", 2.0)]
    assert hits[0].terms == (("one", 3.0),)  # why the index found it
    assert [text for _, text in scorer.asked] == ["one", "one two", "one two three"]
    assert scorer.asked[0][0] == Conversation.from_messages(chat)
    # As many as are asked for are scored; equal scores stay in the index's order; a title is read with its text.
    assert [hit.id for hit in retriever.retrieve(chat, k=4)] == ["c", "b", "e", "a"]
    assert scorer.asked[-1][1] == "T one"
    many = retriever.retrieve_batch([chat, chat], k=1)
    assert [[hit.id for hit in hits] for hits in many] == [["c"], ["c"]]


def test_without_a_reranker_nothing_changes_and_bad_ones_are_refused(index, tmp_path):
    assert [hit.id for hit in Retriever(Words(), index).retrieve([{"role": "user", "content": "one"}], k=2)] == [
        "a",
        "b",
    ]
    with pytest.raises(ConfigError, match="rerank_depth is 0"):
        Retriever(Words(), index, reranker=Longest(), rerank_depth=0)
    with pytest.raises(ModelError, match="no cross-encoder could be loaded"):
        Retriever(Words(), index, reranker=tmp_path)


def test_a_run_is_ordered_anew_down_to_the_depth():
    run = {"q": {"a": 9.0, "b": 8.0, "c": 7.0, "d": 6.0, "e": 5.0}, "other": {"a": 1.0}}
    contexts = [
        Context("q", Conversation.from_pairs([], "one")),
        Context("nothing found", Conversation.from_pairs([], "two")),
    ]
    made = rerank_run(Longest(), run, contexts, TEXTS, depth=3)
    assert made == {"q": {"a": 1.0, "b": 2.0, "c": 3.0, "d": 0.0, "e": -1.0}}
    with pytest.raises(DataError, match="none of the contexts"):
        rerank_run(Longest(), run, contexts[1:], TEXTS)
    with pytest.raises(DataError, match="no document 'c'"):
        rerank_run(Longest(), run, contexts, {name: TEXTS[name] for name in "abde"})
