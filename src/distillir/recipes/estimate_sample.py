"""What an estimate is measured on: the recipe itself, with some of its documents and some of what it learns from."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from distillir.data import Context, Run, ranked, read_contexts, read_queries, read_run, write_contexts
from distillir.data.queries import CROP
from distillir.labels import LabelStore
from distillir.recipes.estimate_documents import cropped_first, documents_in, write_some
from distillir.recipes.opening import RECIPES

CONTEXTS, DEV, STEPS = 64, 16, 5
T = TypeVar("T")


class Share(NamedTuple):
    """How many there are, and how many of them were taken."""

    whole: int
    taken: int

    @property
    def scale(self) -> float:
        """What a figure of those taken is to be multiplied by; 0 where there are none."""
        return self.whole / max(1, self.taken)


@dataclass(frozen=True)
class Sample:
    """A recipe made small.

    Attributes:
        recipe: what to run.
        documents: of its corpus or set of responses. candidates: of its candidate corpus.
        learnt: contexts, queries, crops and questions that it learns from. dev: contexts that it selects by.
        crops: of the whole recipe, among those learnt from.
    """

    recipe: Any
    documents: Share
    candidates: Share
    learnt: Share
    dev: Share
    crops: int


def sample_of(recipe: Any, folder: Path) -> Sample:
    """Write samples of all that a recipe reads into a folder; the run of the small recipe goes to `run` in it.

    Of what is learnt from, each kind is taken in its proportion. Documents that these queries need are in the sample:
    relevant ones, those that questions and crops are of, and for a reranker those that run files and labels list.

    Args:
        recipe: of any student.
        folder: there, and empty.

    Raises:
        DataError: documents, contexts or runs that cannot be read. LabelError: a label store that cannot be.
    """
    source = "responses" if hasattr(recipe, "responses") else "corpus"
    place, labels = getattr(recipe, source), folder / "labels.sqlite"
    _copy(recipe.labels or recipe.out / "labels.sqlite", labels)
    turns = [] if recipe.train is None else read_contexts(recipe.train)
    dev = [] if recipe.dev is None else read_contexts(recipe.dev)
    file, asker = getattr(recipe, "queries", None), getattr(recipe, "questions", "")
    given = [] if file is None else read_queries(file)
    asked = _asked(labels, asker) if asker else []
    total, seed = sum(1 for _ in documents_in(place, recipe.out)), int(recipe.training.get("seed", 13))
    crops = min(getattr(recipe, "crops", 0), total)
    count = _portions({"turns": len(turns), "given": len(given), "asked": len(asked), "crops": crops}, _alone(recipe))
    some, few = spread(turns, count["turns"]), spread([c for c in dev if c.relevant] or dev, DEV)
    queries, questions = spread(given, count["given"]), spread(asked, count["asked"])
    cropped = cropped_first(documents_in(place, recipe.out), total, count["crops"], seed)
    names = [c.id for c in (*some, *queries, *few)]
    names += [f"question-{name}" for name in questions] + [f"crop-{name}" for name in cropped]
    wanted = {name for c in (*some, *few) for name in c.relevant} | set(questions) | set(cropped)
    wanted |= _listed(recipe, labels, names)
    taken = write_some(
        documents_in(place, recipe.out), total, folder / "documents.jsonl", wanted=wanted, cropped=cropped, seed=seed
    )
    documents = Share(total, taken)
    changed: dict[str, Any] = {
        source: folder / "documents.jsonl",
        "test": None,
        "out": folder / "run",
        "labels": labels,
        "training": {
            **recipe.training,
            "max_steps": STEPS,
            "epochs": 1000,
            "evaluate_every": STEPS,
            "checkpoint_every": STEPS,
        },
    }
    for name, contexts in (("train", some), ("dev", few)):
        if contexts:
            write_contexts(folder / f"{name}.jsonl", contexts)
            changed[name] = folder / f"{name}.jsonl"
    if queries:
        changed["queries"] = _write_queries(folder / "queries.jsonl", queries)
    if crops:
        changed["crops"] = count["crops"]
    if questions:
        changed["labels"] = _with_questions(labels, folder / "few.sqlite", asker, set(questions))
    if hasattr(recipe.chosen_method(), "rank"):
        changed["method"] = recipe.chosen_method().model_copy(update={"rank": None})
    if getattr(recipe, "vectors", None) is not None:  # the user's own, which nobody encodes
        del changed[source]
        documents = Share(total, total)
    candidates, others = Share(0, 0), getattr(recipe, "candidate_corpus", None)
    if others is not None:
        changed["candidate_corpus"] = folder / "candidates.jsonl"
        held = sum(1 for _ in documents_in(others, recipe.out))
        candidates = Share(held, write_some(documents_in(others, recipe.out), held, changed["candidate_corpus"]))
    learnt = Share(len(turns) + len(given) + len(asked) + crops, sum(count.values()))
    own = crops + sum(c.source == CROP for c in turns)
    return Sample(recipe.model_copy(update=changed), documents, candidates, learnt, Share(len(dev), len(few)), own)


def spread(items: Sequence[T], count: int) -> list[T]:
    """Some of the items, evenly spread."""
    size = min(count, len(items))
    return [items[i * len(items) // size] for i in range(size)]


def _alone(recipe: Any) -> int:
    """Crops that a training of nothing else needs for a whole batch."""
    stages = [stage for stage in getattr(recipe.chosen_method(), "stages", ()) if stage.queries == "crops"]
    settings = [recipe.train_settings(stage) for stage in stages]
    return max((one.batch_size * one.accumulate for one in settings), default=1)


def _portions(whole: Mapping[str, int], crops: int) -> dict[str, int]:
    """Kind of query → how many of it are taken: in proportion, one at least, and of crops as many as told."""
    total = max(1, sum(whole.values()))
    least = {name: crops if name == "crops" else 1 for name in whole}
    return {name: min(n, max(least[name], math.ceil(CONTEXTS * n / total))) for name, n in whole.items()}


def _asked(labels: Path, teacher: str) -> list[str]:
    """Documents of which a teacher wrote a question."""
    with LabelStore(labels) as store:
        return list(store.values(f"{teacher}/questions", "conversation"))


def _listed(recipe: Any, labels: Path, names: Sequence[str]) -> set[str]:
    """Documents that run files or the teacher of a reranker list for some queries: without them its lists are short."""
    method = recipe.chosen_method()
    if not hasattr(method, "stages"):
        return set()
    paths = [Path(one) for one in recipe.retrievers.values()]
    runs: list[Run] = [read_run(one) for one in paths if one.is_file() and one.suffix not in RECIPES]
    found: set[str] = set()
    if any(stage.taught for stage in method.stages):
        if recipe.teacher_run is not None:
            runs += [read_run(recipe.teacher_run)] if recipe.teacher_run.is_file() else []
        else:
            with LabelStore(labels) as store:
                said = store.values(method.teacher, method.kind)
            found = {document for name in names for document in said.get(name, ())}
    for run in runs:
        found |= {document for name in names for document, _ in ranked(run.get(name, {}))[: method.depth]}
    return found


def _write_queries(path: Path, queries: Sequence[Context]) -> Path:
    rows = [json.dumps({"_id": one.id, "text": one.conversation.question}) for one in queries]
    path.write_text("".join(row + "\n" for row in rows), encoding="utf-8")
    return path


def _with_questions(source: Path, target: Path, teacher: str, documents: set[str]) -> Path:
    """A label store with all labels but a teacher's questions of other documents."""
    with LabelStore(source) as store, LabelStore(target) as few:
        questions = {row.key for row in store.rows(f"{teacher}/questions", "conversation")}
        uses = [(name, key) for name, key in store.uses() if key not in questions or name in documents]
        kept = {key for _, key in uses}
        few.take((row for row in store.rows() if row.key not in questions or row.key in kept), "sample", uses)
    return target


def _copy(source: Path, target: Path) -> None:
    """Copy a label store that may not be there; what the sample brings goes into the copy."""
    for end in ("", "-wal"):
        if (found := source.with_name(source.name + end)).is_file():
            shutil.copyfile(found, target.with_name(target.name + end))
