"""A model that answers from a table, and counts what it was asked."""

from collections import Counter

from distillir.conversation import Conversation
from distillir.data import Context
from distillir.labels import LabelStore
from distillir.teachers import Failure, Generate, Generated, Usage


class Table:
    """`say(text)` or `say[text]` tells the answer to a chat's last message, or to any other question."""

    def __init__(self, say, in_flight=4, name="table@1"):
        self.say, self.in_flight, self.name = say, in_flight, name
        self.asked = Counter()
        self.questions = []

    def bound(self, question):
        return Usage(100, 10, calls=1)

    async def ask(self, question, *, pause=None):
        key = question.messages[-1].content if hasattr(question, "messages") else question
        self.asked[key] += 1
        self.questions.append(question)
        said = self.say(key) if callable(self.say) else self.say[key]
        if isinstance(question, Generate) and isinstance(said, str):
            said = Generated((said,), Usage(7, 3, 0.5, calls=1, attempts=1), "table-2026", ("stop",))
        if isinstance(said, Failure):
            said = Failure(said.reason, said.detail, usage=Usage(attempts=1))
        return said

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return None


def context(name, *turns, rewrites=None):
    """Question, answer, question, …"""
    pairs = list(zip(turns[:-1:2], turns[1::2], strict=True))
    return Context(name, Conversation.from_pairs(pairs, turns[-1], id=name), rewrites=rewrites or {})


def by_context(store: LabelStore, teacher: str):
    """Context → the label that counts for it."""
    return {name: store.get(key) for name, key in store.uses(teacher)}
