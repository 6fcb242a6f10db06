"""A service under steady load while its documents change, its model is swapped and it is killed; then all is replayed.

A reply is wrong where the same request, asked offline of the version it names, finds something else. A write is lost
where it was acknowledged and the journal lacks it, or the index does.
"""

from __future__ import annotations

import http.client
import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.mtrag_data import say
from benchmarks.serve_load import Body, Client, Process
from distillir.data import Corpus
from distillir.index import open_index
from distillir.recipes.opening import open_encoder
from distillir.search import Retriever
from distillir.search.added import payload_of
from distillir.serving.collection import document_of
from distillir.students import OnnxEncoder

DOCUMENTED = {"200", "400", "401", "408", "409", "413", "421", "422", "429", "503", "504"}
REPLAYED = 400  # replies, spread over the soak


@dataclass
class Soak:
    """What was met.

    Attributes:
        replies: request and reply. statuses: of all requests; "interrupted": no reply, as the service was killed or
            away; "dropped": no reply, though it was there.
        acknowledged: number of the change and id of each document, for additions and deletions.
        memory: (seconds, megabytes, process number).
    """

    replies: list[tuple[Body, dict[str, Any]]] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    acknowledged: list[tuple[str, str, str]] = field(default_factory=list)
    memory: list[tuple[float, float, int]] = field(default_factory=list)


def soak(run: Path, bodies: Sequence[Body], rate: float, seconds: float, texts: Sequence[str]) -> dict[str, Any]:
    """Run it and replay it.

    Args:
        run: run folder with an export; changed and restored.
        bodies: requests. rate: of them a second.
        seconds: in all; half way the service is killed and started again.
        texts: of documents to add.
    """
    pristine = run.with_name(f"{run.name}.pristine")
    state = run.with_name(f"{run.name}.serving")
    for folder in (pristine, state):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(run, pristine)
    met, process = Soak(), Process(run, "--cache", "0")
    say(f"soak: {rate:.0f} requests a second for {seconds:.0f} s")
    try:
        with process:
            _drive(process, met, bodies, rate, seconds, texts)
        changes = [json.loads(line) for line in (state / "writes.jsonl").read_text(encoding="utf-8").splitlines()]
        wrong, replayed = replay(pristine, met, changes)
        return _summary(met, changes, wrong, replayed)
    finally:
        shutil.rmtree(run)
        pristine.rename(run)
        shutil.rmtree(state, ignore_errors=True)


def _drive(
    process: Process, met: Soak, bodies: Sequence[Body], rate: float, seconds: float, texts: Sequence[str]
) -> None:
    begun, stop, away, started = time.monotonic(), threading.Event(), threading.Event(), 0
    users = 8

    def unanswered(was_away: bool) -> Client:
        met.statuses["interrupted" if was_away or away.is_set() else "dropped"] += 1
        time.sleep(0.2)
        return Client(process.url)

    def ask(offset: int) -> None:
        client, i = Client(process.url), offset
        while not stop.is_set():
            due = begun + i / rate
            time.sleep(max(0.0, due - time.monotonic()))
            body, was_away = bodies[i % len(bodies)], away.is_set()
            try:
                status, reply = client.post("/v1/search", body)
                met.statuses[str(status)] += 1
                if status == 200:
                    met.replies.append((body, reply))
            except (OSError, http.client.HTTPException):
                client = unanswered(was_away)
            i += users

    def write() -> None:
        client, i = Client(process.url), 0
        while not stop.wait(0.3):
            name = f"soak-{i}"
            adding, was_away = i % 3 != 2, away.is_set()
            row = {"id": name, "text": texts[i % len(texts)], "title": "", "metadata": {"soak": i}}
            body: Body = {"documents": [row]} if adding else {"ids": [f"soak-{i - 1}"]}
            try:
                status, reply = client.post("/v1/documents" if adding else "/v1/documents/delete", body)
                met.statuses[str(status)] += 1
                if status == 200:
                    target = name if adding else f"soak-{i - 1}"
                    met.acknowledged.append((reply["served"]["index"], "add" if adding else "delete", target))
                if status == 200 and i % 20 == 10:
                    met.statuses[str(client.post("/v1/reload")[0])] += 1
            except (OSError, http.client.HTTPException):
                client = unanswered(was_away)
            i += 1

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(users)] + [threading.Thread(target=write)]
    for thread in threads:
        thread.start()
    while (passed := time.monotonic() - begun) < seconds:
        if not started and passed > seconds / 2:
            away.set()
            process.kill()
            process.start()
            away.clear()
            started = 1
        met.memory.append((passed, process.memory(), started))
        time.sleep(min(1.0, seconds / 20))
    stop.set()
    for thread in threads:
        thread.join()


def replay(pristine: Path, met: Soak, changes: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """(wrong, replayed) replies."""
    step = max(1, len(met.replies) // REPLAYED)
    sample = sorted(met.replies[::step], key=lambda pair: _seq(pair[1]["served"]["index"]))
    fast, frozen = OnnxEncoder.open(pristine / "onnx"), open_encoder(pristine)
    wrong = 0
    with open_index(pristine / "index") as index:
        retriever = Retriever(fast, index, Corpus.open(pristine / "corpus.arrow"))
        done = 0
        for body, reply in sample:
            for change in changes[done : _seq(reply["served"]["index"])]:
                if change["op"] == "add":
                    added = [document_of(row) for row in change["documents"]]
                    vectors = frozen.encode_documents([document.contents for document in added])
                    index.add([document.id for document in added], vectors, [payload_of(d) for d in added])
                else:
                    index.delete(change["ids"])
                done += 1
            hits = retriever.retrieve(body["messages"], body["k"])
            same = [hit["id"] for hit in reply["hits"]] == [hit.id for hit in hits]
            close = same and np.allclose([h["score"] for h in reply["hits"]], [h.score for h in hits], rtol=1e-4)
            wrong += not close or reply["served"]["model"] != fast.fingerprint()
    return wrong, len(sample)


def _summary(met: Soak, changes: Sequence[dict[str, Any]], wrong: int, replayed: int) -> dict[str, Any]:
    lost = 0
    for version, op, name in met.acknowledged:
        seq = _seq(version)
        written: dict[str, Any] = changes[seq - 1] if seq <= len(changes) else {"op": ""}
        ids = written.get("ids") or [row["id"] for row in written.get("documents", [])]
        lost += written["op"] != op or name not in ids
    # Flat = what the second process held in its last quarter against its second one.
    later = [(at, size) for at, size, process in met.memory if process == max(p for _, _, p in met.memory)]
    quarter = max(1, len(later) // 4)
    early = float(np.median([size for _, size in later[quarter : 2 * quarter] or later]))
    late = float(np.median([size for _, size in later[-quarter:]]))
    return {
        "requests": sum(met.statuses.values()),
        "statuses": dict(met.statuses),
        "undocumented": sum(n for status, n in met.statuses.items() if status not in DOCUMENTED | {"interrupted"}),
        "writes": len(met.acknowledged),
        "versions": len({reply["served"]["index"] for _, reply in met.replies}),
        "replayed": replayed,
        "wrong": wrong,
        "lost": lost,
        "memory_mb": round(late, 1),
        "memory_growth": round(late / early - 1, 4),
    }


def _seq(version: str) -> int:
    return int(version.rpartition("-")[2])
