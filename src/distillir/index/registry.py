"""Which engine an index folder belongs to, and which encoder its documents come from.

index.json    engine, dim, encoder
data/         the engine's own files, or where it keeps the documents
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

from distillir.errors import ConfigError, DistillirError, MissingDependencyError, SearchIndexError
from distillir.index.options import (
    EngineLine,
    MilvusOptions,
    NoOptions,
    Options,
    QdrantOptions,
    RemoteOptions,
    SeismicOptions,
    checked_options,
)
from distillir.index.protocol import Index, index_errors
from distillir.index.remote import RemoteIndex
from distillir.vectors.files import disk_errors, publish_folder, read_json, write_json

FORMAT = "distillir.index/1"
DEFAULT_ENGINE = "qdrant_edge"

logger = logging.getLogger(__name__)


class Known(NamedTuple):
    """An engine before it is loaded: the import it needs, the distribution that brings it, the extra with that."""

    module: str
    cls: str
    package: str
    distribution: str
    extra: str
    options: type[Options] = NoOptions


ENGINES = {
    "exact": Known("distillir.index.exact", "ExactIndex", "scipy", "scipy", "index"),
    "qdrant_edge": Known("distillir.index.qdrant_edge", "QdrantEdgeIndex", "qdrant_edge", "qdrant-edge-py", "index"),
    "qdrant": Known("distillir.index.qdrant", "QdrantIndex", "qdrant_client", "qdrant-client", "qdrant", QdrantOptions),
    "milvus": Known("distillir.index.milvus", "MilvusIndex", "pymilvus", "pymilvus", "milvus", MilvusOptions),
    "seismic": Known("distillir.index.seismic", "SeismicIndex", "seismic", "pyseismic-lsr", "seismic", SeismicOptions),
}


class _Engine(Protocol):
    def create(self, folder: Path, options: Options) -> None: ...
    def __call__(self, folder: Path, dim: int, encoder: str = "") -> Index: ...


def read_engine(line: EngineLine) -> tuple[str, Options]:
    """Name and checked options of an engine.

    Args:
        line: a name, or a mapping of `name` and options.

    Raises:
        ConfigError: no such engine, an unknown option, or a value that cannot be.
    """
    if not isinstance(line, str | Mapping):
        raise ConfigError(f"{line!r} is no engine", "give its name, or {name: …, options}")
    given = {"name": line} if isinstance(line, str) else dict(line)
    name = given.pop("name", None)
    if not isinstance(name, str) or name not in ENGINES:
        raise ConfigError(f"no search engine is called {name!r}", f"choose one of {', '.join(sorted(ENGINES))}")
    return name, checked_options(name, ENGINES[name].options, given)


def create_index(path: str | Path, engine: EngineLine = DEFAULT_ENGINE, *, dim: int, encoder: str = "") -> Index:
    """Make an index without documents and open it.

    Args:
        path: a folder that does not exist, or an empty one.
        engine: a key of `ENGINES`, or a mapping of its `name` and options; see `distillir.index.options`.
        dim: vocabulary size of the encoder.
        encoder: hash or name of the document encoder; `open_index` can insist on it.

    Raises:
        SearchIndexError: the folder is in use, or cannot be written, or the engine elsewhere does not answer.
        ConfigError: no such engine or option. MissingDependencyError: its package is not installed.
    """
    folder = Path(path).absolute()
    name, options = read_engine(engine)
    made = _engine(name)
    if isinstance(dim, bool) or not isinstance(dim, int) or not 0 < dim < 2**31:
        raise SearchIndexError(f"dim is {dim!r}", "give the vocabulary size, a positive integer")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SearchIndexError(f"{folder} is not an empty folder", "open_index it, or choose another folder")
    temporary = folder.with_name(f".tmp-{folder.name}")
    with index_errors(), disk_errors(folder, "nothing was written"):
        if temporary.exists():
            shutil.rmtree(temporary)
        (temporary / "data").mkdir(parents=True)
        made.create(temporary / "data", options)
        write_json(temporary / "index.json", {"format": FORMAT, "engine": name, "dim": dim, "encoder": encoder})
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


def retune_index(path: str | Path, engine: EngineLine) -> None:
    """Let an index be asked as the engine's line says now: time limit, attempts, key, phases. Documents stay.

    Args:
        path: its folder; who has it open goes on as before.
        engine: the line of the engine that made it. Options that say where documents are are not looked at.

    Raises:
        SearchIndexError: the folder is damaged or cannot be written. ConfigError: no such engine or option.
    """
    name, options = read_engine(engine)
    if isinstance(options, RemoteOptions):
        made = cast("type[RemoteIndex]", _engine(name))
        made.retune(Path(path) / "data", options)


def discard_index(path: str | Path) -> None:
    """Remove an index folder, and what an engine elsewhere holds of it that nobody finds under its name.

    Documents that others do find there stay, until another index takes the name. An engine that does not answer is no
    reason to keep the folder: what may be left behind is logged.
    """
    folder = Path(path)
    with suppress(DistillirError, OSError):
        about = read_json(folder / "index.json")
        made: Any = _engine(str(about["engine"])) if about.get("engine") in ENGINES else None
        if isinstance(made, type) and issubclass(made, RemoteIndex):
            try:
                made.discard(folder / "data", int(about["dim"]), str(about.get("encoder", "")))
            except DistillirError as error:
                logger.warning("%s", error)
    shutil.rmtree(folder, ignore_errors=True)


def _engine(name: str) -> _Engine:
    known = ENGINES[name]
    try:
        import_module(known.package)
    except ModuleNotFoundError as error:
        if error.name != known.package:
            raise
        raise MissingDependencyError(known.distribution, known.extra) from error
    return cast("_Engine", getattr(import_module(known.module), known.cls))
