"""What an import read, kept and left out. Holds counts, places and ids; never a text of the log."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distillir.data.chats.tally import Tally
from distillir.data.rows import Counts


@dataclass
class ImportReport:
    """What an import did.

    Attributes:
        files: path -> format.
        tally: rows, messages and sessions, read and dropped.
        chats: chats read, before splitting by gaps.
        contexts: file written -> contexts in it.
        turns: questions of a session -> sessions.
        masked: kind of personal data -> places masked; None = no masking.
        examples: ids of the first contexts.
    """

    files: dict[str, str] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    chats: int = 0
    contexts: Counter[str] = field(default_factory=Counter)
    turns: Counter[int] = field(default_factory=Counter)
    masked: Counter[str] | None = None
    examples: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON holds it."""
        tally = self.tally
        return {
            "files": self.files,
            "rows": _counts(tally.rows),
            "chats": self.chats,
            "messages": _counts(tally.messages),
            "sessions": _counts(tally.sessions),
            "contexts": dict(self.contexts),
            "turns_per_session": {str(turns): self.turns[turns] for turns in sorted(self.turns)},
            "places": tally.places,
            "unknown_roles": dict(tally.unknown_roles.most_common(10)),
            "masked": None if self.masked is None else dict(self.masked),
            "examples": self.examples,
        }

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(self.to_dict())

    def text(self) -> str:
        """The report for people."""
        tally = self.tally
        lines = [f"{'read':<10}{path} ({format})" for path, format in self.files.items()]
        for name, counts in (("rows", tally.rows), ("messages", tally.messages), ("sessions", tally.sessions)):
            lines.append(f"{name:<10}{counts.read} read, {counts.kept} kept")
            lines += [f"{'':<12}{n} left out: {why}" for why, n in counts.dropped.most_common()]
            lines += [f"{'':<12}{n} noted: {what}" for what, n in counts.noted.most_common() if n]
        lines += [f"{'at':<10}{', '.join(places)}: {reason}" for reason, places in tally.places.items()]
        if tally.unknown_roles:
            roles = ", ".join(f"{role!r} ({n})" for role, n in tally.unknown_roles.most_common(5))
            lines.append(f"{'roles':<10}not known: {roles}; name them by --user-role or --assistant-role")
        lines.append(f"{'turns':<10}{_histogram(self.turns)}")
        if self.masked is not None:
            found = ", ".join(f"{n} {kind}" for kind, n in self.masked.most_common()) or "nothing"
            lines.append(f"{'masked':<10}{found}")
        lines += [f"{'wrote':<10}{path} ({n} contexts)" for path, n in self.contexts.items()]
        return "\n".join([*lines, f"{'such as':<10}{', '.join(self.examples)}"])


def report_path(out: Path) -> Path:
    """`NAME.report.json` beside the output, for NAME.jsonl, NAME.jsonl.gz or the folder NAME."""
    return out.with_name(f"{out.name.removesuffix('.gz').removesuffix('.jsonl')}.report.json")


def _counts(counts: Counts) -> dict[str, Any]:
    noted = {what: n for what, n in counts.noted.items() if n}
    return {"read": counts.read, "kept": counts.kept, "dropped": dict(counts.dropped), "noted": noted}


def _histogram(turns: Counter[int]) -> str:
    """Sessions by their number of questions; ten and more together."""
    shown: Counter[str] = Counter()
    for number in sorted(turns):
        shown[str(number) if number < 10 else "10+"] += turns[number]
    return ", ".join(f"{number}: {n}" for number, n in shown.items()) + " (questions: sessions)"
