"""CSV and TSV logs, one message a row: session, role, time, text.

The first line names the columns; which is which is guessed from usual names or told by `Columns`. The rows of one
session may stand anywhere, also in several files (a log a day), so all of them are held in memory.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from distillir.data.chats.chat import SURROGATE, Chat, Logged
from distillir.data.chats.sources import open_log
from distillir.data.chats.tally import Tally
from distillir.data.chats.times import parse_time
from distillir.errors import ConfigError, DataError

FIELD_LIMIT = 1 << 20  # characters of a cell: a quote that never ends costs no more rows than this holds
DELIMITERS = ("\t", ",", ";", "|")
SYNONYMS = {
    "session": (
        *("session_id", "session", "conversation_id", "conversation", "thread_id", "thread", "chat_id", "chat"),
        *("dialog_id", "dialogue_id", "dialog", "dialogue", "ticket_id", "ticket", "call_id", "channel_id", "user_id"),
    ),
    "role": (
        *("role", "speaker", "sender", "author", "sender_type", "author_role", "from", "who", "participant"),
        *("actor", "side", "type"),
    ),
    "time": (
        "timestamp",
        "time",
        "created_at",
        "create_time",
        "created",
        "datetime",
        "date_time",
        "sent_at",
        "date",
        "ts",
    ),
    "text": ("text", "content", "message", "utterance", "message_text", "body", "msg", "value"),
}


@dataclass(frozen=True)
class Columns:
    """Names of columns as the header has them; "" = guess. `time="none"` reads no times."""

    session: str = ""
    role: str = ""
    time: str = ""
    text: str = ""


def is_table(head: str) -> bool:
    """Whether the first line of a text names at least a column of texts and one of roles or sessions."""
    names = [_plain(name) for name in _header(head)]
    found = {field for field, words in SYNONYMS.items() if set(words) & set(names)}
    return "text" in found and bool(found & {"session", "role"})


def read_tables(paths: Sequence[tuple[Path, str]], columns: Columns, tally: Tally) -> list[Chat]:
    """Chats of all tables together, in the order in which their sessions first appear.

    Args:
        paths: files, and the beginning of each.
        columns: names of columns.
        tally: counts rows.

    Raises:
        DataError: a header without the columns, a column of times of which none can be read.
        ConfigError: a column is named that the header does not have.
    """
    sessions: dict[str, Chat] = {}
    for path, head in paths:
        stamps = unread = 0
        for session, stamp, message in _rows(path, head, columns, tally):
            chat = sessions.get(session)
            if chat is None:
                chat = sessions[session] = Chat([], session, "", path, message.line)
            chat.messages.append(message)
            stamps += bool(stamp)
            unread += bool(stamp) and message.time is None
        if unread:
            tally.rows.noted["time not readable"] += unread
            if unread == stamps:
                raise DataError(
                    path,
                    "no time in its column of times can be read",
                    cure="write ISO 8601 or seconds since 1970, or give --time-column none",
                )
    return list(sessions.values())


def _rows(path: Path, head: str, columns: Columns, tally: Tally) -> Iterator[tuple[str, str, Logged]]:
    delimiter = _delimiter(head)
    with open_log(path, newline="") as stream, _long_fields():
        rows = csv.reader(stream, delimiter=delimiter, strict=True)
        header: list[str] = []
        places: dict[str, int] = {}
        while True:
            line = rows.line_num + 1
            try:
                row = next(rows, None)
            except csv.Error:
                tally.rows.read += 1
                tally.bad(tally.rows, "not CSV (a quote without its partner?)", path, line)
                continue
            if row is None:
                return
            if not any(cell.strip() for cell in row):
                continue
            if not header:
                header = [name.strip() for name in row]
                places = _places(path, header, columns, tally.private)
                continue
            tally.rows.read += 1
            wrong = _wrong(row, header, places)
            if wrong:
                tally.bad(tally.rows, wrong, path, line)
                continue
            stamp = row[places["time"]].strip() if "time" in places else ""
            time = parse_time(stamp) if stamp else None
            message = Logged(row[places["role"]], row[places["text"]], time, line, path)
            yield row[places["session"]].strip(), stamp, message


def _wrong(row: list[str], header: list[str], places: dict[str, int]) -> str:
    if len(row) > len(header):
        return "more cells than the header has (a text without quotes?)"
    if len(row) <= max(places.values()):
        return "fewer cells than the header has"
    if any(SURROGATE.search(row[place]) for place in places.values()):
        return "not UTF-8"
    return "" if row[places["session"]].strip() else "no session"


def _places(path: Path, header: list[str], columns: Columns, private: bool) -> dict[str, int]:
    # A table without a header has a person's words in its first line.
    names = "" if private else f", one of: {', '.join(header)}"
    plain = [_plain(name) for name in header]
    places: dict[str, int] = {}
    for field, words in SYNONYMS.items():
        asked = getattr(columns, field)
        if field == "time" and asked.lower() == "none":
            continue
        if asked:
            if asked not in header:
                raise ConfigError(f"{path} has no column {asked!r}", f"name a column of its first line{names}")
            places[field] = header.index(asked)
            continue
        taken = set(places.values()) | {header.index(c) for c in vars(columns).values() if c in header}
        free = [plain.index(word) for word in words if word in plain and plain.index(word) not in taken]
        if free:
            places[field] = free[0]
        elif field != "time":
            raise DataError(
                path,
                f"no column of its header is known to hold the {field}",
                line=1,
                cure=f"give --{field}-column NAME{names}; a table without a header needs one",
            )
    return places


def _plain(name: str) -> str:
    """`Session ID`, `sessionId` and `session-id` are `session_id`."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[\s\-.]+", "_", snake).lower()


def _header(head: str) -> list[str]:
    return [cell.strip().strip('"') for cell in _first_line(head).split(_delimiter(head))]


def _delimiter(head: str) -> str:
    return max(DELIMITERS, key=_first_line(head).count)


def _first_line(head: str) -> str:
    return next((line for line in re.split(r"[\r\n]", head) if line.strip()), "")


@contextmanager
def _long_fields() -> Iterator[None]:
    """The csv module's limit of 128 KiB a cell is a process-wide setting: raised here, put back after."""
    before = csv.field_size_limit(FIELD_LIMIT)
    try:
        yield
    finally:
        csv.field_size_limit(before)
