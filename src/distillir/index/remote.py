"""An index in an engine that runs elsewhere, one server or a cluster; its folder says where.

    remote.json    the engine's options, the collection, whether others find it

Documents are written into a collection of this index alone, `NAME__ENCODER__BUILD`. `finish`, once all are there, lets
the alias NAME point to it and removes the one it pointed to before. So whoever searches NAME sees a whole collection,
the old or the new; a build that was stopped goes on where it was, or is dropped by `discard`.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from distillir.closing import Closing
from distillir.errors import SearchIndexError
from distillir.index.filters import dump_payload, payload_tokens, where_tokens
from distillir.index.options import Options, RemoteOptions, dump_options
from distillir.index.points import point_of
from distillir.index.protocol import (
    Payload,
    ScoredId,
    SparseQuery,
    check_documents,
    check_k,
    check_query,
    index_errors,
)
from distillir.index.remote_folder import STATE, check_alias, collection_prefix, read_state, told
from distillir.index.server import Kept, Row, Server, TroubleError, persist, portions
from distillir.vectors import CSR, csr_from_rows
from distillir.vectors.files import disk_errors, write_json

T = TypeVar("T")
_GROUP = 64  # queries a request
_IDS = 1000  # ids a request

logger = logging.getLogger(__name__)


class RemoteIndex(Closing):
    """The index that a folder points to; use `create_index` and `open_index`. Any number of processes may write.

    Args:
        folder: where `create` was called.
        dim: number of dimensions.
        encoder: which encoder the documents come from.

    Raises:
        SearchIndexError: the engine does not answer, or the collection is gone.
    """

    ENGINE: ClassVar[str]
    OPTIONS: ClassVar[type[RemoteOptions]]
    SERVER: ClassVar[type[Server]]

    def __init__(self, folder: Path, dim: int, encoder: str = "") -> None:
        self.dim = dim
        self.encoder = encoder
        self._folder = folder
        self._state = read_state(folder, self.OPTIONS)
        self._options = self.OPTIONS(**self._state["options"])
        self._prefix = collection_prefix(self._options.collection, dim, encoder)
        self._collection = self._prefix + str(self._state["build"])
        self._closed = False
        self._server: Server = self.SERVER(self._options)
        try:
            if not self._state["made"]:
                self._ask(lambda name: self._server.make(name, dim))
                self._note(made=True)
            elif not self._ask(self._server.has) and not self._follow():
                raise self._lost()
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(cls, folder: Path, options: Options) -> None:
        """Write where the documents will be, once the engine answers and the name is free or of another such index."""
        assert isinstance(options, RemoteOptions)
        with told():
            server = cls.SERVER(options)
            try:
                check_alias(server, options)
            finally:
                server.close()
        state = {"options": dump_options(options), "build": secrets.token_hex(6), "made": False, "finished": False}
        write_json(folder / STATE, state)

    @classmethod
    def retune(cls, folder: Path, options: RemoteOptions) -> None:
        """Ask from the next opening on as the options say; where the documents are stays as it was."""
        state = read_state(folder, cls.OPTIONS)
        place = {name: value for name, value in state["options"].items() if name not in cls.OPTIONS.OF_REQUESTS}
        asked = {name: value for name, value in dump_options(options).items() if name in cls.OPTIONS.OF_REQUESTS}
        if state["options"] != place | asked:
            with index_errors(), disk_errors(folder, "what is in the engine is intact"):
                write_json(folder / STATE, {**state, "options": place | asked})

    @classmethod
    def discard(cls, folder: Path, dim: int, encoder: str) -> None:
        """Remove the collection of a build that nobody finds under its name.

        Raises:
            SearchIndexError: the engine does not answer; the collection is named in the error.
        """
        state = read_state(folder, cls.OPTIONS)
        options = cls.OPTIONS(**state["options"])
        name = collection_prefix(options.collection, dim, encoder) + str(state["build"])
        with told(f"the collection {name} may be left behind: "):
            server = cls.SERVER(options)
            try:
                if persist(lambda: server.target(options.collection), options.retries) != name:
                    persist(lambda: server.drop(name), options.retries)
            finally:
                server.close()

    def finish(self) -> None:
        """Let others find the documents under the name of the collection, and remove what that name meant before.

        Raises:
            SearchIndexError: the engine does not answer (call it again), or the name was taken by something else.
        """
        alias = self._options.collection
        with told():
            previous = check_alias(self._server, self._options)
        if previous != self._collection:
            self._note(replaces=previous)
            self._ask(lambda name: self._server.switch(alias, name, previous))
        replaced = self._state.get("replaces")
        if replaced and replaced != self._collection:
            self._ask(lambda _: self._server.drop(replaced))
        self._note(finished=True, replaces=None)

    def add(self, ids: Sequence[str], vectors: CSR, payloads: Sequence[Payload] | None = None) -> None:
        """Add or replace documents; see `Index.add`. They are in the engine, as durable as it is set up, on return."""
        checked = check_documents(ids, vectors, payloads, self.dim)
        rows = []
        for i, name in enumerate(ids):
            point_of(name)  # ids that are not valid Unicode are refused by every engine alike
            own = payloads[i] if payloads is not None else {}
            indices, values = checked.row(i)
            rows.append(Row(name, indices.tolist(), values.tolist(), dump_payload(own), payload_tokens(own)))
        self._check_open()
        for part in portions(rows):
            self._ask(lambda collection, part=part: self._server.upsert(collection, part))  # type: ignore[misc]

    def delete(self, ids: Sequence[str]) -> None:
        """Remove documents; see `Index.delete`."""
        self._check_open()
        for start in range(0, len(ids), _IDS):
            part = ids[start : start + _IDS]
            self._ask(lambda collection, part=part: self._server.delete(collection, part))  # type: ignore[misc]

    def search(self, query: SparseQuery, k: int, where: Payload | None = None) -> list[ScoredId]:
        """The k best documents; see `Index.search`."""
        return self.search_batch([query], k, where)[0]

    def search_batch(
        self, queries: Sequence[SparseQuery], k: int, where: Payload | None = None
    ) -> list[list[ScoredId]]:
        """`search` for many queries at once.

        Raises:
            SearchIndexError: the engine does not answer, or `k` is more than it returns.
        """
        check_k(k)
        self._check_open()
        most = self._server.most
        if k > most:
            raise SearchIndexError(f"k is {k}, {self.ENGINE} returns {most} documents", f"ask for {most} at most")
        checked = [check_query(query, self.dim) for query in queries]
        tokens = where_tokens(where) if where else {}
        results: list[list[ScoredId]] = [[] for _ in checked]
        # The engine orders equal scores as it likes. One more than k shows whether the k-th shares its score with a
        # document that was left out; then more are asked for, until all of that score are there.
        pending, limit = [i for i, query in enumerate(checked) if len(query.indices)], min(most, k + 1)
        while pending:
            tied = []
            for start in range(0, len(pending), _GROUP):
                group = pending[start : start + _GROUP]
                found = self._find([checked[i] for i in group], limit, tokens)
                for i, hits in zip(group, found, strict=True):
                    if k < limit < most and len(hits) == limit and hits[-1].score == hits[k - 1].score:
                        tied.append(i)
                    else:
                        positive = (hit for hit in hits if hit.score > 0)
                        results[i] = sorted(positive, key=lambda hit: (-hit.score, hit.id))[:k]
            pending, limit = tied, min(most, limit * 4)
        return results

    def vectors(self, ids: Sequence[str]) -> CSR:
        """(len(ids), dim) vectors in the order of the ids; see `Index.vectors`."""
        return csr_from_rows([(kept.indices, kept.values) for kept in self._read(ids, vectors=True)], self.dim)

    def payloads(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Payloads in the order of the ids; see `Index.payloads`."""
        return [json.loads(kept.payload) for kept in self._read(ids, vectors=False)]

    def optimize(self) -> None:
        """Ask the engine to tidy up; it goes on by itself."""
        self._ask(self._server.optimize)

    def __len__(self) -> int:
        return self._ask(self._server.count)

    def close(self) -> None:
        """Let connections go; closing twice is harmless."""
        if not self._closed:
            self._closed = True
            self._server.close()

    def _find(self, queries: list[SparseQuery], limit: int, tokens: dict[str, list[str]]) -> list[list[ScoredId]]:
        return self._ask(lambda collection: self._server.search(collection, queries, limit, tokens))

    def _read(self, ids: Sequence[str], *, vectors: bool) -> list[Kept]:
        self._check_open()
        found: dict[str, Kept] = {}
        wanted = list(dict.fromkeys(ids))
        for start in range(0, len(wanted), _IDS):
            part = wanted[start : start + _IDS]
            found |= self._ask(lambda name, part=part: self._server.read(name, part, vectors=vectors))  # type: ignore[misc]
        for name in ids:
            if name not in found:
                raise SearchIndexError(f"no document has the id {name!r}", "add it first")
        return [found[name] for name in ids]

    def _ask(self, request: Callable[[str], T]) -> T:
        """What the engine answers about this index's collection, or about the one that took its place."""
        self._check_open()
        with told():
            try:
                return persist(lambda: request(self._collection), self._options.retries)
            except TroubleError as trouble:
                if not trouble.gone:
                    raise
                if not self._follow():
                    raise self._lost() from trouble
                return persist(lambda: request(self._collection), self._options.retries)

    def _follow(self) -> bool:
        """Turn to what the name means now, if that was built anew by the same encoder."""
        if not self._state["finished"]:
            return False
        with told():
            now = persist(lambda: self._server.target(self._options.collection), self._options.retries)
        if now is None or now == self._collection or not now.startswith(self._prefix):
            return False
        logger.info("%s was built anew: searching %s", self._options.collection, now)
        self._collection = now
        return True

    def _lost(self) -> SearchIndexError:
        return SearchIndexError(
            f"{self.ENGINE} has no collection {self._collection}: it was removed, or another encoder's took its place",
            "index the documents again",
        )

    def _check_open(self) -> None:
        if self._closed:
            raise SearchIndexError("this index is closed", "open it again")

    def _note(self, **changes: Any) -> None:
        self._state = {**self._state, **changes}
        with index_errors(), disk_errors(self._folder, "what is in the engine is intact"):
            write_json(self._folder / STATE, self._state)
