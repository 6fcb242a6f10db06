"""Recipe `generative`: from a corpus and conversations to a model that writes where the answer is.

    corpus ─▶ identifiers ─┬─▶ first training: likelihood of golds ─▶ own lists ─▶ a teacher's labels ─┐
    contexts, questions ───┘                                                                           │
                                    student ◀─ second training: order of its own lists ◀───────────────┘

Where the store has no labels of the lists yet, the run says how to make them and stops; run again, it goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from distillir.data import Context, Corpus, Run, open_or_build, write_contexts, write_qrels, write_run
from distillir.evaluation import Comparison, SystemResult, compare, evaluate, write_report
from distillir.index.identifiers import IdentifierIndex
from distillir.labels import LabelStore
from distillir.recipes.generative_fit import GenerativeLists, fit_generative
from distillir.recipes.generative_lists import OwnLists, own_lists
from distillir.recipes.generative_open import identifiers_of, write_search
from distillir.recipes.generative_recipe import GenerativeMethod, GenerativeRecipe, GenerativeStage
from distillir.recipes.marks import context_facts, file_digest, told_by, write_text
from distillir.recipes.measure import one_by_one
from distillir.recipes.method import UNTRAINED
from distillir.recipes.progress import Stages
from distillir.recipes.recipe import SparseRecipe
from distillir.recipes.record import commit, versions
from distillir.recipes.systems import bm25
from distillir.recipes.taught import teacher_lists, training_queries
from distillir.recipes.train_once import train_once
from distillir.recipes.workshop import at_work, judged_counts
from distillir.search import GenerativeRetriever
from distillir.students import GenerativeStudent, resolve
from distillir.students.device import fastest_device
from distillir.teachers.packaged_llm import PACKAGED_LLMS, gguf_of
from distillir.training import TrainResult

BASELINE, LEARNT = "bm25", "learnt"
MEASURES = ("R@1", "R@5", "R@10", "R@100", "RR@10")
FOUND = 100  # passages of a list that is measured


@dataclass(frozen=True)
class GenerativeRun:
    """What a run made."""

    out: Path
    student: GenerativeStudent
    training: TrainResult
    comparison: Comparison | None
    report: Path | None


def run_generative(recipe: GenerativeRecipe, *, quiet: bool = False) -> GenerativeRun:
    """Run the whole recipe.

    Args:
        recipe: what to do.
        quiet: no progress display.

    Raises:
        ConfigError: an option that cannot be, or splits that share a conversation; before anything is computed.
        DataError: contexts or documents that cannot be read or do not belong together.
        LabelError: the store lacks questions, or labels of the student's lists; it names the command that makes them.
        SearchIndexError: the documents lack what a view reads, such as titles.
    """
    # What works in a run folder reads no more of a recipe than all recipes have.
    with at_work(cast(SparseRecipe, recipe), quiet=quiet) as shop:
        stages, method, out = shop.stages, recipe.chosen_method(), recipe.out
        corpus = open_or_build(recipe.corpus, out / "corpus.arrow")
        counts = {name: judged_counts(recipe.splits()[name], found, corpus) for name, found in shop.contexts.items()}
        with LabelStore(recipe.labels or out / "labels.sqlite") as store:
            contexts = training_queries(
                shop.contexts.get("train", []),
                corpus,
                store,
                crops=recipe.crops,
                questions=recipe.questions,
                seed=int(recipe.training.get("seed", 13)),
            )
            start = start_of(recipe)
            index = identifiers_of(start, corpus, out, _written(contexts, recipe))
            stages.say(f"identifiers: {index.tokens:,} tokens, {index.nbytes / 2**20:,.0f} MiB")
            judged = {name: [c for c in shop.contexts.get(name, []) if c.relevant] for name in ("dev", "test")}
            work = _Work(recipe, corpus, index, recipe.learnt_from(method.learn, contexts), judged["dev"], stages)
            learnt, result = work.trained(start, method.learn, "learnt" if method.rank else "student")
            student = learnt
            if method.rank is not None:
                ranking = replace(work, contexts=recipe.learnt_from(method.rank, contexts))
                own = ranking.own_lists(learnt, method.depth)
                lists = _labelled(recipe, method, method.rank, own, ranking.contexts, corpus, store)
                again = GenerativeStudent.from_pretrained(out / "learnt" / "student")
                student, result = ranking.trained(again, method.rank, "student", lists)
        write_search(out, "student", corpus, beams=recipe.beams, smoothing=recipe.smoothing)
        record = _record(recipe, student, result, contexts, counts, index)
        comparison = report = None
        if judged["test"]:
            stages.say("evaluate")
            others = {LEARNT: learnt} if method.rank is not None else {}
            systems = {UNTRAINED: start_of(recipe), **others, "student": student}
            comparison = _tested(work, systems, judged["test"])
            report = write_report(out / "report.html", comparison, record, "Generative retrieval")
        write_text(out / "run.json", json.dumps(record, indent=2, default=str) + "\n")
    return GenerativeRun(out, student, result, comparison, report)


def start_of(recipe: GenerativeRecipe) -> GenerativeStudent:
    """The student before training."""
    source = gguf_of(recipe.model) if recipe.model in PACKAGED_LLMS else resolve(recipe.model)
    return GenerativeStudent.from_pretrained(source, recipe.student_settings())


@dataclass(frozen=True)
class _Work:
    """What both trainings share."""

    recipe: GenerativeRecipe
    corpus: Corpus
    index: IdentifierIndex
    contexts: Sequence[Context]
    dev: Sequence[Context]
    stages: Stages

    def retriever(self, student: GenerativeStudent) -> GenerativeRetriever:
        return GenerativeRetriever(
            student.to(fastest_device()),
            self.index,
            self.corpus,
            beams=self.recipe.beams,
            smoothing=self.recipe.smoothing,
        )

    def found(self, student: GenerativeStudent, contexts: Sequence[Context]) -> Run:
        hits = self.retriever(student).retrieve_batch([c.conversation for c in contexts], FOUND)
        return {c.id: {hit.id: hit.score for hit in own} for c, own in zip(contexts, hits, strict=True)}

    def figure(self, student: GenerativeStudent) -> float:
        """R@5 on dev."""
        qrels = {c.id: dict(c.relevant) for c in self.dev}
        return evaluate(self.found(student, self.dev), qrels, ["R@5"]).means["R@5"]

    def facts(self) -> dict[str, object]:
        """What everything that is made here depends on."""
        return {
            "corpus": file_digest(self.corpus.path),
            "views": [vars(view) for view in self.recipe.chosen_views()],
            "contexts": [context_facts(c) for c in self.contexts],
            "search": [self.recipe.beams, self.recipe.smoothing],
        }

    def trained(
        self, start: GenerativeStudent, stage: GenerativeStage, name: str, lists: GenerativeLists | None = None
    ) -> tuple[GenerativeStudent, TrainResult]:
        """The student of a stage, trained unless it was made from exactly this."""
        out = self.recipe.out if name == "student" else self.recipe.out / name
        settings = self.recipe.train_settings(stage)
        told = told_by(
            **self.facts(),
            stage=stage.model_dump(),
            training=asdict(settings),
            student=start.describe(),
            start=start.fingerprint(),
            dev=[context_facts(c) for c in self.dev],
            method=None if lists is None else self.recipe.chosen_method().model_dump(),
            said=None if lists is None else sorted((q, sorted(d.items())) for q, d in lists.said.items()),
        )

        def fit(checkpoints: Path) -> tuple[GenerativeStudent, TrainResult]:
            self.stages.say(f"training: {', '.join(stage.objective)}")
            result = fit_generative(
                start,
                self.contexts,
                self.corpus,
                self.index,
                stage,
                settings,
                lists=lists,
                evaluate=self.figure if self.dev else None,
                folder=checkpoints,
                watch=self.stages.training(),
            )
            return start, result

        return train_once(out, told, self.stages, reopen=GenerativeStudent.from_pretrained, fit=fit)

    def own_lists(self, student: GenerativeStudent, depth: int) -> OwnLists:
        """What the student finds for what is learnt from."""
        told = told_by(**self.facts(), student=student.fingerprint(), depth=depth)
        return own_lists(
            self.retriever(student),
            self.contexts,
            self.recipe.out / "own-lists",
            told,
            depth=depth,
            watch=self.stages.bar("own lists"),
        )


def _written(contexts: Sequence[Context], recipe: GenerativeRecipe) -> dict[str, list[str]] | None:
    """Document id → questions that a model wrote of it, where they are a view."""
    if "question" not in recipe.views:
        return None
    made: dict[str, list[str]] = {}
    for context in contexts:
        if context.source == "question":
            for name in context.relevant:
                made.setdefault(name, []).append(context.conversation.question)
    return made


def _labelled(
    recipe: GenerativeRecipe,
    method: GenerativeMethod,
    stage: GenerativeStage,
    own: OwnLists,
    contexts: Sequence[Context],
    corpus: Corpus,
    store: LabelStore,
) -> GenerativeLists:
    """The lists with a teacher's labels; the run folder gets what the labelling reads."""
    out, command = recipe.out, "listwise" if method.kind == "order" else "pointwise"
    write_contexts(out / "queries.jsonl", contexts)
    write_run(out / "candidates.trec", own.run(corpus), tag=LEARNT)
    said: Mapping[str, Mapping[str, float]] = {}
    if stage.taught:
        said = teacher_lists(
            store,
            method.teacher,
            method.kind,
            recipe.teacher_run,
            cure=f"label the student's lists: `distillir label {command} {out}/queries.jsonl "
            f"--candidates {out}/candidates.trec --corpus {recipe.corpus} "
            f"--store {recipe.labels or out / 'labels.sqlite'} --name {method.teacher} --depth {method.depth}`; or "
            f"have a cross-encoder order them, `distillir rerank {out}/candidates.trec {out}/queries.jsonl "
            f"{recipe.corpus} MODEL --out {out}/teacher.trec --depth {method.depth}`, and name that as teacher_run; "
            "and run again",
        )
    return GenerativeLists(own, said, method.kind, method.rank_to_score, method.least)


