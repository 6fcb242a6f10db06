"""Teachers of the reranking benchmark that are asked live: the best packaged model there is, listwise and pointwise.

Labels go through a store: a second run asks nothing again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from benchmarks.mtrag_data import say
from benchmarks.rerank_data import FOLDER, RerankMaterial, Said, cut, spread
from benchmarks.rerank_student import Size, worth
from benchmarks.teachers import SMALL, live_model
from distillir.data import HUMAN, Context, Document, Run, written_questions
from distillir.errors import MissingDependencyError, ModelError
from distillir.labels import Label, LabelStore
from distillir.recipes.taught import order_labels
from distillir.teachers import LocalModel, Model
from distillir.teachers.listwise import Listwise, ListwiseSettings
from distillir.teachers.passages import Passages
from distillir.teachers.pointwise import Pointwise, PointwiseSettings
from distillir.teachers.synthesize import Synthesize, SynthesizeSettings
from distillir.teachers.teacher import Candidates, Teacher, made_labels, teach


def asked(material: RerankMaterial, size: Size) -> tuple[dict[str, Said], list[Context], dict[str, Any]]:
    """Labels by teacher ("listwise": ranks, "pointwise": scores), written questions, and how good the orders are."""
    turns = spread(material.splits["train"], size.llm_lists)
    before = cut(material.pooled, size.llm_depth)
    lists = [
        Candidates(c.id, c.rewrites[HUMAN], {d: material.corpus[d].contents for d in before[c.id]}, c.conversation)
        for c in turns
    ]
    listwise = Listwise(lists, ListwiseSettings(window=6, step=4, words=50))
    pointwise = Pointwise(lists, PointwiseSettings(words=50))
    try:
        with _model() as (model, how), LabelStore(FOLDER / "labels.sqlite") as store:
            say(f"teachers: {how}")
            orders = {name: label.value for name, label in _made(listwise, model, store).items()}
            scores = {name: label.value for name, label in _made(pointwise, model, store).items()}
            questions = _questions(material, size, model, store) if size.tables else []
    except (MissingDependencyError, ModelError) as error:
        say(f"no live teacher: {error}")
        return {}, [], {"model": None, "why": str(error)}
    runs: dict[str, Run] = {"candidates": {c.id: before[c.id] for c in turns}}
    runs["listwise"] = {c.id: {d: -float(i) for i, d in enumerate(orders.get(c.id, before[c.id]))} for c in turns}
    runs["pointwise"] = {c.id: dict(scores.get(c.id, before[c.id])) for c in turns}
    pairs = [("listwise", "candidates"), ("pointwise", "candidates"), ("listwise", "pointwise")]
    told = {"model": how, "lists": len(turns), "depth": size.llm_depth, "unread": len(turns) - len(orders)}
    return {"listwise": order_labels(orders), "pointwise": scores}, questions, told | worth(runs, turns, pairs)


@contextmanager
def _model() -> Iterator[tuple[Model, str]]:
    """Behind llama.cpp's server, or the small one in this process where there is no such server."""
    with ExitStack() as stack:
        try:
            reached = stack.enter_context(live_model())
        except (MissingDependencyError, ModelError) as error:
            say(f"{error} {SMALL} in its place.")
            reached = LocalModel(SMALL), SMALL
        yield reached


def _made(teacher: Teacher, model: Model, store: LabelStore) -> Mapping[str, Label]:
    outcome = teach(teacher, model, store)
    made = made_labels(teacher, model.name, store)
    good = {name: label for name, label in made.items() if label.value is not None}
    say(f"  {teacher.name}: {outcome.usage.calls} calls now, {len(good)} labels of use")
    return good


def _questions(material: RerankMaterial, size: Size, model: Model, store: LabelStore) -> list[Context]:
    """Questions that the model writes of passages, one each."""
    passages = Passages(_spread(material, size.queries))
    settings = SynthesizeSettings(conversations=len(passages.texts), turns=1, least_turns=1, max_tokens=80, seed=1)
    teach(Synthesize(passages, settings), model, store)
    written = written_questions(store.values(f"{settings.name}/questions", "conversation"))
    return [c for c in written if set(c.relevant) <= set(passages.texts)]


def _spread(material: RerankMaterial, number: int) -> list[Document]:
    """Passages evenly over the corpus."""
    step = max(1, len(material.corpus) // number)
    return [material.corpus.document(i) for i in range(0, len(material.corpus), step)][:number]
