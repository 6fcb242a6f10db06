"""TREC CAsT 2019-2022: topics of conversational assistance with manual rewrites (Dalton et al., arXiv 2003.13624).

Folder, normalised from daltonj/treccastweb (MIT):

    topics.jsonl[.gz]        {year, split, topic, title, turns: [{_id, user, rewrite, …}]}, and in 2022 a tree:
                             {_id = TOPIC_TURN, parent = TURN, participant, user or agent, rewrite}
    qrels.YEAR.txt[.gz]      TREC, graded; 2019-2021

The answers of 2019-2021 are passages of collections that are not here, so they are empty; 2022 has them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from distillir.conversation import Conversation, Turn
from distillir.data.conversations import HUMAN, Context
from distillir.data.files import plain_or_packed
from distillir.data.qrels import Qrels, read_qrels
from distillir.data.rows import Counts, Row, read_json_rows
from distillir.errors import ConversationError, DataError

YEARS = (2019, 2020, 2021, 2022)
SPEAKERS = {"User": ("user", "user"), "System": ("assistant", "agent")}


@dataclass(frozen=True)
class CAsT:
    """The data set; make it with `load_cast`.

    Attributes:
        folder: where it lies.
        counts: user turns; one without a manual rewrite is dropped.
    """

    folder: Path
    counts: Counts
    _contexts: tuple[tuple[int, Context], ...]

    def contexts(self, years: Collection[int] = YEARS) -> list[Context]:
        """Turns with a manual rewrite; group = the topic, domain = "cast" and the year, whose collection it is."""
        unknown = sorted(set(years) - set(YEARS))
        if unknown:
            raise DataError(self.folder, f"no year {unknown[0]}", cure=f"use some of {YEARS}")
        return [context for year, context in self._contexts if year in years]

    def qrels(self, year: int) -> Qrels:
        """All judgements of a year (2019-2021), zero grades too."""
        return read_qrels(plain_or_packed(self.folder, f"qrels.{year}.txt"))


def load_cast(folder: str | Path) -> CAsT:
    """Read topics, and the judgements of the years that have them.

    Raises:
        DataError: a missing or malformed file, a turn whose parent is not in its topic.
    """
    folder, counts = Path(folder), Counts()
    relevant: dict[str, dict[str, int]] = {}
    for year in YEARS:
        path = plain_or_packed(folder, f"qrels.{year}.txt")
        if path.exists():
            for query, judged in read_qrels(path).items():
                relevant[query] = {document: grade for document, grade in judged.items() if grade > 0}
    contexts = []
    for row in read_json_rows(plain_or_packed(folder, "topics.jsonl")):
        year, topic = row.get("year", int, "a year"), row.get("topic", int, "a number")
        if year not in YEARS:
            row.refuse(f"the year is {year}", f"known are {YEARS}")
        turns = row.rows("turns")
        parents = _parents(turns, topic)
        for place, turn in enumerate(turns):
            if _speaker(turn)[0] != "user":
                continue
            counts.read += 1
            rewrite = turn.values.get("rewrite")
            if rewrite is None:
                counts.dropped["no manual rewrite"] += 1
                continue
            name = turn.filled("_id")
            conversation = _conversation(turns, parents, place, name)
            rewrites, gold = {HUMAN: turn.filled("rewrite")}, relevant.get(name, {})
            domain = f"cast{year}"
            contexts.append((year, Context(name, conversation, f"{domain}-{topic}", rewrites, gold, "cast", domain)))
    return CAsT(folder, counts, tuple(contexts))


def _parents(turns: list[Row], topic: int) -> list[int | None]:
    """For each turn the place of the one before it: its parent where the topic is a tree, else its neighbour."""
    places = {turn.filled("_id"): place for place, turn in enumerate(turns)}
    if len(places) < len(turns):
        turns[0].refuse(f"topic {topic} has two turns with one id")
    parents: list[int | None] = []
    for place, turn in enumerate(turns):
        if "parent" not in turn.values:
            parents.append(place - 1 if place else None)
            continue
        parent = turn.values["parent"]
        before = None if parent is None else places.get(f"{topic}_{parent}")
        if parent is not None and (before is None or before >= place):
            turn.refuse(f"turn {turn.values['_id']!r} follows {parent!r}, which is not before it in its topic")
        parents.append(before)
    return parents


def _conversation(turns: list[Row], parents: list[int | None], place: int, name: str) -> Conversation:
    path: list[Turn] = []
    at: int | None = place
    while at is not None:
        role, field = _speaker(turns[at])
        path.append(Turn(role, turns[at].filled(field)))
        at = parents[at]
    try:
        return Conversation(tuple(reversed(path)), name)
    except ConversationError as error:
        turns[place].refuse(error.cause, error.cure)


def _speaker(turn: Row) -> tuple[str, str]:
    """Role of a turn and the field of its text."""
    participant = turn.values.get("participant", "User")
    if participant not in SPEAKERS:
        turn.refuse(f"unknown participant {participant!r}", f"use {' or '.join(SPEAKERS)}")
    return SPEAKERS[participant]
