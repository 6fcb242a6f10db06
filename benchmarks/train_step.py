"""Time and memory of one optimiser step of a sparse student, against the published and the usual way.

Ten contexts of 256 tokens, each with a gold and 16 negatives of 256 tokens; the step is forward, 0.99 KLD + 0.01
InfoNCE + anti-zero, backward, AdamW. All variants start from the same weights, in float32, without dropout, on the same
threads:

    ours       stored document vectors, fused head (the product's student)
    screen     the same with the bfloat16 screen
    stored     stored document vectors, plain head: what is left without the fused head
    published  documents encoded by the frozen encoder in every step, without gradient, as DiSCo's released code does
    st         sentence-transformers' SparseEncoder, which encodes documents with gradient, at fewer negatives, beside
               ours_few, ours at as many

Every measurement is a process of its own. Its loss comes first: variants whose losses differ are not compared. Memory
is the growth of the process's resident peak over the first step, gradients and optimiser state included. Token ids are
drawn at random: lengths and shapes decide, so no data set is needed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.train_step_variants import LENGTH, NEGATIVES, B, measure, prepare, threads

MODELS = ("tiny", "6x384")
AGREEMENT = 5e-3  # relative; scores that add thirty thousand products differ in their last digits, and τ magnifies it
ST_NEGATIVES = 4


def run(data: Path | None = None, full: bool = False) -> dict[str, Any]:
    """Measure and compare.

    Args:
        data: not read.
        full: more repetitions, and sentence-transformers at as many negatives as the free memory holds.

    Returns:
        `ratio` and `ratio_6x384`: seconds of `published` over seconds of `ours`. `memory_ratio` and
        `memory_ratio_6x384`: memory of `ours` over memory of `stored`. Under "models" everything measured.
    """
    del data
    rounds = 5 if full else 3
    models: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in MODELS:
            folder = Path(temporary) / name
            subprocess.run([*_SELF, "--prepare", name, str(folder)], check=True, env=_environment())
            found: dict[str, list[dict[str, float]]] = {}
            for turn in range(rounds):
                for variant in ("ours", "screen", "stored", "published"):
                    found.setdefault(variant, []).append(_measure(folder, variant, NEGATIVES))
                    _tell(name, variant, turn, found[variant][-1])
            most = _st_negatives(name) if full else ST_NEGATIVES
            if most:
                for label, variant in (("st", "st"), ("ours_few", "ours")):
                    found[label] = [_measure(folder, variant, most)]
                    _tell(name, label, 0, found[label][-1])
            models[name] = _compare(found, most)
    tiny, larger = models["tiny"], models["6x384"]
    return {
        "bench": "train_step",
        "ratio": tiny["ratio"],
        "ratio_6x384": larger["ratio"],
        "memory_ratio": tiny["memory_ratio"],
        "memory_ratio_6x384": larger["memory_ratio"],
        "goals": {
            "ratio >= 30": tiny["ratio"] >= 30,
            "ratio_6x384 >= 12": larger["ratio"] >= 12,
            "memory_ratio <= 1/5": tiny["memory_ratio"] <= 1 / 5,
            "memory_ratio_6x384 <= 1/2.4": larger["memory_ratio"] <= 1 / 2.4,
        },
        "setting": {"batch": B, "negatives": NEGATIVES, "tokens": LENGTH, "threads": threads(), "rounds": rounds},
        "models": models,
    }


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Run from the command line; the last line printed is the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="not read; every benchmark takes it")
    parser.add_argument("--full", action="store_true", help="more repetitions, larger comparison")
    parser.add_argument("--prepare", nargs=2, metavar=("MODEL", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=3, metavar=("FOLDER", "VARIANT", "NEGATIVES"), help=argparse.SUPPRESS)
    chosen = parser.parse_args(argv)
    if chosen.prepare:
        prepare(chosen.prepare[0], Path(chosen.prepare[1]))
        return {}
    if chosen.measure:
        result = measure(Path(chosen.measure[0]), chosen.measure[1], int(chosen.measure[2]))
    else:
        result = run(chosen.data, chosen.full)
    print(json.dumps(result))
    return result


# The parent: processes and their comparison

_SELF = [sys.executable, "-m", "benchmarks.train_step"]


def _environment() -> dict[str, str]:
    # passive: on a shared machine threads that spin while they wait cost every variant more than they compute
    quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}
    return {"OMP_WAIT_POLICY": "PASSIVE"} | os.environ | quiet


def _measure(folder: Path, variant: str, negatives: int) -> dict[str, float]:
    command = [*_SELF, "--measure", str(folder), variant, str(negatives)]
    done = subprocess.run(command, check=True, env=_environment(), stdout=subprocess.PIPE, text=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _tell(model: str, variant: str, turn: int, measured: dict[str, float]) -> None:
    print(
        f"{model:<6} {variant:<10} round {turn + 1}: loss {measured['loss']:.6f}  {measured['seconds']:.3f} s  "
        f"{measured['memory_mib']:.0f} MiB  {measured['active_dims']:.0f} active dimensions",
        flush=True,
    )


def _compare(found: dict[str, list[dict[str, float]]], st_negatives: int) -> dict[str, Any]:
    losses = {variant: runs[0]["loss"] for variant, runs in found.items()}
    for variant, loss in losses.items():
        same = losses["ours_few" if variant in ("st", "ours_few") else "ours"]
        if abs(loss - same) > AGREEMENT * abs(same):
            raise SystemExit(f"{variant} has loss {loss}, ours {same}: not the same step, not compared")
    seconds = {variant: median(one["seconds"] for one in runs) for variant, runs in found.items()}
    memory = {variant: median(one["memory_mib"] for one in runs) for variant, runs in found.items()}
    result: dict[str, Any] = {
        "ratio": round(seconds["published"] / seconds["ours"], 1),
        "ratio_screen": round(seconds["published"] / seconds["screen"], 1),
        "ratio_stored": round(seconds["stored"] / seconds["ours"], 1),
        "memory_ratio": round(memory["ours"] / memory["stored"], 3),
        "loss": {variant: round(loss, 6) for variant, loss in losses.items()},
        "seconds": {variant: round(value, 4) for variant, value in seconds.items()},
        "memory_mib": {variant: round(value) for variant, value in memory.items()},
        "active_dims": round(found["ours"][0]["active_dims"]),
    }
    if "st" in found:
        texts, wanted = 2 + st_negatives, 2 + NEGATIVES
        result["st"] = {
            "negatives": st_negatives,
            "ratio_at_these": round(seconds["st"] / seconds["ours_few"], 1),
            "memory_ratio_at_these": round(memory["ours_few"] / memory["st"], 3),
            "extrapolated_to_16_negatives": {
                "how": f"times {wanted}/{texts}, linear in the encoded texts",
                "seconds": round(seconds["st"] * wanted / texts, 1),
                "memory_mib": round(memory["st"] * wanted / texts),
            },
        }
    return result


def _st_negatives(model: str) -> int:
    """Most negatives whose step leaves a third of the free memory free; 0 = none, or the amount is unknown."""
    info = Path("/proc/meminfo")
    if not info.exists():
        return ST_NEGATIVES
    free = next(
        int(line.split()[1]) * 1024 for line in info.read_text().splitlines() if line.startswith("MemAvailable")
    )
    cube = B * LENGTH * 30522 * 4
    a_text = cube * (3 if model == "tiny" else 4)  # logits, their logarithm and gradient; what the body keeps
    return max(0, min(NEGATIVES, int(free * 2 / 3 / a_text) - 2))


if __name__ == "__main__":
    main()
