"""The one training loop: optimiser, accumulation, checkpoint, monitor, and nothing else.

    for batch: output = student(batch); loss = objective(output, batch.targets) + Σ λ·penalty(vectors)

What a student is, where candidates come from and what the labels say are other rooms' business.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from distillir.errors import TrainingError
from distillir.objectives.contract import Objective, Output, Targets, check_pairing
from distillir.training.monitor import Monitor
from distillir.training.plan import batches
from distillir.training.settings import TrainSettings
from distillir.training.state import Progress, latest, load_state, restore, save_state, snapshot

Penalty = Callable[[Tensor], Tensor]  # (B, V) → ()
Evaluate = Callable[[nn.Module], float]  # larger is better


class Batch(Protocol):
    """What a data set hands to a student."""

    @property
    def targets(self) -> Targets: ...
    def to(self, device: torch.device | str) -> Self: ...


class TrainingData(Protocol):
    """Contexts that can be made into batches. `collate` is a function of its arguments alone."""

    @property
    def lengths(self) -> Sequence[int]: ...
    def collate(self, rows: Sequence[int], epoch: int) -> Any: ...


@dataclass(frozen=True)
class Tick:
    """One optimiser step, for whoever watches."""

    step: int
    steps: int
    loss: float
    active: float | None
    steps_per_second: float
    dev: float | None


@dataclass(frozen=True)
class TrainResult:
    """How a run ended: steps done, dev history (step, figure), the best of it, seconds, and a note if it stopped early."""

    steps: int
    history: tuple[tuple[int, float], ...]
    best: float | None
    best_step: int
    seconds: float
    stopped: str = ""


def train(
    student: nn.Module,
    data: TrainingData,
    objective: Objective,
    settings: TrainSettings,
    *,
    penalties: Mapping[str, tuple[float, Penalty]] | None = None,
    evaluate: Evaluate | None = None,
    folder: Path | None = None,
    watch: Callable[[Tick], None] = lambda _: None,
) -> TrainResult:
    """Train a student; with `folder`, checkpoint there and go on from the last checkpoint.

    Args:
        student: module with `student(batch) -> Output`.
        data: contexts; see `TrainingData`.
        objective: checked against the first batch's targets and the student's output before step 0.
        settings: of the run.
        penalties: name → (weight, penalty on `Output.vectors`).
        evaluate: dev figure, larger is better; called in evaluation mode.
        folder: of the checkpoints.
        watch: called after every optimiser step.

    Raises:
        ObjectiveError: objective, student and labels do not fit together.
        CollapseError: see `Monitor`.
        TrainingError: no data, or a checkpoint of another run.
    """
    if not len(data.lengths):
        raise TrainingError("there are no contexts to train on", "check filters and labels")
    torch.manual_seed(settings.seed)
    precision = {"fp32": "no"}.get(settings.precision, settings.precision)
    accelerator = Accelerator(mixed_precision=precision, cpu=not torch.cuda.is_available())
    optimizer = torch.optim.AdamW(parameter_groups(student, settings), lr=settings.lr)
    student, optimizer = accelerator.prepare(student, optimizer)
    bare: nn.Module = accelerator.unwrap_model(student)
    _check_pairing(bare, data, objective, accelerator.device)

    per_epoch = -(-len(batches(data.lengths, settings.batch_size, seed=0, epoch=0)) // settings.accumulate)
    total = min(settings.epochs * per_epoch, settings.max_steps or settings.epochs * per_epoch)
    progress, best = Progress(), None
    checkpoint = latest(folder) if folder else None
    if checkpoint:
        progress, best = load_state(checkpoint, bare, optimizer)
    monitor = Monitor(dim=int(getattr(bare, "dim", 0)))
    history: list[tuple[int, float]] = []
    started, first, stopped = time.perf_counter(), progress.step, ""
    every = settings.evaluate_every or per_epoch
    student.train()
    while progress.step < total and not stopped:
        for group in _groups(data, settings, progress):
            for scheduled in optimizer.param_groups:
                scheduled["lr"] = scheduled["peak"] * settings.rate(progress.step, total)
            loss, active = 0.0, None
            for batch in group:
                with accelerator.autocast():
                    output: Output = student(batch.to(accelerator.device))
                    part = objective(output, batch.targets.to(accelerator.device)) / len(group)
                    for weight, penalty in (penalties or {}).values():
                        part = part + weight * penalty(_vectors(output)) / len(group)
                accelerator.backward(part)
                loss += part.item()
                if output.vectors is not None:
                    active = (output.vectors.detach() > 0).sum(1).float().mean().item()
            norm = accelerator.clip_grad_norm_(student.parameters(), settings.clip or float("inf"))
            monitor.check(progress.step + 1, loss, float(norm), active)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            progress.step += 1
            progress.batch += len(group)
            dev = None
            if evaluate and (progress.step % every == 0 or progress.step == total):
                student.eval()
                dev = evaluate(bare)
                student.train()
                history.append((progress.step, dev))
                if progress.best is None or dev > progress.best:
                    progress.best, progress.best_step, progress.stale = dev, progress.step, 0
                    best = snapshot(bare)
                else:
                    progress.stale += 1
                    if settings.patience and progress.stale >= settings.patience:
                        stopped = f"no better dev figure since step {progress.best_step}"
            speed = (progress.step - first) / (time.perf_counter() - started)
            watch(Tick(progress.step, total, monitor.loss, active, speed, dev))
            if folder and accelerator.is_main_process and progress.step % (settings.checkpoint_every or per_epoch) == 0:
                save_state(folder, bare, optimizer, progress, best)
            if progress.step >= total or stopped:
                break
        else:
            progress.epoch, progress.batch = progress.epoch + 1, 0
    if settings.keep_best and best is not None:
        restore(bare, best)
    bare.eval()
    seconds = time.perf_counter() - started
    return TrainResult(progress.step, tuple(history), progress.best, progress.best_step, seconds, stopped)


def parameter_groups(student: nn.Module, settings: TrainSettings) -> list[dict[str, Any]]:
    """AdamW groups: by `lr_scale` prefix, and weight decay on matrices only."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in student.named_parameters():
        if not parameter.requires_grad:
            continue
        scale = next((s for prefix, s in settings.lr_scale.items() if name.startswith(prefix)), 1.0)
        decay = settings.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((scale, decay), []).append(parameter)
    if not groups:
        raise TrainingError("the student has no trainable parameters", "unfreeze something")
    return [
        {"params": parameters, "lr": settings.lr * scale, "peak": settings.lr * scale, "weight_decay": decay}
        for (scale, decay), parameters in groups.items()
    ]


def _groups(data: TrainingData, settings: TrainSettings, progress: Progress) -> Iterator[list[Any]]:
    """Groups of `accumulate` batches from where the run stands; the next batch is built while this one trains."""
    plan = batches(data.lengths, settings.batch_size, seed=settings.seed, epoch=progress.epoch)[progress.batch :]
    epoch = progress.epoch
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(data.collate, plan[0], epoch) if plan else None
        group: list[Any] = []
        for i in range(len(plan)):
            assert ahead is not None
            batch = ahead.result()
            ahead = pool.submit(data.collate, plan[i + 1], epoch) if i + 1 < len(plan) else None
            group.append(batch)
            if len(group) == settings.accumulate or i + 1 == len(plan):
                yield group
                group = []


def _check_pairing(student: nn.Module, data: TrainingData, objective: Objective, device: torch.device) -> None:
    batch = data.collate([0], 0).to(device)
    training = student.training
    student.eval()
    with torch.no_grad():
        output: Output = student(batch)
    student.train(training)
    check_pairing(objective, output.provides(), batch.targets.provides())


def _vectors(output: Output) -> Tensor:
    if output.vectors is None:
        raise TrainingError("a penalty reads representations and this student returns none", "drop the penalty")
    return output.vectors
