"""The quickstart's chats: people asking an assistant about the standard library, turn by turn.

Every line of `conversations/{train,dev,test}.jsonl` is one conversation, written for this package by hand:
`{"id", "split", "turns": [{"question", "answer", "rewrite", "relevant", "follow_up"}]}`. `rewrite` is a person's
self-contained wording, `relevant` names the entries of `corpus.standard_library` that answer it (best first), and
`follow_up` the kind of step from the turn before ("first", "opposite-direction", "pick-second", …). Conversations were
divided into splits before anything was trained; all turns of one are in the same split.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal, get_args

from distillir.errors import DataError

Split = Literal["train", "dev", "test"]


@dataclass(frozen=True)
class QuickstartTurn:
    """One question in its conversation.

    Attributes:
        id: conversation and 1-based turn, "qs-001#3".
        group: the conversation, "qs-001"; what cross-validation and confidence intervals resample.
        split: "train", "dev" or "test".
        messages: OpenAI-style history with the assistant's answers; the last message is the question.
        rewrite: the question as a person would ask it without the history.
        relevant: ids of `standard_library` entries, the best first; every one counts as grade 1.
        follow_up: kind of step from the turn before; "first" opens a conversation.
    """

    id: str
    group: str
    split: Split
    messages: tuple[dict[str, str], ...]
    rewrite: str
    relevant: tuple[str, ...]
    follow_up: str

    @property
    def question(self) -> str:
        """The open question, as typed."""
        return self.messages[-1]["content"]

    @property
    def depth(self) -> int:
        """1-based number of the turn."""
        return len(self.messages) // 2 + 1


def quickstart_turns(split: Split | None = None, *, folder: Traversable | None = None) -> list[QuickstartTurn]:
    """All turns of one split, or of every split: train, dev, test.

    Args:
        split: None for all.
        folder: where the three files are; by default those inside the package.

    Raises:
        DataError: a file is missing or a line is not a conversation, naming file and line.
    """
    place = files("distillir.quickstart") / "conversations" if folder is None else folder
    wanted = get_args(Split) if split is None else (split,)
    return [turn for name in wanted for turn in _read_split(place, name)]


def require_entries(turns: Iterable[QuickstartTurn], entries: Collection[str]) -> None:
    """Refuse turns whose relevant entries a collection does not hold.

    Args:
        turns: what would be trained or evaluated on.
        entries: ids of the collection.

    Raises:
        DataError: naming the turns and the missing ids; such a question could never be answered.
    """
    known = frozenset(entries)
    missing = [f"{turn.id}: {', '.join(lost)}" for turn in turns if (lost := set(turn.relevant) - known)]
    if missing:
        more = f" and {len(missing) - 5} more turns" if len(missing) > 5 else ""
        raise DataError(
            Path("quickstart/conversations"),
            f"relevant entries that the collection does not hold: {'; '.join(missing[:5])}{more}",
            cure="build the collection with distillir.quickstart.corpus under CPython 3.11, 3.12 or 3.13 on Unix",
        )


def _read_split(folder: Traversable, split: Split) -> Iterator[QuickstartTurn]:
    source = folder / f"{split}.jsonl"
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(str(source), f"cannot be read: {error}", cure="reinstall distillir") from error
    seen: set[str] = set()
    for number, line in enumerate(lines, start=1):
        try:
            turns = _conversation(json.loads(line), split)
        except (ValueError, KeyError, TypeError) as error:
            reason = f"no {error} field" if isinstance(error, KeyError) else str(error)
            raise DataError(str(source), reason, line=number) from error
        if turns[0].group in seen:
            raise DataError(str(source), f"a second conversation {turns[0].group!r}", line=number)
        seen.add(turns[0].group)
        yield from turns


def _conversation(record: Any, split: Split) -> list[QuickstartTurn]:
    group = _text(record, "id")
    if record["split"] != split:
        raise ValueError(f"split {record['split']!r} in the file of {split!r}")
    turns: list[QuickstartTurn] = []
    history: list[dict[str, str]] = []
    for number, turn in enumerate(record["turns"], start=1):
        history.append({"role": "user", "content": _text(turn, "question")})
        relevant = turn["relevant"]
        if not isinstance(relevant, list) or not relevant or not all(isinstance(entry, str) for entry in relevant):
            raise ValueError(f"turn {number}: 'relevant' is not a list of ids")
        turns.append(
            QuickstartTurn(
                id=f"{group}#{number}",
                group=group,
                split=split,
                messages=tuple(dict(message) for message in history),
                rewrite=_text(turn, "rewrite"),
                relevant=tuple(relevant),
                follow_up=_text(turn, "follow_up"),
            )
        )
        history.append({"role": "assistant", "content": _text(turn, "answer")})
    if not turns:
        raise ValueError("a conversation without turns")
    return turns


def _text(record: Any, field: str) -> str:
    value = record[field]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{field!r} is not a text")
    return value
