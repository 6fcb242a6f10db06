"""CANARD: questions of QuAC dialogues rewritten by people (Elgohary et al., EMNLP 2019, doi 10.18653/v1/D19-1605).

One object a line: {_id = DIALOGUE#TURN, history = [question, answer, …], question, rewrite}. No corpus.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from distillir.data.conversations import HUMAN, Context
from distillir.data.rows import Counts, Row, read_json_rows


@dataclass(frozen=True)
class Loaded:
    """Contexts of one file, and what became of its rows."""

    contexts: list[Context]
    counts: Counts


def load_canard(path: str | Path) -> Loaded:
    """Contexts with a human rewrite; group = the dialogue; nothing to search.

    Raises:
        DataError: naming the line.
    """
    return load_rewrites(path, source="canard", mark="#")


def load_rewrites(path: str | Path, *, source: str, mark: str, gold: bool = False) -> Loaded:
    """Contexts of a file of {_id, history, question, rewrite}; rows without a rewrite are dropped.

    Args:
        path: JSONL, plain or gzipped.
        source: name of the data set; also the domain where there is `gold`.
        mark: what stands between conversation and turn in an id.
        gold: whether rows name relevant passages in `passage_ids`.
    """
    counts = Counts()
    contexts = list(rewritten(read_json_rows(path), source=source, mark=mark, gold=gold, counts=counts))
    return Loaded(contexts, counts)


def rewritten(
    rows: Iterable[Row],
    *,
    source: str,
    mark: str,
    gold: bool = False,
    every: bool = False,
    counts: Counts | None = None,
) -> Iterator[Context]:
    """The same, of rows that come from anywhere; `every` keeps those without a rewrite or with a blank question."""
    counts = Counts() if counts is None else counts
    seen: set[str] = set()
    for row in rows:
        counts.read += 1
        name, rewrite = row.filled("_id"), row.text("rewrite")
        question = row.text("question") if every else row.filled("question")
        if name in seen:
            row.refuse(f"id {name!r} was given before")
        seen.add(name)
        conversation = row.conversation(row.texts("history"), question, name)
        if not rewrite.strip() and not every:
            counts.dropped["no rewrite"] += 1
            continue
        rewrites = {HUMAN: rewrite} if rewrite.strip() else {}
        relevant = dict.fromkeys(row.texts("passage_ids"), 1) if gold else {}
        group = name.rpartition(mark)[0] or name
        yield Context(name, conversation, group, rewrites, relevant, source, source if gold else "")
