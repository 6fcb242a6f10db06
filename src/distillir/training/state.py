"""Checkpoints of a run: weights, optimiser moments and counters, without pickle.

A checkpoint is a folder `step-N` written beside under another name and renamed, so a kill leaves the
last whole one. Two are kept: should the newest be damaged, the one before serves. Order, draws and dropout
need no state: they are keyed by seed, epoch, step and context id.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from distillir.errors import TrainingError
from distillir.students.whole_folder import whole_folder

FORMAT = 2
KEPT = 2
RECORD = "progress.json"
logger = logging.getLogger(__name__)


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        step: optimiser steps done. epoch, batch: of the next step.
        best: best dev figure so far; best_step: when; stale: evaluations since.
        history: (step, dev figure) of every evaluation.
        stopped: why the run ended before its last step, "" while it has not.
        seconds: spent so far, in this process and those before it.
        scaler: state of the fp16 loss scaler, empty without one.
        steered: states of control and mix, empty without them.
        probed: step of the last probe. landed_step: whose weights are kept for their count; missed: by how much that
            misses the target.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    best: float | None = None
    best_step: int = 0
    stale: int = 0
    history: list[tuple[int, float]] = field(default_factory=list)
    stopped: str = ""
    seconds: float = 0.0
    scaler: dict[str, float] = field(default_factory=dict)
    steered: dict[str, Any] = field(default_factory=dict)
    probed: int = 0
    landed_step: int = 0
    missed: float | None = None


def save_state(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    best: dict[str, Tensor] | None,
    run: dict[str, Any],
) -> None:
    """Write checkpoint `folder/step-N` and remove all but the newest two.

    Args:
        run: what makes this run another than others, as plain values; see `resume`.

    Raises:
        TrainingError: it cannot be written, as on a full disk; earlier checkpoints stay.
    """
    moments = {}
    for number, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            moments[f"{number}.{name}"] = torch.as_tensor(value).contiguous()
    final = folder / f"step-{progress.step:08d}"
    with whole_folder(final, TrainingError, "earlier checkpoints are; run again to go on from the last") as fresh:
        save_file(_named(model), fresh / "model.safetensors")
        save_file(moments, fresh / "optimizer.safetensors")
        if best is not None:
            save_file(best, fresh / "best.safetensors")
        files = {file.name: _digest(file) for file in sorted(fresh.iterdir())}
        record = {"format": FORMAT, "run": run, "progress": asdict(progress), "files": files}
        (fresh / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
    kept = checkpoints(folder)[-KEPT:]
    for old in folder.glob("step-*"):  # earlier ones, and what a kill left half written
        if old not in kept:
            shutil.rmtree(old, ignore_errors=True)


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of a run, oldest first."""
    return sorted(p for p in folder.glob("step-*") if p.is_dir() and p.name.removeprefix("step-").isdigit())


def resume(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, run: dict[str, Any]
) -> tuple[Progress, dict[str, Tensor] | None] | None:
    """Put model and optimiser back as the newest whole checkpoint has them.

    Returns:
        Progress and the best weights so far; None where there is no checkpoint.

    Raises:
        TrainingError: the checkpoint is of another run or model, or none of them is whole.
    """
    problem = ""
    for checkpoint in reversed(checkpoints(folder)):
        try:
            record, tensors = _read(checkpoint)
            progress = Progress(**record["progress"])
            stored: dict[str, Any] = record["run"]
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            problem = problem or f"{checkpoint}: {error}"
            logger.warning("checkpoint %s is damaged (%s); trying the one before", checkpoint, error)
            continue
        _check_run(checkpoint, stored, run)
        _put_back(checkpoint, model, optimizer, tensors)
        progress.history = [(int(step), float(figure)) for step, figure in progress.history]
        return progress, tensors.get("best")
    if problem:
        raise TrainingError(f"no checkpoint in {folder} is whole; {problem}", "remove the folder and start anew")
    return None


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of all weights, to go back to."""
    return {name: tensor.clone() for name, tensor in _named(model).items()}


def restore(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Go back to a snapshot.

    Raises:
        TrainingError: of another model.
    """
    own = dict([*model.named_parameters(), *model.named_buffers()])
    odd = sorted(name for name in own.keys() | weights.keys() if _shape(own, name) != _shape(weights, name))
    if odd:
        raise TrainingError(
            f"stored weights are of another model: {', '.join(odd[:3])} differ", "start from the same model"
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(weights[name])


def _read(checkpoint: Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """The record and the tensors by file, everything compared with its hash."""
    record = json.loads((checkpoint / RECORD).read_text(encoding="utf-8"))
    if record["format"] != FORMAT:
        raise ValueError(f"format {record['format']}, not {FORMAT}")
    tensors = {}
    for name, digest in record["files"].items():
        if _digest(checkpoint / name) != digest:
            raise ValueError(f"{name} has changed since it was written")
        tensors[name.removesuffix(".safetensors")] = load_file(checkpoint / name)
    return record, tensors


def _check_run(checkpoint: Path, stored: dict[str, Any], run: dict[str, Any]) -> None:
    wanted = json.loads(json.dumps(run))
    odd = [f"{k}: {stored.get(k)} → {wanted.get(k)}" for k in sorted(stored | wanted) if stored.get(k) != wanted.get(k)]
    if odd:
        raise TrainingError(
            f"{checkpoint} belongs to another run ({'; '.join(odd[:3])})",
            "name another folder for checkpoints, or go on with the settings and data the run was started with",
        )


def _put_back(
    checkpoint: Path, model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, dict[str, Tensor]]
) -> None:
    restore(model, tensors["model"])
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors["optimizer"].items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = value
    try:
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    except (ValueError, KeyError, RuntimeError) as error:
        raise TrainingError(f"{checkpoint} is of another optimiser ({error})", "start anew") from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _named(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, each memory once (tied weights have several names)."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors}


def _shape(tensors: dict[str, Any], name: str) -> Any:
    return tensors[name].shape if name in tensors else None
