"""The batches of each optimiser step, and the parameter groups that it moves."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from torch import nn

from distillir.errors import TrainingError
from distillir.training.settings import TrainSettings


def built_ahead(
    plan: Sequence[list[int]], collate: Callable[[Sequence[int]], Any]
) -> Generator[tuple[Sequence[int], Any]]:
    """Each batch of a plan with its rows; one trains while the next is built."""
    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(collate, plan[0])] if plan else []
        for i, rows in enumerate(plan):
            batch = ahead.pop().result()
            if i + 1 < len(plan):
                ahead.append(pool.submit(collate, plan[i + 1]))
            yield rows, batch


def parameter_groups(student: nn.Module, settings: TrainSettings) -> list[dict[str, Any]]:
    """AdamW groups: by `lr_scale` prefix, and weight decay on matrices only.

    A prefix that no parameter has is left alone: one setting serves students with and without a gate.

    Raises:
        TrainingError: nothing to train.
    """
    named = [(name, p) for name, p in student.named_parameters() if p.requires_grad]
    if not named:
        raise TrainingError("the student has no trainable parameters", "unfreeze something")
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in named:
        scale = next((s for prefix, s in settings.lr_scale.items() if name.startswith(prefix)), 1.0)
        decay = settings.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((scale, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": settings.lr * scale, "peak": settings.lr * scale, "weight_decay": decay}
        for (scale, decay), parameters in groups.items()
    ]
