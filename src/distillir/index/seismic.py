"""Seismic: approximate search in memory, read-only. Inverted lists in blocks with summaries, most of which it skips.

Bruch, Nardini, Rulli, Venturini: Efficient Inverted Indexes for Approximate Retrieval over Learned Sparse
Representations (SIGIR 2024).

    documents/               vectors and payloads, an exact index
    seismic.json             options, and whether the structure is built
    index.index.seismic      the structure, loaded into memory by `open_index`

Documents are collected first; `finish` builds the structure, and from then on none can be added or deleted. It finds
candidates; their scores are exact, from the stored vectors. A filtered search is exact, over all documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import seismic

from distillir.closing import Closing
from distillir.errors import SearchIndexError
from distillir.index.exact import ExactIndex
from distillir.index.options import Options, SeismicOptions
from distillir.index.protocol import Block, Payload, ScoredId, SparseQuery, check_k, check_query, index_errors
from distillir.vectors import CSR
from distillir.vectors.files import disk_errors, read_json, write_json

STATE = "seismic.json"
_SPARE = 2  # candidates for each document asked for: Seismic keeps weights in 16 bits, which swaps near neighbours


class SeismicIndex(Closing):
    """The index in a folder; use `create_index` and `open_index`.

    Args:
        folder: where `create` was called.
        dim: number of dimensions.
        encoder: which encoder the documents come from.
    """

    def __init__(self, folder: Path, dim: int, encoder: str = "") -> None:
        self.dim = dim
        self.encoder = encoder
        self._folder = folder
        with index_errors(), disk_errors(folder, "or build the index again"):
            self._state = read_json(folder / STATE)
        self._options = SeismicOptions(**self._state["options"])
        self._documents = ExactIndex(folder / "documents", dim, encoder)
        self._seismic: Any = None
        if self._state["finished"]:
            self._load()

    @staticmethod
    def create(folder: Path, options: Options) -> None:
        """Write the state of an index without documents."""
        assert isinstance(options, SeismicOptions)
        (folder / "documents").mkdir()
        ExactIndex.create(folder / "documents")
        write_json(folder / STATE, {"options": asdict(options), "finished": False})

    def finish(self) -> None:
        """Build the structure over all documents: minutes for some 100,000 of them."""
        if self._state["finished"]:
            return
        self._documents.optimize()
        dataset = seismic.SeismicDataset()
        for block in self._documents.documents():
            rows = block.vectors
            components = rows.indices.astype(np.int64)
            dataset.add_documents_by_id(list(block.ids), components, rows.values, rows.indptr)
        found = dataset.len
        if found:
            built = seismic.SeismicIndex.build_from_dataset(
                dataset, n_postings=self._options.postings, summary_energy=self._options.summary_energy
            )
            with index_errors(), disk_errors(self._folder, "the documents are intact"):
                built.save(str(self._folder / "index"))
        with index_errors(), disk_errors(self._folder, "the documents are intact"):
            self._state = {**self._state, "finished": True, "structure": bool(found)}
            write_json(self._folder / STATE, self._state)
        self._load()

    def add(self, ids: Sequence[str], vectors: CSR, payloads: Sequence[Payload] | None = None) -> None:
        """Add or replace documents, durably, before `finish`; see `Index.add`."""
        self._check_unfinished("added", len(ids))
        self._documents.add(ids, vectors, payloads)

    def delete(self, ids: Sequence[str]) -> None:
        """Remove documents, durably, before `finish`; see `Index.delete`."""
        self._check_unfinished("deleted", len(ids))
        self._documents.delete(ids)

    def search(self, query: SparseQuery, k: int, where: Payload | None = None) -> list[ScoredId]:
        """K of the best documents, with few exceptions the k best; see `Index.search`."""
        return self.search_batch([query], k, where)[0]

    def search_batch(
        self, queries: Sequence[SparseQuery], k: int, where: Payload | None = None
    ) -> list[list[ScoredId]]:
        """`search` for many queries at once; with `where`, exact."""
        if self._seismic is None or where:
            return self._documents.search_batch(queries, k, where)
        check_k(k)
        len(self)  # says so where it is closed
        return [self._approximate(check_query(query, self.dim), k) for query in queries]

    def vectors(self, ids: Sequence[str]) -> CSR:
        """(len(ids), dim) vectors in the order of the ids; see `Index.vectors`."""
        return self._documents.vectors(ids)

    def payloads(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Payloads in the order of the ids; see `Index.payloads`."""
        return self._documents.payloads(ids)

    def documents(self) -> Iterator[Block]:
        """All documents, in the order they came in."""
        return self._documents.documents()

    def optimize(self) -> None:
        """Nothing is left to do that `finish` does not."""

    def __len__(self) -> int:
        return len(self._documents)

    def close(self) -> None:
        """Let memory and files go; closing twice is harmless."""
        self._seismic = None
        self._documents.close()

    def _approximate(self, query: SparseQuery, k: int) -> list[ScoredId]:
        if not len(query.indices):
            return []
        terms = query.indices.astype(str).astype(seismic.get_seismic_string())
        found = self._seismic.search(
            "", terms, query.values, _SPARE * k, self._options.query_terms, self._options.heap_factor
        )
        ids = [str(name) for _, _, name in found]
        weights = np.zeros(self.dim, np.float32)
        weights[query.indices] = query.values
        rows = self._documents.vectors(ids)
        scores = [float(weights[indices] @ values) for indices, values in (rows.row(i) for i in range(len(ids)))]
        hits = [ScoredId(name, score) for name, score in zip(ids, scores, strict=True) if score > 0]
        return sorted(hits, key=lambda hit: (-hit.score, hit.id))[:k]

    def _load(self) -> None:
        if not self._state.get("structure"):
            return  # no document has a term
        path = self._folder / "index.index.seismic"
        try:
            self._seismic = seismic.SeismicIndex.load(str(path))
        except (OSError, ValueError, RuntimeError) as error:
            self._documents.close()
            raise SearchIndexError(f"{path} cannot be loaded: {error}", "build the index again") from error

    def _check_unfinished(self, what: str, count: int) -> None:
        if self._state["finished"]:
            raise SearchIndexError(
                f"{count} documents cannot be {what}: an index of the engine seismic is read-only once it is built",
                "index the documents again, or choose an engine that changes: exact, qdrant_edge, qdrant, milvus",
            )
