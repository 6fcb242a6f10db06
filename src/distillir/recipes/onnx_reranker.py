"""A run's reranker as a graph for onnxruntime."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distillir.students.reranker_checkpoint import KIND, load_reranker_student
from distillir.students.reranker_graph import FOLDER, save_graph
from distillir.students.student_folder import is_student, kind_of


@dataclass(frozen=True)
class RerankerExport:
    """What was exported.

    Attributes:
        folder: of the graph. largest_gap: of a score to the student's.
    """

    folder: Path
    largest_gap: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"folder": str(self.folder)}

    def text(self) -> str:
        """To be read."""
        return f"the same scores ({self.largest_gap:.1g} apart at most)\nexport    {self.folder} (fp32)"


def reranker_in(run: str | Path) -> Path | None:
    """Folder of the encoder reranker that a run folder holds, or that the folder itself is; None for anything else."""
    for folder in (Path(run) / "student", Path(run)):
        if is_student(folder):
            return folder if kind_of(folder) == KIND else None
    return None


def export_reranker(folder: Path) -> RerankerExport:
    """Export the reranker in a folder; whatever opens it from now on scores with the graph.

    Raises:
        ModelError: no export of it is possible. MissingDependencyError: a package is not installed.
    """
    return RerankerExport(folder / FOLDER, save_graph(load_reranker_student(folder), folder))
