"""What the checks of rewrites look at: a follow-up, its rewrite, and what the conversation knows of both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from distillir.conversation import Conversation
from distillir.data import Context


@dataclass(frozen=True)
class Case:
    """One rewritten follow-up.

    Attributes:
        id: of the context. group: of the conversation.
        question: as the user asked it. asked: earlier questions. said: earlier answers.
        rewrite: the teacher's.
        answer: what came after the question in a later context of the same conversation, "" if unknown.
    """

    id: str
    group: str
    question: str
    asked: tuple[str, ...]
    said: tuple[str, ...]
    rewrite: str
    answer: str = ""


def cases(contexts: Iterable[Context], rewrites: Mapping[str, str]) -> list[Case]:
    """Cases of the follow-ups that have a rewrite. First turns are their own rewrites and are left out."""
    every = list(contexts)
    answers = _answers(every)
    found = []
    for context in every:
        exchanges = context.conversation.exchanges
        if not exchanges or context.id not in rewrites:
            continue
        asked, said = tuple(e.question for e in exchanges), tuple(e.answer for e in exchanges)
        question, answer = context.conversation.question, answers.get(_place(context.group, context.conversation), "")
        found.append(Case(context.id, context.group, question, asked, said, rewrites[context.id], answer))
    return found


def _answers(contexts: Iterable[Context]) -> dict[tuple[str, ...], str]:
    """Conversation up to a question -> the answer that later contexts show."""
    answers: dict[tuple[str, ...], str] = {}
    for context in contexts:
        place: tuple[str, ...] = (context.group,)
        for question, answer in context.conversation.exchanges:
            place = (*place, question)
            answers[place] = answer
    return answers


def _place(group: str, conversation: Conversation) -> tuple[str, ...]:
    return (group, *(exchange.question for exchange in conversation.exchanges), conversation.question)
