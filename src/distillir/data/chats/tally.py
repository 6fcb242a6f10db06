"""What became of the rows, messages and sessions of an import."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from distillir.data.rows import Counts
from distillir.errors import DataError

NAMED = 3  # places named for each kind of complaint


@dataclass
class Tally:
    """Counts, and the first places of each complaint.

    Attributes:
        strict: the first bad row is an error.
        private: nothing that stands in the data (a header, a role) is repeated anywhere.
        rows: lines of a JSONL file or a table, elements of a JSON array.
        messages: messages of the chats that were read.
        sessions: sessions, after splitting by gaps.
        places: complaint -> the first places, as "file:line".
        unknown_roles: role as written -> messages.
    """

    strict: bool = False
    private: bool = False
    rows: Counts = field(default_factory=Counts)
    messages: Counts = field(default_factory=Counts)
    sessions: Counts = field(default_factory=Counts)
    places: dict[str, list[str]] = field(default_factory=dict)
    unknown_roles: Counter[str] = field(default_factory=Counter)

    def bad(self, counts: Counts, reason: str, path: Path, line: int) -> None:
        """Drop one, and name its place.

        Raises:
            DataError: the import is strict.
        """
        if self.strict:
            raise DataError(path, reason, line=line, cure="mend the row, or import without --strict to leave it out")
        counts.dropped[reason] += 1
        places = self.places.setdefault(reason, [])
        if len(places) < NAMED:
            places.append(f"{path}:{line}")
