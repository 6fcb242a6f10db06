"""Stages of a dense run. Each leaves its result in the run folder under a mark of what it was made from."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

from distillir.data import Corpus, open_or_build
from distillir.encoding.dense import check_corpus, check_space, encode_dense_corpus, similarity_of
from distillir.errors import VectorsError
from distillir.recipes.dense_fit import DenseLabelled, fit_dense
from distillir.recipes.dense_measure import DenseTestBed, dense_conversation
from distillir.recipes.dense_recipe import DenseRecipe
from distillir.recipes.marks import context_facts, file_digest, mark_of, says, told_by, write_text
from distillir.recipes.progress import Stages
from distillir.recipes.train_once import train_once
from distillir.students import resolve
from distillir.students.dense import DenseStudent
from distillir.training import TrainResult
from distillir.vectors.dense import DenseVectors
from distillir.vectors.dense_imports import import_dense
from distillir.vectors.layout import MANIFEST


def dense_encoder(recipe: DenseRecipe) -> DenseStudent:
    """The frozen encoder of documents and rewrites: the start checkpoint, without gate or turn embeddings."""
    settings = replace(recipe.dense_settings(), gate=False, turn_embeddings=False)
    encoder = DenseStudent.from_pretrained(resolve(recipe.model), settings)
    encoder.bf16 = recipe.bf16
    return encoder


def dense_start(recipe: DenseRecipe) -> DenseStudent:
    """The student before training."""
    return DenseStudent.from_pretrained(resolve(recipe.model), recipe.dense_settings())


def dense_documents(recipe: DenseRecipe, encoder: DenseStudent, stages: Stages) -> tuple[Corpus, DenseVectors]:
    """The corpus in `out/corpus.arrow` and its vectors: a folder of the user's, or `out/corpus.vectors`.

    Vectors of another corpus or encoder are removed: a document whose text changed must not keep its old one.

    Raises:
        VectorsError: the user's vectors are not the encoder's, or of another similarity.
        DataError: they are of documents that the corpus lacks.
    """
    out, source = recipe.out, recipe.vectors
    corpus = open_or_build(recipe.corpus, out / "corpus.arrow")
    folder, mark = out / "corpus.vectors", mark_of(out, "corpus")
    if source is not None and source.is_dir():
        vectors = DenseVectors.open(source)
    else:
        told = json.dumps(
            {
                "corpus": file_digest(corpus.path),
                "given": [None if path is None else file_digest(path) for path in (source, recipe.vector_ids)],
                **encoder.document_reading(),
            }
        )
        if not says(mark, told):
            if folder.exists():
                stages.say("corpus: documents, vectors or encoder changed, starting anew")
                shutil.rmtree(folder)
            write_text(mark, told)
        there = (folder / MANIFEST).exists() and DenseVectors.open(folder, partial=True)
        if there and there.complete:
            stages.say(f"corpus: {len(there):,} document vectors reused")
            vectors = there
        elif source is None:
            vectors = encode_dense_corpus(encoder, corpus, folder, watch=stages.bar("encode corpus"))
        else:
            stages.say(f"corpus: vectors from {source}")
            vectors = import_dense(
                source,
                folder,
                ids=recipe.vector_ids,
                encoder=recipe.model,
                similarity=similarity_of(encoder),
                dtype="float32",
                dim=encoder.dim,
                id_column=recipe.id_column,
                vector_column=recipe.vector_column,
            )
    if source is None:
        check_corpus(vectors, corpus)
        return corpus, vectors
    if vectors.similarity != similarity_of(encoder):
        raise VectorsError(
            f"{vectors.path} is compared by {vectors.similarity}, the encoder's vectors by {similarity_of(encoder)}",
            "set normalise as the vectors were made",
        )
    cosine = check_space(encoder, vectors, corpus)
    lacking = int((vectors.find(corpus.ids) < 0).sum())
    without = f"; {lacking:,} documents have none and cannot be found" if lacking else ""
    stages.say(f"vectors of {len(vectors):,} documents, mean cosine with the model's own {cosine:.3f}{without}")
    return corpus, vectors


def dense_trained(
    recipe: DenseRecipe,
    labelled: DenseLabelled,
    documents: DenseVectors,
    bed: DenseTestBed,
    encoder: DenseStudent,
    stages: Stages,
) -> tuple[DenseStudent, TrainResult]:
    """The student in `out/student`, trained unless it was made from exactly this."""
    method, settings, training = recipe.chosen_method(), recipe.dense_settings(), recipe.train_settings()
    told = told_by(
        method=method.model_dump(),
        student=asdict(settings),
        training=asdict(training),
        train=labelled.digest(),
        dev=[context_facts(c) for c in bed.contexts],
        documents=documents.fingerprint,
        start=encoder.fingerprint(),
    )
    return train_once(
        recipe.out,
        told,
        stages,
        reopen=DenseStudent.from_pretrained,
        fit=lambda checkpoints: fit_dense(
            resolve(recipe.model),
            labelled,
            documents,
            method,
            settings,
            training,
            evaluate=lambda student: bed.figure(dense_conversation(student)),
            folder=checkpoints,
            watch=stages.training(),
        ),
    )


def index_folder(out: Path, vectors: DenseVectors) -> None:
    """Note in the run folder which vectors are searched; they are searched where they lie."""
    write_text(mark_of(out, "index"), json.dumps({"vectors": str(vectors.path.absolute())}))
