"""What the readers of chat logs hand on: a chat as it was logged, its roles and times not yet judged."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from distillir.conversation import SILENT_ROLES
from distillir.data.chats.times import parse_time

SESSION_KEYS = ("session_id", "conversation_id", "thread_id", "chat_id", "dialog_id", "dialogue_id")
NAME_KEYS = ("id", "custom_id", "uuid")
TIME_KEYS = ("timestamp", "created_at", "create_time", "created", "time", "date")
TEXT_PARTS = frozenset({"text", "input_text", "output_text"})
SURROGATE = re.compile("[\ud800-\udfff]")

USER_ROLES = frozenset(
    (
        *("user", "human", "customer", "client", "visitor", "guest", "caller", "end-user", "end_user", "enduser"),
        *("prompter", "me", "question"),
    )
)
ASSISTANT_ROLES = frozenset(
    (
        *("assistant", "ai", "bot", "chatbot", "gpt", "chatgpt", "model", "agent", "support", "operator", "advisor"),
        "answer",
    )
)
SILENT = SILENT_ROLES | frozenset(
    (
        *("instructions", "tool_call", "tool_calls", "tool_use", "tool_result", "tool_response", "function_call"),
        *("function_response", "observation", "ipython", "remove"),
    )
)


class Logged(NamedTuple):
    """One message as logged.

    Attributes:
        role: as written; "" where none stands.
        text: None where the message has no text (an image, a tool call).
        time: seconds since 1970, None where unknown.
        line: where it stands, 0 = where its chat stands.
    """

    role: str
    text: str | None
    time: float | None = None
    line: int = 0
    path: Path | None = None


@dataclass(frozen=True)
class Chat:
    """One logged chat.

    Attributes:
        messages: in the order of the log.
        session: what the log calls the session; "" where it names none.
        name: a name of the row alone (a request's id), used where there is no session.
        path: the file.
        line: 1-based line on which the chat starts.
    """

    messages: list[Logged]
    session: str = ""
    name: str = ""
    path: Path = field(default_factory=Path)
    line: int = 0

    @property
    def label(self) -> str:
        """Its name before it is made unique: session, name, or file and line."""
        file = os.fsencode(self.path.name).decode("utf-8", "replace")
        return self.session or self.name or f"{file.split('.')[0]}-{self.line}"


@dataclass(frozen=True)
class Roles:
    """Words that name the speakers, lower case; `user` and `assistant` add to the known ones and go first."""

    user: frozenset[str] = frozenset()
    assistant: frozenset[str] = frozenset()

    def speaker(self, word: str) -> str | None:
        """Either "user" or "assistant", "" for a role that is nobody's turn, None for an unknown one."""
        word = word.strip().lower()
        for words, speaker in (
            (self.user, "user"),
            (self.assistant, "assistant"),
            (USER_ROLES, "user"),
            (ASSISTANT_ROLES, "assistant"),
            (SILENT, ""),
        ):
            if word in words:
                return speaker
        return None


def text_of(content: object) -> str | None:
    """Text of a message's content: a string, or the text parts of a list, joined by line breaks."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts: list[str] = []
    for part in content:
        text: object = part
        if isinstance(part, Mapping):
            text = part.get("text") if part.get("type", "text") in TEXT_PARTS else None
        if isinstance(text, str):
            parts.append(text)
    return "\n".join(parts) if parts else None


def time_of(message: Mapping[str, Any]) -> float | None:
    """Time of a JSON message, from the first of its usual keys that can be read."""
    for key in TIME_KEYS:
        stamp = message.get(key)
        if isinstance(stamp, str | int | float) and not isinstance(stamp, bool):
            time = parse_time(stamp)
            if time is not None:
                return time
    return None


def named(row: Mapping[str, Any], keys: Iterable[str]) -> str:
    """The first filled name among `keys`, in the row or in its metadata."""
    metadata = row.get("metadata")
    for place in (row, metadata if isinstance(metadata, Mapping) else {}):
        for key in keys:
            value = place.get(key)
            if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
                return str(value).strip()
    return ""
