"""Pairs a second of `Reranker.predict` and of `CrossEncoder.predict`: the same pairs, weights and threads.

`own` runs the exported graph, which `distillir export-onnx` makes; `torch` the model as `CrossEncoder` does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.mtrag_data import say
from benchmarks.rerank_data import FOLDER, RerankMaterial
from distillir.conversation import Conversation
from distillir.errors import EvaluationError
from distillir.recipes.rerank import texts_of
from distillir.students import RerankerStudent
from distillir.students.reranker_checkpoint import load_reranker_student
from distillir.students.reranker_graph import save_graph

LARGEST_GAP = 1e-4


def throughput(made: RerankerStudent, material: RerankMaterial, count: int, repetitions: int = 5) -> dict[str, Any]:
    """Medians over repetitions of BM25's first candidates of test turns; all sides take turns.

    Raises:
        EvaluationError: the scores are not those of `CrossEncoder`.
    """
    first = material.first["bm25"]["test"]
    by_id = {c.id: c for c in material.splits["test"]}
    texts = texts_of(first, material.corpus)
    named = [(by_id[query].conversation, texts[d]) for query, found in first.items() for d in found]
    return compared(made, named[:: max(1, len(named) // count)][:count], repetitions)


def compared(made: RerankerStudent, pairs: list[tuple[Conversation, str]], repetitions: int) -> dict[str, Any]:
    """See `throughput`."""
    from sentence_transformers import CrossEncoder

    made.save(FOLDER / "student")
    made.graph = None
    fast = load_reranker_student(FOLDER / "student")
    save_graph(fast, FOLDER / "student")
    other = CrossEncoder(str(FOLDER / "student"), device="cpu")
    strings = [made.reader.strings(*pair) for pair in pairs]
    sides: dict[str, Callable[[], Any]] = {
        "own": lambda: fast.predict(pairs),
        "torch": lambda: made.predict(pairs),
        "other": lambda: other.predict(strings, show_progress_bar=False),
    }
    scores = {side: score() for side, score in sides.items()}  # warms all up
    gap = max(float(np.abs(scores[side] - scores["other"]).max()) for side in ("own", "torch"))
    if gap > LARGEST_GAP:
        raise EvaluationError(f"scores differ from CrossEncoder's by {gap:.2g}", f"they may by {LARGEST_GAP}")
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for i in range(repetitions):
        for side in sides if i % 2 else reversed(sides):
            begun = time.perf_counter()
            sides[side]()
            seconds[side].append(time.perf_counter() - begun)
        told = ", ".join(f"{side} {found[-1]:.2f} s" for side, found in seconds.items())
        say(f"  throughput {i + 1}/{repetitions}: {told}")
    ratios = np.array(seconds["other"]) / np.array(seconds["own"])
    own, plain, others = (float(np.median(found)) for found in seconds.values())
    return {
        "throughput_ratio": round(others / own, 3),
        "throughput_ratio_torch": round(others / plain, 3),
        "throughput_ratio_range": [round(float(r), 3) for r in (ratios.min(), ratios.max())],
        "pairs_per_second": round(len(pairs) / own, 1),
        "pairs_per_second_other": round(len(pairs) / others, 1),
        "pairs": len(pairs),
        "threads": torch.get_num_threads(),
        "largest_score_gap": gap,
    }
