"""What students that score lists learn from: queries of several kinds, and a teacher's lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from distillir.data import Context, Corpus, Run, cropped_sentences, ranked, read_queries, read_run, written_questions
from distillir.errors import DataError, LabelError
from distillir.labels import LabelStore
from distillir.training.listed import Kind


def training_queries(
    turns: Sequence[Context],
    corpus: Corpus,
    store: LabelStore,
    *,
    queries: Path | None = None,
    crops: int = 0,
    questions: str = "",
    seed: int = 0,
) -> list[Context]:
    """Queries of four kinds.

    Args:
        turns: of conversations.
        corpus: crops are cut from its documents.
        store: holds questions that a model wrote.
        queries: file of given ones.
        crops: how many sentences. questions: teacher of the store. seed: of the crops.

    Raises:
        DataError: two queries have one id.
        LabelError: the store has no questions of the teacher named.
    """
    found = [*turns, *(read_queries(queries) if queries else [])]
    found += cropped_sentences(corpus, crops, seed) if crops else []
    if questions:
        values = store.values(f"{questions}/questions", "conversation")
        if not values:
            raise LabelError(
                f"the store has no questions by {questions!r}",
                f"make some: `distillir label synthesize DOCUMENTS --name {questions} --store {store.path}`",
            )
        found += written_questions(values)
    ids = [context.id for context in found]
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise DataError("queries", f"two have the id {twice!r}", cure="give each its own")
    return found


def teacher_lists(
    store: LabelStore, teacher: str, kind: Kind, run: Path | None, *, cure: str
) -> Mapping[str, Mapping[str, float]]:
    """Context id → document id → rank (0 = best) or score, from a run or from the label store.

    Args:
        store: of labels. teacher: its name there. kind: of its labels.
        run: in place of the store.
        cure: what to do where the store has none.

    Raises:
        LabelError: the store has none, or there is no such run.
    """
    if run is not None:
        if not run.is_file():
            raise LabelError(f"{run}, whose order is to teach, is not there", cure)
        found = read_run(run)
        return run_labels(found) if kind == "order" else found
    values = store.values(teacher, kind)
    if not values:
        raise LabelError(f"the store has no {kind} by {teacher!r}", cure)
    return order_labels(values) if kind == "order" else values


def order_labels(orders: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
    """Orders of document ids → document id → rank, 0 = best."""
    return {name: {document: float(rank) for rank, document in enumerate(order)} for name, order in orders.items()}


def run_labels(run: Run) -> dict[str, dict[str, float]]:
    """The order of a run → document id → rank, 0 = best."""
    return order_labels({name: [document for document, _ in ranked(scores)] for name, scores in run.items()})


def places_of(said: Mapping[str, float], corpus: Corpus) -> dict[int, float]:
    """What was said of documents, by position; those that the corpus lacks are left out."""
    known = {document: float(value) for document, value in said.items() if document in corpus}
    return dict(zip(corpus.position(list(known)).tolist(), known.values(), strict=True))
