"""Gradient checkpointing: a backbone keeps the input of each layer and computes the rest again on the way back."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel

from distillir.errors import ConfigError


def set_checkpointing(student: nn.Module, wanted: bool) -> None:
    """Have every backbone in a student recompute its layers under backward, or not.

    Args:
        student: of any kind.
        wanted: about a third more time, for activations of one layer at a time.

    Raises:
        ConfigError: wanted, and the student has no backbone that can.
    """
    models = [module for module in student.modules() if isinstance(module, PreTrainedModel)]
    able = [model for model in models if model.supports_gradient_checkpointing]
    if wanted and not able:
        raise ConfigError("this student's backbone cannot recompute its layers", "leave gradient_checkpointing out")
    for model in able:
        if wanted:
            # The re-entrant kind knows nothing of torch.autograd.grad, by which the global batch takes gradients.
            model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        elif model.is_activation_checkpointing:
            model.activation_checkpointing_disable()  # type: ignore[no-untyped-call]
