"""Memory that a step frees is kept for the next one, instead of being handed back to the system and asked for again.

A step on a processor allocates its activations anew. By default glibc gives blocks above some megabytes back as soon as
they are free, and the system clears each page that it hands out again.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Options of mallopt(3) and their defaults.
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4
DEFAULTS = {TRIM_THRESHOLD: 128 * 1024, TOP_PAD: 0, MMAP_MAX: 65536}
KEPT = {TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 64 * 2**20, MMAP_MAX: 0}


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Of the whole process, while it lasts; then what is free goes back. Without glibc, nothing."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt") or not hasattr(libc, "malloc_trim"):
        yield
        return
    for option, value in KEPT.items():
        libc.mallopt(option, value)
    try:
        yield
    finally:
        for option, value in DEFAULTS.items():
            libc.mallopt(option, value)
        give_back()


def give_back() -> None:
    """Collect what nobody refers to, and hand what is free back to the system."""
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
