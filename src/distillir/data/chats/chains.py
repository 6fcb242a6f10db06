"""Logs of requests repeat themselves: each request holds the whole chat so far. Only the longest one is kept.

Chat B goes on chat A when A, up to its last question, is how B begins. One pass over the log finds which chats are
gone on by later ones, and carries the name of the first to the last, so that a growing log keeps its names. Two users
whose chats begin with the same words stay apart, since a chat is gone on once. Memory: 16 bytes a question and chat.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

from distillir.data.chats.chat import Chat
from distillir.data.chats.sessions import Message


@dataclass
class Chains:
    """Which chats of a log are repeated in longer ones; chats are numbered as they were added."""

    labels: list[str] = field(default_factory=list)
    repeated: set[int] = field(default_factory=set)
    _ends: dict[bytes, int] = field(default_factory=dict)

    def add(self, chat: Chat, messages: Iterable[Message]) -> None:
        """Count the next chat; chats of different sessions are never linked."""
        number, label = len(self.labels), chat.label
        prefixes = _prefixes(chat.session, messages)
        for prefix in reversed(prefixes):
            before = self._ends.pop(prefix, None)
            if before is not None:
                self.repeated.add(before)
                label = self.labels[before]
                break
        if prefixes:
            self._ends[prefixes[-1]] = number
        self.labels.append(label)


def _prefixes(session: str, messages: Iterable[Message]) -> list[bytes]:
    """A digest of the chat up to each of its questions."""
    digest = blake2b(session.encode(), digest_size=16)
    found = []
    for message in messages:
        text = message.text.encode()
        digest.update(f"{message.role} {len(text)} ".encode() + text)
        if message.role == "user":
            found.append(digest.digest())
    return found
