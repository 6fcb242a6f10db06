"""Seconds from nothing to the first answer on a folder of mixed real files, against the usual way.

    ours    a fresh process: import, read and split the folder, load weights, encode, index, answer a conversation
    theirs  a fresh process: the SparseEncoder of sentence-transformers, same weights, same passages, which are given to
            it read and split: import, load, encode_document, similarity, answer

The vectors of both are compared before the times are. Wall time suffers from whatever else the machine does, so the
seconds of processor time are given beside it. The encoder is the packaged splade-tiny, so nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.first_contact_files import make_folder

FILES, FILES_FULL = 120, 500
LIMIT = 180.0  # seconds, the goal for FILES_FULL
QUESTION = [
    {"role": "user", "content": "how do I read a csv file?"},
    {"role": "assistant", "content": "Use csv.reader, or csv.DictReader for rows with names."},
    {"role": "user", "content": "and how do I write one with a header?"},
]
AGREEMENT = 4e-3  # relative: stored vectors are in half precision


def run(data: Path | None = None, full: bool = False) -> dict[str, Any]:
    """Make the folder, measure both, compare.

    Args:
        data: not read.
        full: all 500 files; else 120 of the same mix.

    Returns:
        `ours` and `theirs`: seconds to the first answer. `ratio`: theirs over ours. `n`: files.
    """
    del data
    count = FILES_FULL if full else FILES
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        made = make_folder(root / "docs", count)
        print(f"{sum(made.values())} files: {made}", file=sys.stderr, flush=True)
        _call("--prepare", root / "plain")
        ours = _call("--ours", root / "docs", root / "kept")
        print(f"ours: {ours}", file=sys.stderr, flush=True)
        again = _call("--ours", root / "docs", root / "kept")
        theirs = _call("--theirs", root / "plain", root / "kept")
        print(f"theirs: {theirs}", file=sys.stderr, flush=True)
    if theirs["difference"] > AGREEMENT:
        raise SystemExit(f"the vectors differ by {theirs['difference']:.1e}: not the same encoding, not compared")
    return {
        "bench": "first_contact",
        "ratio": round(theirs["seconds"] / ours["seconds"], 2),
        "ratio_processor": round(theirs["processor"] / ours["processor"], 2),
        "ours": round(ours["seconds"], 1),
        "theirs": round(theirs["seconds"], 1),
        "unit": "s",
        "n": count,
        "files": made,
        "passages": ours["passages"],
        "processor_seconds": {"ours": round(ours["processor"], 1), "theirs": round(theirs["processor"], 1)},
        "memory_mib": {"ours": round(ours["memory"]), "theirs": round(theirs["memory"])},
        "again_unchanged": round(again["seconds"], 1),
        "largest_difference": theirs["difference"],
        "goals": {f"ours <= {LIMIT:.0f} s": ours["seconds"] <= LIMIT} if full else {},
    }


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Run from the command line; the last line printed is the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="not read; every benchmark takes it")
    parser.add_argument("--full", action="store_true", help="all 500 files")
    parser.add_argument("--prepare", nargs=1, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--ours", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--theirs", nargs=2, type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(argv)
    if chosen.prepare:
        result = _prepare(*chosen.prepare)
    elif chosen.ours:
        result = _ours(*chosen.ours)
    elif chosen.theirs:
        result = _theirs(*chosen.theirs)
    else:
        result = run(chosen.data, chosen.full)
    print(json.dumps(result))
    return result


def _call(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.first_contact", *map(str, arguments)]
    quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}
    done = subprocess.run(command, check=True, env=os.environ | quiet, stdout=subprocess.PIPE, text=True)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _used(begun: float) -> dict[str, float]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": time.perf_counter() - begun,
        "processor": usage.ru_utime + usage.ru_stime,
        "memory": usage.ru_maxrss / 1024,
    }


def _prepare(folder: Path) -> dict[str, Any]:
    """The packaged weights as a checkpoint that sentence-transformers opens."""
    from distillir.students import SparseSettings, SparseStudent, resolve

    SparseStudent.from_pretrained(resolve("splade-tiny"), SparseSettings(gate=False)).save(folder)
    return {}


def _ours(docs: Path, kept: Path) -> dict[str, Any]:
    begun = time.perf_counter()
    from distillir.search.documents import open_documents

    with open_documents(docs, folder=kept) as retriever:
        hits = retriever.retrieve(QUESTION, k=5)
        return {**_used(begun), "passages": retriever.report.passages, "first": hits[0].id}


def _theirs(plain: Path, kept: Path) -> dict[str, Any]:
    from distillir.data import Corpus
    from distillir.vectors import SparseVectors

    generation = kept / json.loads((kept / "documents.json").read_text(encoding="utf-8"))["generation"]
    texts = [document.contents for document in Corpus.open(generation / "corpus.arrow")]
    begun = time.perf_counter()
    from sentence_transformers import SparseEncoder

    encoder = SparseEncoder(str(plain), device="cpu")
    vectors = encoder.encode_document(texts, batch_size=32, show_progress_bar=False).coalesce()
    query = encoder.encode_query([" [SEP] ".join(turn["content"] for turn in reversed(QUESTION))])
    encoder.similarity(query, vectors).topk(5)
    used = _used(begun)
    rows, dimensions = vectors.indices().numpy()
    weights = vectors.values().numpy()
    stored = SparseVectors.open(generation / "vectors")
    worst = 0.0
    for row in range(0, len(texts), max(1, len(texts) // 500)):
        span = slice(*np.searchsorted(rows, [row, row + 1]))
        mine, other = np.zeros(stored.dim, np.float32), np.zeros(stored.dim, np.float32)
        held = stored.gather([row]).row(0)
        mine[held[0]] = held[1]
        other[dimensions[span]] = weights[span]
        worst = max(worst, float(np.abs(mine - other).max() / max(1e-6, np.abs(other).max())))
    return {**used, "difference": worst}


if __name__ == "__main__":
    main()
