"""What passes between a student, its labels and an objective.

B contexts, N listed candidates a context, S candidates shared by the batch, V vocabulary entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from distillir.errors import ObjectiveError


@dataclass(frozen=True)
class Output:
    """What a student returns for a batch.

    Attributes:
        scores: (B, N) student score of each listed candidate.
        mask: (B, N) bool, True where a candidate is real and may be learnt from.
        vectors: (B, V) query representations, for sparsity penalties and representation objectives.
        token_loss: () likelihood loss of a generative student, a mean over the batch's contexts.
        shared: (B, S) scores of candidates that the whole batch shares (negatives only).
        shared_mask: (B, S) bool, False where a shared candidate is the context's own or its gold.
    """

    scores: Tensor
    mask: Tensor
    vectors: Tensor | None = None
    token_loss: Tensor | None = None
    shared: Tensor | None = None
    shared_mask: Tensor | None = None

    def provides(self) -> frozenset[str]:
        """Names of the fields that are present."""
        return frozenset(n for n in ("scores", "vectors", "token_loss", "shared") if getattr(self, n) is not None)


@dataclass(frozen=True)
class Targets:
    """What the labels say of a batch's candidates; at least one field is present.

    Attributes:
        scores: (B, N) teacher scores on any scale; read only where `Output.mask` is True.
        order: (B, N) int64 teacher ranks, 0 = best; -1 where unranked.
        gold: (B, N) bool, True on relevant candidates; a row without any has no contrastive term.
        vectors: (B, V) teacher representations.
        turns: (B,) int64 turn depth of each context, 1 on a first turn.
    """

    scores: Tensor | None = None
    order: Tensor | None = None
    gold: Tensor | None = None
    vectors: Tensor | None = None
    turns: Tensor | None = None

    def provides(self) -> frozenset[str]:
        """Names of the fields that are present."""
        return frozenset(n for n in ("scores", "order", "gold", "vectors", "turns") if getattr(self, n) is not None)

    def to(self, device: torch.device | str) -> Targets:
        """The same targets on another device."""
        return Targets(**{n: getattr(self, n).to(device) for n in self.provides()})

    def part(self, start: int, stop: int) -> Targets:
        """Those of some of the contexts."""
        return Targets(**{n: getattr(self, n)[start:stop] for n in self.provides()})


class Objective(Protocol):
    """A loss. `reads_output` and `reads_targets` name the fields it cannot do without."""

    @property
    def name(self) -> str: ...
    @property
    def reads_output(self) -> frozenset[str]: ...
    @property
    def reads_targets(self) -> frozenset[str]: ...
    def __call__(self, output: Output, targets: Targets) -> Tensor:
        """Scalar loss, float32."""
        ...


def check_pairing(objective: Objective, output: frozenset[str], targets: frozenset[str]) -> None:
    """Refuse an objective whose needs the student or the labels do not meet.

    Raises:
        ObjectiveError: naming each missing field and which side should provide it.
    """
    for side, needs, has in (
        ("student", objective.reads_output, output),
        ("labels", objective.reads_targets, targets),
    ):
        missing = sorted(needs - has)
        if missing:
            raise ObjectiveError(
                f"objective {objective.name!r} reads {', '.join(missing)} but the {side} give only "
                f"{', '.join(sorted(has)) or 'nothing'}",
                "choose another objective, or labels and a student that provide it",
            )
