"""Folders that are either whole or absent: written beside, flushed to the disk, renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from distillir.errors import DistillirError
from distillir.vectors.files import sync_folder


@contextmanager
def whole_folder(final: Path, error: type[DistillirError], intact: str) -> Iterator[Path]:
    """Yields a folder to fill; when the block ends well it stands at `final`, else it is removed.

    A folder that stood at `final` is replaced. A kill between the two renames leaves it beside, as `NAME.old`.

    Args:
        final: where the folder is to stand.
        error: class to raise when the system refuses, as on a full disk.
        intact: what is safe then, for the message.
    """
    fresh, old = (final.with_name(final.name + end) for end in (".partial", ".old"))
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        yield fresh
        for path in fresh.rglob("*"):
            _flush(path)
        sync_folder(fresh)
        shutil.rmtree(old, ignore_errors=True)
        if final.exists():
            final.rename(old)
        fresh.rename(final)
        sync_folder(final.parent)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException as problem:
        shutil.rmtree(fresh, ignore_errors=True)
        if isinstance(problem, OSError | SafetensorError):
            raise error(f"cannot write {final}: {problem}", f"check space and permissions; {intact}") from problem
        raise


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
