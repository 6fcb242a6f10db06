"""Sparse vectors: rows in memory (`CSR`) and collections of them on disk (`SparseVectors`). numpy only."""

from distillir.vectors.csr import CSR, check_csr, csr_concat, csr_from_rows
from distillir.vectors.postings import Postings
from distillir.vectors.store import SparseVectors
from distillir.vectors.writer import SparseVectorsWriter

__all__ = ["CSR", "Postings", "SparseVectors", "SparseVectorsWriter", "check_csr", "csr_concat", "csr_from_rows"]
