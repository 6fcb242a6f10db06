"""What became of the files that were read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NAMED = 200  # files that a report names; it counts all
EXPECTED = ("hidden", "unknown kind")  # reasons that need no name
_LISTED = 6


@dataclass
class ReadingReport:
    """What was read, what was not, and why.

    Attributes:
        files: kind → files that gave passages.
        passages: kind → passages.
        skipped: reason → files and folders that gave none for it.
        noted: remark → files or documents that were read in spite of it.
        named: (file, reason with its particulars) of the first `NAMED` that one would have expected to be read, or that
            were read with a remark: neither hidden nor of an unknown kind.
    """

    files: Counter[str] = field(default_factory=Counter)
    passages: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    noted: Counter[str] = field(default_factory=Counter)
    named: list[tuple[str, str]] = field(default_factory=list)

    def skip(self, name: str, reason: str, detail: str = "") -> None:
        """A file or folder is left out."""
        self.skipped[reason] += 1
        if not reason.startswith(EXPECTED):
            self._name(name, reason, detail)

    def note(self, name: str, remark: str, detail: str = "") -> None:
        """A file or document is read, with a remark."""
        self.noted[remark] += 1
        self._name(name, remark, detail)

    @property
    def left_out(self) -> str:
        """Reasons, with how many files and folders have each."""
        return _listed(self.skipped)

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        counts = {name: dict(getattr(self, name)) for name in ("files", "passages", "skipped", "noted")}
        return {**counts, "named": [list(pair) for pair in self.named]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ReadingReport:
        """What `as_dict` gave."""
        counts = {name: Counter(values[name]) for name in ("files", "passages", "skipped", "noted")}
        return cls(**counts, named=[(name, reason) for name, reason in values["named"]])

    def __str__(self) -> str:
        parts = [f"{self.passages.total():,} passages"]
        if self.files:
            parts[0] += f" of {self.files.total():,} files ({_listed(self.files)})"
        if self.skipped:
            parts.append(f"{self.skipped.total():,} skipped ({self.left_out})")
        if self.noted:
            parts.append(f"noted: {_listed(self.noted)}")
        return "; ".join(parts)

    def _name(self, name: str, reason: str, detail: str) -> None:
        if len(self.named) < NAMED:
            self.named.append((name, f"{reason} ({detail})" if detail else reason))


def _listed(counts: Counter[str]) -> str:
    """What one would not expect first, then by number."""
    ordered = sorted(counts.items(), key=lambda item: (item[0].startswith(EXPECTED), -item[1], item[0]))
    shown = [f"{count:,} {what}" for what, count in ordered[:_LISTED]]
    rest = sum(count for _, count in ordered[_LISTED:])
    return ", ".join([*shown, f"{rest:,} others"] if rest else shown)
