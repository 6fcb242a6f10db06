"""The folder of a vector store: a manifest that names its shards, and one folder of .npy files a shard.

    manifest.json             dim, dtype, meta, whether complete, and each shard's rows, nnz, id bytes and sha256
    shard-000000/indptr.npy   (rows + 1,) int64
                 indices.npy  (nnz,) uint16 where dim <= 65,536, else int32
                 values.npy   (nnz,) float16 or float32
                 ids.npy      (bytes,) uint8, UTF-8; id_offsets.npy (rows + 1,) int64; id_hashes.npy (rows,) uint64

A shard counts from the moment the manifest names it; whatever else lies in the folder is the remains of a crash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillir.errors import VectorsError
from distillir.vectors.files import map_array, read_json, write_json

MANIFEST = "manifest.json"
LOCK = ".lock"
FORMAT = "distillir.vectors/1"
DTYPES = ("float16", "float32")


@dataclass(frozen=True)
class Shard:
    """One committed shard."""

    name: str
    rows: int
    nnz: int
    id_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a store says of itself."""

    dim: int
    dtype: str
    meta: Mapping[str, Any]
    complete: bool = False
    shards: tuple[Shard, ...] = field(default=())

    def __post_init__(self) -> None:
        if isinstance(self.dim, bool) or not isinstance(self.dim, int) or not 0 < self.dim < 2**31:
            raise VectorsError(f"dim is {self.dim!r}", "give the vocabulary size, a positive integer")
        if self.dtype not in DTYPES:
            raise VectorsError(f"dtype is {self.dtype!r}", f"choose one of {', '.join(DTYPES)}")

    @property
    def rows(self) -> int:
        """Rows of all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def nnz(self) -> int:
        """Stored entries of all shards."""
        return sum(shard.nnz for shard in self.shards)

    @property
    def index_dtype(self) -> str:
        """Type of the stored dimensions."""
        return "uint16" if self.dim <= 2**16 else "int32"

    @property
    def fingerprint(self) -> str:
        """Changes with any change of the rows or of how they are cut into shards; costs nothing to know."""
        return hashlib.sha256(json.dumps([self.dim, self.dtype, [s.sha256 for s in self.shards]]).encode()).hexdigest()

    def shard_types(self, shard: Shard) -> dict[str, tuple[str, int]]:
        """Name, type and length of each array of a shard."""
        return {
            "indptr": ("int64", shard.rows + 1),
            "indices": (self.index_dtype, shard.nnz),
            "values": (self.dtype, shard.nnz),
            "ids": ("uint8", shard.id_bytes),
            "id_offsets": ("int64", shard.rows + 1),
            "id_hashes": ("uint64", shard.rows),
        }

    def save(self, folder: Path) -> None:
        """Write the manifest as a whole."""
        write_json(folder / MANIFEST, {"format": FORMAT, **asdict(self)})


def load_manifest(folder: Path) -> Manifest:
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
    if found != FORMAT:
        raise VectorsError(f"{path} has format {found!r}, not {FORMAT!r}", "encode again with this version")
    try:
        shards = tuple(Shard(**shard) for shard in content.pop("shards"))
        return Manifest(shards=shards, **content)
    except (TypeError, KeyError) as error:
        raise VectorsError(f"{path} lacks or adds a field: {error}", "restore it, or encode again") from error


def open_shard(folder: Path, manifest: Manifest, shard: Shard) -> dict[str, NDArray[Any]]:
    """The arrays of a shard, memory-mapped; sizes and types are checked, contents are not read."""
    types = manifest.shard_types(shard)
    return {name: map_array(folder / shard.name / f"{name}.npy", *types[name]) for name in types}


def shard_sha256(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Hash of everything a shard holds."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        data = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {data.dtype.str} {len(data)};".encode())
        total.update(data.view(np.uint8).data)
    return total.hexdigest()
