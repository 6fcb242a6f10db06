"""Files that are either whole or absent: write beside, flush to the disk, rename, flush the folder."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from distillir.errors import VectorsError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def disk_errors(path: Path, intact: str) -> Iterator[None]:
    """Turn what the operating system refuses into a `VectorsError`; `intact` says what is safe on disk."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise VectorsError(f"no space left for {path} ({error.strerror})", f"free some space; {intact}") from error
        raise VectorsError(f"cannot use {path}: {error}", f"check the path and its permissions; {intact}") from error


def sync_folder(path: Path) -> None:
    """Make renames inside a folder survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, data: bytes) -> None:
    """Replace a file as a whole."""
    temporary = path.with_name(f".tmp-{path.name}")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a JSON file as a whole."""
    write_atomic(path, json.dumps(content, ensure_ascii=False, sort_keys=True, indent=1).encode())


def read_json(path: Path) -> dict[str, Any]:
    """An object from a JSON file.

    Raises:
        VectorsError: not JSON, or not an object.
    """
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise VectorsError(f"{path} is not readable JSON: {error}", "restore it, or build this folder again") from error
    if not isinstance(content, dict):
        raise VectorsError(f"{path} does not hold an object", "restore it, or build this folder again")
    return content


def publish_folder(temporary: Path, final: Path) -> None:
    """Rename a folder whose files are already flushed; from then on it exists, whole."""
    sync_folder(temporary)
    temporary.rename(final)
    sync_folder(final.parent)


def npy_header(dtype: DTypeLike, shape: tuple[int, ...]) -> bytes:
    """The bytes before the numbers of a .npy file."""
    buffer = io.BytesIO()
    description = np.lib.format.dtype_to_descr(np.dtype(dtype))
    np.lib.format.write_array_header_1_0(buffer, {"descr": description, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write a .npy file and flush it."""
    # ndarray.tofile reports a full disk without its errno, so the bytes go through Python's own write.
    data = np.ascontiguousarray(array)
    with path.open("wb") as file:
        file.write(npy_header(data.dtype, data.shape))
        file.write(data.reshape(-1).view(np.uint8).data)
        file.flush()
        os.fsync(file.fileno())


def map_array(path: Path, dtype: DTypeLike, length: int) -> NDArray[Any]:
    """A read-only memory map of a one-dimensional .npy file.

    Raises:
        VectorsError: the file is missing, truncated, longer than it should be, or of another type or length.
    """
    header = npy_header(dtype, (length,))
    expected = len(header) + length * np.dtype(dtype).itemsize
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(len(header))
    except OSError as error:
        raise VectorsError(f"cannot read {path}: {error.strerror}", "restore the file, or encode again") from error
    if size != expected:
        raise VectorsError(f"{path} has {size} bytes instead of {expected}", "restore the file, or encode again")
    if start != header:
        raise VectorsError(f"{path} does not hold {length} numbers of type {np.dtype(dtype)}", "encode again")
    if length == 0:
        return np.empty(0, dtype)
    return np.memmap(path, dtype=dtype, mode="r", offset=len(header), shape=(length,))


class FolderLock:
    """One process at a time; the system releases it when the process dies, however it dies.

    Raises:
        VectorsError: another process holds it and `wait` is False.
    """

    def __init__(self, path: Path, *, wait: bool = False) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(self._handle)
            raise VectorsError(
                f"{path.parent} is being written by another process", "wait for it to end, or choose another folder"
            ) from None

    @property
    def released(self) -> bool:
        """Whether the lock was let go."""
        return self._handle < 0

    def release(self) -> None:
        """Let the next one in; calling twice is harmless."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
