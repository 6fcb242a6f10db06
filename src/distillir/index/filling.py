"""Moving a store of vectors into an index."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from distillir.errors import SearchIndexError, VectorsError
from distillir.index.options import EngineLine
from distillir.index.protocol import Finishing, Index, Payload, index_errors
from distillir.index.registry import create_index, discard_index, open_index, retune_index
from distillir.vectors import SparseVectors
from distillir.vectors.files import disk_errors, read_json, write_json

_PROGRESS = "filled.json"  # in the index's folder while it is built: what from, and how many rows are in


def fill(
    index: Index,
    vectors: SparseVectors,
    payload: Callable[[str], Payload] | None = None,
    *,
    first: int = 0,
    watch: Callable[[int], None] | None = None,
) -> None:
    """Add every document of a store, a bounded number at a time. After a crash, fill again: documents are replaced.

    Args:
        index: where to.
        vectors: where from.
        payload: what to keep beside a document, given its id.
        first: rows before this one are in the index already.
        watch: told the number of rows that are in, after each block.

    Raises:
        SearchIndexError: the store has another number of dimensions, or was written by another encoder.
    """
    origin = str(vectors.meta.get("encoder", ""))
    if vectors.dim != index.dim or (origin and index.encoder and origin != index.encoder):
        raise SearchIndexError(
            f"vectors of {vectors.dim} dimensions by the encoder {origin!r} do not fit an index of {index.dim} by "
            f"{index.encoder!r}",
            "encode the documents with the index's encoder, or create another index",
        )
    for start, rows in vectors.blocks():
        if start + rows.rows <= first:
            continue
        ids = [vectors.ids[start + i] for i in range(rows.rows)]
        index.add(ids, rows, None if payload is None else [payload(name) for name in ids])
        if watch is not None:
            watch(start + rows.rows)


def build_index(
    path: str | Path,
    engine: EngineLine,
    vectors: SparseVectors,
    payload: Callable[[str], Payload] | None = None,
    *,
    made_from: str,
) -> None:
    """An index of a whole store of vectors. A build that was stopped goes on; what else lies there is discarded.

    An engine elsewhere shows the documents under their name when all are there, and not before.

    Args:
        path: folder of the index.
        engine: a key of `ENGINES`, or a mapping of its `name` and options.
        vectors: the documents; `meta["encoder"]` names their encoder.
        payload: what to keep beside a document, given its id.
        made_from: whatever the index depends on; a build begun from something else is not gone on with.

    Raises:
        SearchIndexError, ConfigError, MissingDependencyError: as `create_index`.
    """
    folder = Path(path)
    rows = _filled(folder, made_from)
    if rows is None:
        discard_index(folder)
        index = create_index(folder, engine, dim=vectors.dim, encoder=str(vectors.meta.get("encoder", "")))
    else:
        retune_index(folder, engine)
        index = open_index(folder, dim=vectors.dim)

    def note(rows: int) -> None:
        with index_errors(), disk_errors(folder, "the same command goes on from there"):
            write_json(folder / _PROGRESS, {"made_from": made_from, "rows": rows})

    with index:
        note(rows or 0)
        fill(index, vectors, payload, first=rows or 0, watch=note)
        index.optimize()
        if isinstance(index, Finishing):
            index.finish()
    with index_errors(), disk_errors(folder, "the same command goes on from there"):
        (folder / _PROGRESS).unlink()


def _filled(folder: Path, made_from: str) -> int | None:
    """Rows of an unfinished build from exactly this, None where there is none."""
    try:
        found = read_json(folder / _PROGRESS)
    except (OSError, VectorsError):
        return None
    rows = found.get("rows")
    return rows if found.get("made_from") == made_from and isinstance(rows, int) else None
