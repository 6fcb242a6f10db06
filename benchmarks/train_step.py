"""Time and memory of one optimiser step of a sparse student, against the published and the usual way.

Ten contexts of 256 tokens, each with a gold and 16 negatives of 256 tokens; the step is forward, 0.99 KLD + 0.01 InfoNCE
+ anti-zero, backward, AdamW. All variants start from the same weights, in float32, without dropout, on the same threads:

    ours       stored document vectors, fused head (the product's student)
    screen     the same with the bfloat16 screen
    stored     stored document vectors, plain head: what is left without the fused head
    published  documents encoded by the frozen encoder in every step, without gradient, as DiSCo's released code does
    st         sentence-transformers' SparseEncoder, which encodes documents with gradient, at fewer negatives

Every measurement is a process of its own. Its loss comes first: variants whose losses differ are not compared. Memory is
the growth of the process's resident peak over the step, gradients and optimiser state included. Token ids are drawn at
random: lengths and shapes decide, so no data set is needed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

B, NEGATIVES, LENGTH = 10, 16, 256
FIRST_WORD = 1000  # below are BERT's special and unused entries
MODELS = ("tiny", "6x384")
TIMED = {"ours": 5, "screen": 5, "stored": 3, "published": 1, "st": 1}
AGREEMENT = 1e-3  # relative, between losses whose sums run in another order
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
                found["st"] = [_measure(folder, "st", most)]
                _tell(name, "st", 0, found["st"][-1])
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
        "setting": {"batch": B, "negatives": NEGATIVES, "tokens": LENGTH, "threads": _threads(), "rounds": rounds},
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
        _prepare(chosen.prepare[0], Path(chosen.prepare[1]))
        return {}
    if chosen.measure:
        result = _step(Path(chosen.measure[0]), chosen.measure[1], int(chosen.measure[2]))
    else:
        result = run(chosen.data, chosen.full)
    print(json.dumps(result))
    return result


# The parent: processes and their comparison

_SELF = [sys.executable, "-m", "benchmarks.train_step"]


def _environment() -> dict[str, str]:
    return os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}


def _threads() -> int:
    return int(os.environ.get("OMP_NUM_THREADS", 0)) or len(os.sched_getaffinity(0))


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
    losses = {variant: runs[0]["loss"] for variant, runs in found.items() if variant != "st"}
    for variant, loss in losses.items():
        if abs(loss - losses["ours"]) > AGREEMENT * abs(losses["ours"]):
            raise SystemExit(f"{variant} has loss {loss}, ours {losses['ours']}: not the same step, not compared")
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
            "seconds": round(seconds["st"], 2),
            "memory_mib": round(memory["st"]),
            "loss": round(found["st"][0]["loss"], 6),
            "extrapolated_to_16_negatives": {
                "how": f"times {wanted}/{texts}, linear in the encoded texts",
                "seconds": round(seconds["st"] * wanted / texts, 1),
                "memory_mib": round(memory["st"] * wanted / texts),
                "ratio": round(seconds["st"] * wanted / texts / seconds["ours"], 1),
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
    a_text = cube * (4.5 if model == "tiny" else 6.0)  # logits, their activations and gradients; the body's own
    return max(0, min(NEGATIVES, int(free * 2 / 3 / a_text) - 2))


# A child: prepare a model and what is stored, or take one step


def _prepare(name: str, folder: Path) -> None:
    """Weights, token ids, stored document vectors and teacher scores, the same for every variant."""
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer, BertConfig, BertForMaskedLM

    from distillir.students.packaged import SPLADE_TINY, locate
    from distillir.students.sparse import SparseSettings, SparseStudent

    torch.manual_seed(0)
    source = locate(SPLADE_TINY)
    shape = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    model = AutoModelForMaskedLM.from_pretrained(source) if name == "tiny" else BertForMaskedLM(BertConfig(**shape))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    vocabulary = model.config.vocab_size
    draw: Callable[..., torch.Tensor] = lambda *size: torch.randint(FIRST_WORD, vocabulary, size)  # noqa: E731
    queries, rewrites, documents = draw(B, LENGTH), draw(B, 32), draw(B * (1 + NEGATIVES), LENGTH)
    student = SparseStudent.from_pretrained(folder, SparseSettings(gate=False)).eval()
    with torch.inference_mode():
        encode: Callable[[torch.Tensor], torch.Tensor] = lambda ids: torch.cat(  # noqa: E731
            [student.represent(part, torch.ones_like(part, dtype=torch.bool)) for part in ids.split(B)]
        )
        stored, teacher = encode(documents), encode(rewrites)
    scores = (teacher @ stored.t()).view(B, B, 1 + NEGATIVES)[torch.arange(B), torch.arange(B)]  # own lists
    rows, dimensions = stored.nonzero(as_tuple=True)
    np.savez(
        folder / "stored.npz",
        queries=queries.numpy(),
        documents=documents.numpy(),
        scores=scores.numpy(),
        tau=np.array(scores.std(1).mean()),  # the scale of the teacher, so that the loss is neither flat nor endless
        indptr=np.concatenate([[0], np.cumsum(np.bincount(rows.numpy(), minlength=len(stored)))]),
        indices=dimensions.numpy(),
        values=stored[rows, dimensions].numpy(),
    )


def _step(folder: Path, variant: str, negatives: int) -> dict[str, float]:
    """Loss, memory and seconds of one variant's step."""
    import torch

    from distillir.objectives import KLD, InfoNCE, Output, Targets, WeightedSum
    from distillir.sparsity import active_dimensions, anti_zero

    torch.set_num_threads(_threads())
    with np.load(folder / "stored.npz", allow_pickle=False) as held:
        data = {name: held[name] for name in held.files}
    kept = np.arange(B * (1 + NEGATIVES)).reshape(B, -1)[:, : 1 + negatives]  # (B, 1 + n) rows, the gold first
    gold = torch.zeros(B, 1 + negatives, dtype=torch.bool)
    gold[:, 0] = True
    targets = Targets(scores=torch.from_numpy(data["scores"][:, : 1 + negatives]), gold=gold)
    objective = WeightedSum(((0.99, KLD(tau=float(data["tau"]))), (0.01, InfoNCE(tau=float(data["tau"])))))
    parameters, forward = _forward(folder, variant, data, torch.from_numpy(kept))
    optimizer = torch.optim.AdamW(parameters, lr=2e-5)

    def once() -> tuple[float, float]:
        vectors, listed, shared, allowed = forward()
        mask = torch.ones_like(gold)
        output = Output(listed, mask, vectors=vectors, shared=shared, shared_mask=allowed)
        loss = objective(output, targets) + anti_zero(vectors)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item(), float(active_dimensions(vectors.detach()).float().mean())

    before = _peak(reset=True)
    started = time.perf_counter()
    loss, active = once()
    seconds = [time.perf_counter() - started]
    memory = (_peak() - before) / 2**20
    if TIMED[variant] > 1:  # the first step warmed up
        seconds = []
        for _ in range(TIMED[variant]):
            started = time.perf_counter()
            once()
            seconds.append(time.perf_counter() - started)
    return {"loss": loss, "seconds": median(seconds), "memory_mib": memory, "active_dims": active}


