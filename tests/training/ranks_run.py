"""One process of a run on a tiny sparse student: losses, gradients and weights go to a file.

    python ranks_run.py RANK PROCESSES PORT FOLDER '{"batch_size": 4, …}'

FOLDER gets `documents` from the parent, `told.RANK.json` and `told.RANK.safetensors`, and checkpoints.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from distillir.objectives import KLD, BalancedMix, FullCollectionKLD, InfoNCE, WeightedSum
from distillir.sampling import CandidateSampler, RankedPool, Ranking
from distillir.sampling.draw import DRAWS
from distillir.sparsity import Quadratic, SparsityControl, active_dimensions, anti_zero, flops
from distillir.students.batch import score_documents
from distillir.training import SparseData, TrainSettings, train
from distillir.vectors import Postings, SparseVectors, SparseVectorsWriter, csr_from_rows

DIM, DOCUMENTS, CONTEXTS = 40, 60, 19


def rows(count: int, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    picked = [np.sort(rng.choice(DIM, size=rng.integers(2, 9), replace=False)) for _ in range(count)]
    return csr_from_rows([(d, rng.random(len(d)).astype(np.float32) + 0.1) for d in picked], DIM)


def write_documents(folder: Path) -> None:
    with SparseVectorsWriter(folder / "documents", DIM, "float32", shard_rows=25) as writer:
        writer.append([f"d{i}" for i in range(DOCUMENTS)], rows(DOCUMENTS, 2))


def data(folder: Path) -> SparseData:
    """19 contexts, some without gold: neither parts nor ranks get equally many."""
    names = [f"c{i}" for i in range(CONTEXTS)]
    rng = np.random.default_rng(4)
    ranked = [(n, Ranking(rng.permutation(DOCUMENTS), np.linspace(9, 1, DOCUMENTS, dtype=np.float32))) for n in names]
    return SparseData(
        names=names,
        ids=[[1 + (3 * i + j) % 29 for j in range(2 + i % 5)] for i in range(CONTEXTS)],
        teacher=rows(CONTEXTS, 1),
        documents=SparseVectors.open(folder / "documents"),
        sampler=CandidateSampler(RankedPool.build(ranked), DRAWS["log_uniform"](n=5, first=1, last=50), seed=3),
        golds=[np.array([(7 * i) % DOCUMENTS], np.int64)[: i % 3] for i in range(CONTEXTS)],
        pad_id=0,
        dim=DIM,
        turns=[1 + i % 6 for i in range(CONTEXTS)],
    )


class Student(torch.nn.Module):
    """A vector for each token, averaged; each process starts with weights of its own."""

    def __init__(self, dropout: float, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.table = torch.nn.Embedding(32, 12)
        self.drop = torch.nn.Dropout(dropout)
        self.up = torch.nn.Linear(12, DIM)
        self.unused = torch.nn.Parameter(torch.ones(3))

    def forward(self, batch: Any) -> Any:
        read = (self.table(batch.ids) * batch.mask[..., None]).sum(1) / batch.mask.sum(1, keepdim=True)
        return score_documents(torch.log1p(torch.relu(self.up(self.drop(read)))), batch)


def run(
    folder: Path,
    rank: int,
    *,
    stop: int = 0,
    dropout: float = 0.0,
    keep: bool = False,
    collection: bool = False,
    **options: Any,
) -> None:
    gradients, ticks, evaluated, walks = [], [], [], []

    class Watch(Postings):
        def scores(self, indices: Any, values: Any) -> Any:
            walks.append(1)
            return super().scores(indices, values)

    class Watched(torch.optim.AdamW):
        def step(self, *args: Any, **kwargs: Any) -> Any:
            held = [p.grad for group in self.param_groups for p in group["params"]]
            gradients.append(torch.cat([g.flatten() for g in held if g is not None]).clone())
            return super().step(*args, **kwargs)

    def evaluate(student: torch.nn.Module) -> float:
        evaluated.append(1)
        return float(torch.sin(40 * student.up.weight.sum()))

    def watch(tick: Any) -> None:
        ticks.append([tick.step, tick.loss, tick.active])
        if tick.step == stop:
            raise SystemExit

    torch.optim.AdamW = Watched  # type: ignore[misc]
    student = Student(dropout, seed=5 + rank)
    read = data(folder)
    objective: Any = WeightedSum(((0.8, KLD()), (0.2, InfoNCE())))
    if collection:
        inverted = read.documents.invert()
        shard = Watch(inverted.indptr, inverted.documents, inverted.values, inverted.rows)
        objective = BalancedMix([(0.8, KLD()), (0.4, FullCollectionKLD((shard,)))], every=2)
    control = SparsityControl(flops, active_dimensions, {1: 4.0, 4: 3.0}, start=-2.0)
    result = train(
        student,
        read,
        objective,
        TrainSettings(**{"batch_size": 8, "lr": 0.02, "epochs": 3, "clip": 0.0, "evaluate_every": 2, **options}),
        penalties={"flops": (Quadratic(0.3, 0.5), flops), "anti_zero": (0.1, anti_zero)},
        control=control,
        evaluate=evaluate,
        folder=folder / "checkpoints" if keep else None,
        watch=watch,
    )
    save_file(
        {"gradients": torch.stack(gradients), **{n: p.detach().clone() for n, p in student.state_dict().items()}},
        folder / f"told.{rank}.safetensors",
    )
    told = {"ticks": ticks, "history": result.history, "evaluated": len(evaluated), "steered": result.steered}
    told["walks"] = len(walks)
    (folder / f"told.{rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    torch.set_num_threads(1)
    rank, processes, port = sys.argv[1:4]
    if int(processes) > 1:
        os.environ |= {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": processes,
            "LOCAL_WORLD_SIZE": processes,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "ACCELERATE_USE_CPU": "true",
        }
    try:
        run(Path(sys.argv[4]), int(rank), **json.loads(sys.argv[5]))
    except SystemExit:
        os._exit(7)  # as a kill would: the other process is told nothing
