"""A logged chat becomes sessions: speakers named, rows in order of time, repeats left out, split at long silences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from distillir.conversation import Turn
from distillir.data.chats.chat import SURROGATE, Chat, Logged, Roles
from distillir.data.chats.tally import Tally


class Message(NamedTuple):
    """One message that is somebody's turn; `time` in seconds, None where unknown."""

    role: str
    text: str
    time: float | None

    def turn(self) -> Turn:
        """It, without its time."""
        return Turn(self.role, self.text)


def messages_of(chat: Chat, roles: Roles, tally: Tally) -> list[Message]:
    """The chat's turns by time.

    Left out and counted: messages of system, developer, tool and function roles, as `Conversation.from_messages`
    does; messages without text (a tool call or an image; as a turn each would be an empty answer or no question);
    roles that are not known; and repeats: same speaker, text and time anywhere in the session, or, where there are
    no times, twice in a row.

    Rows are sorted by time; equal times stay as logged. A row without a time goes with the row before it.
    """
    kept: list[Message] = []
    for logged in chat.messages:
        tally.messages.read += 1
        role = _speaker(chat, logged, roles, tally)
        if not role:
            continue
        if logged.text is None or not logged.text.strip():
            tally.messages.dropped["no text"] += 1
        elif SURROGATE.search(logged.text):
            tally.bad(tally.messages, "half a character", logged.path or chat.path, logged.line or chat.line)
        else:
            kept.append(Message(role, logged.text.strip(), logged.time))
    return list(_without_repeats(_by_time(kept, tally), tally))


def split_at_gaps(messages: list[Message], gap: float | None) -> list[list[Message]]:
    """Parts between which more than `gap` seconds passed; exactly `gap` does not split, nor does an unknown time."""
    parts: list[list[Message]] = []
    last: float | None = None
    for message in messages:
        silent = gap is not None and None not in (message.time, last) and (message.time or 0) - (last or 0) > gap
        if silent or not parts:
            parts.append([])
        parts[-1].append(message)
        last = last if message.time is None else message.time
    return parts


def _speaker(chat: Chat, logged: Logged, roles: Roles, tally: Tally) -> str | None:
    speaker = roles.speaker(logged.role)
    if speaker is None:
        if not tally.private and not SURROGATE.search(logged.role):
            tally.unknown_roles[logged.role] += 1
        tally.bad(tally.messages, "unknown role", logged.path or chat.path, logged.line or chat.line)
    elif not speaker:
        tally.messages.dropped["system or tool"] += 1
    return speaker


def _by_time(messages: list[Message], tally: Tally) -> list[Message]:
    latest = float("-inf")
    keyed: list[tuple[float, Message]] = []
    here = latest
    for message in messages:
        here = here if message.time is None else message.time
        tally.messages.noted["out of order"] += here < latest
        latest = max(latest, here)
        keyed.append((here, message))
    return [message for _, message in sorted(keyed, key=lambda pair: pair[0])]


def _without_repeats(messages: list[Message], tally: Tally) -> Iterator[Message]:
    seen: set[Message] = set()
    before: Message | None = None
    for message in messages:
        if message in seen if message.time is not None else message == before:
            tally.messages.dropped["repeated"] += 1
        else:
            yield message
        seen.add(message)
        before = message
