"""`scripts/bench NAME`: run a benchmark, keep its result with what it was measured on, print it as the last line."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from distillir.errors import DistillirError

BENCHMARKS = {
    "ablation": "objective, draws, temperature, sparsity targets on MTRAG (needs --data); --full: all tables",
    "mtrag": "students, teachers and baselines on MTRAG and DSTC11 (needs --data); --full: 2x2 and cross-validation",
    "dense": "dense student over frozen all-MiniLM-L6-v2 vectors on MTRAG (needs --data)",
    "first_contact": "a folder of mixed files to its first answer, against encoding the same passages the usual way",
    "labels": "labelling against an endpoint: capacity used, and what ten kills lose or pay twice",
    "teachers": "rewriters alone and fused, live calls of each teacher (needs --data); --full: students",
    "rerank": "rerankers distilled from orders on MTRAG, and throughput (needs --data); --full: components, scores",
    "responses": "G2R on BYU Chit-Chat: pairs, both levels, latency (needs --data); --full: seeds, ablation, judge",
    "generative": "DGR on XQuAD and clapnq, suffix array alone (needs --data); --full: seeds, objectives, 100 M tokens",
    "serve": "turn to top-100 over HTTP, against torch and LLM rewrites (needs --data); --full: ten minutes of changes",
    "scale": "10 k to 160 k synthetic documents: index, query, training step, memory; --full: 5 M, and Ray",
    "train_step": "time and memory of one training step against the published and the usual way",
}
RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    model = ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else ""
    return {"processor": model or platform.machine(), "cores": os.cpu_count(), "system": platform.system()}


def main(argv: list[str] | None = None) -> int:
    """Parse, run, keep, print."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Benchmarks:\n" + "\n".join(f"  {name:<12} {text}" for name, text in BENCHMARKS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", choices=BENCHMARKS, help="which one")
    parser.add_argument("--data", type=Path, help="folder of the public data sets")
    parser.add_argument("--full", action="store_true", help="the whole table, rather than at most ten minutes of it")
    chosen = parser.parse_args(argv)
    if chosen.name is None:
        parser.print_help()
        return 0
    started = time.time()
    try:
        result = import_module(f"benchmarks.{chosen.name}").run(chosen.data, chosen.full)
    except (DistillirError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    keep(f"{chosen.name}{'_full' if chosen.full else ''}", result, time.time() - started, chosen.full)
    print(json.dumps(result))
    return 0


def keep(name: str, result: Mapping[str, Any], seconds: float, full: bool) -> None:
    """Write `results/NAME.json`: a result with what it was measured on."""
    from distillir.recipes.record import commit, versions  # seconds to import: the list of benchmarks needs none of it

    about = {"commit": commit(), "versions": versions(), "machine": machine(), "seconds": round(seconds, 1)}
    RESULTS.mkdir(exist_ok=True)
    kept = json.dumps({"result": result, **about, "full": full}, indent=1)
    (RESULTS / f"{name}.json").write_text(kept + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
