"""A controlled run is probed every few steps, and ends on the weights that came nearest to its target.

Single batches move a count by more than its target tolerates until the learning rate has fallen, so towards the end the
run passes its target several times: the last step is only one of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from distillir.training.contract import Control, Probe
from distillir.training.state import Progress, snapshot

PROBE_EVERY = 5  # steps: at 256 contexts, a sixth of the time of batches of 32
LANDING_EVERY = 2


@dataclass
class Landing:
    """What a control counts on a probe, and when."""

    control: Control
    probe: Probe

    def after(self, progress: Progress, rate: float, student: nn.Module, last: bool) -> dict[str, Tensor] | None:
        """Probe if it is time to; the weights, if these are the nearest to the target since the rate has fallen."""
        landing = self.control.landing(rate)
        steps = progress.step - progress.probed
        if steps < (LANDING_EVERY if landing else PROBE_EVERY) and not (landing and last):
            return None
        seen = self.probe()
        self.control.update(*seen, rate, steps)
        progress.probed = progress.step
        if not landing:
            return None
        miss = self.control.miss(*seen)
        if progress.missed is None or miss <= progress.missed:
            progress.missed, progress.landed_step = miss, progress.step
            return snapshot(student)
        return None

    def settle(self) -> None:
        """Count what the student has ended as."""
        self.control.settle(*self.probe())
