"""Teacher vectors: what the frozen encoder makes of each rewrite, computed once.

A rewrite teacher's score of any document is the dot product of this vector with the document's, so
nothing else about a teacher is ever stored (decision 2 of the architecture).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from distillir.encoding.filling import fill_with_rewrites, key_of
from distillir.students.sparse import SparseStudent
from distillir.vectors import CSR, SparseVectors, SparseVectorsWriter, csr_from_rows
from distillir.vectors.layout import MANIFEST

GROUP = 256


def rewrite_vectors(
    encoder: SparseStudent,
    texts: Sequence[str],
    folder: str | Path,
    *,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> CSR:
    """Vectors of rewrites, in order, through a store keyed by text, encoder weights and length.

    Args:
        encoder: the frozen ad-hoc encoder. A rewrite is a first turn: it stands alone.
        folder: parent of one store per encoder and length; new texts are appended to it.
    """
    length = encoder.settings.render.max_length
    name = f"{encoder.fingerprint()}-{length}"
    keys = [key_of(text) for text in texts]
    new = dict(zip(keys, texts, strict=True))
    store = Path(folder) / name
    if (store / MANIFEST).exists():  # readers need no lock: only a new text does
        found = SparseVectors.open(store, partial=True).find(list(new))
        new = {key: text for (key, text), row in zip(new.items(), found.tolist(), strict=True) if row < 0}
    if new or not (store / MANIFEST).exists():
        with SparseVectorsWriter(store, encoder.dim, "float32", shard_rows=GROUP, meta={"encoder": name}) as writer:
            fill_with_rewrites(writer, new, encoder.encode_queries, GROUP, watch)
    stored = SparseVectors.open(store, partial=True)
    return stored.gather(stored.position(keys))


def fuse(vectors: Mapping[str, CSR], weights: Sequence[Mapping[str, float]], dim: int) -> CSR:
    """Weighted sum of teachers' vectors per context: any linear fusion of scores is one vector.

    Args:
        vectors: teacher → rows of all contexts; a row counts where the context's weights name the teacher.
        weights: per context, teacher → weight.
        dim: V.
    """
    rows = []
    for i, shares in enumerate(weights):
        total = np.zeros(dim, np.float32)
        for teacher, weight in shares.items():
            dims, values = vectors[teacher].row(i)
            total[dims] += np.float32(weight) * values
        active = total.nonzero()[0]
        rows.append((active, total[active]))
    return csr_from_rows(rows, dim)
