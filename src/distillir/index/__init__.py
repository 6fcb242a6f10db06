"""Search engines behind one small protocol. `create_index` and `open_index` load an engine when it is asked for.

The index of responses, which loads its engine at once, is in `distillir.index.responses`.
"""

from distillir.index.dense import DenseIndex
from distillir.index.filling import build_index, fill
from distillir.index.options import EngineLine
from distillir.index.protocol import Index, ScoredId, SparseQuery
from distillir.index.registry import ENGINES, create_index, discard_index, open_index, read_engine, retune_index

__all__ = [
    "ENGINES",
    "DenseIndex",
    "EngineLine",
    "Index",
    "ScoredId",
    "SparseQuery",
    "build_index",
    "create_index",
    "discard_index",
    "fill",
    "open_index",
    "read_engine",
    "retune_index",
]
