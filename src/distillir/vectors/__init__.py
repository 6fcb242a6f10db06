"""Vectors: sparse rows in memory (`CSR`), collections on disk (`SparseVectors`, `DenseVectors`). numpy only."""

from distillir.vectors.csr import CSR, check_csr, csr_concat, csr_from_rows
from distillir.vectors.dense import DenseVectors
from distillir.vectors.dense_imports import import_dense
from distillir.vectors.dense_writer import DenseVectorsWriter
from distillir.vectors.postings import Postings
from distillir.vectors.store import SparseVectors
from distillir.vectors.writer import SparseVectorsWriter

__all__ = [
    "CSR",
    "DenseVectors",
    "DenseVectorsWriter",
    "Postings",
    "SparseVectors",
    "SparseVectorsWriter",
    "check_csr",
    "csr_concat",
    "csr_from_rows",
    "import_dense",
]
