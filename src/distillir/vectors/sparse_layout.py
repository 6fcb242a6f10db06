"""What a shard of sparse vectors holds besides its ids; the folder itself is described in `layout`.

shard-000000/indptr.npy   (rows + 1,) int64
             indices.npy  (nnz,) uint16 where dim <= 65,536, else int32
             values.npy   (nnz,) float16 or float32
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distillir.vectors.layout import Arrays, CollectionManifest, shard_sha256


@dataclass(frozen=True)
class Shard:
    """One committed shard."""

    name: str
    rows: int
    nnz: int
    id_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest(CollectionManifest[Shard]):
    """What a store of sparse vectors says of itself."""

    format = "distillir.vectors/1"
    other_format = "encode again with this version"
    dim_is = "the vocabulary size"
    settings = ("dim", "dtype")
    shard_type = Shard

    dim: int
    dtype: str
    meta: Mapping[str, Any]
    complete: bool = False
    shards: tuple[Shard, ...] = ()

    @property
    def nnz(self) -> int:
        """Stored entries of all shards."""
        return sum(shard.nnz for shard in self.shards)

    @property
    def index_dtype(self) -> str:
        """Type of the stored dimensions."""
        return "uint16" if self.dim <= 2**16 else "int32"

    def row_types(self, shard: Shard) -> dict[str, tuple[str, int]]:
        """Row pointers, dimensions and values."""
        return {
            "indptr": ("int64", shard.rows + 1),
            "indices": (self.index_dtype, shard.nnz),
            "values": (self.dtype, shard.nnz),
        }

    def record(self, name: str, rows: int, arrays: Arrays) -> Shard:
        """The record of a shard of these arrays."""
        return Shard(name, rows, len(arrays["indices"]), len(arrays["ids"]), shard_sha256(arrays))
