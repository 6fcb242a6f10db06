"""What a shard of dense vectors holds besides its ids; the folder itself is described in `layout`.

manifest.json              also says the similarity
shard-000000/vectors.npy   (rows · dim,) float16 or float32, row after row
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from distillir.vectors.layout import Arrays, CollectionManifest, shard_sha256

SIMILARITIES = ("cosine", "dot")
Similarity = Literal["cosine", "dot"]


@dataclass(frozen=True)
class DenseShard:
    """One committed shard."""

    name: str
    rows: int
    id_bytes: int
    sha256: str


@dataclass(frozen=True)
class DenseManifest(CollectionManifest[DenseShard]):
    """What a store of dense vectors says of itself."""

    format = "distillir.dense/1"
    other_format = "name a folder of dense vectors"
    dim_is = "the width of the vectors"
    settings = ("dim", "dtype", "similarity")
    shard_type = DenseShard

    dim: int
    dtype: str
    similarity: str
    meta: Mapping[str, Any]
    complete: bool = False
    shards: tuple[DenseShard, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_choice("similarity", SIMILARITIES)

    def row_types(self, shard: DenseShard) -> dict[str, tuple[str, int]]:
        """The numbers of all rows."""
        return {"vectors": (self.dtype, shard.rows * self.dim)}

    def record(self, name: str, rows: int, arrays: Arrays) -> DenseShard:
        """The record of a shard of these arrays."""
        return DenseShard(name, rows, len(arrays["ids"]), shard_sha256(arrays))

    def open_shard(self, folder: Path, shard: DenseShard) -> Arrays:
        """As `CollectionManifest.open_shard`, `vectors` as (rows, dim)."""
        arrays = super().open_shard(folder, shard)
        return {**arrays, "vectors": arrays["vectors"].reshape(shard.rows, self.dim)}
