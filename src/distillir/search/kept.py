"""A folder of encoded documents, in generations: whatever changes makes a new one, and readers keep theirs.

    documents.json        which generation is current, the stamp of its source, the report of its reading
    reading.arrow         passages that were read and belong to no generation yet
    <name>/               a generation, named by a hash of its passages, encoder and engine
        corpus.arrow      the passages
        vectors/          their vectors, in the same order; grows while they are encoded
        index/            what is searched
        ready.json        written last: from then on nothing in the generation changes
        .use              locked, shared, by every process that searches it

A generation that is not current and that nobody searches is removed, after its vectors have been reused.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from distillir.errors import SearchIndexError, VectorsError
from distillir.vectors.files import FolderLock, disk_errors, read_json, write_json

FORMAT = "distillir.documents/1"
STATE = "documents.json"
READY = "ready.json"
_LOCK = ".lock"
_NAME = re.compile("[0-9a-f]{16}")
_INTACT = "documents that were encoded are kept; run again to go on"


class KeptFolder:
    """The folder; made where it is not there.

    Raises:
        SearchIndexError: it holds something else. VectorsError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with disk_errors(path, _INTACT):
            if path.exists() and not self._ours():
                raise SearchIndexError(
                    f"{path} holds something else than encoded documents", "name a new or an empty folder"
                )
            path.mkdir(parents=True, exist_ok=True)

    def _ours(self) -> bool:
        if not self.path.is_dir():
            return False
        if (self.path / STATE).exists():
            return bool(self.state().get("format") == FORMAT)
        return all(item.name in (_LOCK, f".tmp-{STATE}") for item in self.path.iterdir())

    @contextmanager
    def locked(self, say: Callable[[str], None]) -> Iterator[None]:
        """One process at a time builds here; the others wait for it."""
        with disk_errors(self.path, _INTACT):
            try:
                lock = FolderLock(self.path / _LOCK)
            except VectorsError:
                say(f"waiting for another process that is at work in {self.path}")
                lock = FolderLock(self.path / _LOCK, wait=True)
        try:
            with disk_errors(self.path, _INTACT):
                if not (self.path / STATE).exists():
                    self.save({})
            yield
        finally:
            lock.release()

    def state(self) -> Mapping[str, Any]:
        """What `save` wrote last."""
        return read_json(self.path / STATE)

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the state as a whole."""
        write_json(self.path / STATE, {"format": FORMAT, **state})

    def generation(self, name: str, corpus: Path) -> Path:
        """The folder of a generation, with its passages: those just read move in, another generation's are copied."""
        place = self.path / name
        with disk_errors(self.path, _INTACT):
            place.mkdir(exist_ok=True)
            if corpus == place / "corpus.arrow":
                return place
            if corpus.parent != self.path:
                corpus = Path(shutil.copyfile(corpus, place / ".tmp-corpus"))
            corpus.replace(place / "corpus.arrow")
        return place

    def generations(self) -> list[Path]:
        """All of them, the newest first."""
        found = [item for item in self.path.iterdir() if _NAME.fullmatch(item.name)]
        return sorted(found, key=lambda item: (item.stat().st_mtime_ns, item.name), reverse=True)

    def sweep(self, current: str) -> None:
        """Remove the generations that are neither current nor in use."""
        for item in self.path.iterdir():
            if _NAME.fullmatch(item.name) and item.name != current:
                with suppress(BlockingIOError), Use(item, alone=True):
                    shutil.rmtree(item, ignore_errors=True)


class Use:
    """A generation in use, by many, or by one that wants it alone.

    Raises:
        BlockingIOError: wanted alone and not to be had.
    """

    def __init__(self, generation: Path, *, alone: bool = False) -> None:
        self._handle = os.open(generation / ".use", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
        except BlockingIOError:
            self.release()
            raise

    def release(self) -> None:
        """Let it go."""
        os.close(self._handle)

    def __enter__(self) -> Use:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
