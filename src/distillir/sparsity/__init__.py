"""Sparsity of representations: penalties to train with, their weights over a run, targets to hold, counts to report."""

from distillir.sparsity.control import SparsityControl
from distillir.sparsity.counts import active_dimensions, flops_at_corpus
from distillir.sparsity.penalties import anti_zero, df_flops, expected_flops, flops, l1
from distillir.sparsity.schedules import SCHEDULES, Constant, Linear, Quadratic

__all__ = [
    "SCHEDULES",
    "Constant",
    "Linear",
    "Quadratic",
    "SparsityControl",
    "active_dimensions",
    "anti_zero",
    "df_flops",
    "expected_flops",
    "flops",
    "flops_at_corpus",
    "l1",
]
