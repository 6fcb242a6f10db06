"""The likelihood of what a generative student should have written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from distillir.objectives._lists import present, wide
from distillir.objectives.contract import Output, Targets


@dataclass(frozen=True)
class Likelihood:
    """L = `Output.token_loss`: the cross-entropy of a gold passage's identifiers, a mean over contexts.

    All of a generative student's first training, and beside a ranking objective what keeps it able to write (DGR,
    arXiv 2402.10769: weight 500 beside margins of 300).

    Raises:
        ObjectiveError: the student returns no token loss.
    """

    name: ClassVar[str] = "likelihood"
    reads_output: ClassVar[frozenset[str]] = frozenset({"token_loss"})
    reads_targets: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, output: Output, targets: Targets) -> Tensor:
        return wide(present(self.name, "output.token_loss", output.token_loss))
