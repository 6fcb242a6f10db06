"""Which format a log is in: told by its content, or named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from distillir.data.chats import chatgpt, langchain, openai, sharegpt
from distillir.data.chats.chat import Chat
from distillir.data.chats.json_values import json_entries
from distillir.data.chats.sources import read_head
from distillir.data.chats.table import is_table
from distillir.errors import ConfigError, DataError

READERS: dict[str, Callable[[object], Chat | None]] = {
    "openai": openai.read,
    "sharegpt": sharegpt.read,
    "chatgpt": chatgpt.read,
    "langchain": langchain.read,
}
TABLE = "table"
FORMATS = (*READERS, TABLE)
LOOKED_AT = 50


def format_of(path: Path, asked: str = "auto") -> tuple[str, str]:
    """(format, beginning of the file). A JSON log's format is the one that reads most of its first rows.

    Raises:
        DataError: the file cannot be read, or is in none of the formats.
        ConfigError: `asked` is no format.
    """
    if asked not in (*FORMATS, "auto"):
        raise ConfigError(f"unknown format {asked!r}", f"give one of: {', '.join((*FORMATS, 'auto'))}")
    head = read_head(path)
    if asked != "auto":
        return asked, head
    if head.lstrip()[0] in "{[":
        read: Counter[str] = Counter()
        for entry in islice(json_entries(path, head), LOOKED_AT):
            read.update(name for name, reader in READERS.items() if not entry.wrong and reader(entry.value))
        if read:
            return max(READERS, key=read.__getitem__), head
        reason = f"JSON, but none of its first rows is a chat of a known format ({', '.join(READERS)})"
        raise DataError(path, reason, cure="compare it with the examples in the documentation, or name its --format")
    if is_table(head):
        return TABLE, head
    raise DataError(
        path,
        "neither JSON nor a table whose first line names a column of texts and one of roles or sessions",
        cure="give the table a header, or name columns by --text-column, --role-column, --session-column "
        "and --format table",
    )
