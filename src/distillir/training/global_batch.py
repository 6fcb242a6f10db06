"""One optimiser step's batch as one, however many parts and processes forward it.

`flops` of a batch is not the mean over its parts, nor is a contrastive term that some contexts lack, nor anything with
shared negatives. So the loss is taken once, on the outputs of all contexts together, and its gradient with respect to
them is handed back to the part each came from (gradient cache: Gao et al., arXiv 2101.06983). This is exact for any
objective and penalty. A single part keeps the graph of its forward pass and costs what it always did; of several, which
are there because their graphs do not fit together, each is forwarded a second time under the same dropout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from distillir.errors import TrainingError
from distillir.objectives.contract import Output
from distillir.training.contract import Batch
from distillir.training.ranks import Ranks

FIELDS = ("scores", "vectors", "shared", "token_loss")  # those a gradient flows back through


class Part(NamedTuple):
    """Contexts `start` to `stop` of the global batch; not `own`: only there so that an idle process has an output."""

    start: int
    stop: int
    own: bool = True


def parts_of(count: int, batch_size: int, ranks: int, rank: int) -> list[Part]:
    """Parts that a process has of a global batch of `count` contexts, none above `batch_size`, all about equal."""
    rounds = -(-count // (ranks * batch_size))
    cuts = [count * i // (rounds * ranks) for i in range(rounds * ranks + 1)]
    found = [Part(cuts[i], cuts[i + 1]) for i in range(rank, rounds * ranks, ranks) if cuts[i] < cuts[i + 1]]
    return found or [Part(0, 1, own=False)]


class GlobalBatch:
    """Outputs of all contexts of a step, and the way back.

    Args:
        student: the module.
        batch: all `count` contexts of the step.
        parts: of this process.
        ranks: the processes.
        autocast: precision of a forward pass.
        key: of the step; with a part's place it seeds dropout, so nothing random needs to be kept.

    Attributes:
        output: of all contexts, detached; what is computed from it can be given to `gradients`.
    """

    def __init__(
        self,
        student: nn.Module,
        batch: Batch,
        count: int,
        parts: Sequence[Part],
        ranks: Ranks,
        autocast: Callable[[], AbstractContextManager[object]],
        key: Sequence[int],
    ) -> None:
        self._student, self._batch, self._count, self._ranks = student, batch, count, ranks
        self._parts, self._autocast, self._key = parts, autocast, key
        self._trained = [p for p in student.parameters() if p.requires_grad]
        single = len(parts) == 1
        with torch.set_grad_enabled(single):
            outputs = [self._forward(part) for part in parts]
        self._kept = outputs[0] if single else None
        whole = {name: self._whole(name, outputs) for name in (*FIELDS, "mask", "shared_mask")}
        self._leaves = {name: whole[name] for name in FIELDS if whole[name] is not None}
        for leaf in self._leaves.values():
            assert leaf is not None
            leaf.requires_grad_()
        self.output = Output(**whole)  # type: ignore[arg-type]

    def gradients(self, loss: Tensor, *, again: bool = False) -> list[Tensor | None]:
        """Gradient of a scalar with respect to every trainable parameter, the same on all processes.

        Args:
            loss: computed from `output`.
            again: whether another scalar will follow.
        """
        leaves = [leaf for leaf in self._leaves.values() if leaf is not None]
        found = torch.autograd.grad(loss, leaves, retain_graph=again, allow_unused=True)
        slopes = dict(zip(self._leaves, found, strict=True))
        total: list[Tensor | None] = [None] * len(self._trained)
        for part in self._parts:
            output = self._kept if self._kept is not None else self._forward(part)
            heads, onto = [], []
            for name, slope in slopes.items():
                tensor: Tensor = getattr(output, name)
                if slope is None or not tensor.requires_grad:
                    continue
                share = (part.stop - part.start) / self._count
                back = slope * share if tensor.ndim == 0 else slope[part.start : part.stop]
                heads.append(tensor)
                onto.append((back if part.own else torch.zeros_like(back)).to(tensor.dtype))
            if heads:
                own = torch.autograd.grad(heads, self._trained, onto, retain_graph=again, allow_unused=True)
                total = [b if a is None else a if b is None else a + b for a, b in zip(total, own, strict=True)]
        return self._ranks.sum_gradients(total, self._trained)

    def norm(self, value: Tensor) -> float:
        """Norm of the gradient of a scalar computed from `output`, before the step's own `gradients`."""
        found = [g for g in self.gradients(value, again=True) if g is not None]
        return float(torch.stack([g.float().norm() for g in found]).norm()) if found else 0.0

    def give(self, loss: Tensor) -> None:
        """Put the gradient of the loss where the optimiser looks for it."""
        for parameter, gradient in zip(self._trained, self.gradients(loss), strict=True):
            parameter.grad = gradient

    def _forward(self, part: Part) -> Output:
        whole = part.own and part.stop - part.start == self._count
        batch = self._batch if whole else self._batch.part(part.start, part.stop)
        seed = np.random.SeedSequence([*self._key, part.start]).generate_state(1, np.uint64)[0]
        torch.manual_seed(int(seed >> np.uint64(1)))
        with self._autocast():
            output: Output = self._student(batch.to(self._ranks.device))
        return output

    def _whole(self, name: str, outputs: Sequence[Output]) -> Tensor | None:
        """One field of all contexts, from the parts of all processes."""
        pieces: list[Tensor | None] = [getattr(output, name) for output in outputs]
        first = pieces[0]
        if first is None:
            return None
        kind = first.dtype if first.dtype in (torch.bool, torch.float64) else torch.float32
        if self._kept is not None and self._ranks.count == 1:
            return first.detach().to(kind)
        if first.ndim == 0:
            shares = [(p.stop - p.start) / self._count * p.own for p in self._parts]
            parts = [share * piece.detach() for share, piece in zip(shares, pieces, strict=True) if piece is not None]
            return self._ranks.sum(torch.stack(parts).sum().to(kind))
        summed = torch.uint8 if kind == torch.bool else kind
        whole = torch.zeros(self._count, *first.shape[1:], dtype=summed, device=first.device)
        for part, piece in zip(self._parts, pieces, strict=True):
            if piece is None or piece.shape[1:] != first.shape[1:]:
                raise TrainingError(
                    f"the student's {name} have other widths in other parts of a batch",
                    "let Batch.part keep the batch's lists, shorter ones padded",
                )
            if part.own:
                whole[part.start : part.stop] = piece.detach()
        return self._ranks.sum(whole).to(kind)
