"""Checkpoints of a run: weights, optimiser moments, counters and random state, without pickle.

A checkpoint is a folder `step-N` written beside under another name and renamed, so a kill leaves the
last whole one. Order and draws need no state: they are keyed by seed, epoch and context id.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from distillir.errors import TrainingError


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        step: optimiser steps done. epoch, batch: next forward pass.
        best: best dev figure so far; best_step: when; stale: evaluations since.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    best: float | None = None
    best_step: int = 0
    stale: int = 0


def save_state(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress, best: dict[str, Tensor] | None
) -> None:
    """Write checkpoint `folder/step-N` and remove older ones."""
    final = folder / f"step-{progress.step:08d}"
    fresh = final.with_suffix(".partial")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    save_file(_named(model), fresh / "model.safetensors")
    if best is not None:
        save_file(best, fresh / "best.safetensors")
    moments = {}
    for number, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            moments[f"{number}.{name}"] = torch.as_tensor(value).contiguous()
    save_file(moments, fresh / "optimizer.safetensors")
    random = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        random["cuda"] = torch.cuda.get_rng_state()
    save_file(random, fresh / "random.safetensors")
    (fresh / "progress.json").write_text(json.dumps(asdict(progress)), encoding="utf-8")
    for file in fresh.iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    if final.exists():
        shutil.rmtree(final)
    fresh.rename(final)
    for old in folder.glob("step-*"):
        if old != final:
            shutil.rmtree(old, ignore_errors=True)


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run."""
    return max((p for p in folder.glob("step-*") if p.suffix != ".partial"), default=None)


def load_state(
    checkpoint: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Progress, dict[str, Tensor] | None]:
    """Put model, optimiser and random state back exactly as they were.

    Raises:
        TrainingError: the checkpoint is of another model or optimiser, or damaged.
    """
    try:
        _restore(model, load_file(checkpoint / "model.safetensors"))
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in load_file(checkpoint / "optimizer.safetensors").items():
            number, name = key.split(".", 1)
            state.setdefault(int(number), {})[name] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        random = load_file(checkpoint / "random.safetensors")
        torch.set_rng_state(random["cpu"])
        if "cuda" in random and torch.cuda.is_available():
            torch.cuda.set_rng_state(random["cuda"])
        best = checkpoint / "best.safetensors"
        progress = Progress(**json.loads((checkpoint / "progress.json").read_text(encoding="utf-8")))
        return progress, load_file(best) if best.exists() else None
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise TrainingError(
            f"{checkpoint}: cannot resume ({error})", "the run's settings changed or the folder is damaged; start anew"
        ) from error


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of all weights, to go back to."""
    return {name: tensor.clone() for name, tensor in _named(model).items()}


def restore(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Go back to a snapshot."""
    _restore(model, weights)


def _named(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, each memory once (tied weights have several names)."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors}


def _restore(model: nn.Module, weights: dict[str, Tensor]) -> None:
    own = dict([*model.named_parameters(), *model.named_buffers()])
    if set(own) != set(weights):
        odd = sorted(set(own) ^ set(weights))[:3]
        raise ValueError(f"weights do not match the model: {', '.join(odd)}")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(weights[name])