def _forward(folder: Path, variant: str, data: dict[str, Any], kept: Any) -> tuple[Iterator[Any], Callable[[], Any]]:
    """Parameters, and a function: () → vectors (B, V), own scores (B, 1 + n), shared scores (B, B·n), allowed mask."""
    import torch
    from sentence_transformers import SparseEncoder
    from transformers import AutoModelForMaskedLM

    from distillir.students.batch import StoredRows
    from distillir.students.sparse import SparseSettings, SparseStudent

    queries = torch.from_numpy(data["queries"])
    documents = torch.from_numpy(data["documents"])
    own = torch.arange(B)[:, None] == torch.arange(B).repeat_interleave(kept.shape[1] - 1)

    def lists(vectors: torch.Tensor, every: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Scores of every stored row (B, U) → the batch's lists."""
        return vectors, every.gather(1, kept), every[:, kept[:, 1:].reshape(-1)], ~own

    stored = StoredRows(*(torch.from_numpy(data[name]) for name in ("indptr", "indices", "values")))
    if variant in ("ours", "screen"):
        student = SparseStudent.from_pretrained(folder, SparseSettings(gate=False)).eval()
        student.screen = variant == "screen"

        def ours() -> Any:
            vectors = student.represent(queries, torch.ones_like(queries, dtype=torch.bool))
            return lists(vectors, stored.dot(vectors))

        return student.parameters(), ours
    if variant == "st":
        encoder = SparseEncoder(str(folder), device="cpu").eval()

        def embed(ids: torch.Tensor) -> torch.Tensor:
            out = encoder({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
            embedding: torch.Tensor = out["sentence_embedding"]
            return embedding

        def sentence_transformers() -> Any:
            vectors = embed(queries)
            columns = torch.stack([embed(documents[column]) for column in kept.t()], dim=1)  # (B, 1 + n, V)
            listed = torch.einsum("bv,bnv->bn", vectors, columns)
            return vectors, listed, vectors @ columns[:, 1:].flatten(0, 1).t(), ~own

        return encoder.parameters(), sentence_transformers

    def plain(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
        mask = torch.ones_like(ids)
        logits = model(input_ids=ids, attention_mask=mask).logits  # (B, L, V)
        return torch.max(torch.log(1 + torch.relu(logits)) * mask[:, :, None], dim=1).values

    model = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()
    if variant == "stored":

        def stored_plain() -> Any:
            vectors = plain(model, queries)
            return lists(vectors, stored.dot(vectors))

        return model.parameters(), stored_plain
    frozen = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval().requires_grad_(False)

    def published() -> Any:
        vectors = plain(model, queries)
        with torch.no_grad():  # ten at a time: all 170 at once would need 5 GB a copy of their logits
            encoded = torch.cat([plain(frozen, part) for part in documents.split(B)])
        return lists(vectors, vectors @ encoded.t())

    return model.parameters(), published


def _peak(reset: bool = False) -> int:
    """Largest resident size so far in bytes; with `reset`, counting starts again at the present size (Linux)."""
    status = Path("/proc/self/status")
    if status.exists():
        if reset:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
