"""Batches side by side on a processor: one thread a batch is faster than all threads on one batch.

The head walks small blocks, between which threads that share one operation wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Work = TypeVar("Work")
Done = TypeVar("Done")


def side_by_side(
    work: Callable[[Work], Done], batches: Sequence[Work], device: torch.device, *, alone: bool = False
) -> Iterator[tuple[Work, Done]]:
    """(batch, work(batch)) in order; on a processor, as many at once as torch has threads, each in one thread.

    A result does not depend on what ran beside it. Fewer than two batches a thread, and batches for an accelerator,
    run one after the other with all threads. `work` must bring its own inference mode: such modes belong to a thread.

    Args:
        work: done on each batch. batches: in order. device: that it is done on.
        alone: whether work uses one thread whatever torch has, so that few batches go side by side too.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1 or len(batches) < (2 if alone else 2 * threads):
        yield from zip(batches, map(work, batches), strict=True)
        return
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from zip(batches, pool.map(work, batches), strict=True)
    finally:
        torch.set_num_threads(threads)  # a part of the setting belongs to the process, not to the thread
