import ctypes
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from distillir.training.memory import freed_memory_kept

GLIBC = hasattr(ctypes.CDLL(None), "mallopt")
FAULTS = """
import resource, sys, torch
from contextlib import nullcontext
from distillir.training.memory import freed_memory_kept

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

with freed_memory_kept() if sys.argv[1] == "kept" else nullcontext():
    torch.ones(40 << 20, dtype=torch.uint8)
    before = faults()
    for _ in range(10):
        torch.ones(40 << 20, dtype=torch.uint8)
    print(faults() - before)
"""


def resident_pages() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])


@pytest.mark.skipif(not GLIBC, reason="allocates as glibc does not")
@pytest.mark.slow
def test_pages_are_asked_for_once():
    told = {
        how: int(subprocess.run([sys.executable, "-c", FAULTS, how], check=True, capture_output=True, text=True).stdout)
        for how in ("kept", "given_back")
    }
    assert told["kept"] * 3 < told["given_back"]  # one of the ten may still find no room


@pytest.mark.skipif(not GLIBC, reason="allocates as glibc does not")
def test_afterwards_memory_goes_back_to_the_system():
    before = resident_pages()
    with freed_memory_kept():
        torch.ones(200 << 20, dtype=torch.uint8)
        inside = resident_pages()
    after = resident_pages()
    held = (200 << 20) // resource.getpagesize()
    assert inside - before > 0.9 * held
    assert after - before < 0.1 * held


def test_an_error_passes_through():
    with pytest.raises(ValueError, match="mine"), freed_memory_kept():
        raise ValueError("mine")


def test_where_there_is_no_glibc_nothing_is_done(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    with freed_memory_kept():
        assert torch.ones(3).sum() == 3
