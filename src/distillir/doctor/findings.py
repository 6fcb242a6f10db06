"""What an examination finds: facts, and complaints with their cures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One line of the examination.

    Attributes:
        section: what it belongs to: "python", "packages", "machine", "weights".
        name: what was looked at.
        state: "ok", "optional" (missing, and only some commands want it) or "wrong".
        fact: what was found.
        cure: the line to type when something is missing or wrong; "" otherwise.
    """

    section: str
    name: str
    state: str
    fact: str
    cure: str = ""


@dataclass(frozen=True)
class Examination:
    """All findings, in the order they were made."""

    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong; what is optional may be missing."""
        return all(finding.state != "wrong" for finding in self.findings)

    def text(self) -> str:
        """For people: a paragraph a section, cures behind arrows, a verdict at the end."""
        signs = {"ok": "✓", "optional": "·", "wrong": "✗"}
        lines: list[str] = []
        section = ""
        for one in self.findings:
            if one.section != section:
                section = one.section
                lines += ["", section] if lines else [section]
            lines.append(f"  {signs[one.state]} {one.name:<26} {one.fact}{f' → {one.cure}' if one.cure else ''}")
        wrong = sum(one.state == "wrong" for one in self.findings)
        lines += ["", "everything needed is here" if not wrong else f"{wrong} to put right: see ✗ above"]
        return "\n".join(lines)

    def plain(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {"healthy": self.healthy, "findings": [asdict(one) for one in self.findings]}
