"""Labelling 5,000 contexts: how much of an endpoint's capacity is used, and what ten kills cost.

The endpoint is a process of its own with a fixed service time and a capacity; it writes down every call. First one
undisturbed run. Then the same labels anew, the labelling process killed with SIGKILL ten times at random moments and
started again with the same command.

    capacity_used  share of the calls the endpoint could have answered between the first call and the last answer
    lost           labels whose commit was acknowledged (written to a file after `put_many` returned) and that are not
                   in the store afterwards, and labels missing at the end
    repeated       calls for a label that was in the store when the process before was killed
    in_flight      calls in flight at the kills, as the endpoint saw them: not answered yet (open), or answered and not
                   in the store (uncommitted)
    possibly_paid  calls beyond one for each label
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distillir.labels import Label, LabelRequest, LabelStore

LABELS = 5000
CAPACITY = 32
SECONDS = 0.4
IN_FLIGHT = 44  # a few calls wait at the endpoint while others are committed
LEASE = 3.0
KILLS = 10
SEED = 7


def run(data: Path | None = None, full: bool = False) -> dict[str, Any]:
    """Measure.

    Args:
        data: not read.
        full: three times the kills, at other moments.
    """
    del data
    kills = 3 * KILLS if full else KILLS
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        undisturbed = _undisturbed(folder)
        print(json.dumps(undisturbed), flush=True)
        killed = _killed(folder, kills)
    return {
        "bench": "labels",
        "capacity_used": undisturbed["capacity_used"],
        "lost": undisturbed["lost"] + killed.lost,
        "repeated": killed.repeated,
        "possibly_paid": killed.possibly_paid,
        "in_flight": killed.open + killed.uncommitted,
        "goals": {
            "capacity_used >= 0.95": undisturbed["capacity_used"] >= 0.95,
            "lost = 0": undisturbed["lost"] + killed.lost == 0,
            "repeated = 0": killed.repeated == 0,
            "possibly_paid <= in_flight": killed.possibly_paid <= killed.open + killed.uncommitted,
        },
        "undisturbed": undisturbed,
        "killed": {
            "kills": kills,
            "open": killed.open,
            "uncommitted": killed.uncommitted,
            "counted_by_the_store": killed.counted,
            "seconds": killed.seconds,
        },
        "setting": {
            "labels": LABELS,
            "capacity": CAPACITY,
            "service_seconds": SECONDS,
            "in_flight": IN_FLIGHT,
            "lease_seconds": LEASE,
        },
    }


@dataclass
class _Killed:
    """What the kills cost."""

    lost: int = 0
    repeated: int = 0
    possibly_paid: int = 0
    open: int = 0
    uncommitted: int = 0
    counted: int = 0
    seconds: float = 0.0
    committed: set[str] = field(default_factory=set)
    seen: Counter[str] = field(default_factory=Counter)

    def at_kill(self, calls: list[list[Any]], moment: float, committed: set[str], acknowledged: set[str]) -> None:
        """Account for one process: all calls so far, when it was killed, what is in the store and was said to be."""
        mine = calls[self.seen.total() :]
        self._repeats(mine)
        open_ = {question for question, _, answered in mine if answered is None or answered > moment} - committed
        self.open += len(open_)
        self.uncommitted += len({question for question, _, _ in mine} - committed - open_)
        self.lost += len(acknowledged - committed)
        self.committed = committed

    def at_end(self, calls: list[list[Any]], committed: set[str], acknowledged: set[str]) -> None:
        """Account for the last process."""
        self._repeats(calls[self.seen.total() :])
        self.lost += len(acknowledged - committed) + LABELS - len(committed)
        self.possibly_paid = sum(self.seen.values()) - len(self.seen)

    def _repeats(self, mine: list[list[Any]]) -> None:
        self.repeated += sum(question in self.committed for question, _, _ in mine)
        self.seen.update(question for question, _, _ in mine)


def _undisturbed(folder: Path) -> dict[str, Any]:
    store = folder / "undisturbed.db"
    with _endpoint() as url:
        subprocess.run(_labelling(store, url), check=True)
        calls = _calls(url)
    elapsed = max(call[2] for call in calls) - min(call[1] for call in calls)
    committed, acknowledged = _committed(store), _acknowledged(store)
    return {
        "capacity_used": round(len(calls) * SECONDS / (CAPACITY * elapsed), 4),
        "calls": len(calls),
        "seconds": round(elapsed, 2),
        "lost": len(acknowledged - committed) + LABELS - len(committed),
    }


def _killed(folder: Path, kills: int) -> _Killed:
    store, dice, found = folder / "killed.db", random.Random(SEED), _Killed()
    started = time.monotonic()
    alive = LABELS * SECONDS / CAPACITY / (kills + 1)  # seconds a process works on average
    with _endpoint() as url:
        for kill in range(kills):
            before = len(_calls(url))
            process = subprocess.Popen(_labelling(store, url))
            while len(_calls(url)) == before:
                time.sleep(0.02)
            time.sleep(dice.uniform(0, 1.8 * alive))
            moment = time.monotonic()
            process.kill()
            process.wait()
            time.sleep(SECONDS * (IN_FLIGHT / CAPACITY + 1))  # the endpoint answers what it has, to nobody
            found.at_kill(_calls(url), moment, _committed(store), _acknowledged(store))
            print(
                f"kill {kill + 1}: {len(found.committed)} labels, {found.open} + {found.uncommitted} in flight",
                flush=True,
            )
        subprocess.run(_labelling(store, url), check=True)
        found.at_end(_calls(url), _committed(store), _acknowledged(store))
    with LabelStore(store) as opened, opened.reading() as db:
        found.counted = int(db.execute("SELECT count(*) FROM takeovers").fetchone()[0])
    found.seconds = round(time.monotonic() - started, 1)
    return found


# The parent's view


@contextmanager
def _endpoint() -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.labels_endpoint", str(CAPACITY), str(SECONDS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None  # noqa: PT018
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


def _calls(url: str) -> list[list[Any]]:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{url}/state") as answer:
        calls: list[list[Any]] = json.load(answer)["calls"]
        return calls


def _committed(store: Path) -> set[str]:
    with LabelStore(store) as opened:
        return {name for row in opened.rows() for name in row.context_ids}


def _acknowledged(store: Path) -> set[str]:
    path = _acknowledgements(store)
    # A line may be torn by a kill; what is torn was not acknowledged.
    return set(path.read_text().split("\n")[:-1]) if path.exists() else set()


def _acknowledgements(store: Path) -> Path:
    return store.with_suffix(".acknowledged")


def _labelling(store: Path, url: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.labels", "--label", str(store), f"{url}/v1"]


# The labelling process


class _Telling(LabelStore):
    """Writes down which labels it acknowledged, right after."""

    def put_many(self, pairs: Iterable[tuple[LabelRequest, Label]], *, keep_first: bool = False) -> int:
        """As the store does."""
        listed = list(pairs)
        new = super().put_many(listed, keep_first=keep_first)
        with _acknowledgements(self.path).open("ab", buffering=0) as file:
            file.write("".join(f"{request.context_id}\n" for request, _ in listed).encode())
        return new


def _label(store: Path, url: str) -> None:
    from distillir.teachers import (
        Endpoint,
        EndpointSettings,
        Generate,
        Job,
        Message,
        Model,
        RunSettings,
        label,
        one_call,
    )

    def job(i: int, model: Model) -> Job:
        name = f"q{i}"
        question = Generate((Message("user", name),), max_tokens=5)
        request = LabelRequest("benchmark", model.name, "1", name, context_id=name)
        return one_call(
            request, question, lambda reply: Label("rewrite", reply.texts[0], reply.texts[0]), model.bound(question)
        )

    endpoint = Endpoint(EndpointSettings("benchmark", base_url=url, key_env=None, in_flight=IN_FLIGHT))
    with _Telling(store) as opened:
        label(lambda model: [job(i, model) for i in range(LABELS)], endpoint, opened, RunSettings(lease=LEASE))


def main(argv: list[str] | None = None) -> None:
    """Run from the command line; the last line printed is the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="not read; every benchmark takes it")
    parser.add_argument("--full", action="store_true", help="three times the kills")
    parser.add_argument("--label", nargs=2, metavar=("STORE", "URL"), help=argparse.SUPPRESS)
    chosen = parser.parse_args(argv)
    if chosen.label:
        _label(Path(chosen.label[0]), chosen.label[1])
        return
    print(json.dumps(run(chosen.data, chosen.full)))


if __name__ == "__main__":
    os.environ.pop("OPENAI_API_KEY", None)
    main()
