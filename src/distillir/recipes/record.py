"""What stands behind a run's numbers: commit, versions, settings, data."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from distillir.recipes.fit import Labelled
from distillir.students.sparse import SparseStudent
from distillir.training import TrainResult

WATCHED = ("torch", "transformers", "sentence-transformers", "numpy", "qdrant-edge-py", "ir-measures", "bm25s")


def versions() -> dict[str, str]:
    """Versions of this package and of those whose numbers could move ours."""
    found = {"python": platform.python_version(), "distillir": metadata.version("distillir")}
    return found | {name: metadata.version(name) for name in WATCHED}


def commit() -> str:
    """Commit of the source tree the package runs from, or "" when installed from a wheel."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def run_record(recipe: BaseModel, student: SparseStudent, labelled: Labelled, result: TrainResult) -> dict[str, Any]:
    """The run record of a sparse student."""
    return {
        "commit": commit(),
        "versions": versions(),
        "machine": {"processor": platform.machine(), "system": platform.system()},
        "seed": recipe.model_dump().get("training", {}).get("seed", "default"),
        "settings": recipe.model_dump(mode="json"),
        "student": student.describe() | {"fingerprint": student.fingerprint()},
        "training": asdict(result),
        "data": {"train_contexts": len(labelled.contexts)},
        "contexts_with_gold": labelled.gold_share,
    }
