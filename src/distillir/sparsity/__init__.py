"""Sparsity of query representations: penalties."""

from distillir.sparsity.penalties import anti_zero, expected_flops, flops, l1

__all__ = ["anti_zero", "expected_flops", "flops", "l1"]
