"""A user's own dense vectors into a store: a .npy matrix with its ids, or a Parquet file with a list column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillir.errors import VectorsError
from distillir.vectors.dense import DenseVectors
from distillir.vectors.dense_layout import Similarity
from distillir.vectors.dense_writer import DenseVectorsWriter

BLOCK = 8192  # rows read at a time
Block = tuple[Sequence[str], NDArray[Any]]


def import_dense(
    source: str | Path,
    folder: str | Path,
    *,
    ids: str | Path | None = None,
    encoder: str = "",
    similarity: Similarity = "cosine",
    dtype: str = "float16",
    dim: int | None = None,
    id_column: str = "id",
    vector_column: str = "vector",
) -> DenseVectors:
    """Copy vectors into a store and open it; a killed import goes on where it stopped.

    Args:
        source: a .npy matrix (N, dim), or a .parquet file with a column of ids and a column of lists.
        folder: of the store.
        ids: text file of a .npy's ids, one a line, in row order.
        encoder: what made the vectors, such as a model id; kept with them.
        similarity: see `DenseVectorsWriter`.
        dim: when given, refuse vectors of another width.
        id_column, vector_column: of a Parquet file.

    Raises:
        VectorsError: a file that cannot be read, ids that do not fit the rows, another width, values that are not
            finite, or a folder that holds something else.
    """
    path = Path(source)
    if path.suffix == ".npy":
        if ids is None:
            raise VectorsError(f"{path} has rows without names", "give ids, a text file with one id a line")
        width, blocks = _npy(path, Path(ids))
    elif path.suffix == ".parquet":
        width, blocks = _parquet(path, id_column, vector_column)
    else:
        raise VectorsError(f"cannot read vectors from {path}", "give a .npy or a .parquet file")
    if dim is not None and width != dim:
        raise VectorsError(f"{path} holds vectors of width {width}, expected {dim}", "name the model they come from")
    meta = {"encoder": encoder, "imported": path.name}
    with DenseVectorsWriter(folder, width, dtype, similarity, shard_rows=BLOCK, meta=meta) as writer:
        stored = DenseVectors.open(folder, partial=True).ids
        place = 0
        for names, rows in blocks:
            skip = min(max(0, writer.committed - place), len(names))
            if list(names[:skip]) != list(stored[place : place + skip]):
                raise VectorsError(f"{folder} holds vectors of other documents", "import into another folder")
            writer.append(names[skip:], rows[skip:])
            place += len(names)
    return DenseVectors.open(folder)


def _npy(path: Path, ids: Path) -> tuple[int, Iterator[Block]]:
    try:
        matrix: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise VectorsError(f"{path} is not a readable .npy file: {error}", "write it with numpy.save") from error
    if matrix.ndim != 2 or matrix.dtype.kind != "f" or not matrix.shape[1]:
        raise VectorsError(f"{path} holds {matrix.dtype} {matrix.shape}", "save a float matrix (documents, dim)")
    try:
        names = ids.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise VectorsError(f"{ids} cannot be read: {error}", "give a UTF-8 text file with one id a line") from error
    if len(names) != len(matrix):
        raise VectorsError(f"{ids} has {len(names)} ids for {len(matrix)} rows", "give one id a row, in row order")
    starts = range(0, len(matrix), BLOCK)
    return matrix.shape[1], ((names[s : s + BLOCK], np.asarray(matrix[s : s + BLOCK])) for s in starts)


def _parquet(path: Path, id_column: str, vector_column: str) -> tuple[int, Iterator[Block]]:
    import pyarrow as pa  # a tenth of a second to import
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        columns = file.schema_arrow.names
        if missing := [name for name in (id_column, vector_column) if name not in columns]:
            raise VectorsError(
                f"{path} has no column {missing[0]!r}, only {', '.join(columns)}", "name its id and vector columns"
            )
        kind = file.schema_arrow.field(vector_column).type
        lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        if not lists or not pa.types.is_floating(kind.value_type):
            raise VectorsError(f"{path}: column {vector_column!r} is {kind}", "write it as lists of floats")
        first = next(file.iter_batches(1, columns=[vector_column]), None)
    except (OSError, pa.ArrowException) as error:
        raise VectorsError(f"{path} is not a readable Parquet file: {error}", "write it again") from error
    if first is None or first.column(0)[0].as_py() is None:
        raise VectorsError(f"{path} has no vectors", "check the file")
    width = len(first.column(0)[0])

    def blocks() -> Iterator[Block]:
        for batch in file.iter_batches(BLOCK, columns=[id_column, vector_column]):
            names, lists = batch.column(id_column).cast(pa.string()).to_pylist(), batch.column(vector_column)
            values = np.asarray(lists.flatten().to_numpy(zero_copy_only=False))
            if lists.null_count or pc.any(pc.not_equal(pc.list_value_length(lists), width)).as_py():
                raise VectorsError(f"{path}: not every vector has {width} numbers", "repair or drop those rows")
            yield names, values.reshape(len(names), width)

    return width, blocks()
