"""Draw what the untrained turn gate does to one conversation, from a run of SPLADE-tiny.

    python docs/pictures/turn_gate.py

writes `turn_gate.json`, which holds what the run gave, and `turn_gate_light.svg` and `turn_gate_dark.svg`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from textwrap import wrap
from typing import Any

HERE = Path(__file__).parent
CONVERSATION = (
    ("user", "How do I create a storage bucket?"),
    ("assistant", "Open the console, choose Buckets, then Create. The name must be unique across all accounts."),
    ("user", "and how do I delete it?"),
)
SHOWN = 7  # terms of a turn
WIDTH, MARGIN, LEFT, COLUMN = 960, 20, 250, 335
LINE, HEAD, GAP = 19, 72, 16
UNIT = 66  # pixels of a bar of weight 1
THEMES = {
    "light": {"panel": "#f7f8fa", "row": "#ffffff", "line": "#d5d9e0", "text": "#1f2430", "faint": "#5b6373"},
    "dark": {"panel": "#1c2029", "row": "#262b36", "line": "#3b4252", "text": "#eceff4", "faint": "#aab2c0"},
}
BARS = {
    "light": {"user": "#8a6d1f", "assistant": "#7a5195", "open": "#1769aa"},
    "dark": {"user": "#d9b84a", "assistant": "#c39be0", "open": "#64b5f6"},
}


def measure() -> dict[str, Any]:
    """Terms of each turn, newest turn first, with and without the gate: {"without": […], "with": […]}."""
    from distillir import Conversation
    from distillir.students import SparseSettings, SparseStudent, resolve, term_origins

    messages = [{"role": role, "content": text} for role, text in CONVERSATION]
    found: dict[str, Any] = {}
    for name, gate in (("without", False), ("with", True)):
        student = SparseStudent.from_pretrained(resolve("splade-tiny"), SparseSettings(gate=gate))
        origins = term_origins(student, Conversation.from_messages(messages))
        found[name] = [
            [[o.term, round(o.weight, 2)] for o in origins if (o.back, o.role) == turn]
            for turn in ((0, "user"), (1, "assistant"), (1, "user"))
        ]
    return found


def draw(found: dict[str, Any], theme: str) -> str:
    """The picture as SVG, turns from the oldest down to the open question."""
    body, y = [], HEAD
    for place, (role, text) in enumerate(CONVERSATION):
        back = len(CONVERSATION) - 1 - place
        kind = "open" if back == 0 else role
        cells = [found["without"][back], found["with"][back]]
        height = max(_height(terms) for terms in cells)
        body += _row(y, height, kind, text)
        for column, terms in enumerate(cells):
            body += _cell(LEFT + MARGIN + column * COLUMN, y, kind, terms)
        y += height + GAP
    return "\n".join([*_frame(found, theme, y), *body, "</svg>"]) + "\n"


def _frame(found: dict[str, Any], theme: str, height: int) -> Iterator[str]:
    colours = THEMES[theme]
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'role="img" aria-label="Query terms by turn, without and with the turn gate">'
    )
    yield "<style>"
    yield f"text {{ font: 14px system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: {colours['text']}; }}"
    yield f".faint {{ fill: {colours['faint']}; font-size: 13px; }} .head {{ font-weight: 600; }}"
    yield f".row {{ fill: {colours['row']}; stroke: {colours['line']}; }}"
    yield from (f".{kind} {{ fill: {colour}; }}" for kind, colour in BARS[theme].items())
    yield "</style>"
    yield f'<rect width="{WIDTH}" height="{height}" rx="8" fill="{colours["panel"]}"/>'
    yield _text(MARGIN + 16, 30, "The conversation", "head")
    for column, (name, label) in enumerate((("without", "Without the gate"), ("with", "With the untrained gate"))):
        terms = [term for turn in found[name] for term in turn]
        x = LEFT + MARGIN + column * COLUMN
        yield _text(x, 30, label, "head")
        yield _text(x, 52, f"{len(terms)} terms, weight {sum(weight for _, weight in terms):.1f}", "faint")


def _row(y: int, height: int, kind: str, text: str) -> Iterator[str]:
    yield f'<rect class="row" x="{MARGIN - 8}" y="{y}" width="{WIDTH - 2 * MARGIN + 16}" height="{height}" rx="6"/>'
    yield f'<rect class="{kind}" x="{MARGIN - 8}" y="{y}" width="6" height="{height}" rx="3"/>'
    said = {"user": "question, 1 back", "assistant": "answer, 1 back", "open": "the open question"}[kind]
    yield _text(MARGIN + 16, y + 24, said, "faint")
    for number, line in enumerate(wrap(text, 24)):
        yield _text(MARGIN + 16, y + 48 + number * LINE, line)


def _cell(x: int, y: int, kind: str, terms: list[tuple[str, float]]) -> Iterator[str]:
    if not terms:
        yield _text(x, y + 24, "no term", "faint")
        return
    total = sum(weight for _, weight in terms)
    yield _text(x, y + 24, f"{len(terms)} term{'s' * (len(terms) > 1)}, weight {total:.1f}", "faint")
    for number, (term, weight) in enumerate(terms[:SHOWN]):
        base = y + 48 + number * LINE
        yield _text(x, base, term)
        yield f'<rect class="{kind}" x="{x + 112}" y="{base - 11}" width="{weight * UNIT:.1f}" height="12" rx="2"/>'
        yield _text(round(x + 118 + weight * UNIT), base, f"{weight:.1f}", "faint")
    if len(terms) > SHOWN:
        yield _text(x, y + 48 + SHOWN * LINE, f"and {len(terms) - SHOWN} more", "faint")


def _height(terms: list[tuple[str, float]]) -> int:
    return 48 + LINE * max(5, min(len(terms), SHOWN) + (len(terms) > SHOWN)) + 2


def _text(x: int, y: int, text: str, kind: str = "") -> str:
    return f'<text x="{x}" y="{y}"{f" class={kind!r}" if kind else ""}>{escape(text)}</text>'


def main() -> None:
    """Run and draw."""
    found = measure()
    (HERE / "turn_gate.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for theme in THEMES:
        (HERE / f"turn_gate_{theme}.svg").write_text(draw(found, theme), encoding="utf-8")


if __name__ == "__main__":
    main()
