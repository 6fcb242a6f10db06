"""Stages of a run. Each leaves its result in the run folder under a mark of what it was made from, and reuses it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from distillir.data import Context, Corpus, Document
from distillir.encoding import encode_corpus
from distillir.encoding.shares import Shares
from distillir.index import EngineLine, build_index, read_engine, retune_index
from distillir.index.swap import finish_swap
from distillir.recipes.documents import corpus_of
from distillir.recipes.fit import Labelled, fit
from distillir.recipes.marks import (
    context_facts,
    engine_moved,
    engine_told,
    file_digest,
    mark_of,
    says,
    told_by,
    write_text,
)
from distillir.recipes.measure import TestBed
from distillir.recipes.progress import Stages
from distillir.recipes.recipe import SparseRecipe
from distillir.recipes.systems import conversation
from distillir.recipes.train_once import train_once
from distillir.students import SparseStudent, resolve
from distillir.training import TrainResult
from distillir.vectors import SparseVectors, SparseVectorsWriter
from distillir.vectors.layout import MANIFEST


def documents_of(
    source: Path, name: str, out: Path, encoder: SparseStudent, stages: Stages, shares: Shares | None = None
) -> tuple[Corpus, SparseVectors]:
    """A corpus and its vectors, in `out/NAME.arrow` and `out/NAME.vectors`.

    Vectors of another corpus, encoder or length are removed: a document whose text changed must not keep its old one.
    """
    corpus = corpus_of(source, out / f"{name}.arrow", stages.say)
    folder, mark = out / f"{name}.vectors", mark_of(out, name)
    told = json.dumps(
        {
            "corpus": file_digest(corpus.path),
            "encoder": encoder.fingerprint(),
            "document_length": encoder.settings.document_length,
        }
    )
    if not says(mark, told):
        if folder.exists():
            stages.say(f"{name}: documents or encoder changed, encoding anew")
            shutil.rmtree(folder)
        write_text(mark, told)
    if (folder / MANIFEST).exists():
        there = SparseVectors.open(folder, partial=True)
        if there.complete and len(there) == len(corpus):
            stages.say(f"{name}: {len(corpus):,} document vectors reused")
            return corpus, there
    return corpus, encode_corpus(encoder, corpus, folder, shares=shares, watch=stages.bar(f"encode {name}"))


def joined(own: SparseVectors, others: SparseVectors, folder: Path) -> SparseVectors:
    """Two stores as one: the rows of `own`, then those of `others` under ids that cannot be mistaken for them."""
    meta = {"encoder": own.meta["encoder"], "parts": [own.fingerprint, others.fingerprint]}
    mark, told = mark_of(folder.parent, "joined"), json.dumps(meta)
    if not says(mark, told):
        shutil.rmtree(folder, ignore_errors=True)
        write_text(mark, told)
    with SparseVectorsWriter(folder, own.dim, own.dtype, meta=meta) as writer:
        for prefix, part in (("", own), ("candidate\0", others)):
            for start, rows in part.blocks():
                names = [prefix + part.ids[start + i] for i in range(rows.rows)]
                fresh = [i for i, name in enumerate(names) if not writer.has(name)]
                if fresh:
                    writer.append([names[i] for i in fresh], part.gather([start + i for i in fresh]))
    return SparseVectors.open(folder)


def trained(
    recipe: SparseRecipe,
    labelled: Labelled,
    documents: SparseVectors,
    bed: TestBed,
    encoder: SparseStudent,
    stages: Stages,
) -> tuple[SparseStudent, TrainResult]:
    """The student in `out/student`, trained unless it was made from exactly this."""
    method, settings, training = recipe.chosen_method(), recipe.student_settings(), recipe.train_settings()
    told = told_by(
        method=method.model_dump(),
        student=asdict(settings),
        training=asdict(training),
        train=labelled.digest(),
        dev=[context_facts(c) for c in bed.contexts],
        documents=documents.fingerprint,
        searched=[vectors.fingerprint for vectors in bed.documents.values()],
        start=encoder.fingerprint(),
    )
    return train_once(
        recipe.out,
        told,
        stages,
        reopen=SparseStudent.from_pretrained,
        fit=lambda checkpoints: fit(
            resolve(recipe.model),
            labelled,
            documents,
            method,
            settings,
            training,
            evaluate=lambda student: bed.figure(conversation(student)),
            probe=bed.contexts,
            folder=checkpoints,
            watch=stages.training(),
            screen=recipe.screen,
        ),
    )


def indexed(out: Path, engine: EngineLine, corpus: Corpus, documents: SparseVectors, stages: Stages) -> None:
    """The index in `out/index`, built unless it holds exactly these documents; it filters by metadata and group."""
    told, mark = f"{engine_told(engine)} {documents.fingerprint} {file_digest(corpus.path)}", mark_of(out, "index")
    if mark.is_file():  # what a stopped migration had left to write is no reason to build anew
        finish_swap(out / "index", partial(engine_moved, mark))
    if says(mark, told):
        retune_index(out / "index", engine)
        stages.say(f"index of {len(documents):,} documents reused")
        return
    mark.unlink(missing_ok=True)  # first: a half-built index must not stand under an old mark
    stages.say(f"index ({read_engine(engine)[0]})")
    build_index(out / "index", engine, documents, lambda name: _payload(corpus[name]), made_from=told)
    write_text(mark, told)


def _payload(document: Document) -> dict[str, Any]:
    return {**document.metadata, "group": document.group} if document.group else dict(document.metadata)


def with_source(contexts: Sequence[Context], path: Path) -> list[Context]:
    """Contexts that name no source are of their file."""
    return [c if c.source else replace(c, source=path.name) for c in contexts]
