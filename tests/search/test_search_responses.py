"""A conversation in, responses of the set out, or none."""

import numpy as np
import pytest

from distillir.conversation import Conversation
from distillir.data import Response
from distillir.errors import ConfigError, ConversationError, SearchIndexError
from distillir.search import ResponseRetriever

WORDS = ("open", "closed", "price", "hello")


class Counts:
    """Stands in for a student: a vector counts words."""

    dim = len(WORDS)

    def fingerprint(self) -> str:
        return "counts"

    def encode_queries(self, conversations):
        return self.encode_responses([chat.question for chat in conversations])

    def encode_responses(self, texts):
        return np.array([[text.lower().split().count(word) for word in WORDS] for text in texts], np.float32)


SAID = [
    Response("a", "we open at nine"),
    Response("b", "we are closed today", ("m",)),
    Response("c", "the price of the price list", ("gold", "m")),
]


def ask(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


@pytest.fixture
def chat(tmp_path):
    with ResponseRetriever.build(Counts(), SAID, tmp_path / "index", threshold=0.5) as made:
        yield made


def test_the_best_response_or_none(chat):
    assert [(one.id, one.text, one.score) for one in chat.respond(ask("what price ?"))] == [
        ("c", "the price of the price list", 2.0)
    ]
    assert chat.respond(ask("tell me a joke"), k=3) == []  # all score 0
    assert [one.id for one in chat.respond(ask("open or closed"), k=3)] == ["a", "b"]
    many = chat.respond_batch([ask("open"), Conversation.from_pairs([("open", "yes")], "price")])
    assert [[one.id for one in some] for some in many] == [["a"], ["c"]]
    assert chat.respond_batch([]) == []


def test_responses_are_added_withdrawn_and_filtered(chat):
    assert [one.id for one in chat.respond(ask("open closed price"), 3, {"origins": "m"})] == ["c", "b"]
    chat.add([Response("d", "hello hello"), Response("e", "hello")], [{"shop": "x"}, {"shop": "y"}])
    assert [one.id for one in chat.respond(ask("hello"), 3)] == ["d", "e"]
    assert [one.id for one in chat.respond(ask("hello"), 3, {"shop": "y"})] == ["e"]
    chat.withdraw(["d"])
    assert [one.id for one in chat.respond(ask("hello"), 3)] == ["e"]


def test_what_cannot_be_answered_is_refused(chat):
    with pytest.raises(ConversationError, match="blank"):
        chat.respond(ask("  "))
    with pytest.raises(SearchIndexError, match="k is 0"):
        chat.respond(ask("open"), k=0)
    with pytest.raises(SearchIndexError, match="payloads"):
        chat.add(SAID, [{}])


def test_another_students_index_is_refused(chat):
    class Other(Counts):
        def fingerprint(self) -> str:
            return "other"

    with pytest.raises(SearchIndexError, match="counts, the student makes 4 and is other"):
        ResponseRetriever(Other(), chat.index)
    with pytest.raises(ConfigError, match="not a number"):
        ResponseRetriever(Counts(), chat.index, threshold=float("nan"))
