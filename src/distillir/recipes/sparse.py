"""Recipe `sparse`: from conversations to a distilled sparse retriever, searched and measured.

    corpus ─encode─▶ vectors ─┬─▶ teacher's rankings ─▶ training ─▶ student ─▶ run folder
    contexts ─▶ rewrite vectors ┘                                   index, runs, report

Every stage leaves its result in the run folder; run again, it goes on where it stopped.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from distillir.data import Context, Corpus, Qrels, open_or_build, read_contexts, write_qrels, write_run
from distillir.encoding import encode_corpus
from distillir.errors import ConfigError, DataError
from distillir.evaluation import Comparison, SystemResult, compare, write_report
from distillir.index import create_index, fill, open_index
from distillir.recipes.examples import examples
from distillir.recipes.fit import Labelled, fit, label
from distillir.recipes.measure import TestBed, one_by_one
from distillir.recipes.method import Method, Strict, explain, preset
from distillir.recipes.progress import Stages
from distillir.recipes.record import run_record
from distillir.recipes.systems import bm25, conversation, gated, last_turn, rewrites
from distillir.rendering import RenderSettings
from distillir.search import Retriever
from distillir.students import SparseSettings, SparseStudent, resolve
from distillir.training import TrainResult, TrainSettings
from distillir.vectors import SparseVectors

logger = logging.getLogger(__name__)


class SparseRecipe(Strict):
    """Everything a run of the recipe depends on; saved with the run."""

    out: Path = Field(description="run folder")
    corpus: Path = Field(description="documents: JSONL, BEIR or Parquet")
    train: Path = Field(description="contexts to learn from, one JSON object a line")
    dev: Path = Field(description="contexts to select by")
    test: Path | None = Field(None, description="contexts to report on; never trained or selected on")
    model: str = Field("splade-tiny", description="start of student and encoder: packaged name, folder or model id")
    method: Method | str = Field("student", description="preset, or the options of a method")
    gate: bool = Field(True, description="turn gate")
    turn_embeddings: bool = Field(False, description="turn embeddings")
    max_length: int = Field(256, description="tokens of a conversation")
    document_length: int = Field(256, description="tokens of a document")
    answers: bool = Field(True, description="render the assistant's turns")
    engine: str = Field("qdrant_edge", description="index engine")
    screen: bool = Field(False, description="bfloat16 screen of the head, where the processor has it")
    training: dict[str, Any] = Field({}, description="options of TrainSettings")

    def student_settings(self) -> SparseSettings:
        """Of the student; the encoder's are the same without gate and turn embeddings."""
        render = RenderSettings(max_length=self.max_length, answers=self.answers)
        return SparseSettings(
            render=render,
            gate=self.gate,
            turn_embeddings=self.turn_embeddings,
            document_length=self.document_length,
        )

    def train_settings(self) -> TrainSettings:
        """Of the loop."""
        try:
            return TrainSettings(**self.training)
        except TypeError as error:
            raise ConfigError(f"training: {error}", "see distillir.training.TrainSettings for the options") from error

    def chosen_method(self) -> Method:
        """The method, named or spelled out."""
        return preset(self.method) if isinstance(self.method, str) else self.method


def read_recipe(path: str | Path) -> SparseRecipe:
    """Read a recipe file; its relative paths are relative to it.

    Raises:
        ConfigError: unreadable, an unknown key, or a value of the wrong kind.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        recipe = SparseRecipe.model_validate(content)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", "give the path of a recipe") from error
    except (ValidationError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {explain(error)}", "compare with the recipe in the README") from error
    base = path.parent
    paths = {name: base / value for name, value in recipe if isinstance(value, Path)}
    return recipe.model_copy(update=paths)


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
    """
    method, settings, training = recipe.chosen_method(), recipe.student_settings(), recipe.train_settings()
    out = recipe.out
    out.mkdir(parents=True, exist_ok=True)
    contexts = {name: _contexts(path) for name, path in _splits(recipe).items()}
    _check_disjoint(contexts)
    source = resolve(recipe.model)
    encoder = SparseStudent.from_pretrained(source, replace(settings, gate=False, turn_embeddings=False))
    encoder.screen = recipe.screen
    with Stages(quiet=quiet) as stages:
        corpus = open_or_build(recipe.corpus, out / "corpus.arrow")
        documents = encode_corpus(encoder, corpus, out / "vectors", watch=stages.bar("encode documents"))
        labelled = label(contexts["train"], encoder, documents, method, out / "rewrites")
        bed = TestBed(contexts["dev"], {"": documents})
        student, result = _fit(recipe, method, settings, training, labelled, documents, bed, stages)
        student.save(out / "student")
        _index(out, recipe.engine, documents, stages)
        comparison = report = None
        if recipe.test is not None:
            stages.say("evaluate")
            comparison, report = _evaluate(
                recipe, method, contexts["test"], corpus, documents, encoder, student, labelled, result
            )
    return SparseRun(out, student, result, comparison, report)


