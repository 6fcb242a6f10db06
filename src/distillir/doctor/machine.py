"""The machine: interpreter, processor, memory, disk, accelerators."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from distillir.doctor.findings import Finding

GIB = 2**30
LITTLE_DISK = 2 * GIB  # vectors of a hundred thousand passages and a few checkpoints


def examine_machine(folder: Path) -> Iterator[Finding]:
    """Findings about the interpreter and the machine; `folder` is where runs will be written."""
    version = platform.python_version()
    fits = (3, 11) <= sys.version_info[:2] < (3, 14)
    cure = "" if fits else "use Python 3.11 to 3.13"
    yield Finding("python", "python", "ok" if fits else "wrong", f"{version} on {platform.system()}", cure)
    yield _disk(folder)
    import torch

    from distillir.students.head import screen_supported

    threads = f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads"
    yield Finding("machine", "processor", "ok", f"{platform.machine()}, {threads}")
    fast = "bfloat16 in hardware: `screen: true` speeds encoding up" if screen_supported() else "no bfloat16"
    yield Finding("machine", "screen", "ok", fast)
    yield Finding("machine", "accelerator", "ok", _accelerators())
    offline = os.environ.get("HF_HUB_OFFLINE", "") in ("1", "true", "TRUE", "ON", "YES")
    reach = (
        "off (HF_HUB_OFFLINE): model ids must be in the cache" if offline else "model ids are downloaded when asked for"
    )
    yield Finding("machine", "model hub", "ok", reach)


def _disk(folder: Path) -> Finding:
    there = next(p for p in (folder.resolve(), *folder.resolve().parents) if p.exists())
    free = shutil.disk_usage(there).free
    fact = f"{free / GIB:.1f} GiB free in {there}"
    if not os.access(there, os.W_OK):
        return Finding("machine", "disk", "wrong", f"{there} cannot be written", "choose another folder")
    if free < LITTLE_DISK:
        return Finding("machine", "disk", "wrong", fact, f"free at least {LITTLE_DISK // GIB} GiB")
    return Finding("machine", "disk", "ok", fact)


def _accelerators() -> str:
    import torch

    if torch.cuda.is_available():
        return ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    if torch.backends.mps.is_available():
        return "Apple GPU (MPS); training runs on the processor"
    return f"none; torch {torch.__version__} runs on the processor, which is enough"
