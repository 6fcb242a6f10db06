"""The processes of a run: each holds the same student, and together they forward a global batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, broadcast, broadcast_object_list, reduce
from torch import Tensor, nn

from distillir.errors import TrainingError

PATIENCE = timedelta(hours=6)  # the others wait while one evaluates; a process that died is noticed at once

CURE = "look at what that one said last; the same command goes on from the last checkpoint"


class Ranks:
    """Accelerate picks device and process group; precision is the loop's, because accelerate keeps one for a process.

    Raises:
        TrainingError: accelerate was set up otherwise in this process.
    """

    def __init__(self) -> None:
        try:
            self._accelerator = Accelerator(
                mixed_precision="no",
                cpu=not torch.cuda.is_available(),
                kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
            )
        except ValueError as error:
            raise TrainingError(
                f"accelerate was set up otherwise in this process ({error})", "train in a process of its own"
            ) from error
        self.count: int = self._accelerator.num_processes
        self.rank: int = self._accelerator.process_index
        self.device: torch.device = self._accelerator.device

    @property
    def main(self) -> bool:
        """Whether this process evaluates, reports and writes checkpoints."""
        return self.rank == 0

    def alike(self, student: nn.Module) -> None:
        """Give every process the first one's weights."""
        if self.count > 1:
            with torch.no_grad(), self._together():
                for tensor in [*student.parameters(), *student.buffers()]:
                    tensor.copy_(broadcast(tensor.detach().contiguous(), from_process=0))

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over processes."""
        if self.count == 1:
            return tensor
        with self._together():
            total: Tensor = reduce(tensor, reduction="sum")
            return total

    def sum_gradients(self, gradients: Sequence[Tensor | None], like: Sequence[Tensor]) -> list[Tensor | None]:
        """Sum over processes in one message; None where no process has a gradient."""
        if self.count == 1:
            return list(gradients)
        filled = [torch.zeros_like(p) if g is None else g for g, p in zip(gradients, like, strict=True)]
        has = torch.tensor([float(g is not None) for g in gradients], device=filled[0].device)
        flat = self.sum(torch.cat([*(g.reshape(-1).float() for g in filled), has]))
        pieces = torch.split(flat, [g.numel() for g in filled] + [len(has)])
        return [
            piece.view_as(p).to(p.dtype) if present else None
            for piece, p, present in zip(pieces[:-1], like, pieces[-1].tolist(), strict=True)
        ]

    def from_main(self, value: float) -> float:
        """The first process's value."""
        if self.count == 1:
            return value
        with self._together():
            return float(broadcast_object_list([value])[0])

    def check_same(self, step: int) -> None:
        """Refuse processes that would go on from different checkpoints.

        Raises:
            TrainingError: they do not all see one folder.
        """
        if self.sum(torch.tensor(float(step), device=self.device)).item() != step * self.count:
            raise TrainingError(
                f"process {self.rank} finds a checkpoint of step {step}, others find another or none",
                "keep checkpoints in a folder that all processes see",
            )

    def wait(self) -> None:
        """Until all are here."""
        with self._together():
            self._accelerator.wait_for_everyone()

    @contextmanager
    def _together(self) -> Iterator[None]:
        """A process that died closes its connections, and the others would end in words of the transport."""
        try:
            yield
        except RuntimeError as error:
            raise TrainingError(
                f"process {self.rank} has lost another process of this run ({brief(error)})", CURE
            ) from error


def brief(error: Exception) -> str:
    """The beginning of what a transport says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]
