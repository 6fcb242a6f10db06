"""The files of a stored pool: written once, complete or not at all, and checked when opened."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from distillir.errors import DataError, SamplingError
from distillir.sampling.ranking import Ranking

FORMAT = "distillir.ranked_pool/1"
_DTYPES = {"offsets": ("int64",), "positions": ("int32", "int64"), "scores": ("float32",), "found_by": ("uint8",)}


class PoolWriter:
    """Streams rankings into `<folder>.partial`, which becomes `folder` when the `with` block ends well.

    A killed writer leaves the partial folder behind; the next writer of the same pool replaces it.
    """

    def __init__(self, folder: Path, retrievers: tuple[str, ...]) -> None:
        self._folder = folder
        self._partial = folder.with_name(folder.name + ".partial")
        self._retrievers = retrievers
        self._contexts: dict[str, None] = {}
        self._offsets = [0]
        self._files: dict[str, BinaryIO] = {}

    def __enter__(self) -> Self:
        if self._folder.exists():
            raise DataError(self._folder, "already exists", cure="remove it, or choose another folder")
        try:
            shutil.rmtree(self._partial, ignore_errors=True)
            self._partial.mkdir(parents=True)
        except OSError as error:
            raise self._failed(error) from error
        return self

    def add(self, context_id: str, ranking: Ranking) -> None:
        """Append one context.

        Raises:
            SamplingError: when it was added before.
            DataError: when the disk refuses.
        """
        if context_id in self._contexts:
            raise SamplingError(f"two rankings of context {context_id!r}", "give each context once")
        try:
            for name in ("positions", "scores", "found_by"):
                values = getattr(ranking, name)
                if values is not None:
                    self._raw(name).write(values.tobytes())
        except OSError as error:
            raise self._failed(error) from error
        self._contexts[context_id] = None
        self._offsets.append(self._offsets[-1] + len(ranking))

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        except OSError as error:
            raise self._failed(error) from error
        finally:
            for file in self._files.values():
                with suppress(OSError):  # closing flushes, and a full disk refuses again: the first refusal counts
                    file.close()
            shutil.rmtree(self._partial, ignore_errors=True)

    def _raw(self, name: str) -> BinaryIO:
        if name not in self._files:
            self._files[name] = (self._partial / f"{name}.raw").open("w+b")
        return self._files[name]

    def _finish(self) -> None:
        # An .npy header tells the length, which is known only now: the raw streams are copied behind headers, and
        # positions narrowed on the way. Nothing is written through a mapping, where a full disk kills the process.
        rows = self._offsets[-1]
        self._raw("positions")
        self._raw("scores")
        for name, file in self._files.items():
            file.flush()
            raw = np.memmap(file, np.dtype(_DTYPES[name][-1]), "r", shape=(rows,)) if rows else np.empty(0, np.int64)
            dtype = _DTYPES[name][-1]
            if name == "positions" and (not rows or int(raw.max()) < 2**31):
                dtype = "int32"
            _write_array(self._partial / f"{name}.npy", raw, dtype)
            file.close()
            (self._partial / f"{name}.raw").unlink()
        _write_array(self._partial / "offsets.npy", np.array(self._offsets), "int64")
        _write_json(self._partial / "contexts.json", list(self._contexts))
        about = {
            "format": FORMAT,
            "retrievers": list(self._retrievers),
            "contexts": len(self._contexts),
            "documents": rows,
            "merged": "found_by" in self._files,
        }
        _write_json(self._partial / "pool.json", about)
        self._partial.rename(self._folder)

    def _failed(self, error: OSError) -> DataError:
        reason = error.strerror or str(error)
        return DataError(self._folder, f"cannot be written: {reason}", cure="make room, or choose another folder")


def read_pool(folder: Path) -> tuple[list[str], dict[str, NDArray[Any]], tuple[str, ...]]:
    """Context ids, memory-mapped arrays and retriever names of a stored pool.

    Raises:
        DataError: naming the file that is missing, truncated, or does not fit the others.
    """
    about = _read_json(folder / "pool.json", dict)
    if about.get("format") != FORMAT:
        raise DataError(
            folder / "pool.json", f"format {about.get('format')!r}, expected {FORMAT!r}", cure="build again"
        )
    contexts = _read_json(folder / "contexts.json", list)
    if len(contexts) != about.get("contexts") or len(set(map(str, contexts))) != len(contexts):
        raise DataError(folder / "contexts.json", "does not list each context once", cure="build the pool again")
    rows = about.get("documents")
    names = ["offsets", "positions", "scores", *(["found_by"] if about.get("merged") else [])]
    arrays = {name: _read_array(folder, name, len(contexts) + 1 if name == "offsets" else rows) for name in names}
    offsets = arrays["offsets"] = np.array(arrays["offsets"])
    if offsets[0] != 0 or offsets[-1] != rows or (np.diff(offsets) < 0).any():
        raise DataError(folder / "offsets.npy", "do not divide the documents among contexts", cure="build again")
    return [str(context) for context in contexts], arrays, tuple(map(str, about.get("retrievers", ())))


def _write_array(path: Path, values: NDArray[Any], dtype: str, block: int = 1 << 20) -> None:
    with path.open("wb") as file:
        stored = np.dtype(dtype).newbyteorder("<")
        np.lib.format.write_array_header_1_0(file, {"descr": stored.str, "fortran_order": False, "shape": values.shape})
        for start in range(0, len(values), block):
            file.write(values[start : start + block].astype(stored).tobytes())
        _sync(file)


def _write_json(path: Path, value: object) -> None:
    with path.open("wb") as file:
        file.write(json.dumps(value, ensure_ascii=True).encode())
        _sync(file)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _read_json(path: Path, kind: type) -> Any:
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(path, error.strerror or str(error), cure="name the folder of a stored pool") from error
    except ValueError as error:
        raise DataError(path, f"is not JSON: {error}", cure="build the pool again") from error
    if not isinstance(value, kind):
        raise DataError(path, f"holds no {kind.__name__}", cure="build the pool again")
    return value


def _read_array(folder: Path, name: str, rows: object) -> NDArray[Any]:
    path = folder / f"{name}.npy"
    try:
        # An array without rows cannot be mapped.
        values: NDArray[Any] = np.load(path, mmap_mode="r" if rows else None, allow_pickle=False)
    except OSError as error:
        raise DataError(path, error.strerror or str(error), cure="build the pool again") from error
    except (ValueError, EOFError) as error:
        raise DataError(path, f"is truncated or no array: {error}", cure="build the pool again") from error
    if values.dtype.name not in _DTYPES[name] or values.shape != (rows,):
        raise DataError(path, f"holds {values.dtype} {values.shape}, expected {rows} rows", cure="build the pool again")
    return values
