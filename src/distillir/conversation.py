"""A conversation, as search sees it: questions, answers, and one question that is open.

The last turn is the open question. Everything before it is history, read as exchanges
(question, answer). Rendering a conversation into a student's tokens is `distillir.rendering`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from distillir.errors import ConversationError

SPEAKERS = ("user", "assistant")
SILENT_ROLES = frozenset({"system", "developer", "tool", "function"})  # instructions and tool traffic: nobody's turn


class Exchange(NamedTuple):
    """One question and what was answered to it; either may be empty."""

    question: str
    answer: str


@dataclass(frozen=True)
class Turn:
    """One message: `role` is "user" or "assistant"."""

    role: str
    content: str


@dataclass(frozen=True)
class Conversation:
    """Turns up to and including the open question.

    Attributes:
        turns: oldest first; the last one is the user's.
        id: name of this context (a conversation at a given turn); may be empty.

    Raises:
        ConversationError: no turns, an unknown role, or a last turn that is not the user's.
    """

    turns: tuple[Turn, ...]
    id: str = ""

    def __post_init__(self) -> None:
        where = f"conversation {self.id!r}" if self.id else "the conversation"
        if not self.turns:
            raise ConversationError(f"{where} is empty", "give at least one message with role 'user'")
        for i, turn in enumerate(self.turns):
            if turn.role not in SPEAKERS:
                raise ConversationError(
                    f"{where}, message {i}: unknown role {turn.role!r}", "use 'user', 'assistant' or 'system'"
                )
        if self.turns[-1].role != "user":
            raise ConversationError(
                f"{where} ends with the assistant's turn", "end with the user's question: it is what is searched for"
            )

    @classmethod
    def from_messages(cls, messages: Iterable[Mapping[str, object]], id: str = "") -> Conversation:
        """Read OpenAI-style messages.

        `content` is a string, or a list of parts of which the text parts are joined. Messages of
        system, developer, tool and function roles are left out: they are nobody's turn. An
        assistant's message without content (a tool call) counts as an empty answer.

        Raises:
            ConversationError: naming the message and what is wrong with it.
        """
        turns = []
        for i, message in enumerate(messages):
            if not isinstance(message, Mapping):
                raise ConversationError(
                    f"message {i} is {type(message).__name__}, not a mapping", 'give {"role", "content"}'
                )
            role = message.get("role")
            if role in SILENT_ROLES:
                continue
            if not isinstance(role, str) or role not in SPEAKERS:
                raise ConversationError(f"message {i}: unknown role {role!r}", "use 'user', 'assistant' or 'system'")
            turns.append(Turn(role, _text(message.get("content"), role, i)))
        return cls(tuple(turns), id)

    @classmethod
    def from_pairs(cls, pairs: Sequence[tuple[str, str]], question: str, id: str = "") -> Conversation:
        """Read (question, answer) pairs, oldest first, and the open question."""
        turns = [turn for asked, said in pairs for turn in (Turn("user", asked), Turn("assistant", said))]
        return cls((*turns, Turn("user", question)), id)

    def messages(self) -> list[dict[str, str]]:
        """OpenAI-style messages."""
        return [{"role": turn.role, "content": turn.content} for turn in self.turns]

    @cached_property
    def _read(self) -> tuple[tuple[Exchange, ...], str]:
        """Fold turns into exchanges. Consecutive answers are one answer; a question that was
        followed by another question without an answer keeps an exchange of its own."""
        done: list[Exchange] = []
        question: str | None = None
        answer: str | None = None
        for turn in self.turns:
            if turn.role == "assistant":
                question = "" if question is None else question
                answer = turn.content if answer is None else f"{answer}\n{turn.content}"
                continue
            if question is not None:
                done.append(Exchange(question, answer or ""))
            question, answer = turn.content, None
        return tuple(done), question or ""

    @property
    def question(self) -> str:
        """The open question."""
        return self._read[1]

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """History, oldest first. A greeting of the assistant is the answer to an empty question."""
        return self._read[0]

    @property
    def depth(self) -> int:
        """Number of the open question among the user's questions: 1 on a first turn."""
        return 1 + sum(1 for exchange in self.exchanges if exchange.question)


def _text(content: object, role: str, i: int) -> str:
    if isinstance(content, str):
        return content
    if content is None and role == "assistant":
        return ""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") == "text"]
        if all(isinstance(part, str) for part in parts) and parts:
            return "\n".join(map(str, parts))
    raise ConversationError(
        f"message {i} ({role}) has no text: content is {type(content).__name__}", "give content as a string"
    )
