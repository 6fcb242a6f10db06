"""Which engine an index folder belongs to, and which encoder its documents come from.

index.json    engine, dim, encoder
data/         the engine's own files
"""

from __future__ import annotations

import shutil
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from distillir.errors import ConfigError, MissingDependencyError, SearchIndexError
from distillir.index.protocol import Index, index_errors
from distillir.vectors.files import disk_errors, publish_folder, read_json, write_json

FORMAT = "distillir.index/1"
DEFAULT_ENGINE = "qdrant_edge"

# name: module, class, the import it needs, the distribution that brings it, and the extra that asks for it
ENGINES = {
    "exact": ("distillir.index.exact", "ExactIndex", "scipy", "scipy", "index"),
    "qdrant_edge": ("distillir.index.qdrant_edge", "QdrantEdgeIndex", "qdrant_edge", "qdrant-edge-py", "index"),
}


class _Engine(Protocol):
    def create(self, folder: Path) -> None: ...
    def __call__(self, folder: Path, dim: int, encoder: str = "") -> Index: ...


def create_index(path: str | Path, engine: str = DEFAULT_ENGINE, *, dim: int, encoder: str = "") -> Index:
    """Make an index without documents and open it.

    Args:
        path: a folder that does not exist, or an empty one.
        engine: a key of `ENGINES`.
        dim: vocabulary size of the encoder.
        encoder: hash or name of the document encoder; `open_index` can insist on it.

    Raises:
        SearchIndexError: the folder is in use, or cannot be written.
        ConfigError: no such engine. MissingDependencyError: its package is not installed.
    """
    folder = Path(path).absolute()
    made = _engine(engine)
    if isinstance(dim, bool) or not isinstance(dim, int) or not 0 < dim < 2**31:
        raise SearchIndexError(f"dim is {dim!r}", "give the vocabulary size, a positive integer")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SearchIndexError(f"{folder} is not an empty folder", "open_index it, or choose another folder")
    temporary = folder.with_name(f".tmp-{folder.name}")
    with index_errors(), disk_errors(folder, "nothing was written"):
        if temporary.exists():
            shutil.rmtree(temporary)
        (temporary / "data").mkdir(parents=True)
        made.create(temporary / "data")
        write_json(temporary / "index.json", {"format": FORMAT, "engine": engine, "dim": dim, "encoder": encoder})
        publish_folder(temporary, folder)
    return made(folder / "data", dim, encoder)


def open_index(path: str | Path, *, dim: int | None = None, encoder: str | None = None) -> Index:
    """Open an index with the engine that made it.

    Args:
        path: its folder.
        dim: when given, refuse an index of another vocabulary size.
        encoder: when given, refuse an index of another encoder.

    Raises:
        SearchIndexError: missing, damaged, open in another process, or of another vocabulary or encoder.
        MissingDependencyError: the engine's package is not installed.
    """
    folder = Path(path)
    about = folder / "index.json"
    if not about.is_file():
        raise SearchIndexError(f"{folder} holds no index: index.json is missing", "check the path, or create_index it")
    with index_errors(), disk_errors(folder, "or build the index again"):
        found = read_json(about)
    if found.get("format") != FORMAT or not isinstance(found.get("dim"), int) or found.get("engine") not in ENGINES:
        raise SearchIndexError(f"{about} is of another format or damaged", "build the index again with this version")
    made, size, origin = str(found["engine"]), int(found["dim"]), str(found.get("encoder", ""))
    if dim is not None and dim != size:
        raise SearchIndexError(
            f"{folder} has {size} dimensions, the encoder {dim}", "open the index that was built with this vocabulary"
        )
    if encoder is not None and encoder != origin:
        raise SearchIndexError(
            f"{folder} was built by the encoder {origin!r}, not {encoder!r}",
            "encode the documents again, or change encoder",
        )
    return _engine(made)(folder / "data", size, origin)


def _engine(name: str) -> _Engine:
    if name not in ENGINES:
        raise ConfigError(f"no search engine is called {name!r}", f"choose one of {', '.join(sorted(ENGINES))}")
    module, cls, package, distribution, extra = ENGINES[name]
    try:
        import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise MissingDependencyError(distribution, extra) from error
    return cast("_Engine", getattr(import_module(module), cls))
