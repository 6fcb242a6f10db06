"""BYU Chit-Chat: talks of two volunteers about anything, for response retrieval (PyPI chitchat-dataset, MIT).

Folder:

    conversations.jsonl[.gz]  {_id, prompt, turns: [{speaker: A or B, text}], split}

Every turn but the first answers a context. The talk is not moderated: a word list is advisable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distillir.conversation import Conversation, Turn
from distillir.data.conversations import Context
from distillir.data.files import plain_or_packed
from distillir.data.mtrag import SPLITS
from distillir.data.responses import Response, ResponseSet
from distillir.data.rows import Counts, read_json_rows
from distillir.errors import ConfigError, DataError

SPEAKERS = ("A", "B")
WINDOW = 16  # turns: more than any student's budget has room for


@dataclass(frozen=True)
class Chitchat:
    """The data set; make it with `load_chitchat`.

    Attributes:
        folder: where it lies.
        counts: talks read and dropped.
        responses: everything that was answered, of all splits.
    """

    folder: Path
    counts: Counts
    responses: ResponseSet
    _contexts: dict[str, tuple[Context, ...]]

    def contexts(self, split: str | None = None) -> list[Context]:
        """Contexts of a split (train, dev, test); None = all. Those of one talk share their group."""
        if split is not None and split not in SPLITS:
            raise DataError(self.folder, f"no split {split!r}", cure=f"use one of {', '.join(SPLITS)}")
        return [context for name in SPLITS if split in (None, name) for context in self._contexts[name]]


def load_chitchat(folder: str | Path, *, window: int = WINDOW) -> Chitchat:
    """Read the talks.

    Args:
        folder: see above.
        window: turns of a context at most, the latest.

    Raises:
        DataError: a missing or malformed file, an unknown speaker or split.
        ConfigError: a window without a turn.
    """
    if window < 1:
        raise ConfigError(f"window is {window}", "give at least 1 turn")
    folder, counts = Path(folder), Counts()
    golds: list[Response] = []
    contexts: dict[str, list[Context]] = {name: [] for name in SPLITS}
    for row in read_json_rows(plain_or_packed(folder, "conversations.jsonl")):
        counts.read += 1
        name, split = row.filled("_id"), row.text("split")
        if split not in contexts:
            row.refuse(f"the split is {split!r}", f"use one of {', '.join(SPLITS)}")
        turns = [(turn.text("speaker"), turn.text("text")) for turn in row.rows("turns")]
        if unknown := [speaker for speaker, _ in turns if speaker not in SPEAKERS]:
            row.refuse(f"unknown speaker {unknown[0]!r}", f"use {' or '.join(SPEAKERS)}")
        answered = [i for i in range(1, len(turns)) if turns[i][0] != turns[i - 1][0]]
        answered = [i for i in answered if turns[i][1].strip() and turns[i - 1][1].strip()]
        if not answered:
            counts.dropped["no turn answers another"] += 1
        for i in answered:
            golds.append(Response.of(turns[i][1]))
            contexts[split].append(answered_at(turns, i, name, "chitchat", window=window))
    return Chitchat(folder, counts, ResponseSet(golds), {name: tuple(found) for name, found in contexts.items()})


def answered_at(
    turns: Sequence[tuple[object, str]], i: int, name: str, source: str, *, window: int = WINDOW
) -> Context:
    """The context that turn `i` of a talk answers, with that response as relevant; group = the talk.

    Args:
        turns: (speaker, text); whoever spoke before turn `i` is the user.
        i: at least 1.
        name: of the talk.
        source: name of the data set.
        window: turns of a context at most, the latest.
    """
    asker = turns[i - 1][0]
    seen = [Turn("user" if who == asker else "assistant", text) for who, text in turns[max(0, i - window) : i]]
    relevant = {Response.of(turns[i][1]).id: 1}
    id = f"{name}#{i}"
    return Context(id, Conversation(tuple(seen), id), name, relevant=relevant, source=source)
