"""CANARD: questions of QuAC dialogues rewritten by people (Elgohary et al., EMNLP 2019, doi 10.18653/v1/D19-1605).

One object a line: {_id = DIALOGUE#TURN, history = [question, answer, …], question, rewrite}. No corpus.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distillir.data.conversations import HUMAN, Context
from distillir.data.rows import Counts, read_json_rows


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
    counts, contexts = Counts(), []
    seen: set[str] = set()
    for row in read_json_rows(path):
        counts.read += 1
        name, question, rewrite = row.filled("_id"), row.filled("question"), row.text("rewrite")
        if name in seen:
            row.refuse(f"id {name!r} was given before")
        seen.add(name)
        conversation = row.conversation(row.texts("history"), question, name)
        if not rewrite.strip():
            counts.dropped["no rewrite"] += 1
            continue
        relevant = dict.fromkeys(row.texts("passage_ids"), 1) if gold else {}
        group = name.rpartition(mark)[0] or name
        contexts.append(Context(name, conversation, group, {HUMAN: rewrite}, relevant, source, source if gold else ""))
    return Loaded(contexts, counts)
