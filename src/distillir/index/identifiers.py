"""The identifiers of a corpus's passages: one suffix array a view, and which passages each text belongs to."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillir.data.corpus import Corpus
from distillir.data.documents import Document
from distillir.data.views import View
from distillir.errors import ConfigError, SearchIndexError, VectorsError
from distillir.index.suffix import SuffixIndex
from distillir.index.suffix_spans import Following, Spans
from distillir.vectors.files import map_array, publish_folder, read_json, save_array, write_json

FORMAT = 1
FILE = "identifiers.json"
Read = Callable[[str], Sequence[int]]  # text → token ids


@dataclass(frozen=True, eq=False)
class ViewIndex:
    """One view's identifiers.

    Attributes:
        view: which. ngrams: the suffix array. owners: (texts,) passage of each text, ascending.
    """

    view: View
    ngrams: SuffixIndex
    owners: NDArray[np.int64]

    def start(self, queries: int = 1) -> Spans:
        """Spans of empty identifiers."""
        return self.ngrams.start(queries, whole=self.view.whole)

    def following(self, spans: Spans) -> Following:
        """What may follow each."""
        return self.ngrams.following(spans)

    def narrow(self, spans: Spans, tokens: NDArray[np.int64]) -> Spans:
        """Identifiers with one token more."""
        return self.ngrams.narrow(spans, tokens)

    def passages(self, spans: Spans) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(M,) rows of spans and (M,) passages that hold them, each pair once."""
        offsets, texts = self.ngrams.texts_with(spans)
        rows = np.repeat(np.arange(len(spans)), np.diff(offsets))
        both = np.unique(np.stack([rows, self.owners[texts]]), axis=1)
        return both[0], both[1]

    def texts(self, passage: int) -> list[NDArray[np.int64]]:
        """Token ids of a passage's own texts."""
        first, last = np.searchsorted(self.owners, [passage, passage + 1])
        return [self.ngrams.text(i) for i in range(int(first), int(last))]


