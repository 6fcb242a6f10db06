"""A run for the crash tests: a tiny student with dropout, killed at moments its parent draws."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from distillir.objectives import RankNet
from distillir.objectives.contract import Output, Targets
from distillir.training import TrainResult, TrainSettings, train

PAUSE = 0.01  # a step, so that a kill meets every part of it


@dataclass(frozen=True)
class Batch:
    x: Tensor
    targets: Targets

    def to(self, device: torch.device | str) -> Batch:
        return Batch(self.x.to(device), self.targets.to(device))

    def part(self, start: int, stop: int) -> Batch:
        return Batch(self.x[start:stop], self.targets.part(start, stop))


class Data:
    lengths: Sequence[int] = [1 + i % 5 for i in range(23)]

    def collate(self, rows: Sequence[int], epoch: int) -> Batch:
        parts = [torch.Generator().manual_seed(1000 * epoch + row) for row in rows]
        x = torch.stack([torch.randn(4, 6, generator=g) for g in parts])
        return Batch(x, Targets(order=torch.stack([torch.randperm(4, generator=g) for g in parts])))


class Student(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.score = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Dropout(0.3), nn.Linear(16, 1))

    def forward(self, batch: Batch) -> Output:
        scores = self.score(batch.x).squeeze(-1)
        return Output(scores=scores, mask=torch.ones_like(scores, dtype=torch.bool))


def figure(student: nn.Module) -> float:
    """Rises, falls, and rises: so the best weights are not the last."""
    return float(torch.sin(40 * next(student.parameters()).sum()))


def run(folder: Path | None, *, epochs: int = 6, pause: float = 0.0, **options) -> tuple[Student, TrainResult]:
    student = Student()
    settings = {"batch_size": 4, "accumulate": 2, "lr": 0.01, "checkpoint_every": 2, "evaluate_every": 5, "warmup": 0.2}
    result = train(
        student,
        Data(),
        RankNet(),
        TrainSettings(**{**settings, **options}, epochs=epochs),
        evaluate=figure,
        folder=folder,
        watch=lambda _: time.sleep(pause),
    )
    return student, result


def weights(student: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in student.state_dict().items()}


def killed(folder: Path, kills: int, epochs: int, seed: int, out: Path) -> int:
    """Start the run `kills` times, kill each with SIGKILL after a random while, then let one end. How many were cut."""
    rng = random.Random(seed)
    cut = 0
    for attempt in range(kills + 1):
        child = os.fork()
        if not child:
            student, _ = run(folder, epochs=epochs, pause=PAUSE)
            save_file(weights(student), out)
            os._exit(0)
        if attempt < kills:
            time.sleep(rng.uniform(0.05, 0.25))
            os.kill(child, signal.SIGKILL)
        cut += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    return cut


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, kills, epochs, seed, out = sys.argv[1:]
    print(killed(Path(folder), int(kills), int(epochs), int(seed), Path(out)))  # noqa: T201
