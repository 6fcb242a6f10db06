"""Sparsity of representations: penalties to train with, counts to report."""

from distillir.sparsity.counts import active_dimensions, flops_at_corpus
from distillir.sparsity.penalties import anti_zero, expected_flops, flops, l1

__all__ = ["active_dimensions", "anti_zero", "expected_flops", "flops", "flops_at_corpus", "l1"]