def open_retriever(out: str | Path) -> Retriever:
    """The retriever of a finished run folder."""
    out = Path(out)
    if not (out / "student").is_dir() or not (out / "index").is_dir():
        raise DataError(out, "not a finished run folder", cure="run `distillir train RECIPE` or `distillir quickstart`")
    student = SparseStudent.from_pretrained(out / "student")
    return Retriever(student, open_index(out / "index"), Corpus.open(out / "corpus.arrow"))


def _fit(
    recipe: SparseRecipe,
    method: Method,
    settings: SparseSettings,
    training: TrainSettings,
    labelled: Labelled,
    documents: SparseVectors,
    bed: TestBed,
    stages: Stages,
) -> tuple[SparseStudent, TrainResult]:
    checkpoints = recipe.out / "checkpoints"
    told = json.dumps(
        [method.model_dump(), asdict(settings), asdict(training), labelled.gold_share], default=str, sort_keys=True
    )
    mark = checkpoints / "settings.json"
    if mark.exists() and mark.read_text(encoding="utf-8") != told:
        stages.say("settings changed: training starts anew")
        shutil.rmtree(checkpoints)
    checkpoints.mkdir(exist_ok=True)
    mark.write_text(told, encoding="utf-8")
    return fit(
        resolve(recipe.model),
        labelled,
        documents,
        method,
        settings,
        training,
        evaluate=lambda student: bed.figure(conversation(student)),
        folder=checkpoints,
        watch=stages.training(),
        screen=recipe.screen,
    )


def _index(out: Path, engine: str, documents: SparseVectors, stages: Stages) -> None:
    done = out / "index.done"
    if done.exists() and done.read_text(encoding="utf-8") == f"{engine} {documents.fingerprint}":
        return
    stages.say(f"index ({engine})")
    shutil.rmtree(out / "index", ignore_errors=True)
    with create_index(out / "index", engine, dim=documents.dim, encoder=str(documents.meta["encoder"])) as index:
        fill(index, documents)
        index.optimize()
    done.write_text(f"{engine} {documents.fingerprint}", encoding="utf-8")


def _evaluate(
    recipe: SparseRecipe,
    method: Method,
    contexts: Sequence[Context],
    corpus: Corpus,
    documents: SparseVectors,
    encoder: SparseStudent,
    student: SparseStudent,
    labelled: Labelled,
    result: TrainResult,
) -> tuple[Comparison, Path]:
    bed = TestBed(contexts, {"": documents})
    gate = gated(resolve(recipe.model), encoder.settings)
    gate.screen = student.screen = recipe.screen
    with open_index(recipe.out / "index") as index:
        retriever = Retriever(student, index, corpus)
        latency = one_by_one(lambda c: retriever.retrieve(c.conversation, 10), bed.contexts)
        systems = [
            SystemResult("bm25_last", bm25(corpus, [(c.id, c.conversation.question) for c in bed.contexts], 100)),
            bed.measure("last_turn", last_turn(encoder)),
            bed.measure("full_context", conversation(encoder)),
            bed.measure("untrained_gate", conversation(gate)),
            bed.measure(
                "teacher", rewrites(encoder, method.teachers, recipe.out / "rewrites"), note="reads the rewrite"
            ),
            bed.measure("student", conversation(student), latency=latency),
        ]
        compared = compare(
            systems,
            bed.qrels,
            bed.depth,
            bed.group,
            "untrained_gate",
            corpus=bed.corpus,
            seed=recipe.train_settings().seed,
        )
        record = run_record(recipe, student, labelled, result)
        shown = examples(bed.contexts, systems, corpus, {"student": student, "untrained_gate": gate})
    qrels: Qrels = bed.qrels
    write_qrels(recipe.out / "runs" / "qrels.txt", qrels)
    for system in systems:
        write_run(recipe.out / "runs" / f"{system.name}.trec", system.run, tag=system.name)
    (recipe.out / "run.json").write_text(json.dumps(record, indent=2, default=str) + "\n", encoding="utf-8")
    (recipe.out / "comparison.json").write_text(compared.to_json() + "\n", encoding="utf-8")
    return compared, write_report(recipe.out / "report.html", compared, record, "Conversational search", shown)


def _splits(recipe: SparseRecipe) -> dict[str, Path]:
    given = {"train": recipe.train, "dev": recipe.dev, "test": recipe.test}
    return {name: path for name, path in given.items() if path is not None}


def _contexts(path: Path) -> list[Context]:
    found = read_contexts(path)
    if not found:
        raise DataError(path, "holds no contexts", cure='write one {"id", "messages"} object a line')
    return found


def _check_disjoint(contexts: dict[str, list[Context]]) -> None:
    groups = {name: {c.group for c in found} for name, found in contexts.items()}
    names = list(groups)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            if both := sorted(groups[one] & groups[other]):
                raise ConfigError(
                    f"conversation {both[0]!r} is in both {one} and {other}", "split by conversation, not by turn"
                )
