"""Example queries of a report: what each system found for a question, and with which terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NotRequired, TypedDict

from distillir.evaluation.page import text

_SHOWN_TEXT = 280
_SHOWN_TERMS = 30


class Hit(TypedDict):
    """A retrieved document; `relevant` marks it as judged relevant."""

    id: str
    text: NotRequired[str]
    score: NotRequired[float]
    relevant: NotRequired[bool]


class SystemExample(TypedDict):
    """One system's answer: best document first, and its query terms with their weights."""

    hits: Sequence[Hit]
    terms: NotRequired[Sequence[tuple[str, float]]]


class Example(TypedDict):
    """One question with its 1-based turn, what was said before it (oldest first), and the answers by system."""

    question: str
    turn: int
    history: NotRequired[Sequence[str]]
    systems: Mapping[str, SystemExample]


def examples_section(examples: Sequence[Example]) -> list[str]:
    """HTML of the examples, shallow turns first."""
    by_turn = groupby(sorted(examples, key=lambda e: e["turn"]), key=lambda e: e["turn"])
    blocks = ["<h2>Example queries</h2>"]
    for turn, group in by_turn:
        blocks.append(f"<h3>Turn {text(turn)}</h3>")
        blocks += [_example(example) for example in group]
    return blocks


def _example(example: Example) -> str:
    said = "".join(f"<li>{text(line)}</li>" for line in example.get("history", ()))
    history = f'<p class="soft">Said before</p><ol class="soft">{said}</ol>' if said else ""
    answers = "".join(_answer(name, answer) for name, answer in example["systems"].items())
    return (
        f"<details><summary>{text(example['question'])}</summary>{history}"
        f'<div class="answers">{answers}</div></details>'
    )


def _answer(name: str, answer: SystemExample) -> str:
    terms = sorted(answer.get("terms", ()), key=lambda pair: -pair[1])
    chips = "".join(f"<span>{text(term)} <small>{weight:.2f}</small></span>" for term, weight in terms[:_SHOWN_TERMS])
    if len(terms) > _SHOWN_TERMS:
        chips += f"<small>and {len(terms) - _SHOWN_TERMS} more</small>"
    hits = "".join(f"<li>{_hit(hit)}</li>" for hit in answer["hits"])
    found = f"<ol>{hits}</ol>" if hits else '<p class="soft">nothing found</p>'
    return f'<div><h3>{text(name)}</h3><div class="terms">{chips}</div>{found}</div>'


def _hit(hit: Hit) -> str:
    mark = "<b>relevant</b> · " if hit.get("relevant") else ""
    score = f" <small>{hit['score']:.2f}</small>" if "score" in hit else ""
    body = hit.get("text", "")
    shown = body if len(body) <= _SHOWN_TEXT else f"{body[: _SHOWN_TEXT - 1]}…"
    return f"{mark}<code>{text(hit['id'])}</code>{score}" + (f"<br>{text(shown)}" if shown else "")
