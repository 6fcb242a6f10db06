"""A corpus into vectors where some of its texts were encoded before: a vector belongs to a text, never to an id."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from distillir.data import Corpus
from distillir.errors import DataError, VectorsError
from distillir.vectors import CSR, SparseVectors, SparseVectorsWriter, csr_from_rows

if TYPE_CHECKING:
    from distillir.students.sparse import SparseStudent

GROUP = 512  # passages a shard, the most that a kill costs
Row = tuple[NDArray[np.int32], NDArray[np.float32]]


@dataclass
class Encoded:
    """How the vectors came about.

    Attributes:
        encoded: texts that went through the encoder.
        reused: passages whose vectors were there before, unchanged text by unchanged text.
        repeated: passages whose text stands in an earlier passage too.
    """

    encoded: int = 0
    reused: int = 0
    repeated: int = 0


class Known:
    """Vectors of an earlier corpus, found by text."""

    def __init__(self, corpus: Corpus, vectors: SparseVectors) -> None:
        self._corpus, self._vectors = corpus, vectors
        keys = text_keys(corpus)[: len(vectors)]
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]

    @classmethod
    def open(cls, generation: Path, encoder: SparseStudent) -> Known | None:
        """The vectors of a generation, where they are of this encoder and can be read."""
        try:
            vectors = SparseVectors.open(generation / "vectors", partial=True)
            corpus = Corpus.open(generation / "corpus.arrow")
        except (VectorsError, DataError):
            return None
        if vectors.meta != meta_of(encoder) or vectors.dim != encoder.dim or len(vectors) > len(corpus):
            return None
        return cls(corpus, vectors)

    def row(self, key: np.uint64, text: str) -> Row | None:
        """The vector of a text; equal keys are not trusted, equal texts are."""
        for place in range(int(np.searchsorted(self._keys, key)), len(self._keys)):
            if self._keys[place] != key:
                break
            if self._corpus.text(int(self._order[place])) == text:
                return self._vectors.gather(self._order[place : place + 1]).row(0)
        return None


def meta_of(encoder: SparseStudent) -> dict[str, Any]:
    """What names the vectors of an encoder, as `encode_corpus` has it."""
    return {"encoder": encoder.fingerprint(), "document_length": encoder.settings.document_length}


def text_keys(corpus: Corpus) -> NDArray[np.uint64]:
    """(n,) 64-bit hash of the text of every document."""
    digests = (hashlib.blake2b(document.contents.encode(), digest_size=8).digest() for document in corpus)
    return np.frombuffer(b"".join(digests), "<u8")


def encode_new(
    encoder: SparseStudent,
    corpus: Corpus,
    folder: Path,
    known: Sequence[Known],
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[SparseVectors, Encoded]:
    """Vectors of a corpus in its order, encoding only texts that are new; a kill costs at most one shard.

    Args:
        encoder: of the documents.
        corpus: its passages.
        folder: of the vectors; those of a call that was stopped stay.
        known: where else to look for a text.
        watch: called with (passages done, passages in all).
    """
    keys, total = text_keys(corpus), len(corpus)
    _, where, inverse = np.unique(keys, return_index=True, return_inverse=True)
    first = where[inverse].tolist()  # the first passage of the same key
    with SparseVectorsWriter(folder, encoder.dim, shard_rows=GROUP, meta=meta_of(encoder)) as writer:
        done = Encoded(reused=writer.committed)
        for start in range(writer.committed, total, GROUP):
            rows = range(start, min(start + GROUP, total))
            writer.append(
                [corpus.doc_id(i) for i in rows], _shard(rows, first, keys, encoder, corpus, folder, known, done)
            )
            writer.flush()
            watch(rows.stop, total)
    return SparseVectors.open(folder), done


def _shard(
    rows: range,
    first: list[int],
    keys: NDArray[np.uint64],
    encoder: SparseStudent,
    corpus: Corpus,
    folder: Path,
    known: Sequence[Known],
    done: Encoded,
) -> CSR:
    texts = {i: corpus.text(i) for i in rows}
    found: dict[int, Row] = {}
    repeats = {i: first[i] for i in rows if first[i] < i and corpus.text(first[i]) == texts[i]}
    for i in rows:
        if i not in repeats and (row := next((r for k in known if (r := k.row(keys[i], texts[i]))), None)) is not None:
            found[i] = row
    done.reused += len(found)
    new = [i for i in rows if i not in found and i not in repeats]
    if new:
        encoded = encoder.encode_documents([texts[i] for i in new])
        found.update({i: encoded.row(place) for place, i in enumerate(new)})
    done.encoded += len(new)
    done.repeated += len(repeats)
    if earlier := sorted({source for source in repeats.values() if source < rows.start}):
        stored = SparseVectors.open(folder, partial=True).gather(earlier)
        found.update({source: stored.row(place) for place, source in enumerate(earlier)})
    return csr_from_rows([found[repeats.get(i, i)] for i in rows], encoder.dim)