class IdentifierIndex:
    """Everything that generation is held to and scored by; make with `build`, open with `open`.

    Attributes:
        views: name → its index. passages: how many. tokens: of all views. stamp: of the corpus's ids.
        tokenizer: fingerprint. nbytes: of all arrays.
    """

    def __init__(self, folder: Path, views: Mapping[str, ViewIndex], passages: int, stamp: str, tokenizer: str) -> None:
        self.folder = folder
        self.views = dict(views)
        self.passages = passages
        self.stamp = stamp
        self.tokenizer = tokenizer
        self.tokens = sum(one.ngrams.tokens for one in self.views.values())
        self.nbytes = sum(one.ngrams.nbytes + one.owners.nbytes for one in self.views.values())

    def __reduce__(self) -> tuple[Any, ...]:
        """To another process goes the path."""
        return IdentifierIndex.open, (self.folder.absolute(),)

    def __len__(self) -> int:
        return self.passages

    def texts(self, view: str, passage: int) -> list[NDArray[np.int64]]:
        """Token ids of a passage's own texts in a view."""
        return self.views[view].texts(passage)

    @classmethod
    def build(
        cls,
        corpus: Corpus,
        folder: str | Path,
        views: Sequence[View],
        read: Read,
        *,
        tokenizer: str,
        questions: Mapping[str, Sequence[str]] | None = None,
    ) -> IdentifierIndex:
        """Index a corpus; a folder that stood there is replaced at the end.

        Args:
            corpus: passages, by position.
            folder: where.
            views: "title" reads titles, "body" texts, any other name `questions`.
            read: makes tokens of a text.
            tokenizer: fingerprint of `read`.
            questions: document id → pseudo-queries.

        Raises:
            ConfigError: no views, or two of one name. SearchIndexError: a view without any text, or a full disk.
        """
        if not views or len({view.name for view in views}) < len(views):
            raise ConfigError(f"views are {[view.name for view in views]}", "name each once, and at least one")
        final = Path(folder).absolute()
        fresh, old = (final.with_name(final.name + end) for end in (".partial", ".old"))
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            for view in views:
                owners: list[int] = []
                texts = _texts(corpus, view, read, questions or {}, owners)
                try:
                    SuffixIndex.build(texts, fresh / view.name, tokenizer=tokenizer)
                except SearchIndexError as error:
                    raise SearchIndexError(f"view {view.name!r}: {error.cause}", "leave the view out") from error
                save_array(fresh / f"{view.name}.owners.npy", np.array(owners, np.int64))
            about = {view.name: {**asdict(view), "texts": None} for view in views}
            for name, one in about.items():
                one["texts"] = SuffixIndex.open(fresh / name).texts
            content = {"format": FORMAT, "tokenizer": tokenizer, "passages": len(corpus), "stamp": stamp_of(corpus)}
            write_json(fresh / FILE, {**content, "views": about})
            shutil.rmtree(old, ignore_errors=True)
            if final.exists():
                final.rename(old)
            publish_folder(fresh, final)
            shutil.rmtree(old, ignore_errors=True)
        except BaseException as error:
            shutil.rmtree(fresh, ignore_errors=True)
            if old.exists() and not final.exists():
                old.rename(final)
            if isinstance(error, OSError):
                raise SearchIndexError(f"cannot write {final}: {error}", "check space and permissions") from error
            raise
        return cls.open(final, tokenizer=tokenizer)

    @classmethod
    def open(
        cls, folder: str | Path, *, tokenizer: str = "", corpus: Corpus | None = None, verify: bool = False
    ) -> IdentifierIndex:
        """Memory-map what `build` wrote.

        Args:
            folder: of the index.
            tokenizer: fingerprint that it must have; "" = any.
            corpus: whose passages it must be of; None = any.
            verify: see `SuffixIndex.open`.

        Raises:
            SearchIndexError: missing, truncated, of another format, tokenizer or corpus.
        """
        folder = Path(folder)
        if not (folder / FILE).is_file():
            raise SearchIndexError(f"{folder} holds no identifiers", "build the index first")
        try:
            about = read_json(folder / FILE)
            if about.get("format") != FORMAT:
                raise SearchIndexError(f"{folder} has format {about.get('format')!r}, read is {FORMAT}", "build again")
            views = {}
            for name, options in about["views"].items():
                texts = int(options.pop("texts"))
                ngrams = SuffixIndex.open(folder / name, tokenizer=tokenizer, verify=verify)
                owners = np.asarray(map_array(folder / f"{name}.owners.npy", np.int64, texts))
                views[name] = ViewIndex(View(**options), ngrams, owners)
            passages, stamp, found = int(about["passages"]), str(about["stamp"]), str(about["tokenizer"])
        except VectorsError as error:
            raise SearchIndexError(error.cause, "build the index again") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SearchIndexError(f"{folder / FILE}: unreadable ({error!r})", "build the index again") from error
        if corpus is not None and (len(corpus), stamp_of(corpus)) != (passages, stamp):
            raise SearchIndexError(f"{folder} was built for another corpus", "build it for this one")
        return cls(folder, views, passages, stamp, found)


def stamp_of(corpus: Corpus) -> str:
    """Hash of a corpus's ids in their order."""
    digest = hashlib.blake2b(digest_size=8)
    for name in corpus.ids:
        digest.update(name.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def view_texts(document: Document, view: View, questions: Mapping[str, Sequence[str]] | None = None) -> list[str]:
    """What a document has for a view: its title, its text, or the questions of it; nothing blank."""
    own = {"title": [document.title], "body": [document.text]}
    return [text for text in own.get(view.name, (questions or {}).get(document.id, ())) if text.strip()]


def _texts(
    corpus: Corpus, view: View, read: Read, questions: Mapping[str, Sequence[str]], owners: list[int]
) -> Iterator[Sequence[int]]:
    """Tokens of a view's texts; notes the passage of each."""
    for i, document in enumerate(corpus):
        for text in view_texts(document, view, questions):
            if tokens := read(text):
                owners.append(i)
                yield tokens[: view.length] if view.whole else tokens
