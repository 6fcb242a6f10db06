"""The training stage of any student: once for what it was made from, and on from a checkpoint after a stop."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from distillir.recipes.marks import mark_of, read_mark, says, write_text
from distillir.recipes.progress import Stages
from distillir.students import GenerativeStudent, Reranker, ResponseStudent, SparseStudent
from distillir.students.checkpoint import is_student
from distillir.students.dense import DenseStudent
from distillir.training import TrainResult

S = TypeVar("S", SparseStudent, DenseStudent, Reranker, ResponseStudent, GenerativeStudent)


def train_once(
    out: Path, told: str, stages: Stages, *, reopen: Callable[[Path], S], fit: Callable[[Path], tuple[S, TrainResult]]
) -> tuple[S, TrainResult]:
    """The student in `out/student`, trained unless it was made from exactly this.

    Args:
        out: run folder.
        told: of all that the training depends on, as `told_by` gives it.
        stages: where it says what is reused.
        reopen: opens the folder of a saved student.
        fit: trains with checkpoints in a folder, or goes on from one that lies there.
    """
    folder, mark, checkpoints = out / "student", mark_of(out, "student"), out / "checkpoints"
    done = read_mark(mark)
    if done.get("made_from") == told and is_student(folder):
        result = done["result"]
        stages.say(f"student of {result['steps']} steps reused")
        return reopen(folder), TrainResult(**{**result, "history": tuple(map(tuple, result["history"]))})
    mark.unlink(missing_ok=True)
    started = checkpoints / "made_from.txt"
    if checkpoints.exists():
        if says(started, told):
            stages.say("training goes on from its last checkpoint, if it left one")
        else:
            stages.say("settings or data changed: training starts anew")
            shutil.rmtree(checkpoints)
    write_text(started, told)
    student, trained = fit(checkpoints)
    student.save(folder)
    write_text(mark, json.dumps({"made_from": told, "result": asdict(trained)}))
    return student, trained
