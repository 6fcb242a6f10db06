"""Whether a passage holds an answer, as DPR counts hits: words alike, whatever their case and composition."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from distillir.data.rows import read_json_rows


def words(text: str) -> list[str]:
    """Runs of letters, digits and marks, and every other visible character by itself; lower case, decomposed (NFD)."""
    return list(_words(unicodedata.normalize("NFD", text)))


def _words(text: str) -> Iterator[str]:
    held: list[str] = []
    for character in text:
        kind = unicodedata.category(character)[0]
        if kind in "LNM":
            held.append(character.lower())
            continue
        if held:
            yield "".join(held)
            held = []
        if kind not in "ZC":
            yield character
    if held:
        yield "".join(held)


def holds(text: str, answers: Sequence[str]) -> bool:
    """Whether the words of an answer stand in a text, one after the other."""
    found = words(text)
    for answer in answers:
        wanted = words(answer)
        if wanted and any(found[i : i + len(wanted)] == wanted for i in range(len(found) - len(wanted) + 1)):
            return True
    return False


def hits_at(ranked: Mapping[str, Sequence[str]], answers: Mapping[str, Sequence[str]], k: int) -> float:
    """Share of all questions that have an answer in one of their first k passages.

    Args:
        ranked: question → texts of its passages, best first.
        answers: question → its answers.
        k: at least 1.
    """
    right = [any(holds(text, said) for text in ranked.get(name, ())[:k]) for name, said in answers.items()]
    return float(np.mean(right))


def read_answers(path: str | Path) -> dict[str, list[str]]:
    """Question → its answers, of a file of {id, answers}.

    Raises:
        DataError: naming the line.
    """
    return {row.filled("id"): row.texts("answers") for row in read_json_rows(path)}
