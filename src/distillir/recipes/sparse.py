"""Recipe `sparse`: from conversations to a distilled sparse retriever, searched and measured.

    corpus ─encode─▶ vectors ─┬─▶ teacher's rankings ─▶ training ─▶ student ─▶ run folder
    contexts ─▶ rewrite vectors ┘                                   index, runs, report

Every stage leaves its result in the run folder; run again, it goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distillir.data import Context, Corpus, read_contexts
from distillir.errors import ConfigError, DataError
from distillir.evaluation import Comparison, write_report
from distillir.index import open_index
from distillir.labels import LabelStore
from distillir.recipes.fit import Labelled, drawable, label
from distillir.recipes.measure import TestBed
from distillir.recipes.method import Method
from distillir.recipes.progress import Stages
from distillir.recipes.recipe import SparseRecipe
from distillir.recipes.record import run_record
from distillir.recipes.stages import (
    documents_of,
    file_digest,
    indexed,
    joined,
    mark_of,
    trained,
    with_source,
    write_text,
)
from distillir.recipes.stored import through_store
from distillir.recipes.tested import tested
from distillir.search import Retriever
from distillir.students import SparseStudent, resolve
from distillir.training import TrainResult
from distillir.vectors import SparseVectors
from distillir.vectors.files import FolderLock


@dataclass(frozen=True)
class SparseRun:
    """What a run made."""

    out: Path
    student: SparseStudent
    training: TrainResult
    comparison: Comparison | None
    report: Path | None


def run_sparse(recipe: SparseRecipe, *, quiet: bool = False) -> SparseRun:
    """Run the whole recipe.

    Args:
        recipe: what to do.
        quiet: no progress display.

    Raises:
        ConfigError: an option that cannot be, or splits that share a conversation; before anything is computed.
        DataError: contexts or documents that cannot be read or have nothing to say.
        VectorsError: another process works in the run folder.
    """
    recipe.check()
    splits = _splits(recipe)
    contexts = {name: _contexts(path) for name, path in splits.items()}
    _check_disjoint(contexts)
    out = recipe.out
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"out: {out}: {error.strerror}", "name a folder that can be written") from error
    plain = replace(recipe.student_settings(), gate=False, turn_embeddings=False)
    with _alone(out), Stages(quiet=quiet) as stages:
        encoder = SparseStudent.from_pretrained(resolve(recipe.model), plain)
        encoder.screen = recipe.screen
        corpus, documents = documents_of(recipe.corpus, "corpus", out, encoder, stages)
        counts = {name: _check_judged(splits[name], found, corpus) for name, found in contexts.items()}
        bed = TestBed(contexts["dev"], {"": documents})
        method = recipe.chosen_method()
        with LabelStore(recipe.labels or out / "labels.sqlite") as store:
            labelled, candidates = _labelled(recipe, method, contexts["train"], encoder, documents, store, stages)
            if recipe.test is not None:
                origin = _origin(recipe.test)
                contexts["test"] = through_store(store, contexts["test"], method.teachers, origin)
        student, result = trained(recipe, labelled, candidates, bed, encoder, stages)
        student.screen = recipe.screen
        indexed(out, recipe.engine, documents, stages)
        sources = {"corpus": recipe.corpus, "candidate_corpus": recipe.candidate_corpus or recipe.corpus}
        data: dict[str, Any] = {
            **{name: str(path) for name, path in sources.items()},
            "documents": len(documents),
            "candidates": len(candidates),
            "splits": counts,
        }
        record = run_record(recipe, student, labelled, result, data)
        write_text(out / "run.json", json.dumps(record, indent=2, default=str) + "\n")
        comparison = report = None
        if recipe.test is not None:
            stages.say("evaluate")
            comparison, shown = tested(recipe, method, contexts["test"], corpus, documents, encoder, student)
            report = write_report(out / "report.html", comparison, record, "Conversational search", shown)
    return SparseRun(out, student, result, comparison, report)


def open_retriever(out: str | Path) -> Retriever:
    """The retriever of a finished run folder.

    Raises:
        DataError: no such folder, or a run that has not got so far.
    """
    out = Path(out)
    if not (out / "student").is_dir() or not mark_of(out, "index").is_file():
        raise DataError(out, "not a finished run folder", cure="run `distillir train RECIPE` or `distillir quickstart`")
    student = SparseStudent.from_pretrained(out / "student")
    return Retriever(student, open_index(out / "index", dim=student.dim), Corpus.open(out / "corpus.arrow"))


def _labelled(
    recipe: SparseRecipe,
    method: Method,
    contexts: Sequence[Context],
    encoder: SparseStudent,
    documents: SparseVectors,
    store: LabelStore,
    stages: Stages,
) -> tuple[Labelled, SparseVectors]:
    """Training contexts with labels, and the documents they draw from."""
    out, own = recipe.out, None
    if recipe.candidate_corpus is not None:
        _, others = documents_of(recipe.candidate_corpus, "candidates", out, encoder, stages)
        own = len(documents)
        documents = joined(documents, others, out / "joined.vectors")
    stages.say("label")
    found = label(
        contexts, encoder, documents, method, out / "rewrites", store=store, origin=_origin(recipe.train), own=own
    )
    found = drawable(found, documents, method)
    for why, counts in found.dropped.items():
        stages.say(f"left out, {why}: " + ", ".join(f"{n} of {source}" for source, n in counts.items()))
    shares = ", ".join(f"{share:.0%} of {source}" for source, share in found.gold_share.items())
    stages.say(f"{len(found.contexts):,} contexts to learn from; with gold: {shares}")
    return found, documents


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    lock = FolderLock(out / ".lock")
    try:
        yield
    finally:
        lock.release()


def _splits(recipe: SparseRecipe) -> dict[str, Path]:
    given = {"train": recipe.train, "dev": recipe.dev, "test": recipe.test}
    return {name: path for name, path in given.items() if path is not None}


def _contexts(path: Path) -> list[Context]:
    return with_source(read_contexts(path), path)


def _origin(path: Path) -> str:
    return f"{path.name} {file_digest(path)}"


def _check_disjoint(contexts: dict[str, list[Context]]) -> None:
    names = list(contexts)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            if both := sorted({c.group for c in contexts[one]} & {c.group for c in contexts[other]}):
                raise ConfigError(
                    f"conversation {both[0]!r} is in both {one} and {other}", "split by conversation, not by turn"
                )
            if both := sorted({c.id for c in contexts[one]} & {c.id for c in contexts[other]}):
                raise ConfigError(f"context {both[0]!r} is in both {one} and {other}", "give each context its own id")


def _check_judged(path: Path, contexts: Sequence[Context], corpus: Corpus) -> dict[str, int]:
    """Counts of one split; dev and test need something to be measured by."""
    judged = [c for c in contexts if c.relevant]
    held = [c for c in judged if any(d in corpus for d in c.relevant)]
    if judged and not held:
        raise DataError(
            path,
            f"none of its relevant documents is in the corpus, such as {next(iter(judged[0].relevant))!r}",
            cure="check that contexts and corpus belong together",
        )
    return {"contexts": len(contexts), "with_relevant": len(judged), "with_relevant_in_corpus": len(held)}
