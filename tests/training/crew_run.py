"""One process of a run that the first leads; what happened in it goes to a file.

    python crew_run.py RANK PROCESSES PORT FOLDER WHAT

WHAT: "well", two trainings; "refused", the first process ends with an error of its own before any; "killed", it
vanishes while the others wait; "other", another process vanishes in a training; "other early", before one.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import ranks_run
import torch

from distillir.errors import DataError, TrainingError
from distillir.objectives import KLD
from distillir.training import TrainSettings, crew, lead, on_every_process, train
from distillir.training.ranks import Ranks
from distillir.vectors import SparseVectors

seen: list[object] = []


@on_every_process
def fit(
    documents: SparseVectors,
    folder: Path,
    seed: int,
    *,
    vanish: bool = False,
    evaluate: Callable[[torch.nn.Module], float] | None = None,
    watch: Callable[[object], None] = lambda _: None,
) -> float:
    if vanish and Ranks().rank == 1:
        os._exit(7)
    student = ranks_run.Student(0.0, seed + Ranks().rank)
    settings = TrainSettings(batch_size=4, max_steps=3, patience=5, evaluate_every=1)
    data = ranks_run.data(folder)
    assert data.documents.fingerprint == documents.fingerprint
    result = train(student, data, KLD(), settings, evaluate=evaluate, watch=watch)
    seen.append([len(documents), result.history, float(student.up.weight.sum())])
    return result.history[-1][1]


def run(folder: Path, what: str) -> list[float]:
    time.sleep(1.0)  # longer than the silence that the others bear
    if what == "refused":
        raise DataError(folder, "nothing to learn from")
    if what == "killed":
        os._exit(7)
    if what == "other early":
        time.sleep(1.0)
    documents = SparseVectors.open(folder / "documents")
    figures = []
    for seed in (1, 2):
        figures.append(
            fit(
                documents, folder, seed, vanish=what == "other",
                evaluate=lambda s: float(torch.sin(40 * s.up.weight.sum())), watch=lambda tick: None,
            )
        )  # fmt: skip
        time.sleep(0.5)
    return figures


if __name__ == "__main__":
    rank, processes, port, folder, what = sys.argv[1:6]
    os.environ |= {
        "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes,
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
    }  # fmt: skip
    crew.BEAT, crew.SILENCE = 0.1, crew.timedelta(seconds=0.8 if what == "well" else 5)
    if what == "other early" and rank == "1":
        crew._received = lambda group: os._exit(7)
    told, code = None, 0
    try:
        told = lead(lambda: run(Path(folder), what))
    except TrainingError as error:
        told, code = str(error), 3
    except DataError as error:
        told, code = str(error), 4
    Path(folder, f"told.{rank}.json").write_text(json.dumps({"told": told, "seen": seen}))
    sys.stdout.flush()
    os._exit(code)
