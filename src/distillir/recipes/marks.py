"""Marks: what each stage of a run folder was made from, so that it is reused while that holds and no longer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillir.data import Context
from distillir.data.files import replacing
from distillir.index import EngineLine, read_engine
from distillir.index.options import RemoteOptions

MARKS = "made_from"  # folder of the marks, apart from whatever else lies in a run folder


def mark_of(out: Path, stage: str) -> Path:
    """Where a finished stage says what it was made from."""
    return out / MARKS / f"{stage}.json"


def says(mark: Path, told: str) -> bool:
    """Whether a mark says exactly this."""
    return mark.is_file() and mark.read_text(encoding="utf-8") == told


def read_mark(mark: Path) -> Mapping[str, Any]:
    """What a mark holds; nothing where there is none."""
    return json.loads(mark.read_text(encoding="utf-8")) if mark.is_file() else {}


def write_text(path: Path, content: str) -> None:
    """Replace a file as a whole."""
    with replacing(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def told_by(**facts: object) -> str:
    """Hash of the facts that a result was made from."""
    return hashlib.sha256(json.dumps(facts, default=str, sort_keys=True).encode()).hexdigest()


def engine_told(engine: EngineLine) -> str:
    """An engine line as the mark of an index has it: without what says only how the index is asked."""
    if isinstance(engine, str):
        return engine
    options = read_engine(engine)[1]
    asking = options.OF_REQUESTS if isinstance(options, RemoteOptions) else frozenset[str]()
    return json.dumps({name: value for name, value in engine.items() if name not in asking}, sort_keys=True)


def engine_moved(mark: Path, engine: EngineLine) -> None:
    """Let the mark of an index name another engine; what it was made from stays.

    Args:
        mark: of the index.
        engine: that has it now.
    """
    made_from = mark.read_text(encoding="utf-8").rsplit(" ", 2)[1:]
    write_text(mark, " ".join([engine_told(engine), *made_from]))


def file_digest(path: Path) -> str:
    """Hash of a file's bytes, 12 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def context_facts(context: Context) -> list[object]:
    """What of a context a training or a selection depends on."""
    return [context.id, context.conversation.messages(), dict(context.relevant)]


def labelled_digest(
    contexts: Iterable[Context], golds: Iterable[NDArray[np.int64]], teacher: Iterable[NDArray[Any]]
) -> str:
    """Hash of all that a training reads of labelled contexts.

    Args:
        contexts: their ids and conversations count.
        golds: positions of each one's relevant documents.
        teacher: arrays of the teacher's vectors, in an order that stays.
    """
    digest = hashlib.blake2b(digest_size=16)
    for context, rows in zip(contexts, golds, strict=True):
        digest.update(json.dumps([context.id, context.conversation.messages(), rows.tolist()]).encode())
    for array in teacher:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
