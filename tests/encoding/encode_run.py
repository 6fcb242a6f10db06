"""An encoding for the crash tests, killed at moments its parent draws."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from distillir.data import Corpus
from distillir.encoding import encode_corpus
from distillir.rendering import RenderSettings
from distillir.students import SparseSettings, SparseStudent, resolve
from distillir.vectors import SparseVectors

SHARD, BATCH = 4, 2


def texts(count: int) -> list[dict[str, str]]:
    words = ["spice", "dune", "river", "Main", "Frankfurt", "film", "book", "who", "wrote", "when", "desert", "light"]
    rng = random.Random(4)
    return [
        {"_id": f"d{i}", "title": rng.choice(words), "text": " ".join(rng.choices(words, k=rng.randint(0, 25)))}
        for i in range(count)
    ]


def encoder() -> SparseStudent:
    return SparseStudent.from_pretrained(
        resolve("splade-tiny"), SparseSettings(RenderSettings(max_length=32), gate=False, document_length=24)
    )


def encode(model: SparseStudent, corpus: Path, folder: Path, pause: float = 0.0) -> SparseVectors:
    return encode_corpus(
        model,
        Corpus.open(corpus),
        folder,
        dtype="float32",
        batch_size=BATCH,
        shard_rows=SHARD,
        watch=lambda *_: time.sleep(pause),
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    corpus, folder, kills, seed = sys.argv[1:]
    model, rng, cut = encoder(), random.Random(int(seed)), 0
    for attempt in range(int(kills) + 1):
        child = os.fork()
        if not child:
            encode(model, Path(corpus), Path(folder), pause=0.02)
            os._exit(0)
        if attempt < int(kills):
            time.sleep(rng.uniform(0.01, 0.12))
            os.kill(child, signal.SIGKILL)
        cut += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    print(cut)  # noqa: T201
