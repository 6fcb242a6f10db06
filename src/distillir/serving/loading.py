"""Run folders as what a service serves."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from distillir.data import Corpus
from distillir.errors import ConfigError, DataError
from distillir.index import open_index
from distillir.recipes import open_response_retriever
from distillir.recipes.generative_open import is_generative_folder
from distillir.recipes.marks import mark_of
from distillir.recipes.opening import open_encoder, open_student
from distillir.recipes.workshop import SAVED
from distillir.search import ResponseRetriever
from distillir.search.rerank import reranker_of
from distillir.serving.cluster import Cluster, ClusterIndex
from distillir.serving.collection import Collection
from distillir.serving.confidence import FILE, Confidence
from distillir.serving.generation import Generation
from distillir.serving.journal import Journal
from distillir.serving.metrics import Metrics
from distillir.serving.searcher import Searcher
from distillir.serving.settings import ServeSettings
from distillir.students import OnnxEncoder, SparseStudent, resolve
from distillir.students.onnx_encoder import is_export

ENCODERS = ("auto", "onnx", "torch")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """What is to be served.

    Attributes:
        run: run folder of a sparse or response recipe, or a link to one; looked at again with every reload.
        responses: run folder of a response recipe, beside a sparse one.
        reranker: folder or model id.
        cluster: engine that has the documents, in place of the run's own index.
        encoder: "onnx": the export in the run folder; "torch": the student itself; "auto": the export where it is of
            this student.
        state: folder of the journal and the shadow log; by default `RUN.serving` beside the run folder.
    """

    run: Path
    responses: Path | None = None
    reranker: str | None = None
    encoder: str = "auto"
    state: Path | None = None
    cluster: Cluster | None = None

    def __post_init__(self) -> None:
        if self.encoder not in ENCODERS:
            raise ConfigError(f"no encoder is called {self.encoder!r}", f"choose one of {', '.join(ENCODERS)}")

    @property
    def folder(self) -> Path:
        """Of the journal and the shadow log."""
        run = self.run.absolute()
        return self.state or run.with_name(f"{run.name}.serving")


def open_generation(
    source: Source, settings: ServeSettings, metrics: Metrics, journal: Journal | None, present: Generation | None
) -> Generation:
    """What the source holds now.

    Args:
        source: where to look.
        settings, metrics, journal: of the service.
        present: what is served; its collection is shared where the index is the same.

    Raises:
        DataError: no run folder that can be served. ModelError, SearchIndexError: it cannot be opened.
    """
    out = source.run.resolve()
    responses = source.responses.resolve() if source.responses else None
    made = Generation()
    _check_kind(out)
    if source.cluster or (mark_of(out, "index").is_file() and (out / "index" / "index.json").is_file()):
        student = open_student(out)
        made.searcher = _searcher(source, out, student, settings, metrics, journal, present)
        if (out / FILE).is_file():
            confidence = Confidence.open(out / FILE)
            if confidence.model == student.fingerprint():
                made.confidence = confidence
            else:
                logger.warning("%s is of another student and not used: calibrate again", out / FILE)
    elif responses is None:
        responses = out
    if responses is not None:
        made.responder, made.responses = _responder(responses, present)
    if source.reranker is not None:
        made.reranker = reranker_of(str(resolve(source.reranker)))
    return made


def _check_kind(out: Path) -> None:
    """Refuse run folders that a service cannot search, each with where it belongs.

    Raises:
        DataError: of a dense or generative student, or of a reranker.
    """
    saved = out / SAVED
    kind = json.loads(saved.read_text(encoding="utf-8")).get("student") if saved.is_file() else None
    if is_generative_folder(out):  # a corpus of its own has such a folder without a recipe
        kind = "generative"
    if kind in ("dense", "generative"):
        raise DataError(out, f"a {kind} run, for which there is no service", cure="search it with `distillir search`")
    if kind == "reranker":
        raise DataError(out, "a run of a reranker", cure=f"serve a sparse run with --reranker {out / 'student'}")


def _searcher(
    source: Source,
    out: Path,
    student: SparseStudent,
    settings: ServeSettings,
    metrics: Metrics,
    journal: Journal | None,
    present: Generation | None,
) -> Searcher:
    encoder, version = _encoder(source, out, student, settings.workers)
    if source.cluster is not None:
        there = ClusterIndex(source.cluster, student)
        collection = Collection(there, there.version, None, lambda: open_encoder(out), out / "index" / "served.json")
        return Searcher(encoder, version, collection, None, student, settings, metrics)
    base = hashlib.blake2b(mark_of(out, "index").read_bytes() + str(out / "index").encode(), digest_size=4).hexdigest()
    shared = present.searcher.collection if present and present.searcher else None
    if shared is not None and shared.base == base:
        collection = shared
    else:
        index = open_index(out / "index", dim=student.dim)
        try:
            collection = Collection(index, base, journal, lambda: open_encoder(out), out / "index" / "served.json")
        except BaseException:
            index.close()
            raise
    return Searcher(encoder, version, collection, Corpus.open(out / "corpus.arrow"), student, settings, metrics)


def _encoder(
    source: Source, out: Path, student: SparseStudent, workers: int
) -> tuple[SparseStudent | OnnxEncoder, str]:
    made_of = student.fingerprint()
    if source.encoder == "torch" or (source.encoder == "auto" and not is_export(out / "onnx")):
        return student, made_of
    encoder = OnnxEncoder.open(out / "onnx", threads=max(1, (os.cpu_count() or 1) // workers))
    if encoder.student == made_of:
        return encoder, encoder.fingerprint()
    if source.encoder == "onnx":
        raise DataError(out / "onnx", "an export of another student", cure=f"run `distillir export-onnx {out}` again")
    logger.warning("%s is an export of another student and not used: run `distillir export-onnx` again", out / "onnx")
    return student, made_of


def _responder(out: Path, present: Generation | None) -> tuple[ResponseRetriever, str]:
    mark = mark_of(out, "index")
    if not mark.is_file():
        raise DataError(
            out,
            "neither a run folder with an index nor one of responses",
            cure="run `distillir index RECIPE` or `distillir train RECIPE` first",
        )
    version = hashlib.blake2b(mark.read_bytes(), digest_size=4).hexdigest()
    if present is not None and present.responder is not None and present.responses == version:
        return present.responder, version
    return open_response_retriever(out), version


def engine_of(source: Source) -> str:
    """The engine that has the documents, "" where there are none."""
    if source.cluster is not None:
        return source.cluster.engine
    path = source.run.resolve() / "index" / "index.json"
    return str(json.loads(path.read_text(encoding="utf-8")).get("engine", "")) if path.is_file() else ""
