"""From the user's own documents to a retriever, without training: the untrained turn gate over an exact index.

The gate keeps what the open question asks in front and lets earlier turns name what it leaves out; documents are
encoded by the same weights without a gate.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distillir.data import Corpus
from distillir.data.reading import WORDS, ReadingReport, file_digest
from distillir.errors import ModelError
from distillir.index import Index, build_index, open_index
from distillir.search.kept import READY, KeptFolder, Use
from distillir.search.retriever import QueryEncoder, Retriever
from distillir.search.reuse import Encoded, Known, encode_new
from distillir.search.sources import Source, read_source
from distillir.search.waiting import bar, say
from distillir.vectors.files import disk_errors, write_json

if TYPE_CHECKING:
    from distillir.students.sparse import SparseSettings, SparseStudent

DEFAULT_MODEL = "splade-tiny"
Watch = Callable[[int, int], None]


@dataclass(frozen=True)
class DocumentsReport:
    """What opening documents took.

    Attributes:
        reading: files read and left out, and why.
        passages: in the index.
        encoded: texts that went through the encoder.
        reused: passages whose vectors were kept from before.
        repeated: passages whose text stands in an earlier passage too.
        seconds: in all.
    """

    reading: ReadingReport
    passages: int
    encoded: int
    reused: int
    repeated: int
    seconds: float

    def __str__(self) -> str:
        vectors = f"{self.encoded:,} encoded, {self.reused:,} vectors reused"
        repeated = f", {self.repeated:,} repeated" if self.repeated else ""
        return f"{self.reading}; {vectors}{repeated}; {self.seconds:.1f} s"


class DocumentsRetriever(Retriever):
    """A retriever that owns its index, and its folder where that is a temporary one.

    Attributes:
        report: what was read, encoded and reused.
    """

    def __init__(
        self, encoder: QueryEncoder, index: Index, corpus: Corpus, report: DocumentsReport, release: Callable[[], None]
    ) -> None:
        super().__init__(encoder, index, corpus)
        self.report = report
        self._release = weakref.finalize(self, release)  # at close, when nobody holds it any more, or at exit

    def close(self) -> None:
        """Let the index go, and remove a temporary folder; closing twice is harmless."""
        self._release()


def open_documents(
    source: Source,
    model: str | Path | None = None,
    *,
    folder: str | Path | None = None,
    engine: str = "exact",
    settings: SparseSettings | None = None,
    document_model: str | Path | None = None,
    words: int = WORDS,
    watch: Watch | None = None,
    quiet: bool = False,
) -> DocumentsRetriever:
    """Read, encode and index documents, and open them for search.

    Args:
        source: a folder of Markdown, text, HTML, PDF, `.jsonl` and `.parquet` files; one such file; or texts,
            `Document`s or mappings with `text` and perhaps `_id`, `title`, `group`. A text alone may be long and is
            split; a document or row is one passage as it is. See `data.reading`.
        model: what reads the questions: a packaged name, a folder, a model id, or a trained student. None = the
            packaged `splade-tiny`, which needs no download.
        folder: where to keep passages, vectors and index. Opened again, it encodes only texts that are new; what was
            stopped, even killed, goes on. None = a temporary folder, removed with the retriever.
        engine: `exact` lets many processes read one folder and needs nothing built; see `index.ENGINES`.
        settings: of the student; the default has the turn gate on. A trained student brings its own.
        document_model: what encodes the documents; None = `model`. A trained student needs the one it was distilled
            against.
        words: most words of a passage that is split.
        watch: called with (passages done, passages in all) while they are encoded, in place of the bar.
        quiet: neither bar nor the line that says what was read.

    Raises:
        DataError: no such source, or nothing in it that can be read.
        SearchIndexError: `folder` holds something else. VectorsError: it cannot be written.
        ModelError: the weights cannot be loaded, or a trained student without `document_model`.
        ConfigError: no such engine, or `words` too few.
    """
    begun = time.perf_counter()
    tell: Callable[[str], None] = (lambda _: None) if quiet else say
    temporary = Path(tempfile.mkdtemp(prefix="distillir-")) if folder is None else None
    end: list[Callable[[], None]] = [] if temporary is None else [_removing(temporary)]
    try:
        kept = KeptFolder(temporary or Path(folder or "").absolute())
        with kept.locked(tell):
            corpus_file, reading, stamp = read_source(source, kept, words, stamped=temporary is None)
            student, encoder = _students(model, settings, document_model)
            name = _name(corpus_file, encoder, engine)
            place = kept.generation(name, corpus_file)
            end.append(Use(place).release)
            corpus = Corpus.open(place / "corpus.arrow")
            with nullcontext(watch) if watch or quiet else bar("encoding", "passages") as seen:
                counts = _build(place, engine, corpus, encoder, kept, seen or (lambda done, total: None))
            with disk_errors(kept.path, "documents that were encoded are kept"):
                kept.save({"stamp": stamp, "generation": name, "reading": reading.as_dict()})
                kept.sweep(name)
            index = open_index(place / "index", dim=student.dim, encoder=encoder.fingerprint())
            end.append(index.close)
        report = DocumentsReport(reading, len(corpus), **counts, seconds=time.perf_counter() - begun)
        tell(str(report))
        return DocumentsRetriever(student, index, corpus, report, _all(end))
    except BaseException:
        _all(end)()
        raise


def _students(
    model: str | Path | None, settings: SparseSettings | None, document_model: str | Path | None
) -> tuple[SparseStudent, SparseStudent]:
    """What encodes questions and what encodes documents: the same weights, loaded once, where nothing else is said."""
    from distillir.students import SparseSettings, SparseStudent, resolve
    from distillir.students.backbone import load_backbone
    from distillir.students.checkpoint import is_student

    source = resolve(model or DEFAULT_MODEL)
    if is_student(source):
        if document_model is None:
            raise ModelError(
                f"{source} is a trained student: it encodes questions, not documents",
                f'name the model it was distilled against, such as document_model="{DEFAULT_MODEL}"',
            )
        student = SparseStudent.from_pretrained(source, settings)
        weights = load_backbone(resolve(document_model))
    else:
        shared = load_backbone(source)
        student = SparseStudent(*shared, settings or SparseSettings())
        weights = shared if document_model is None else load_backbone(resolve(document_model))
    encoder = SparseStudent(*weights, replace(student.settings, gate=False, turn_embeddings=False))
    encoder.screen = True
    return student.eval(), encoder.eval()


def _name(corpus: Path, encoder: SparseStudent, engine: str) -> str:
    """Of the generation with these passages, vectors and engine."""
    told = [file_digest(corpus), encoder.fingerprint(), encoder.settings.document_length, engine]
    return hashlib.blake2b(json.dumps(told).encode(), digest_size=8).hexdigest()


def _build(
    place: Path, engine: str, corpus: Corpus, encoder: SparseStudent, kept: KeptFolder, watch: Watch
) -> dict[str, int]:
    """Encode what is new, fill the index, mark the generation as ready."""
    if (place / READY).exists():
        return asdict(Encoded(reused=len(corpus)))
    others = [Known.open(other, encoder) for other in kept.generations() if other != place]
    vectors, done = encode_new(encoder, corpus, place / "vectors", [o for o in others if o is not None], watch)

    def payload(name: str) -> dict[str, Any]:
        document = corpus[name]
        return {**document.metadata, "group": document.group}

    build_index(place / "index", engine, vectors, payload, made_from=place.name)
    with disk_errors(place, "documents that were encoded are kept"):
        write_json(place / READY, asdict(done))
    return asdict(done)


def _removing(folder: Path) -> Callable[[], None]:
    owner = os.getpid()  # a forked child leaves what its parent still searches

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)

    return remove


def _all(actions: list[Callable[[], None]]) -> Callable[[], None]:
    def run() -> None:
        while actions:
            actions.pop()()  # last in, first out

    return run
