"""Search engines behind one small protocol. `create_index` and `open_index` load an engine when it is asked for."""

from distillir.index.dense import DenseIndex
from distillir.index.filling import fill
from distillir.index.protocol import Index, ScoredId, SparseQuery
from distillir.index.registry import ENGINES, create_index, open_index
from distillir.index.responses import FoundResponse, ResponseIndex

__all__ = [
    "ENGINES",
    "DenseIndex",
    "FoundResponse",
    "Index",
    "ResponseIndex",
    "ScoredId",
    "SparseQuery",
    "create_index",
    "fill",
    "open_index",
]
