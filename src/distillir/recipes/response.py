"""Recipe `response`: from a set of responses and conversations to a chat that answers from the set.

    responses, contexts ─┬─▶ generated responses join ─▶ a teacher's scores ─▶ training ─▶ student ─▶ index, threshold
    label store ─────────┘

Where the store has no labels yet, it says how to make them and stops; run again, it goes on.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from distillir.data import Context, read_responses, write_contexts, write_qrels, write_responses, write_run
from distillir.errors import DataError, LabelError
from distillir.evaluation import Comparison, SystemResult, compare, write_report
from distillir.index.responses import FILE, ResponseIndex
from distillir.labels import LabelStore
from distillir.recipes.marks import context_facts, mark_of, read_mark, told_by, write_text
from distillir.recipes.measure import one_by_one
from distillir.recipes.method import UNTRAINED
from distillir.recipes.progress import Stages
from distillir.recipes.recipe import SparseRecipe
from distillir.recipes.record import commit, versions
from distillir.recipes.response_fit import ResponseLabelled, fit_response, join_labelled, score_labelled
from distillir.recipes.response_measure import ResponseTestBed
from distillir.recipes.response_recipe import ResponseMethod, ResponseRecipe
from distillir.recipes.train_once import train_once
from distillir.recipes.workshop import at_work
from distillir.search import ResponseRetriever
from distillir.students import ResponseStudent, resolve
from distillir.students.response_checkpoint import is_response_student
from distillir.training import TrainResult

INDEX, THRESHOLD = "responses.index", "threshold.json"
MEASURES = ("RR", "R@1", "R@10", "R@100")


@dataclass(frozen=True)
class ResponseRun:
    """What a run made."""

    out: Path
    student: ResponseStudent
    training: TrainResult
    comparison: Comparison | None
    report: Path | None


def run_response(recipe: ResponseRecipe, *, quiet: bool = False) -> ResponseRun:
    """Run the whole recipe.

    Args:
        recipe: what to do.
        quiet: no progress display.

    Raises:
        ConfigError: an option that cannot be, or splits that share a conversation; before anything is computed.
        DataError: contexts or responses that cannot be read or do not belong together.
        LabelError: the store lacks labels; it names the command that makes them.
    """
    # What works in a run folder reads no more of a recipe than all recipes have.
    with at_work(cast(SparseRecipe, recipe), quiet=quiet) as shop:
        stages, method, out = shop.stages, recipe.chosen_method(), recipe.out
        with LabelStore(recipe.labels or out / "labels.sqlite") as store:
            labelled = _labelled(recipe, method, shop.contexts["train"], store)
        for why, count in sorted(labelled.left_out.items()):
            stages.say(f"left out, {why}: {count:,}")
        dev = ResponseTestBed.of(shop.contexts["dev"], labelled.responses, labelled.golds, "dev")
        student, result = _trained(recipe, method, labelled, dev, stages)
        _indexed(recipe, student, labelled, dev, stages)
        record = _record(recipe, student, result, labelled)
        comparison = report = None
        if recipe.test is not None:
            stages.say("evaluate")
            test = ResponseTestBed.of(shop.contexts["test"], labelled.responses, labelled.golds, "test")
            comparison, record["responses"] = _tested(recipe, student, test)
        write_text(out / "run.json", json.dumps(record, indent=2, default=str) + "\n")
        if comparison is not None:
            report = write_report(out / "report.html", comparison, record, "Response retrieval")
    return ResponseRun(out, student, result, comparison, report)


def open_response_retriever(out: str | Path) -> ResponseRetriever:
    """The retriever of a finished run folder, with its threshold.

    Raises:
        DataError: no such folder, or a run that has not got so far.
    """
    out = Path(out)
    if not is_response_student(out / "student") or not (out / INDEX / FILE).is_file():
        raise DataError(out, "not a finished run folder of responses", cure="run the recipe to its end")
    found = read_mark(out / THRESHOLD).get("threshold")
    student = ResponseStudent.from_pretrained(out / "student")
    index = ResponseIndex(out / INDEX)
    try:
        return ResponseRetriever(student, index, threshold=-math.inf if found is None else float(found))
    except BaseException:
        index.close()
        raise


def _labelled(
    recipe: ResponseRecipe, method: ResponseMethod, contexts: Sequence[Context], store: LabelStore
) -> ResponseLabelled:
    """Generated responses and scores of the store; the run folder gets what the next labelling reads."""
    out, place = recipe.out, recipe.labels or recipe.out / "labels.sqlite"
    generated: dict[str, dict[str, list[str]]] = {}
    for teacher in method.responders:
        values = store.values(teacher, "responses")
        if not values:
            raise LabelError(
                f"the store has no responses by {teacher!r}",
                f"make some: `distillir label respond {recipe.train} --store {place} --name {teacher} --model MODEL`, "
                "and run again",
            )
        generated[teacher] = {name: [str(one["text"]) for one in value] for name, value in values.items()}
    labelled = join_labelled(read_responses(recipe.responses), contexts, generated, recipe.rules(), method.per_context)
    own = {c.id: dict.fromkeys(c.relevant, 1.0) for c in labelled.contexts}
    write_responses(out / "responses.jsonl", labelled.responses)
    write_contexts(out / "contexts.jsonl", labelled.contexts)
    write_run(out / "candidates.trec", own, tag="own")
    if not method.taught:
        return labelled
    scores = store.values(method.teacher, "scores")
    if not scores:
        raise LabelError(
            f"the store has no scores by {method.teacher!r}",
            f"label the candidates with a local model: `distillir label likelihood {out}/contexts.jsonl "
            f"--candidates {out}/candidates.trec --corpus {out}/responses.jsonl --of response --store {place} "
            f"--name {method.teacher} --depth 1000 --model MODEL`, "
            "and run the recipe again",
        )
    return score_labelled(labelled, scores)


def start_of(recipe: ResponseRecipe) -> ResponseStudent:
    """The student before training."""
    return ResponseStudent.from_pretrained(
        resolve(recipe.model), recipe.student_settings(), towers=recipe.towers, scale=recipe.scale
    )


def _trained(
    recipe: ResponseRecipe, method: ResponseMethod, labelled: ResponseLabelled, dev: ResponseTestBed, stages: Stages
) -> tuple[ResponseStudent, TrainResult]:
    """The student in `out/student`, trained unless it was made from exactly this."""
    start, training = start_of(recipe), recipe.train_settings()
    told = told_by(
        method=method.model_dump(),
        training=asdict(training),
        settings=asdict(recipe.student_settings()),
        start=[start.fingerprint(), recipe.towers, start.scale],
        responses=[[one.id, one.text] for one in labelled.responses],
        train=[context_facts(c) for c in labelled.contexts],
        scores=None if labelled.scores is None else [sorted(one.items()) for one in labelled.scores],
        dev=[context_facts(c) for c in dev.contexts],
    )

    def fit(checkpoints: Path) -> tuple[ResponseStudent, TrainResult]:
        result = fit_response(
            start,
            labelled,
            method,
            training,
            chunk_tokens=recipe.chunk_tokens,
            evaluate=dev.figure,
            folder=checkpoints,
            watch=stages.training(),
        )
        return start, result

    return train_once(recipe.out, told, stages, reopen=ResponseStudent.from_pretrained, fit=fit)


def _indexed(
    recipe: ResponseRecipe, student: ResponseStudent, labelled: ResponseLabelled, dev: ResponseTestBed, stages: Stages
) -> None:
    """The index over all responses, and the threshold calibrated on dev."""
    folder, mark = recipe.out / INDEX, mark_of(recipe.out, "index")
    told = told_by(student=student.fingerprint(), responses=[[one.id, one.text] for one in labelled.responses])
    if read_mark(mark).get("made_from") != told or not (folder / FILE).is_file():
        mark.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        stages.say(f"index: {len(labelled.responses):,} responses")
        ResponseRetriever.build(student, labelled.responses, folder).close()
        write_text(mark, json.dumps({"made_from": told}))
    curve = dev.curve(student)
    threshold = None if recipe.risk is None else curve.threshold_for_risk(recipe.risk)
    if threshold == math.inf:
        stages.say(f"no threshold keeps the risk on dev at {recipe.risk}: it will answer nothing")
    # JSON has no infinity: beyond every score there is none either.
    told_threshold = None if threshold is None else min(threshold, 1e30)
    content = {"threshold": told_threshold, "risk": recipe.risk, "contexts": curve.contexts, "curve": curve.rows()}
    write_text(recipe.out / THRESHOLD, json.dumps(content, indent=2) + "\n")


def _tested(
    recipe: ResponseRecipe, student: ResponseStudent, bed: ResponseTestBed
) -> tuple[Comparison, dict[str, Any]]:
    """The start and the student, on the golds; hits among candidates, variety and length beside."""
    figures, systems = {}, []
    with open_response_retriever(recipe.out) as chat:
        latency = one_by_one(lambda c: chat.respond(c.conversation), bed.contexts)
    for name, model in ((UNTRAINED, start_of(recipe)), ("student", student)):
        run, figures[name] = bed.measure(model)
        systems.append(SystemResult(name, run, latency=latency if name == "student" else None))
        write_run(recipe.out / "runs" / f"{name}.trec", run, name)
    write_qrels(recipe.out / "runs" / "qrels.txt", {q: dict(golds) for q, golds in bed.qrels().items()})
    made = compare(
        systems,
        bed.qrels(),
        {c.id: c.conversation.depth for c in bed.contexts},
        {c.id: c.group for c in bed.contexts},
        UNTRAINED,
        seed=recipe.train_settings().seed,
        measures=MEASURES,
    )
    write_text(recipe.out / "comparison.json", made.to_json() + "\n")
    return made, figures


def _record(
    recipe: ResponseRecipe, student: ResponseStudent, result: TrainResult, labelled: ResponseLabelled
) -> dict[str, Any]:
    return {
        "commit": commit(),
        "versions": versions(),
        "settings": recipe.resolved(),
        "student": {"fingerprint": student.fingerprint()},
        "training": asdict(result),
        "data": {
            "responses": str(recipe.responses),
            "gold": labelled.golds,
            "generated": len(labelled.responses) - labelled.golds,
            "contexts": len(labelled.contexts),
            "left_out": dict(labelled.left_out),
        },
    }
