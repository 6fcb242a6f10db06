"""The confidence of a run's student, calibrated on its judged dev contexts."""

from __future__ import annotations

from pathlib import Path

from distillir.data import read_contexts
from distillir.errors import DataError
from distillir.index import SparseQuery
from distillir.index.exact import ExactIndex
from distillir.recipes.opening import open_student, saved_recipe
from distillir.serving.confidence import DEPTH, FILE, Confidence, calibrate
from distillir.vectors import SparseVectors


def calibrate_run(
    run: str | Path, contexts: str | Path | None = None, *, risk: float = 0.2, k: int = 10
) -> tuple[Confidence, Path]:
    """Fit and save into the run folder.

    Args:
        run: run folder of a sparse recipe.
        contexts: judged conversations; None: the dev contexts that the run's recipe names.
        risk: share of wrong turns among the trusted ones that is accepted.
        k: a turn is right when a relevant document is among so many hits.

    Raises:
        DataError: no run folder, or nothing judged. EvaluationError: too little to calibrate by.
    """
    out = Path(run)
    path = Path(contexts) if contexts is not None else saved_recipe(out).dev
    if path is None:
        raise DataError(out, "its recipe names no dev contexts", cure="name a file with --contexts")
    judged = [context for context in read_contexts(path) if context.relevant]
    if not judged:
        raise DataError(path, "none names a relevant document", cure="give judged conversations")
    student = open_student(out)
    rows = student.encode_queries([context.conversation for context in judged])
    index = ExactIndex.over(SparseVectors.open(out / "corpus.vectors"))
    found = index.search_batch([SparseQuery(*rows.row(i)) for i in range(len(judged))], max(k, DEPTH))
    made = calibrate(
        [[hit.score for hit in hits] for hits in found],
        [any(hit.id in c.relevant for hit in hits[:k]) for c, hits in zip(judged, found, strict=True)],
        [context.group for context in judged],
        risk,
        student.fingerprint(),
    )
    made.save(out / FILE)
    return made, out / FILE
