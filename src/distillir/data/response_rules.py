"""Which responses may join a fixed set: rules of length, words and copying, each with a name to count it by."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from distillir.conversation import Conversation
from distillir.data.files import read_lines
from distillir.data.responses import ResponseSet, plain
from distillir.errors import ConfigError


@dataclass(frozen=True)
class ResponseRules:
    """What is left out.

    Attributes:
        shortest, longest: characters of a response, blanks at its ends aside.
        words: a response with one of them is left out: whole words or phrases, in any case.
        copied: characters from which on a response that stands inside a message of its context is a copy of it, as is
            one of any length that equals a message; 0 = copies may stay.

    Raises:
        ConfigError: lengths that cannot be, or a blank word.
    """

    shortest: int = 1
    longest: int = 400
    words: tuple[str, ...] = ()
    copied: int = 20

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.longest or self.copied < 0:
            raise ConfigError(
                f"responses of {self.shortest} to {self.longest} characters, copies from {self.copied}",
                "give 1 ≤ shortest ≤ longest and copied of 0 or more",
            )
        if not all(plain(word) for word in self.words):
            raise ConfigError("a word of the list is blank", "leave it out")

    def refuse(self, text: str, conversation: Conversation | None = None) -> str:
        """Why a response is left out, or "".

        Args:
            text: of the response.
            conversation: its context, to tell copies; None = not asked, as for what people said.
        """
        length = len(text.strip())
        if length < self.shortest:
            return "too short"
        if length > self.longest:
            return "too long"
        said = plain(text)
        if self._listed is not None and self._listed.search(said):
            return "a word of the list"
        if conversation is not None and self.copied:
            messages = [plain(turn.content) for turn in conversation.turns]
            if said in messages or (len(said) >= self.copied and any(said in message for message in messages)):
                return "a copy of its context"
        return ""

    def screen(self, responses: ResponseSet) -> tuple[ResponseSet, Counter[str]]:
        """Those of a set that may stay, and how many were left out for what."""
        left_out: Counter[str] = Counter()
        kept = []
        for response in responses:
            if why := self.refuse(response.text):
                left_out[why] += 1
            else:
                kept.append(response)
        return ResponseSet(kept), left_out

    @cached_property
    def _listed(self) -> re.Pattern[str] | None:
        if not self.words:
            return None
        longest_first: Iterable[str] = sorted({plain(word) for word in self.words}, key=len, reverse=True)
        return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")


def read_words(path: str | Path) -> tuple[str, ...]:
    """A word list, one word or phrase a line.

    Raises:
        DataError: as `read_lines`.
    """
    return tuple(line.strip() for _, line in read_lines(path))
