"""Where a model that is not being trained is put."""

from __future__ import annotations

import torch


def fastest_device() -> torch.device:
    """A GPU where there is one, else the processor: what the training loop takes."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
