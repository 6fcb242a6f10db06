"""A service in a process of its own, and users who wait for one reply before they ask again."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np

from distillir.errors import DataError

Body = dict[str, Any]


class Process:
    """`distillir serve RUN` on a port that was free; a context manager."""

    def __init__(self, run: Path, *options: str) -> None:
        self.run, self.options = run, options
        self.url = ""
        self._child: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it and wait until it takes requests."""
        port = str(urlsplit(self.url).port) if self.url else "0"  # started again, it is where it was
        program = [sys.executable, "-m", "distillir.cli", "serve", str(self.run), "--port", port, *self.options]
        # Threads are as many as the processor has, whatever this process was told.
        environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        environment["DISTILLIR_TOKEN"] = ""
        self._child = subprocess.Popen(program, stderr=subprocess.PIPE, text=True, env=environment)
        assert self._child.stderr is not None
        told = []
        for line in self._child.stderr:
            told.append(line)
            if line.startswith("http://"):
                self.url = line.split()[0]
                break
        else:
            raise DataError(self.run, f"the service did not start: {''.join(told)[-400:]}")
        threading.Thread(target=self._child.stderr.read, daemon=True).start()  # a full pipe would stop it
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                if Client(self.url).get("/readyz")[0] == 200:
                    return
            except OSError:
                time.sleep(0.05)
        raise DataError(self.run, "the service does not get ready")

    def kill(self) -> None:
        """As a power cut would."""
        assert self._child is not None
        self._child.kill()
        self._child.wait()

    def memory(self) -> float:
        """Resident megabytes."""
        assert self._child is not None
        for line in Path(f"/proc/{self._child.pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is not None:
            self._child.terminate()
            self._child.wait(30)


class Client:
    """One connection."""

    def __init__(self, url: str, timeout: float = 60.0) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=timeout)

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body."""
        self._connection.request("GET", path)
        reply = self._connection.getresponse()
        return reply.status, reply.read()

    def post(self, path: str, body: Body | None = None) -> tuple[int, Any]:
        """Status and JSON."""
        self._connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        reply = self._connection.getresponse()
        return reply.status, json.loads(reply.read() or b"null")


@dataclass
class Load:
    """What users met.

    Attributes:
        ms: of each answered request. statuses: how many of each; "interrupted": no reply at all.
        seconds: it lasted.
    """

    ms: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def row(self) -> dict[str, float]:
        """Percentiles and throughput."""
        p50, p95 = np.quantile(self.ms, [0.5, 0.95]) if self.ms else (float("nan"), float("nan"))
        per_s = len(self.ms) / self.seconds
        return {"p50_ms": round(float(p50), 2), "p95_ms": round(float(p95), 2), "per_s": round(per_s, 1)}


def under_load(url: str, bodies: Sequence[Body], users: int, seconds: float, warmup: int = 5) -> Load:
    """Users who ask, read the reply, and ask the next question at once."""
    load = Load()
    for i in range(warmup):
        Client(url).post("/v1/search", bodies[-1 - i % len(bodies)])
    start = time.perf_counter()

    def one(number: int) -> None:
        client, asked = Client(url), number
        while time.perf_counter() - start < seconds:
            begun = time.perf_counter()
            status, _ = client.post("/v1/search", bodies[asked % len(bodies)])
            if status == 200:
                load.ms.append((time.perf_counter() - begun) * 1e3)
            load.statuses[str(status)] += 1
            asked += users

    in_threads([partial(one, number) for number in range(users)])
    load.seconds = time.perf_counter() - start
    return load


def in_threads(calls: Sequence[Callable[[], None]]) -> None:
    """All at once, to their end."""
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
