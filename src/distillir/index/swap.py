"""The end of a migration: the copy takes the folder's place, and goes on doing so whenever it was stopped.

    index          the folder
    index.moving   the copy, with a note of the engine it is in
    index.before   the folder as it was, once the copy took its place

The note goes along with the copy and stays until whoever began the migration has written down what it means to them
(`settle`): a folder with a note is one whose migration was stopped.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from distillir.errors import VectorsError
from distillir.index.options import EngineLine, RemoteOptions, dump_options
from distillir.index.protocol import index_errors
from distillir.index.registry import read_engine
from distillir.vectors.files import disk_errors, read_json, sync_folder, write_json

_NOTE = "moving.json"


class Swap(NamedTuple):
    """A copy that took the folder's place.

    Attributes:
        engine: it is in.
        documents: in it when it was compared.
        queries: it was compared by.
    """

    engine: EngineLine
    documents: int
    queries: int


def copy_of(folder: Path) -> Path:
    """Where a folder's copy grows."""
    return folder.with_name(f"{folder.name}.moving")


def kept_of(folder: Path) -> Path:
    """Where a folder is kept as it was."""
    return folder.with_name(f"{folder.name}.before")


def note(copy: Path, engine: EngineLine) -> None:
    """Write down which engine an unfinished copy is in."""
    with index_errors(), disk_errors(copy, "migrate again"):
        write_json(copy / _NOTE, {"engine": _line(engine)})


def noted(copy: Path) -> EngineLine | None:
    """Which engine an unfinished copy is in, None where there is none."""
    engine: EngineLine | None = _read(copy).get("engine")
    return engine


def swap(folder: Path, copied: Swap) -> None:
    """Let a whole, compared copy take the folder's place. Stopped on the way, `swapped` does what is left.

    Args:
        folder: of the index.
        copied: what the note is to say.

    Raises:
        SearchIndexError: the disk refuses.
    """
    copy = copy_of(folder)
    with index_errors(), disk_errors(folder, "migrate again"):
        for other in folder.iterdir():  # what others keep beside the index, such as the number of changes applied
            if other.is_file() and other.name not in ("index.json", _NOTE):
                shutil.copy2(other, copy / other.name)
        write_json(copy / _NOTE, {**copied._asdict(), "engine": _line(copied.engine)})
        folder.rename(kept_of(folder))
        copy.rename(folder)
        sync_folder(folder.parent)


def swapped(folder: Path) -> Swap | None:
    """The swap that was not settled, None where there is none. One that was stopped half-way is finished here.

    Args:
        folder: of the index.

    Raises:
        SearchIndexError: the disk refuses.
    """
    copy = copy_of(folder)
    with index_errors(), disk_errors(folder, "migrate again"):
        if not folder.exists() and kept_of(folder).exists() and "queries" in _read(copy):
            copy.rename(folder)
            sync_folder(folder.parent)
    found = _read(folder)
    return Swap(**found) if "queries" in found else None


def finish_swap(folder: Path, then: Callable[[EngineLine], object]) -> None:
    """Do what is left of a swap that was stopped; nothing where none was.

    Args:
        folder: of the index.
        then: writes down what the swap means to whoever began it, given the engine.

    Raises:
        SearchIndexError: the disk refuses.
    """
    stopped = swapped(folder)
    if stopped is not None:
        then(stopped.engine)
        settle(folder)


def settle(folder: Path) -> None:
    """Forget the swap: whoever began it has written down what it means to them."""
    with index_errors(), disk_errors(folder, "migrate again"):
        (folder / _NOTE).unlink(missing_ok=True)


def same_place(one: EngineLine, two: EngineLine) -> bool:
    """Whether two lines name the same documents, however these are asked.

    Raises:
        ConfigError: no such engine or option.
    """
    return _place(one) == _place(two)


def _place(engine: EngineLine) -> tuple[str, dict[str, object]]:
    name, options = read_engine(engine)
    asking = options.OF_REQUESTS if isinstance(options, RemoteOptions) else frozenset[str]()
    return name, {option: value for option, value in dump_options(options).items() if option not in asking}


def _line(engine: EngineLine) -> EngineLine:
    return engine if isinstance(engine, str) else dict(engine)


def _read(folder: Path) -> dict[str, Any]:
    with suppress(OSError, VectorsError):
        return read_json(folder / _NOTE)
    return {}
