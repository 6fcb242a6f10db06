"""A task in a process of its own, whose memory is followed from outside: code that never returns to Python counts too.

Memory is RssAnon: resident pages that no file backs. Mapped vectors are the page cache's, which gives them up as soon
as somebody else needs the room; they are told as RssFile, beside it. Only Linux tells the two apart.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

POLL = 0.02  # seconds


def resident(process: int | str = "self") -> dict[str, float]:
    """Megabytes of RssAnon and RssFile; without /proc, none of them."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    fields = dict(line.split(":", 1) for line in lines if line.startswith(("RssAnon", "RssFile")))
    return {name: int(value.split()[0]) / 1024 for name, value in fields.items()}  # a zombie has no such lines


def alone(task: str, **given: Any) -> dict[str, Any]:
    """What a task of `scale_tasks` returns, with `rss_mb` and `mapped_mb`: the most that its process had."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "result.json"
        words = [sys.executable, "-m", "benchmarks.scale_tasks", task, json.dumps(given), str(told)]
        quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}
        # Engines talk on standard output, whose last line is to be the result.
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, env=os.environ | quiet) as child:
            most: dict[str, float] = {}
            while child.poll() is None:
                now = resident(child.pid)
                most = {name: max(value, most.get(name, 0.0)) for name, value in now.items()} or most
                time.sleep(POLL)
        if child.returncode:
            raise subprocess.CalledProcessError(child.returncode, words)
        result: dict[str, Any] = json.loads(told.read_text(encoding="utf-8"))
    if most:
        result |= {"rss_mb": round(most["RssAnon"], 1), "mapped_mb": round(most["RssFile"], 1)}
    return result
