"""Recipe `reranker`: from conversations, queries and a collection to a model that orders what was found anew.

    contexts, queries, crops ─▶ retrievers ─▶ merged candidates ─▶ a teacher's lists ─▶ stages of training ─▶ student

The first run leaves `queries.jsonl` and `candidates.trec` in the run folder. Where the store has no labels of them yet,
it says how to make them and stops; run again, it goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from distillir.data import (
    Context,
    Corpus,
    Run,
    open_or_build,
    write_contexts,
    write_qrels,
    write_run,
)
from distillir.errors import ConfigError
from distillir.evaluation import Comparison, SystemResult, compare, evaluate, write_report
from distillir.labels import LabelStore
from distillir.recipes.marks import context_facts, file_digest, told_by, write_text
from distillir.recipes.progress import Stages
from distillir.recipes.recipe import SparseRecipe
from distillir.recipes.record import commit, versions
from distillir.recipes.rerank_fit import RerankLabelled, fit_stage, label_lists
from distillir.recipes.rerank_pool import candidate_pool, pool_run
from distillir.recipes.rerank_recipe import RerankMethod, RerankRecipe, RerankStage
from distillir.recipes.rerank_strangers import with_strangers
from distillir.recipes.taught import teacher_lists, training_queries
from distillir.recipes.train_once import train_once
from distillir.recipes.workshop import at_work, judged_counts
from distillir.sampling import RankedPool
from distillir.search import rerank_run
from distillir.students import (
    LanguageReranker,
    LanguageRerankerSettings,
    Reranker,
    RerankerStudent,
    load_reranker,
    resolve,
)
from distillir.teachers.packaged_llm import PACKAGED_LLMS, gguf_of
from distillir.training import TrainResult

BASELINE = "candidates"


@dataclass(frozen=True)
class RerankRun:
    """What a run made."""

    out: Path
    student: Reranker
    training: TrainResult
    comparison: Comparison | None
    report: Path | None


def run_rerank(recipe: RerankRecipe, *, quiet: bool = False) -> RerankRun:
    """Run the whole recipe.

    Args:
        recipe: what to do.
        quiet: no progress display.

    Raises:
        ConfigError: an option that cannot be, or splits that share a conversation; before anything is computed.
        DataError: contexts, documents or runs that cannot be read or have nothing to say.
        LabelError: the store has no labels of the candidates; it names the command that makes them.
    """
    # What works in a run folder reads no more of a recipe than all recipes have.
    with at_work(cast(SparseRecipe, recipe), quiet=quiet) as shop:
        stages, method = shop.stages, recipe.chosen_method()
        corpus = open_or_build(recipe.corpus, recipe.out / "corpus.arrow")
        counts = {name: judged_counts(recipe.splits()[name], found, corpus) for name, found in shop.contexts.items()}
        with LabelStore(recipe.labels or recipe.out / "labels.sqlite") as store:
            queries = training_queries(
                shop.contexts.get("train", []),
                corpus,
                store,
                queries=recipe.queries,
                crops=recipe.crops,
                questions=recipe.questions,
                seed=int(recipe.training.get("seed", 13)),
            )
            judged = {name: [c for c in shop.contexts.get(name, []) if c.relevant] for name in ("dev", "test")}
            everyone = [*queries, *judged["dev"], *judged["test"]]
            write_contexts(recipe.out / "queries.jsonl", queries)  # first: what retrieves elsewhere reads it
            stages.say(f"candidates of {len(everyone):,} queries from {', '.join(recipe.retrievers)}")
            pool = candidate_pool(recipe.retrievers, everyone, corpus, depth=method.depth, rule=method.merge)
            write_run(recipe.out / "candidates.trec", pool_run(pool, queries, corpus), tag=method.merge)
            said = _said(recipe, method, store)
        labelled = label_lists(queries, pool, corpus, said, kind=method.kind, rule=method.rank_to_score)
        student, result = _trained(recipe, method, labelled, corpus, judged["dev"], pool, stages)
        record = _record(recipe, student, result, labelled, counts)
        write_text(recipe.out / "run.json", json.dumps(record, indent=2, default=str) + "\n")
        comparison = report = None
        if judged["test"]:
            stages.say("evaluate")
            comparison = _tested(recipe, student, judged["test"], pool, corpus)
            report = write_report(recipe.out / "report.html", comparison, record, "Conversational reranking")
    return RerankRun(recipe.out, student, result, comparison, report)


def student_of(recipe: RerankRecipe) -> Reranker:
    """The student before training."""
    settings = recipe.student_settings()
    if isinstance(settings, LanguageRerankerSettings):
        source = gguf_of(recipe.model) if recipe.model in PACKAGED_LLMS else resolve(recipe.model)
        return LanguageReranker.from_pretrained(source, settings)
    return RerankerStudent.from_pretrained(resolve(recipe.model), settings, seed=int(recipe.training.get("seed", 13)))


def ndcg(student: Reranker, run: Run, contexts: Sequence[Context], corpus: Corpus, depth: int) -> float:
    """nDCG@10 of a run that the student ordered anew."""
    qrels = {c.id: dict(c.relevant) for c in contexts}
    texts = texts_of(run, corpus)
    return evaluate(rerank_run(student, run, contexts, texts, depth), qrels, ["nDCG@10"]).means["nDCG@10"]


def texts_of(run: Run, corpus: Corpus) -> dict[str, str]:
    """Document id → text of all that a run found."""
    return {name: corpus[name].contents for name in {name for found in run.values() for name in found}}


def _said(recipe: RerankRecipe, method: RerankMethod, store: LabelStore) -> Mapping[str, Mapping[str, float]]:
    """Context id → document id → rank or score."""
    if not any(stage.taught for stage in method.stages):
        return {}
    command = "listwise" if method.kind == "order" else "pointwise"
    return teacher_lists(
        store,
        method.teacher,
        method.kind,
        recipe.teacher_run,
        cure=f"label the candidates: `distillir label {command} {recipe.out}/queries.jsonl "
        f"--candidates {recipe.out}/candidates.trec --corpus {recipe.corpus} "
        f"--store {recipe.labels or recipe.out / 'labels.sqlite'} --name {method.teacher} --depth {method.depth}`, "
        "and run the recipe again",
    )


def _trained(
    recipe: RerankRecipe,
    method: RerankMethod,
    labelled: RerankLabelled,
    corpus: Corpus,
    dev: Sequence[Context],
    pool: RankedPool,
    stages: Stages,
) -> tuple[Reranker, TrainResult]:
    """The student in `out/student` after all stages, trained unless it was made from exactly this."""
    run = pool_run(pool, dev, corpus)
    settings = [recipe.train_settings(stage) for stage in method.stages]
    start = student_of(recipe)
    told = told_by(
        method=method.model_dump(),
        training=[asdict(one) for one in settings],
        student=asdict(recipe.student_settings()),
        start=start.fingerprint(),
        corpus=file_digest(corpus.path),
        train=[
            [*context_facts(c), sorted(labels.items()), pool[c.id].positions.tolist() if c.id in pool else []]
            for c, labels in zip(labelled.contexts, labelled.labels, strict=True)
        ],
        dev=[context_facts(c) for c in dev],
    )

    def fit(checkpoints: Path) -> tuple[Reranker, TrainResult]:
        results = []
        for i, (stage, how) in enumerate(zip(method.stages, settings, strict=True), start=1):
            stages.say(f"stage {i} of {len(settings)}: {', '.join(stage.objective)}")
            results.append(
                fit_stage(
                    start,
                    _lists_of(stage, labelled, len(corpus), how.seed, turns=recipe.train is not None),
                    corpus,
                    stage.build_objective(),
                    stage.build_draw(),
                    how,
                    gold=stage.gold,
                    chunk_tokens=recipe.chunk_tokens,
                    evaluate=(lambda s: ndcg(s, run, dev, corpus, method.depth)) if run else None,
                    folder=checkpoints / f"stage-{i}",
                    watch=stages.training(),
                )
            )
        total = sum(one.seconds for one in results)
        return start, replace(results[-1], steps=sum(one.steps for one in results), seconds=total)

    return train_once(recipe.out, told, stages, reopen=load_reranker, fit=fit)


def _lists_of(stage: RerankStage, labelled: RerankLabelled, passages: int, seed: int, *, turns: bool) -> RerankLabelled:
    """What a stage learns from."""
    labelled = labelled.where(lambda i: stage.reads(labelled.contexts[i], turns=turns))
    return with_strangers(labelled, passages, stage.strangers, seed, alone=True) if stage.strangers else labelled


def _tested(
    recipe: RerankRecipe, student: Reranker, contexts: Sequence[Context], pool: RankedPool, corpus: Corpus
) -> Comparison:
    """The candidates as they were merged, and as the student orders them."""
    run = pool_run(pool, contexts, corpus)
    asked = [c for c in contexts if c.id in run]
    if not asked:
        raise ConfigError("test: no retriever finds anything for its contexts", "check retrievers and test contexts")
    texts = texts_of(run, corpus)
    systems = [
        SystemResult(BASELINE, run),
        SystemResult("student", rerank_run(student, run, asked, texts, recipe.chosen_method().depth)),
    ]
    qrels = {c.id: dict(c.relevant) for c in contexts}
    depth = {c.id: c.conversation.depth for c in contexts}
    made = compare(systems, qrels, depth, {c.id: c.group for c in contexts}, BASELINE)
    write_qrels(recipe.out / "runs" / "qrels.txt", qrels)
    for system in systems:
        write_run(recipe.out / "runs" / f"{system.name}.trec", {q: dict(s) for q, s in system.run.items()}, system.name)
    write_text(recipe.out / "comparison.json", made.to_json() + "\n")
    return made


def _record(
    recipe: RerankRecipe,
    student: Reranker,
    result: TrainResult,
    labelled: RerankLabelled,
    counts: Mapping[str, Mapping[str, int]],
) -> dict[str, Any]:
    kinds: dict[str, int] = {}
    for context in labelled.contexts:
        kinds[context.source] = kinds.get(context.source, 0) + 1
    return {
        "commit": commit(),
        "versions": versions(),
        "settings": recipe.resolved(),
        "student": {"fingerprint": student.fingerprint()},
        "training": asdict(result),
        "data": {
            "corpus": str(recipe.corpus),
            "queries": kinds,
            "splits": counts,
            "labelled": sum(bool(one) for one in labelled.labels),
        },
    }
