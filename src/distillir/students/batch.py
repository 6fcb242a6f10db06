"""A batch of a sparse student: conversations as tokens, candidates as stored rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from distillir.objectives.contract import Output, Targets
from distillir.vectors import CSR


@dataclass(frozen=True)
class StoredRows:
    """U sparse rows as tensors: `indptr` (U + 1,), `indices` (nnz,), `values` (nnz,)."""

    indptr: Tensor
    indices: Tensor
    values: Tensor

    @classmethod
    def from_csr(cls, rows: CSR) -> StoredRows:
        """Tensors over the same memory where the dtypes allow."""
        indptr, values = (a if a.flags.writeable else a.copy() for a in (rows.indptr, rows.values))
        return cls(torch.from_numpy(indptr), torch.from_numpy(rows.indices.astype(np.int64)), torch.from_numpy(values))

    def to(self, device: torch.device | str) -> StoredRows:
        """The same rows on another device."""
        return StoredRows(self.indptr.to(device), self.indices.to(device), self.values.to(device))

    def take(self, rows: Tensor) -> StoredRows:
        """Some of the rows, in the given order."""
        sizes = self.indptr.diff()[rows]
        indptr = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        within = torch.arange(int(indptr[-1]), device=rows.device) - torch.repeat_interleave(indptr[:-1], sizes)
        entries = torch.repeat_interleave(self.indptr[rows], sizes) + within
        return StoredRows(indptr, self.indices[entries], self.values[entries])

    def dot(self, vectors: Tensor) -> Tensor:
        """Dot product of every vector (B, V) with every row → (B, U); the gradient goes to `vectors`."""
        # A weighted bag of the columns of `vectors` is a sparse-dense product that never densifies the rows.
        bags = F.embedding_bag(
            self.indices,
            vectors.t().contiguous(),
            self.indptr,
            mode="sum",
            per_sample_weights=self.values,
            include_last_offset=True,
        )
        return bags.t()

    def dense(self, dim: int) -> Tensor:
        """The rows as a (U, V) tensor."""
        count = len(self.indptr) - 1
        rows = torch.repeat_interleave(torch.arange(count, device=self.indices.device), self.indptr.diff())
        out = torch.zeros(count, dim, dtype=self.values.dtype, device=self.indices.device)
        out[rows, self.indices] = self.values
        return out


@dataclass(frozen=True)
class SparseBatch:
    """B contexts with N listed and S shared candidates out of U stored rows.

    Attributes:
        ids: (B, L) tokens. mask: (B, L) bool, False on padding.
        documents: U rows, each document of the batch once.
        candidates: (B, N) row of each listed candidate, -1 where the list is shorter.
        shared: (S,) row of each candidate the batch shares. shared_mask: (B, S) bool.
        targets: what the labels say.
        names: (B,) context ids.
    """

    ids: Tensor
    mask: Tensor
    documents: StoredRows
    candidates: Tensor
    shared: Tensor
    shared_mask: Tensor
    targets: Targets
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, start: int, stop: int) -> SparseBatch:
        """Contexts `start` to `stop` without the padding and documents that only the others need."""
        candidates, mask = self.candidates[start:stop], self.mask[start:stop]
        width = int(mask.sum(1).max())
        kept, places = torch.unique(torch.cat([candidates[candidates >= 0], self.shared]), return_inverse=True)
        listed = candidates.clone()
        listed[candidates >= 0] = places[: len(places) - len(self.shared)]
        return SparseBatch(
            self.ids[start:stop, :width],
            mask[:, :width],
            self.documents.take(kept),
            listed,
            places[len(places) - len(self.shared) :],
            self.shared_mask[start:stop],
            self.targets.part(start, stop),
            self.names[start:stop],
        )

    def to(self, device: torch.device | str) -> SparseBatch:
        """The same batch on another device."""
        return SparseBatch(
            self.ids.to(device),
            self.mask.to(device),
            self.documents.to(device),
            self.candidates.to(device),
            self.shared.to(device),
            self.shared_mask.to(device),
            self.targets.to(device),
            self.names,
        )


def score_documents(vectors: Tensor, batch: SparseBatch) -> Output:
    """Scores of a batch's candidates for query vectors (B, V)."""
    every = batch.documents.dot(vectors)  # (B, U)
    scores = every.gather(1, batch.candidates.clamp(min=0))  # (B, N)
    shared = every[:, batch.shared] if len(batch.shared) else None  # (B, S)
    return Output(
        scores=scores,
        mask=batch.candidates >= 0,
        vectors=vectors,
        shared=shared,
        shared_mask=None if shared is None else batch.shared_mask,
    )


def pad(sequences: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Ragged token lists → ids (B, L) and mask (B, L) bool."""
    width = max(len(s) for s in sequences)
    ids = torch.full((len(sequences), width), pad_id, dtype=torch.long)
    mask = torch.zeros(len(sequences), width, dtype=torch.bool)
    for i, sequence in enumerate(sequences):
        ids[i, : len(sequence)] = torch.as_tensor(sequence, dtype=torch.long)
        mask[i, : len(sequence)] = True
    return ids, mask


def dense_to_csr(vectors: Tensor) -> Iterator[tuple[NDArray[np.int32], NDArray[np.float32]]]:
    """Rows of (B, V) as (dimensions ascending, values) of their non-zero entries."""
    rows, columns = vectors.nonzero(as_tuple=True)
    values = vectors[rows, columns].float().cpu().numpy()
    dims = columns.to(torch.int32).cpu().numpy()
    ends = torch.bincount(rows, minlength=len(vectors)).cumsum(0).tolist()
    for start, end in zip([0, *ends], ends, strict=False):
        yield dims[start:end], values[start:end]
