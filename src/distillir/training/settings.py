"""What a training run may be told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from distillir.errors import ConfigError


@dataclass(frozen=True)
class TrainSettings:
    """Settings of the loop; everything else belongs to the student, the data or the objective.

    Attributes:
        epochs: passes over the contexts.
        max_steps: optimiser steps after which to stop; 0 = as many as the epochs have.
        batch_size: contexts a forward pass of one process.
        accumulate: forward passes an optimiser step. All its contexts are one batch, those of all processes included:
            they are drawn together, share negatives and are penalised as one.
        lr: peak learning rate of AdamW.
        lr_scale: factor on `lr` for parameters whose name starts with a key, e.g. {"gate.": 10}.
        weight_decay: of AdamW, on matrices only.
        warmup: share of all steps over which the rate rises linearly.
        schedule: "linear" falls to zero, "constant" stays.
        clip: largest gradient norm; 0 = no clipping.
        precision: "fp32", or autocast in "bf16" or "fp16".
        gradient_checkpointing: compute the backbone's layers again under backward instead of keeping their
            activations: about a third more time, for a fraction of the memory; the same gradients.
        seed: of order, draws and dropout.
        evaluate_every: steps between evaluations on dev; 0 = once an epoch.
        patience: evaluations without a better dev figure after which to stop; 0 = never.
        checkpoint_every: steps between checkpoints; 0 = once an epoch.
        keep_best: end with the weights that were best on dev, rather than the last.
    """

    epochs: int = 1
    max_steps: int = 0
    batch_size: int = 32
    accumulate: int = 1
    lr: float = 1e-4
    lr_scale: Mapping[str, float] = field(default_factory=dict)
    weight_decay: float = 0.0
    warmup: float = 0.01
    schedule: Literal["linear", "constant"] = "linear"
    clip: float = 1.0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    gradient_checkpointing: bool = False
    seed: int = 13
    evaluate_every: int = 0
    patience: int = 0
    checkpoint_every: int = 0
    keep_best: bool = True

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}", "give at least 1")
        for name in ("max_steps", "seed", "evaluate_every", "patience", "checkpoint_every"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}", "give at least 0")
        for name in ("weight_decay", "clip"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}", "give a number of at least 0")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"warmup is {self.warmup}", "give the share of all steps, 0 to below 1")
        for name, rate in {"lr": self.lr, **{f"lr_scale[{k!r}]": v for k, v in self.lr_scale.items()}}.items():
            if not 0 < rate < math.inf:
                raise ConfigError(f"{name} is {rate}", "give a positive number")
        for name, known in (("schedule", ("linear", "constant")), ("precision", ("fp32", "bf16", "fp16"))):
            if getattr(self, name) not in known:
                raise ConfigError(f"unknown {name} {getattr(self, name)!r}", f"use {' or '.join(map(repr, known))}")

    def rate(self, step: int, total: int) -> float:
        """Factor on the learning rate at a 0-based step of `total`."""
        rising = max(1, round(self.warmup * total))
        if step < rising:
            return (step + 1) / rising
        return 1.0 if self.schedule == "constant" else max(0.0, (total - step) / max(1, total - rising))
