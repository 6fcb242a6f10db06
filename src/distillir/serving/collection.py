"""Documents that are searched while they change, and the version that names each of their states."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from distillir.conversation import Conversation
from distillir.data import Document
from distillir.errors import SearchIndexError, ServiceError
from distillir.index import Index
from distillir.search.added import payload_of
from distillir.serving.journal import Journal
from distillir.serving.locks import ReadWriteLock
from distillir.vectors import CSR
from distillir.vectors.files import read_json, write_json

KEEP = 64  # changes after which the number applied is written down; a start applies the later ones again


class DocumentEncoder(Protocol):
    """The frozen encoder of a run: of documents that are added, and of questions that stand alone."""

    def encode_queries(self, conversations: Sequence[Conversation]) -> CSR: ...
    def encode_documents(self, texts: Sequence[str]) -> CSR: ...
    def fingerprint(self) -> str: ...


class Collection:
    """An index, and the changes of a journal applied to it.

    Args:
        index: of the documents, changed by nobody else.
        base: names what it was built from; the version is `BASE-NUMBER`, the number of the last change applied.
        journal: changes to apply. Applying one again changes nothing, so those after the last note are. None: documents
            are changed by others, and the version is the base.
        encoder: opens what encodes documents; called when the first is added.
        note: file that keeps the number applied, in the folder of the index.
    """

    def __init__(
        self,
        index: Index,
        base: str,
        journal: Journal | None,
        encoder: Callable[[], DocumentEncoder],
        note: Path,
    ) -> None:
        self.index = index
        self.base = base
        self.journal = journal
        self.lock = ReadWriteLock()
        self._open_encoder = encoder
        self._encoder: DocumentEncoder | None = None
        self._note = note
        self._count, self._holders = threading.Lock(), 0
        self.seq = 0
        if journal is None:
            return
        self.seq = int(read_json(note).get("seq", 0)) if note.exists() else 0
        if self.seq > journal.last:
            raise SearchIndexError(
                f"{note.parent} holds {self.seq} changes, the journal {journal.path} only {journal.last}",
                "restore the journal, or build the index again",
            )
        self.catch_up(journal)

    @property
    def version(self) -> str:
        """Names the documents as they are now."""
        return self.base if self.journal is None else f"{self.base}-{self.seq}"

    def catch_up(self, journal: Journal) -> None:
        """Apply what the journal has beyond the present state."""
        for change in journal.changes(self.seq):
            self.apply(change, self.encode(change), int(change["seq"]))
        self.note()

    def encode(self, change: Mapping[str, Any]) -> CSR | None:
        """Vectors of the documents that a change adds.

        Raises:
            ServiceError: the index is of another encoder than the run's.
        """
        if change["op"] != "add":
            return None
        return self.encoder.encode_documents([document_of(row).contents for row in change["documents"]])

    @property
    def encoder(self) -> DocumentEncoder:
        """What encodes its documents, opened when first asked for."""
        if self._encoder is None:
            encoder = self._open_encoder()
            if self.index.encoder and encoder.fingerprint() != self.index.encoder:
                raise ServiceError(
                    409,
                    f"the index was built by the encoder {self.index.encoder}, the run's is {encoder.fingerprint()}",
                    "index the documents again before adding to them",
                )
            self._encoder = encoder
        return self._encoder

    def apply(self, change: Mapping[str, Any], vectors: CSR | None, seq: int) -> None:
        """Carry out a change; the caller keeps readers out."""
        if change["op"] == "add":
            assert vectors is not None
            documents = [document_of(row) for row in change["documents"]]
            self.index.add([document.id for document in documents], vectors, [payload_of(d) for d in documents])
        else:
            self.index.delete(change["ids"])
        self.seq = seq
        if seq % KEEP == 0:
            self.note()

    def note(self) -> None:
        """Write down how far the index is, so that the next start has less to apply."""
        write_json(self._note, {"seq": self.seq})

    def hold(self) -> None:
        """One more user, who releases it."""
        with self._count:
            self._holders += 1

    def release(self) -> None:
        """One user fewer; the last lets the index go."""
        with self._count:
            self._holders -= 1
            left = self._holders
        if not left:
            if self.journal is not None:
                self.note()
            self.index.close()


def document_of(row: Mapping[str, Any]) -> Document:
    """A document as the journal keeps it."""
    return Document(row["id"], row["text"], row.get("title", ""), row.get("group", ""), row.get("metadata", {}))
