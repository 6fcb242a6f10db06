"""Query representations to compare: what a context becomes under each way of reading it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from distillir.conversation import Conversation
from distillir.data import Context, Corpus, Run
from distillir.labels import FusionPlan
from distillir.recipes.fusing import by_weight, member_vectors
from distillir.recipes.recipe import SparseRecipe
from distillir.students.packaged import resolve
from distillir.students.sparse import SparseSettings, SparseStudent
from distillir.vectors import CSR

Queries = Callable[[Sequence[Context]], CSR]


def last_turn(encoder: SparseStudent) -> Queries:
    """The open question alone."""
    return lambda contexts: encoder.encode_queries(
        [Conversation.from_pairs([], c.conversation.question) for c in contexts]
    )


def conversation(encoder: SparseStudent) -> Queries:
    """The whole conversation, as the encoder renders it."""
    return lambda contexts: encoder.encode_queries([c.conversation for c in contexts])


def rewrites(
    encoder: SparseStudent, teachers: Mapping[str, float], folder: Path, start: SparseStudent | None = None
) -> Queries:
    """The fused vector of the rewrites a context has; `start` is the teacher "untrained"."""

    def queries(contexts: Sequence[Context]) -> CSR:
        members = member_vectors(encoder, contexts, teachers, folder, start)
        return by_weight(members, contexts, FusionPlan(teachers), encoder.dim)

    return queries


def plain(recipe: SparseRecipe) -> SparseStudent:
    """The frozen encoder of documents and rewrites: a recipe's start checkpoint, without gate or turn embeddings."""
    settings = replace(recipe.student_settings(), gate=False, turn_embeddings=False)
    encoder = SparseStudent.from_pretrained(resolve(recipe.model), settings)
    encoder.screen = recipe.screen
    return encoder


def gated(source: str | Path, settings: SparseSettings, offset: float = 5.0) -> SparseStudent:
    """The untrained turn gate on a model: the zero-training product, and the baseline of every table."""
    return SparseStudent.from_pretrained(
        source, replace(settings, gate=True, gate_offset=offset, turn_embeddings=False)
    )


def bm25(corpus: Corpus, queries: Sequence[tuple[str, str]], k: int) -> Run:
    """BM25 (k1 .9, b .4, English stop words and stemmer) over a corpus; queries are (id, text)."""
    import bm25s
    import Stemmer

    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it makes itself talkative when it is imported
    stemmer = Stemmer.Stemmer("english")

    def tokens(texts: list[str]) -> object:
        return bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False)

    engine = bm25s.BM25(k1=0.9, b=0.4)
    engine.index(tokens([corpus.text(i) for i in range(len(corpus))]), show_progress=False)
    run: Run = {}
    rows, scores = engine.retrieve(
        tokens([text for _, text in queries]), k=min(k, len(corpus)), show_progress=False, sorted=True
    )
    for (name, _), found, values in zip(queries, rows, scores, strict=True):
        run[name] = {corpus.doc_id(int(i)): float(s) for i, s in zip(found, values, strict=True) if s > 0}
    return run
