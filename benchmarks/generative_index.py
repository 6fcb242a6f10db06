"""The suffix array by itself on synthetic text, and what the constraint costs in a search."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.generative_student import Bench
from benchmarks.mtrag_data import say
from benchmarks.scale_alone import POLL, resident
from distillir.data import Context
from distillir.index.suffix import SuffixIndex
from distillir.students import GenerativeStudent

VOCABULARY = 40_000
TEXT = 100  # tokens of a synthetic text
LENGTHS = range(11)
BUILD_ALONE = """
import json, sys, time
from benchmarks.generative_index import texts
from distillir.index.suffix import SuffixIndex
rows = texts(int(sys.argv[1]))
print("made", flush=True)
time.sleep(0.5)  # whoever follows the memory looks at what the texts take
started = time.perf_counter()
index = SuffixIndex.build(iter(rows), sys.argv[2])
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "disk": index.nbytes}))
"""


def texts(tokens: int, seed: int = 5) -> NDArray[np.int64]:
    """(T, 100) tokens that are distributed as words are, half of them in phrases that return."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, VOCABULARY + 1) ** 1.05
    places = np.cumsum(share / share.sum())
    made = np.searchsorted(places, rng.random(tokens)).clip(max=VOCABULARY - 1)
    phrase = 20
    copies = tokens // (2 * phrase)
    source = rng.integers(0, max(1, tokens // 50), copies) * phrase % (tokens - phrase)
    target = rng.integers(0, (tokens - phrase) // phrase, copies) * phrase
    step = np.arange(phrase)
    made[(target[:, None] + step).ravel()] = made[(source[:, None] + step).ravel()]
    for number, words in enumerate(set_phrases()):
        often = max(1, tokens // (2000 << number))
        at = rng.integers(0, (tokens - phrase) // phrase, often) * phrase
        made[(at[:, None] + np.arange(len(words))).ravel()] = np.tile(words, often)
    return made[: tokens // TEXT * TEXT].reshape(-1, TEXT).astype(np.int64)


def set_phrases() -> NDArray[np.int64]:
    """(8, 12) phrases that every text may hold, each half as often as the one before; one in 2,000 tokens begins the
    first."""
    return np.random.default_rng(9).integers(1000, VOCABULARY, (8, 12))


def costs(sizes: Sequence[int]) -> dict[str, Any]:
    """Time, memory and disk of a build by millions of tokens, each in a process of its own; then latencies."""
    made: dict[str, Any] = {"build": {}}
    with TemporaryDirectory() as folder:
        for tokens in sizes:
            say(f"suffix array of {tokens:,} tokens")
            told = built_alone(tokens, f"{folder}/index")
            million = tokens / 1e6
            made["build"][f"{million:g}M"] = {
                "seconds_per_million": round(told["seconds"] / million, 3),
                "memory_bytes_per_token": round(1024**2 * told["memory_mb"] / tokens, 1),
                "disk_bytes_per_token": round(told["disk"] / tokens, 1),
            }
        made |= latencies(SuffixIndex.open(Path(folder) / "index"))
    return made


def built_alone(tokens: int, folder: str) -> dict[str, float]:
    """Seconds, bytes on disk, and megabytes beyond the texts (RssAnon; 0 where the system does not tell) of a build."""
    words = [sys.executable, "-c", BUILD_ALONE, str(tokens), folder]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        before = most = resident(child.pid).get("RssAnon", 0.0)
        while child.poll() is None:
            most = max(most, resident(child.pid).get("RssAnon", 0.0))
            time.sleep(POLL)
        if child.returncode:
            raise subprocess.CalledProcessError(child.returncode, words)
        told: dict[str, float] = json.loads(child.stdout.read())
    return told | {"memory_mb": most - before}


def latencies(index: SuffixIndex, samples: int = 60) -> dict[str, Any]:
    """Microseconds of the next-token set of one prefix: by its length, and of set phrases by how often they occur."""
    rng = np.random.default_rng(1)
    by_length = {}
    for length in LENGTHS:
        spent, sizes = [], []
        for i in rng.integers(0, index.texts, samples):
            text = index.text(int(i))
            first = int(rng.integers(0, max(1, len(text) - length)))
            spans = index.find(text[first : first + length].tolist())
            started = time.perf_counter()
            index.following(spans)
            spent.append(1e6 * (time.perf_counter() - started))
            sizes.append(int(spans.counts[0]))
        by_length[str(length)] = {
            "us_median": round(float(np.median(spent)), 1),
            "us_p95": round(float(np.quantile(spent, 0.95)), 1),
            "occurrences_median": int(np.median(sizes)),
        }
    return {"next_us_by_length": by_length, "next_us_by_occurrences": by_occurrences(index)}


def by_occurrences(index: SuffixIndex, repetitions: int = 20) -> list[dict[str, Any]]:
    """Inside a set phrase one token follows, however often it stands; behind it, anything may."""
    told = []
    for words in set_phrases():
        for length, where in ((6, "inside"), (12, "behind")):
            spans = index.find(words[:length].tolist())
            spent = []
            for _ in range(repetitions):
                started = time.perf_counter()
                behind = index.following(spans)
                spent.append(1e6 * (time.perf_counter() - started))
            told.append(
                {
                    "where": where,
                    "occurrences": int(spans.counts[0]),
                    "next_tokens": len(behind.tokens),
                    "us_median": round(float(np.median(spent)), 1),
                }
            )
    return told


def search_costs(bench: Bench, student: GenerativeStudent, contexts: Sequence[Context]) -> dict[str, Any]:
    """Milliseconds of one query by beam, and which share of them the suffix array takes."""
    made = {}
    for beams in bench.size.widths:
        retriever = bench.retriever(student, beams)
        retriever.retrieve(contexts[0].conversation)
        spent, shares, parts = [], [], []
        for context in contexts:
            with timed("following") as next_tokens, timed("texts_with") as passages:
                started = time.perf_counter()
                retriever.retrieve(context.conversation)
                spent.append(time.perf_counter() - started)
            shares.append(sum(next_tokens) / spent[-1])
            parts.append(sum(passages) / spent[-1])
        made[str(beams)] = {
            "ms_median": round(1000 * float(np.median(spent)), 1),
            "ms_p95": round(1000 * float(np.quantile(spent, 0.95)), 1),
            "constraint_share": round(float(np.mean(shares)), 4),
            "passages_share": round(float(np.mean(parts)), 4),
        }
    return made


@contextmanager
def timed(method: str) -> Iterator[list[float]]:
    """Seconds of every call of a method of the suffix index."""
    plain, spent = getattr(SuffixIndex, method), list[float]()

    def watched(*words: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return plain(*words, **named)
        finally:
            spent.append(time.perf_counter() - started)

    setattr(SuffixIndex, method, watched)
    try:
        yield spent
    finally:
        setattr(SuffixIndex, method, plain)


def valid_share(bench: Bench, student: GenerativeStudent, contexts: Sequence[Context]) -> dict[str, Any]:
    """Of all identifiers written, how many stand in the corpus, looked for in its texts without the index."""
    corpus, read = bench.collection.corpus, student.reader.text
    found = total = 0
    for view in student.settings.views:
        rows = [corpus.document(i) for i in range(len(corpus))]
        lines = [" ".join(map(str, read(one.title if view.name == "title" else one.text))) for one in rows]
        if view.whole:
            lines = [" ".join(line.split()[: view.length]) for line in lines]
        whole, hay = set(lines), "\n".join(f" {line} " for line in lines)
        made = student.generate(
            [c.conversation for c in contexts], view.name, bench.index.views[view.name], beams=bench.size.beams
        )
        for tokens, ended in zip(made.tokens, made.ended, strict=True):
            line = " ".join(map(str, tokens))
            found += line in whole if ended else f" {line} " in hay
            total += 1
    return {"identifiers": total, "valid": found / total if total else 1.0}
