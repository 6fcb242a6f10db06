"""The folder of a collection of vectors: a manifest that names its shards, and one folder of .npy files a shard.

    manifest.json            dim, dtype, meta, whether complete, and each shard's rows, id bytes and sha256
    shard-000000/ids.npy     (bytes,) uint8, UTF-8; id_offsets.npy (rows + 1,) int64; id_hashes.npy (rows,) uint64

What else a shard holds, and what else its manifest says, is the kind's own: see `sparse_layout` and `dense_layout`.
A shard counts from the moment the manifest names it; whatever else lies in the folder is the remains of a crash.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import Field, asdict
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from distillir.errors import VectorsError
from distillir.vectors.files import map_array, read_json, write_json

MANIFEST = "manifest.json"
LOCK = ".lock"
DTYPES = ("float16", "float32")
Arrays = dict[str, NDArray[Any]]  # by the name of their file


class ShardRecord(Protocol):
    """What every kind says of one committed shard."""

    @property
    def name(self) -> str: ...
    @property
    def rows(self) -> int: ...
    @property
    def id_bytes(self) -> int: ...
    @property
    def sha256(self) -> str: ...


S = TypeVar("S", bound=ShardRecord)


class CollectionManifest(ABC, Generic[S]):
    """What a collection says of itself. Each kind is a frozen dataclass of these fields and its own.

    Attributes:
        format: name and version of the format, the first thing a reader looks at.
        other_format: the cure where the folder is of another one.
        dim_is: what `dim` stands for.
        settings: fields that a continuing writer must agree on, besides meta.
        shard_type: the kind's `ShardRecord`.
    """

    format: ClassVar[str]
    other_format: ClassVar[str]
    dim_is: ClassVar[str]
    settings: ClassVar[tuple[str, ...]]
    shard_type: ClassVar[type[Any]]
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    dim: int
    dtype: str
    meta: Mapping[str, Any]
    complete: bool
    shards: tuple[S, ...]

    def __post_init__(self) -> None:
        if isinstance(self.dim, bool) or not isinstance(self.dim, int) or not 0 < self.dim < 2**31:
            raise VectorsError(f"dim is {self.dim!r}", f"give {self.dim_is}, a positive integer")
        self._check_choice("dtype", DTYPES)

    def _check_choice(self, name: str, known: tuple[str, ...]) -> None:
        if getattr(self, name) not in known:
            raise VectorsError(f"{name} is {getattr(self, name)!r}", f"choose one of {', '.join(known)}")

    @abstractmethod
    def row_types(self, shard: S) -> dict[str, tuple[str, int]]:
        """Name, type and length of each array that holds a shard's rows, ids apart."""

    @abstractmethod
    def record(self, name: str, rows: int, arrays: Arrays) -> S:
        """The record of a shard of these arrays."""

    @property
    def rows(self) -> int:
        """Rows of all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def fingerprint(self) -> str:
        """Changes with any change of the rows or of how they are cut into shards; costs nothing to know."""
        held = [*(getattr(self, name) for name in self.settings), [shard.sha256 for shard in self.shards]]
        return hashlib.sha256(json.dumps(held).encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write the manifest as a whole."""
        write_json(folder / MANIFEST, {"format": self.format, **asdict(self)})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The manifest of a folder.

        Raises:
            VectorsError: there is none, or it is damaged or of another format.
        """
        path = folder / MANIFEST
        if not path.is_file():
            raise VectorsError(
                f"{folder} holds no vectors: {MANIFEST} is missing", "check the path, or encode the collection"
            )
        content = read_json(path)
        found = content.pop("format", None)
        if found != cls.format:
            raise VectorsError(f"{path} has format {found!r}, not {cls.format!r}", cls.other_format)
        build: Callable[..., Self] = cls
        try:
            shards = tuple(cls.shard_type(**shard) for shard in content.pop("shards"))
            return build(shards=shards, **content)
        except (TypeError, KeyError) as error:
            raise VectorsError(f"{path} lacks or adds a field: {error}", "restore it, or encode again") from error

    def open_shard(self, folder: Path, shard: S) -> Arrays:
        """The arrays of a shard, memory-mapped; sizes and types are checked, contents are not read."""
        types = {
            **self.row_types(shard),
            "ids": ("uint8", shard.id_bytes),
            "id_offsets": ("int64", shard.rows + 1),
            "id_hashes": ("uint64", shard.rows),
        }
        return {name: map_array(folder / shard.name / f"{name}.npy", *types[name]) for name in types}


M = TypeVar("M", bound=CollectionManifest[Any])


def shard_sha256(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Hash of everything a shard holds."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        data = np.ascontiguousarray(arrays[name]).reshape(-1)
        total.update(f"{name} {data.dtype.str} {len(data)};".encode())
        total.update(data.view(np.uint8).data)
    return total.hexdigest()