def _tested(work: _Work, students: Mapping[str, GenerativeStudent], contexts: Sequence[Context]) -> Comparison:
    """BM25 of the open question, the model as it came, after it learnt to write, and as it is."""
    out = work.recipe.out
    systems = [SystemResult(BASELINE, bm25(work.corpus, [(c.id, c.conversation.question) for c in contexts], FOUND))]
    for name, student in students.items():
        retriever = work.retriever(student)
        latency = None
        if name != UNTRAINED:
            latency = one_by_one(lambda c, r=retriever: r.retrieve(c.conversation), contexts)  # type: ignore[misc]
        systems.append(SystemResult(name, work.found(student, contexts), latency=latency))
    qrels = {c.id: dict(c.relevant) for c in contexts}
    write_qrels(out / "runs" / "qrels.txt", qrels)
    for system in systems:
        write_run(out / "runs" / f"{system.name}.trec", {q: dict(s) for q, s in system.run.items()}, system.name)
    depth = {c.id: c.conversation.depth for c in contexts}
    group = {c.id: c.group for c in contexts}
    made = compare(systems, qrels, depth, group, BASELINE, measures=MEASURES)
    write_text(out / "comparison.json", made.to_json() + "\n")
    return made


def _record(
    recipe: GenerativeRecipe,
    student: GenerativeStudent,
    result: TrainResult,
    contexts: Sequence[Context],
    counts: Mapping[str, Mapping[str, int]],
    index: IdentifierIndex,
) -> dict[str, Any]:
    kinds: dict[str, int] = {}
    for context in contexts:
        kinds[context.source] = kinds.get(context.source, 0) + 1
    return {
        "commit": commit(),
        "versions": versions(),
        "settings": recipe.resolved(),
        "student": {"fingerprint": student.fingerprint()},
        "training": asdict(result),
        "data": {
            "corpus": str(recipe.corpus),
            "contexts": kinds,
            "splits": counts,
            "tokens": index.tokens,
            "index_bytes": index.nbytes,
        },
    }
