"""The one training loop: optimiser, global batch, checkpoint, monitor, and nothing else.

    for batch: output = student(batch); loss = objective(output, batch.targets) + Σ λ·penalty(vectors)

What a student is, where candidates come from and what the labels say are other rooms' business. A batch is all contexts
of an optimiser step, whatever share of it one process forwards at a time: see `GlobalBatch`.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distillir.errors import ConfigError, TrainingError
from distillir.objectives.contract import Objective, Output, check_pairing
from distillir.objectives.division import divided
from distillir.training.contract import Control, Mixing, Probe, Steered, Tick, TrainingData, TrainResult
from distillir.training.global_batch import GlobalBatch, parts_of
from distillir.training.groups import built_ahead, parameter_groups
from distillir.training.landing import Landing
from distillir.training.memory import freed_memory_kept
from distillir.training.monitor import Monitor, active_dimensions
from distillir.training.plan import batches
from distillir.training.ranks import Ranks
from distillir.training.recompute import set_checkpointing
from distillir.training.settings import TrainSettings
from distillir.training.state import Progress, restore, resume, save_state, snapshot

FREE = ("checkpoint_every", "gradient_checkpointing")  # settings that a run may go on with otherwise
Penalty = Callable[[Tensor], Tensor]  # (B, V) → ()
Schedule = Callable[[float], float]  # share of steps done → weight
Evaluate = Callable[[nn.Module], float]  # larger is better


@freed_memory_kept()
def train(
    student: nn.Module,
    data: TrainingData,
    objective: Objective,
    settings: TrainSettings,
    *,
    penalties: Mapping[str, tuple[float | Schedule, Penalty]] | None = None,
    control: Control | None = None,
    probe: Probe | None = None,
    evaluate: Evaluate | None = None,
    folder: Path | None = None,
    watch: Callable[[Tick], None] = lambda _: None,
) -> TrainResult:
    """Train a student; with `folder`, checkpoint there and go on from the last checkpoint.

    Started in several processes (`accelerate launch`, `torchrun`), each forwards its share of every batch; the first
    evaluates, watches and writes, and all end with the same weights.

    A run that was stopped, however it was, and started again ends with bitwise the weights of one that was not; a
    finished run returns at once. The student is left in evaluation mode.

    Args:
        student: module with `student(batch) -> Output`.
        data: contexts; see `TrainingData`.
        objective: checked against the first batch's targets and the student's output before step 0.
        settings: of the run.
        penalties: name → (weight, penalty on `Output.vectors`); a weight may be a function of the share of steps done.
        control: of a penalty whose weight follows the count it is to hold, see `SparsityControl`.
        probe: what the control counts, every few steps, and by which the weights are chosen that the run ends with, in
            place of the best dev figure; None = the batches of the training, as they are under dropout.
        evaluate: dev figure, larger is better; called in evaluation mode, without gradients.
        folder: of the checkpoints.
        watch: called after every optimiser step.

    Raises:
        ObjectiveError: objective, student and labels do not fit together.
        CollapseError: see `Monitor`.
        ConfigError: patience without a dev figure.
        TrainingError: no data, a dev figure that is not a number, a checkpoint of another run or a full disk.
    """
    if not len(data.lengths):
        raise TrainingError("there are no contexts to train on", "check filters and labels")
    if settings.patience and evaluate is None:
        raise ConfigError("patience waits for a dev figure and nothing evaluates", "give evaluate, or patience 0")
    ranks = Ranks()
    student.to(ranks.device)
    set_checkpointing(student, settings.gradient_checkpointing)
    ranks.alike(student)
    optimizer = torch.optim.AdamW(parameter_groups(student, settings), lr=settings.lr)
    autocast, scaler = _precision(settings.precision, ranks.device)
    _check_pairing(student, data, objective, ranks.device)

    size = settings.batch_size * settings.accumulate * ranks.count
    per_epoch = len(batches(data.lengths, size, seed=0, epoch=0))
    total = min(settings.epochs * per_epoch, settings.max_steps or settings.epochs * per_epoch)
    evaluate_every = settings.evaluate_every or per_epoch
    checkpoint_every = settings.checkpoint_every or per_epoch
    weighted = dict(penalties or {})
    steered: dict[str, Steered] = {} if control is None else {"control": control}
    if isinstance(objective, Mixing):
        steered["mix"] = objective
    for one in steered.values():
        one.restore({})  # a run starts anew, whatever the object steered before
    run = _identity(data, objective, settings, weighted, ranks.count, steered)
    progress, best = Progress(), None
    if folder and (found := resume(folder, student, optimizer, run)):
        progress, best = found
        if progress.scaler:
            scaler.load_state_dict(progress.scaler)
        for name, one in steered.items():
            one.restore(progress.steered[name])
    ranks.check_same(progress.step)
    monitor = Monitor()
    landing = None if control is None or probe is None else Landing(control, probe)
    started, first, before = time.perf_counter(), progress.step, progress.seconds
    student.train()
    while progress.step < total and not progress.stopped:
        plan = batches(data.lengths, size, seed=settings.seed, epoch=progress.epoch)
        collate = partial(data.collate, epoch=progress.epoch)
        with closing(built_ahead(plan[progress.batch :], collate)) as coming:
            for rows, batch in coming:
                for scheduled in optimizer.param_groups:
                    scheduled["lr"] = scheduled["peak"] * settings.rate(progress.step, total)
                parts = parts_of(len(rows), settings.batch_size, ranks.count, ranks.rank)
                key = settings.seed, progress.step
                seen = GlobalBatch(student, batch, len(rows), parts, ranks, autocast, key)
                output, targets = seen.output, batch.targets.to(ranks.device)
                with autocast(), divided(ranks):
                    loss = objective(output, targets)
                    for weight, penalty in weighted.values():
                        now = weight(progress.step / total) if callable(weight) else weight
                        loss = loss + now * penalty(_vectors(output))
                    if control is not None:
                        loss = loss + control.penalty(_vectors(output), targets.turns)
                    if isinstance(objective, Mixing):
                        objective.observe(output, targets, (progress.step + 1) / total, seen.norm)
                seen.give(scaler.scale(loss))
                scaler.unscale_(optimizer)
                norm = float(nn.utils.clip_grad_norm_(student.parameters(), settings.clip or math.inf))
                # An overflow of fp16 is no collapse: the scaler leaves the step out and scales less the next time.
                overflow = scaler.is_enabled() and not math.isfinite(norm) and scaler.get_scale() > 1
                active = active_dimensions(output.vectors)
                dim = _vectors(output).shape[1] if active is not None else 0
                monitor.check(progress.step + 1, loss.item(), 0.0 if overflow else norm, active, dim)
                scaler.step(optimizer)
                scaler.update()
                rate = settings.rate(progress.step, total)
                progress.step += 1
                if landing:
                    best = landing.after(progress, rate, student, progress.step == total) or best
                elif control is not None:
                    control.update(_vectors(output).detach(), targets.turns, rate)
                progress.batch += 1
                dev = None
                if evaluate and (progress.step % evaluate_every == 0 or progress.step == total):
                    dev = _evaluated(student, evaluate, progress.step, ranks)
                    if _better(progress, dev, settings.patience) and not landing:
                        best = snapshot(student)
                elapsed = time.perf_counter() - started
                progress.seconds = before + elapsed
                if ranks.main:
                    speed = (progress.step - first) / elapsed
                    watch(Tick(progress.step, total, monitor.loss, active, speed, dev, _reports(steered)))
                done = progress.step == total or bool(progress.stopped)
                if folder and (done or progress.step % checkpoint_every == 0):
                    progress.scaler = scaler.state_dict()
                    progress.steered = {name: one.state() for name, one in steered.items()}
                    if ranks.main:
                        save_state(folder, student, optimizer, progress, best, run)
                    ranks.wait()
                if done:
                    break
            else:
                progress.epoch, progress.batch = progress.epoch + 1, 0
    kept_step = progress.step
    if best is not None and (landing or settings.keep_best):
        restore(student, best)
        kept_step = progress.landed_step or progress.best_step
    student.eval()
    set_checkpointing(student, False)
    if landing:
        landing.settle()
    return TrainResult(
        progress.step,
        tuple(progress.history),
        progress.best,
        progress.best_step,
        progress.seconds,
        progress.stopped,
        _reports(steered),
        kept_step,
        ranks.count,
    )


def _precision(name: str, device: torch.device) -> tuple[Callable[[], torch.autocast], torch.amp.GradScaler]:
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(name)
    autocast = partial(torch.autocast, device.type, dtype=kind, enabled=kind is not None)
    return autocast, torch.amp.GradScaler(device.type, enabled=name == "fp16")


def _identity(
    data: TrainingData,
    objective: Objective,
    settings: TrainSettings,
    penalties: Mapping[str, tuple[float | Schedule, Penalty]],
    processes: int,
    steered: Mapping[str, Steered],
) -> dict[str, Any]:
    """What makes a run another than others. How often it checkpoints, and what it computes twice, does not."""
    lengths = hashlib.sha256(str(list(data.lengths)).encode()).hexdigest()[:16]
    return {
        **{name: value for name, value in asdict(settings).items() if name not in FREE},
        "processes": processes,
        "contexts": len(data.lengths),
        "lengths": lengths,
        "objective": objective.name,
        "penalties": {name: str(weight) if callable(weight) else weight for name, (weight, _) in penalties.items()},
        "steered": {name: one.describe() for name, one in steered.items()},
    }


def _evaluated(student: nn.Module, evaluate: Evaluate, step: int, ranks: Ranks) -> float:
    student.eval()
    with torch.no_grad():
        dev = ranks.from_main(float(evaluate(student)) if ranks.main else math.nan)
    student.train()
    if not math.isfinite(dev):
        raise TrainingError(f"step {step}: the dev figure is {dev}", "look at the evaluation; larger must be better")
    return dev


def _better(progress: Progress, dev: float, patience: int) -> bool:
    """Note a dev figure; whether it is the best so far."""
    progress.history.append((progress.step, dev))
    if progress.best is None or dev > progress.best:
        progress.best, progress.best_step, progress.stale = dev, progress.step, 0
        return True
    progress.stale += 1
    if patience and progress.stale >= patience:
        progress.stopped = f"no better dev figure since step {progress.best_step}"
    return False


def _check_pairing(student: nn.Module, data: TrainingData, objective: Objective, device: torch.device) -> None:
    batch = data.collate([0], 0).to(device)
    training = student.training
    student.eval()
    with torch.no_grad():
        output: Output = student(batch)
    student.train(training)
    check_pairing(objective, output.provides(), batch.targets.provides())


def _reports(steered: Mapping[str, Steered]) -> dict[str, Any]:
    return {name: one.report() for name, one in steered.items()}


def _vectors(output: Output) -> Tensor:
    if output.vectors is None:
        raise TrainingError("a penalty reads representations and this student returns none", "drop the penalty")
    return output.vectors
