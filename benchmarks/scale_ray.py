"""What Ray costs: a corpus encoded in this process, and by one worker on Ray, on the same number of threads.

    python -m benchmarks.scale_ray DATA FOLDER [--limit 50000] [--model splade-tiny]

DATA: JSON lines or Parquet of documents, or the folder of the public data sets. Prints one JSON line: seconds of both,
of starting Ray and its worker, and the overhead without and with that start; `results/scale_ray.json` keeps it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

import torch

from benchmarks.run import keep
from benchmarks.scale_passages import public
from distillir.data import Corpus, Document, read_documents
from distillir.encoding import OnRay, encode_corpus
from distillir.students import SparseSettings, SparseStudent, resolve

SHARD_ROWS = 1024


def overhead(
    documents: Iterable[Document],
    folder: Path,
    *,
    limit: int = 50_000,
    model: str = "splade-tiny",
    document_length: int = 256,
) -> dict[str, float | int | bool]:
    """Encode a corpus twice and compare.

    Args:
        documents: of which the first `limit` are taken.
        folder: to work in; what an earlier call left there is removed.
        model: of the encoder. document_length: in tokens.

    Returns:
        Seconds and overheads; `identical`: whether both wrote the same shards.
    """
    import ray

    torch.set_num_threads(1)  # the worker has one
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    corpus = Corpus.build(itertools.islice(documents, limit), folder / "corpus.arrow")
    encoder = SparseStudent.from_pretrained(resolve(model), SparseSettings(gate=False, document_length=document_length))
    begun = time.perf_counter()
    here = encode_corpus(encoder, corpus, folder / "here", shard_rows=SHARD_ROWS)
    local = time.perf_counter() - begun
    begun = time.perf_counter()
    ray.init(num_cpus=1, log_to_driver=False, include_dashboard=False)
    try:
        up = time.perf_counter() - begun
        moments: list[tuple[float, int]] = []
        begun = time.perf_counter()
        there = encode_corpus(
            encoder,
            corpus,
            folder / "there",
            shard_rows=SHARD_ROWS,
            shares=OnRay(workers=1),
            watch=lambda done, total: moments.append((time.perf_counter(), done)),
        )
        on_ray = time.perf_counter() - begun
    finally:
        ray.shutdown()
    # The first share waits for the worker to load its encoder: a constant, told apart.
    (first, done), (last, total) = moments[0], moments[-1]
    steady = (last - first) * total / max(1, total - done)
    return {
        "documents": len(corpus),
        "local_s": round(local, 2),
        "ray_s": round(on_ray, 2),
        "ray_start_s": round(up, 2),
        "worker_start_s": round(first - begun - steady * done / total, 2),
        "ray_overhead": round(steady / local - 1, 4),
        "ray_overhead_with_start": round((up + on_ray) / local - 1, 4),
        "identical": here.fingerprint == there.fingerprint,
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int, default=50_000)
    parser.add_argument("--model", default="splade-tiny")
    given = parser.parse_args()
    if given.data.is_dir():
        given.folder.mkdir(parents=True, exist_ok=True)
        documents = public(given.data, given.folder)
    else:
        documents = (document for _, document in read_documents(given.data))
    begun = time.perf_counter()
    measured = overhead(documents, given.folder / "encoded", limit=given.limit, model=given.model)
    result = {"bench": "scale_ray", **measured}
    keep("scale_ray", result, time.perf_counter() - begun, full=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
