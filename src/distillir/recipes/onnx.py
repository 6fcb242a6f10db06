"""A run's student as an ONNX export, and what that costs in quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distillir.data import Context, read_contexts
from distillir.errors import ConfigError, DataError, ModelError
from distillir.evaluation import evaluate
from distillir.index import SparseQuery
from distillir.index.exact import ExactIndex
from distillir.recipes.opening import open_student, saved_recipe
from distillir.students import OnnxEncoder, save_export
from distillir.vectors import CSR, SparseVectors

DEPTH = 100
LIMIT = 2000  # contexts measured by, evenly spread over the file


@dataclass(frozen=True)
class OnnxExport:
    """What was exported.

    Attributes:
        folder: of the export. precision: "int8" or "fp32".
        measure: "R@100" by judgements; "overlap@100" with the student's own hits where nothing is judged.
        before, after: its value by the student and by the export; loss: (before − after) / before.
        contexts: measured by.
    """

    folder: Path
    precision: str
    measure: str
    before: float
    after: float
    loss: float
    contexts: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"folder": str(self.folder)}

    def text(self) -> str:
        """To be read."""
        return (
            f"{self.measure} {self.before:.4f} before, {self.after:.4f} after ({-self.loss:+.2%}), "
            f"{self.contexts:,} contexts\nexport    {self.folder} ({self.precision})"
        )


def export_run(
    run: str | Path, contexts: str | Path | None = None, *, tolerance: float = 0.005, int8: bool = True
) -> OnnxExport:
    """Export into `RUN/onnx`, unless it loses more than the tolerance; an earlier export then stays.

    Args:
        run: run folder of a sparse recipe.
        contexts: conversations file; None: the dev contexts that the run's recipe names.
        tolerance: of the loss, as a share.
        int8: quantise.

    Raises:
        DataError: no run folder, or no contexts. ModelError: the loss passes the tolerance, or no export is possible.
    """
    out = Path(run)
    if not 0 <= tolerance < 1:
        raise ConfigError(f"a tolerance of {tolerance}", "give a share from 0 to below 1")
    student, documents = open_student(out), SparseVectors.open(out / "corpus.vectors")
    chosen = _contexts(out, contexts)
    chats = [context.conversation for context in chosen]
    precision, made = "int8" if int8 else "fp32", None

    def check(encoder: OnnxEncoder) -> dict[str, Any]:
        nonlocal made
        rows = student.encode_queries(chats), encoder.encode_queries(chats)
        measure, before, after = compared(*rows, chosen, documents)
        loss = (before - after) / before if before else 0.0
        if loss > tolerance:
            raise ModelError(
                f"{precision} loses {loss:.2%} of {measure} ({before:.4f} before, {after:.4f} after)",
                "export with --fp32, or accept more with --tolerance",
            )
        made = OnnxExport(out / "onnx", precision, measure, before, after, loss, len(chosen))
        return made.as_dict() | {"folder": ""}

    save_export(student, out / "onnx", int8=int8, check=check)
    assert made is not None
    return made


def compared(
    before: CSR, after: CSR, contexts: Sequence[Context], documents: SparseVectors
) -> tuple[str, float, float]:
    """Name and values of the measure: of queries (Q, V) before and after."""
    index = ExactIndex.over(documents)
    runs = []
    for rows in (before, after):
        found = index.search_batch([SparseQuery(*rows.row(i)) for i in range(len(contexts))], DEPTH)
        runs.append({c.id: {hit.id: hit.score for hit in hits} for c, hits in zip(contexts, found, strict=True)})
    qrels = {c.id: dict(c.relevant) for c in contexts if c.relevant}
    if qrels:
        before_value, after_value = (float(evaluate(one, qrels, ["R@100"]).means["R@100"]) for one in runs)
        return "R@100", before_value, after_value
    shares = [len(set(runs[0][c.id]) & set(runs[1][c.id])) / max(1, len(runs[0][c.id])) for c in contexts]
    return "overlap@100", 1.0, sum(shares) / len(shares)


def _contexts(out: Path, given: str | Path | None) -> list[Context]:
    path = Path(given) if given is not None else saved_recipe(out).dev
    if path is None:
        raise DataError(out, "its recipe names no dev contexts to measure by", cure="name a file with --contexts")
    found = read_contexts(path)
    found = [c for c in found if c.relevant] or found
    if not found:
        raise DataError(path, "no contexts", cure="give some to measure by")
    step = max(1, len(found) // LIMIT)
    return found[::step]
