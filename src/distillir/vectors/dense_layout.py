"""The folder of a dense vector store: a manifest that names its shards, and one folder of .npy files a shard.

    manifest.json              dim, dtype, similarity, meta, whether complete, and each shard's rows and sha256
    shard-000000/vectors.npy   (rows · dim,) float16 or float32, row after row
                 ids.npy       (bytes,) uint8, UTF-8; id_offsets.npy (rows + 1,) int64; id_hashes.npy (rows,) uint64

A shard counts from the moment the manifest names it; whatever else lies in the folder is the remains of a crash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from distillir.errors import VectorsError
from distillir.vectors.files import map_array, read_json, write_json
from distillir.vectors.layout import DTYPES, MANIFEST

FORMAT = "distillir.dense/1"
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
class DenseManifest:
    """What a store says of itself."""

    dim: int
    dtype: str
    similarity: str
    meta: Mapping[str, Any]
    complete: bool = False
    shards: tuple[DenseShard, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.dim, bool) or not isinstance(self.dim, int) or not 0 < self.dim < 2**31:
            raise VectorsError(f"dim is {self.dim!r}", "give the width of the vectors, a positive integer")
        for name, known in (("dtype", DTYPES), ("similarity", SIMILARITIES)):
            if getattr(self, name) not in known:
                raise VectorsError(f"{name} is {getattr(self, name)!r}", f"choose one of {', '.join(known)}")

    @property
    def rows(self) -> int:
        """Rows of all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def fingerprint(self) -> str:
        """Changes with any change of the rows or of how they are cut into shards; costs nothing to know."""
        held = [self.dim, self.dtype, self.similarity, [shard.sha256 for shard in self.shards]]
        return hashlib.sha256(json.dumps(held).encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write the manifest as a whole."""
        write_json(folder / MANIFEST, {"format": FORMAT, **asdict(self)})


def load_dense_manifest(folder: Path) -> DenseManifest:
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
        raise VectorsError(f"{path} has format {found!r}, not {FORMAT!r}", "name a folder of dense vectors")
    try:
        shards = tuple(DenseShard(**shard) for shard in content.pop("shards"))
        return DenseManifest(shards=shards, **content)
    except (TypeError, KeyError) as error:
        raise VectorsError(f"{path} lacks or adds a field: {error}", "restore it, or encode again") from error


def open_dense_shard(folder: Path, manifest: DenseManifest, shard: DenseShard) -> dict[str, NDArray[Any]]:
    """The arrays of a shard, memory-mapped, `vectors` as (rows, dim); only sizes and types are checked."""
    types = {
        "vectors": (manifest.dtype, shard.rows * manifest.dim),
        "ids": ("uint8", shard.id_bytes),
        "id_offsets": ("int64", shard.rows + 1),
        "id_hashes": ("uint64", shard.rows),
    }
    arrays = {name: map_array(folder / shard.name / f"{name}.npy", *types[name]) for name in types}
    return {**arrays, "vectors": arrays["vectors"].reshape(shard.rows, manifest.dim)}
