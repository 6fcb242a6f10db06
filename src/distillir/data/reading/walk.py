"""The files of a folder in a fixed order, each with its kind or the reason why it is left out."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from distillir.errors import DataError

Kind = Literal["markdown", "text", "html", "pdf", "rows"]

SUFFIXES: dict[str, Kind] = {
    **dict.fromkeys((".md", ".markdown", ".mdown", ".mkd", ".mdx"), "markdown"),
    **dict.fromkeys((".txt", ".text", ".rst", ".rest", ".adoc", ".org"), "text"),
    **dict.fromkeys((".html", ".htm", ".xhtml"), "html"),
    ".pdf": "pdf",
    **dict.fromkeys((".jsonl", ".jsonl.gz", ".parquet"), "rows"),
}
_CUSTOM = "README LICENSE LICENCE COPYING NOTICE CHANGELOG CHANGES HISTORY NEWS AUTHORS INSTALL FAQ TODO"
NAMES = frozenset(_CUSTOM.split())  # text by custom, without a suffix
# Bytes of a file that is parsed in memory. PDF is read a page at a time, rows one at a time.
LARGEST: dict[Kind, int] = {"markdown": 10 << 20, "text": 10 << 20, "html": 10 << 20, "pdf": 500 << 20}
_LONGEST_SUFFIX = 10


@dataclass(frozen=True)
class Found:
    """An entry of a folder.

    Attributes:
        path: where it is.
        name: its path inside the folder, with forward slashes.
        kind: how to read it; None where it is not read.
        reason: why it is not read.
        detail: what is particular to this one.
    """

    path: Path
    name: str
    kind: Kind | None = None
    reason: str = ""
    detail: str = ""


def kind_of(path: Path) -> Kind | None:
    """The kind that a file's name says, None for one that is not read."""
    name = path.name.lower()
    by_suffix = next((kind for suffix, kind in SUFFIXES.items() if name.endswith(suffix)), None)
    return "text" if by_suffix is None and path.name in NAMES else by_suffix


def walk(folder: Path, leave_out: Path | None = None) -> Iterator[Found]:
    """Entries of a folder and of those in it, by name; a folder appears only where it is not entered.

    Args:
        folder: where to start. It may be a link; links to folders inside it are not followed, so there are no loops.
        leave_out: a folder that is passed over in silence, such as the index kept inside the documents' own folder.

    Raises:
        DataError: the folder is missing, a file, or cannot be listed.
    """
    if not folder.is_dir():
        what = "a file, not a folder" if folder.exists() else "no such folder"
        raise DataError(folder, what, cure="check the path")
    skipped = None if leave_out is None else leave_out.resolve()
    try:
        pending = _listed(folder)
    except OSError as error:
        raise DataError(folder, f"cannot be listed: {error.strerror}", cure="check its rights") from None
    while pending:
        path = pending.pop()
        found = _look(path, path.relative_to(folder))
        if found is not None:
            yield found
        elif skipped is None or path.resolve() != skipped:
            try:
                pending += _listed(path)
            except OSError as error:
                yield Found(path, path.relative_to(folder).as_posix(), None, "cannot be listed", str(error.strerror))


def folder_digest(folder: Path, leave_out: Path | None = None) -> str:
    """Changes whenever the bytes or the name of a file that is read change, or a file comes or goes."""
    digest = hashlib.blake2b(digest_size=16)
    for found in walk(folder, leave_out):
        content = file_digest(found.path) if found.kind else found.reason
        digest.update(f"{found.name}\0{found.kind}\0{content}\0".encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """Of a file's bytes; of the complaint where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        return str(error.strerror)


def _listed(folder: Path) -> list[Path]:
    """Last name first, as a stack wants it."""
    return sorted(folder.iterdir(), key=lambda path: path.name, reverse=True)


def _look(path: Path, inside: Path) -> Found | None:
    """What an entry is; None for a folder to enter."""
    name = os.fsencode(inside).decode("utf-8", "backslashreplace")
    if name != str(inside):
        return Found(path, name, None, "its name is not UTF-8")
    if path.name.startswith("."):
        return Found(path, name, None, "hidden")
    try:
        status = path.stat()
    except OSError as error:
        reason = "a link that leads nowhere" if path.is_symlink() else "cannot be read"
        return Found(path, name, None, reason, str(error.strerror))
    if stat.S_ISDIR(status.st_mode):
        return Found(path, name, None, "a link to a folder") if path.is_symlink() else None
    kind = kind_of(path)
    if kind is None:
        suffix = path.suffix.lower() if 1 < len(path.suffix) <= _LONGEST_SUFFIX else "without suffix"
        return Found(path, name, None, f"unknown kind {suffix}")
    if not stat.S_ISREG(status.st_mode):
        return Found(path, name, None, "not a regular file")
    if status.st_size > LARGEST.get(kind, status.st_size):
        return Found(path, name, None, f"larger than {LARGEST[kind] >> 20} MiB", f"{status.st_size >> 20} MiB")
    return Found(path, name, kind)
