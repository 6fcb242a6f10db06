"""What an audit found: checks with figures, warnings that say cause and cure, examples to look at."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from distillir.data.files import replacing_lines

EXAMPLES = 3
JSON_FILE = "audit.json"
TEXT_FILE = "audit.txt"


@dataclass(frozen=True)
class Check:
    """One look at some labels.

    Attributes:
        name: of the check.
        subject: whose labels.
        n: how many were looked at; a check of none has no figures.
        figures: name -> number.
        warnings: "cause → cure".
        examples: a few labels to look at.
        flagged: contexts whose labels are odd: to look at, or to leave out of the training.
    """

    name: str
    subject: str
    n: int
    figures: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    flagged: tuple[str, ...] = ()


@dataclass(frozen=True)
class AuditReport:
    """All checks of an audit, in order."""

    checks: tuple[Check, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings of all checks, with whose labels they are about."""
        return tuple(f"{check.subject}, {check.name}: {text}" for check in self.checks for text in check.warnings)

    @property
    def flagged(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Subject -> check -> contexts whose labels are odd."""
        found: dict[str, dict[str, tuple[str, ...]]] = {}
        for check in self.checks:
            if check.flagged:
                found.setdefault(check.subject, {})[check.name] = check.flagged
        return found

    def __add__(self, other: AuditReport) -> AuditReport:
        return AuditReport(self.checks + other.checks)

    def text(self) -> str:
        """A paragraph a check, then the warnings."""
        blocks = []
        for check in self.checks:
            figures = ", ".join(f"{name} {_number(value)}" for name, value in check.figures.items())
            lines = [f"{check.name} · {check.subject} ({check.n:,})", *([f"  {figures}"] if figures else [])]
            lines += [f"    e.g. {_line(example)}" for example in check.examples[:EXAMPLES]]
            blocks.append("\n".join(lines))
        number = len(self.warnings)
        head = f"audit: {len(self.checks)} checks, {number} warning{'' if number == 1 else 's'}"
        return "\n".join([head, *blocks, *(f"! {_line(text, 400)}" for text in self.warnings)])

    def to_json(self) -> str:
        """One JSON object: {"checks": [...], "warnings": [...]}."""
        content = {"checks": [asdict(check) for check in self.checks], "warnings": self.warnings}
        return json.dumps(content, ensure_ascii=False, allow_nan=False)

    def save(self, folder: str | Path) -> Path:
        """Write `audit.json` and `audit.txt` into a run folder; returns the first."""
        for name, content in ((JSON_FILE, self.to_json()), (TEXT_FILE, self.text())):
            with replacing_lines(Path(folder) / name) as out:
                out.write((content + "\n").encode("utf-8", "replace"))
        return Path(folder) / JSON_FILE


def share(hits: int, n: int) -> float:
    """The share hits / n, 0 of none."""
    return hits / n if n else 0.0


def percent(value: float) -> str:
    """A share as text."""
    return f"{100 * value:.0f} %" if value >= 0.1 or value == 0 else f"{100 * value:.1f} %"


def quantiles(values: Sequence[float], **which: float) -> dict[str, float]:
    """Named quantiles of some numbers; none of nothing."""
    import numpy as np

    return {name: float(np.quantile(values, q)) for name, q in which.items()} if len(values) else {}


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def _line(text: str, most: int = 200) -> str:
    """One printable line: labels may hold anything."""
    text = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    return text if len(text) <= most else text[: most - 1] + "…"
