"""Sessions become contexts: names, one context a question, and the split into train, dev and test."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import count
from typing import Literal, get_args
from urllib.parse import quote

from distillir.conversation import Conversation
from distillir.data.chats.sessions import Message
from distillir.data.conversations import Context
from distillir.errors import ConfigError

Turns = Literal["all", "last", "follow-ups"]
SPLITS = ("train", "dev", "test")


def contexts_of(name: str, messages: Sequence[Message], turns: Turns) -> Iterator[Context]:
    """A context for each of the session's questions: all, the last one, or all but the first.

    The id is `name#n`, n being the question's number in the session from 1; the group is `name`.
    """
    asked = [i for i, message in enumerate(messages) if message.role == "user"]
    for number, i in enumerate(asked, start=1):
        if (turns == "last" and number < len(asked)) or (turns == "follow-ups" and number == 1):
            continue
        id = f"{name}#{number}"
        yield Context(id, Conversation(tuple(message.turn() for message in messages[: i + 1]), id), group=name)


def part_name(name: str, part: int) -> str:
    """Name of the 1-based part of a session that was split at silences: `s`, `s~2`, `s~3`, …

    Each part is a group of its own, since its history starts anew and a bootstrap over one log that never changes
    its session id would otherwise have a single unit. The parts still come from one person, who asks about the
    same things again: they share the name before the `~`, and `split_of` takes that name, so that no person's words
    are on both sides of a split.
    """
    return name if part == 1 else f"{name}~{part}"


class Names:
    """Ids without blanks, which judgements and runs can hold; each given once."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def give(self, label: str) -> str:
        """`label` with blanks, control characters, `%` and `~` percent-encoded; given again it becomes `label.2`."""
        plain = re.sub(r"[\s\x00-\x1f\x7f%~]", lambda match: quote(match[0], safe="").replace("~", "%7E"), label)
        name = next(n for i in count(1) if (n := plain if i == 1 else f"{plain}.{i}") not in self._given)
        self._given.add(name)
        return name


def split_of(session: str, shares: Sequence[float], seed: int) -> str:
    """Which of train, dev and test a session belongs to.

    Decided by a hash of the session alone: however the log grows, a session stays where it is.
    """
    digest = blake2b(f"{seed}\0{session}".encode(), digest_size=8).digest()
    point = int.from_bytes(digest) / 2**64
    for name, share in zip(SPLITS, shares, strict=True):
        if point < share:
            return name
        point -= share
    return SPLITS[max(i for i, share in enumerate(shares) if share)]


def parse_split(text: str) -> tuple[float, float, float]:
    """Shares of train, dev and test from "0.8,0.1,0.1".

    Raises:
        ConfigError: not three shares from 0 that sum to 1, or nothing to train on.
    """
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if len(shares) != 3 or not all(0 <= share <= 1 for share in shares) or abs(sum(shares) - 1) > 1e-6:
        raise ConfigError(f"the split {text!r} is not three shares that sum to 1", "give for example 0.8,0.1,0.1")
    return shares[0], shares[1], shares[2]


def check_turns(text: str) -> Turns:
    """One of all, last, follow-ups.

    Raises:
        ConfigError: another word.
    """
    for known in get_args(Turns):
        if text == known:
            return text  # type: ignore[return-value]
    raise ConfigError(f"unknown turns {text!r}", f"give one of: {', '.join(get_args(Turns))}")
