"""JSON rows and their fields, checked where they enter."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from distillir.conversation import Conversation
from distillir.data.files import read_lines
from distillir.errors import ConversationError, DataError

LINES = "write one JSON object a line (JSON Lines), not an array over several lines and not a table"
MEND = "correct that line, or leave it out"


@dataclass
class Counts:
    """What became of a file's rows.

    Attributes:
        read: rows read.
        dropped: reason -> rows left out for it.
        noted: remark -> rows kept in spite of it.
    """

    read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    noted: Counter[str] = field(default_factory=Counter)

    @property
    def kept(self) -> int:
        """Rows that came through."""
        return self.read - self.dropped.total()

    def __str__(self) -> str:
        parts = [f"{self.read} read, {self.kept} kept"]
        parts += [f"{n} dropped: {why}" for why, n in sorted(self.dropped.items())]
        parts += [f"{n} noted: {what}" for what, n in sorted(self.noted.items())]
        return "; ".join(parts)


@dataclass(frozen=True)
class Row:
    """One JSON object of a file and where it stands.

    Attributes:
        path: the file.
        line: 1-based line (or row, in Parquet).
        values: the object.
    """

    path: Path
    line: int
    values: Mapping[str, Any]

    def refuse(self, reason: str, cure: str = "correct this row, or leave it out") -> NoReturn:
        """Raise a DataError that names this row."""
        raise DataError(self.path, reason, line=self.line, cure=cure)

    def get(self, name: str, kind: type, what: str) -> Any:
        """The field `name`, refused when it is missing or not of `kind` (named `what` in the complaint)."""
        if name not in self.values:
            there = ", ".join(repr(str(field)) for field in self.values) or "nothing"
            self.refuse(f"missing field {name!r}, the row has {there}", f"rename the field that is meant to {name!r}")
        value = self.values[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.refuse(f"field {name!r} is {type(value).__name__}, not {what}")
        return value

    def text(self, name: str) -> str:
        """A string field; it may be empty."""
        return str(self.get(name, str, "a string"))

    def filled(self, name: str) -> str:
        """A string field with something in it."""
        value = self.text(name)
        if not value.strip():
            self.refuse(f"field {name!r} is empty")
        return value

    def texts(self, name: str) -> list[str]:
        """A list of strings."""
        values = self.get(name, list, "a list of strings")
        if not all(isinstance(value, str) for value in values):
            self.refuse(f"field {name!r} holds something other than strings")
        return list(values)

    def rows(self, name: str) -> list[Row]:
        """A list of objects, each complaining with this row's line."""
        values = self.get(name, list, "a list of objects")
        if not all(isinstance(value, dict) for value in values):
            self.refuse(f"field {name!r} holds something other than objects")
        return [Row(self.path, self.line, value) for value in values]

    def conversation(self, history: Sequence[str], question: str, id: str) -> Conversation:
        """A conversation from alternating questions and answers and the open question."""
        if len(history) % 2:
            self.refuse(
                f"the history has {len(history)} utterances", "give questions and answers in turn, oldest first"
            )
        pairs = list(zip(history[::2], history[1::2], strict=True))
        try:
            return Conversation.from_pairs(pairs, question, id=id)
        except ConversationError as error:
            self.refuse(error.cause, error.cure)


def read_json_rows(path: str | Path) -> Iterator[Row]:
    """Rows of a JSONL file, plain or gzipped.

    Raises:
        DataError: as `read_lines`, or a line that is not one JSON object of valid text and finite numbers.
    """
    path = Path(path)
    for number, line in read_lines(path):
        values = parse_json(path, number, line)
        if not isinstance(values, dict):
            raise DataError(path, f"a JSON {type(values).__name__}, not an object", line=number, cure=LINES)
        yield Row(path, number, values)


def parse_json(path: Path, number: int | None, text: str) -> Any:
    """One JSON value. NaN, Infinity, half characters (lone surrogates) and bottomless nesting are refused."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(path, "half a character (a lone surrogate escape)", line=number, cure=MEND) from None
    except RecursionError:
        raise DataError(path, "JSON nested too deeply", line=number, cure=MEND) from None
    except ValueError as error:
        raise DataError(path, f"not JSON: {error}", line=number, cure=LINES if number == 1 else MEND) from None
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
