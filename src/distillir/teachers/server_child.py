"""The process in which a GGUF model is served; started by `distillir.teachers.server`, ends with whoever started it.

Settings come as one line of JSON on standard input, the address goes as one line of JSON to standard output. The end
of standard input is the end of the process: a parent that was killed leaves no server behind.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from importlib import import_module
from typing import Any


def main() -> None:
    """Serve until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's: calls in flight are still to be answered
    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    xllamacpp: Any = import_module("xllamacpp")  # it has no types
    params = xllamacpp.CommonParams()
    params.model.path = asked["path"]
    params.model_alias = {asked["name"]}
    params.n_parallel = asked["slots"]
    params.n_ctx = asked["slots"] * asked["context"]
    params.port = 0
    params.hostnames = ["127.0.0.1"]
    params.ui = params.endpoint_slots = params.warmup = False
    params.cache_ram_mib = 256
    if asked["threads"]:
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = asked["threads"]
    server = xllamacpp.Server(params)
    sys.stdout.write(json.dumps({"url": server.listening_address}) + "\n")
    sys.stdout.flush()
    threading.Event().wait()


def _end_with_parent() -> None:
    while sys.stdin.read(1024):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
