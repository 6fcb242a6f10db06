"""What stands behind a run's numbers: commit, versions, settings, data."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from distillir.recipes.fit import Labelled
from distillir.recipes.recipe import SparseRecipe
from distillir.students.sparse import SparseStudent
from distillir.training import TrainResult

WATCHED = ("torch", "transformers", "sentence-transformers", "numpy", "qdrant-edge-py", "ir-measures", "bm25s")


def versions() -> dict[str, str]:
    """Versions of this package and of those whose numbers could move ours."""
    found = {"python": platform.python_version(), "distillir": metadata.version("distillir")}
    return found | {name: metadata.version(name) for name in WATCHED}


def commit() -> str:
    """Commit of the source tree the package runs from, or "" when installed from a wheel."""
    # An installed package may lie inside somebody else's repository, whose commit says nothing here.
    if not _git("ls-files", "--error-unmatch", Path(__file__).name):
        return ""
    return _git("describe", "--always", "--dirty", "--abbrev=12")


def run_record(
    recipe: SparseRecipe,
    student: SparseStudent,
    labelled: Labelled,
    result: TrainResult,
    data: Mapping[str, Any],
) -> dict[str, Any]:
    """The run record of a sparse student; `data` says what was read."""
    settings = recipe.resolved()
    return {
        "commit": commit(),
        "versions": versions(),
        "machine": {"processor": platform.machine(), "system": platform.system()},
        "seed": settings["training"]["seed"],
        "settings": settings,
        "student": student.describe() | {"fingerprint": student.fingerprint()},
        "training": asdict(result),
        "data": {
            **data,
            "train_contexts": len(labelled.contexts),
            "train_contexts_dropped": {why: dict(counts) for why, counts in labelled.dropped.items()},
        },
        "contexts_with_gold": labelled.gold_share,
        "teacher_weights": dict(labelled.fused.plan.weights),
    }


def _git(*words: str) -> str:
    try:
        done = subprocess.run(
            ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
