"""The fixed set of responses that a chat answers from, each text once, with where it comes from.

JSON lines that are a corpus too: `{"_id": "…", "text": "…", "origins": ["gold", "respond"]}`.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

from distillir.data.documents import read_documents
from distillir.data.files import replacing_lines
from distillir.errors import DataError

GOLD = "gold"


@dataclass(frozen=True)
class Response:
    """One response.

    Attributes:
        id: its name in qrels and runs.
        text: what is said.
        origins: "gold" for what people said or approved, and the names of teachers that generated it.
    """

    id: str
    text: str
    origins: tuple[str, ...] = (GOLD,)

    @classmethod
    def of(cls, text: str, origin: str = GOLD) -> Response:
        """A response named by its text: equal texts get equal ids."""
        return cls(f"r{blake2b(plain(text).encode(), digest_size=8).hexdigest()}", text, (origin,))


class ResponseSet:
    """Responses in order. Of those whose texts differ in case, blanks and width alone the first stays, with the
    origins of all, and answers to the ids of all.

    Args:
        responses: ids must differ unless the texts are alike.

    Raises:
        DataError: a blank text, or one id for two texts.
    """

    def __init__(self, responses: Iterable[Response]) -> None:
        self._kept: list[Response] = []
        self._by_text: dict[str, int] = {}
        self._by_id: dict[str, int] = {}
        for response in responses:
            key = plain(response.text)
            if not key:
                raise DataError("responses", f"{response.id!r} is blank", cure="leave it out")
            place = self._by_text.setdefault(key, len(self._kept))
            if self._by_id.setdefault(response.id, place) != place:
                raise DataError("responses", f"{response.id!r} names two texts", cure="give each its own id")
            if place == len(self._kept):
                self._kept.append(response)
            elif new := [name for name in response.origins if name not in self._kept[place].origins]:
                self._kept[place] = replace(self._kept[place], origins=(*self._kept[place].origins, *new))

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Response]:
        return iter(self._kept)

    def __getitem__(self, i: int) -> Response:
        return self._kept[i]

    def __contains__(self, name: object) -> bool:
        return name in self._by_id

    def text(self, i: int) -> str:
        """Text at a position."""
        return self._kept[i].text

    def position(self, name: str) -> int:
        """Position of an id.

        Raises:
            DataError: unknown.
        """
        if name not in self._by_id:
            raise DataError("responses", f"no response {name!r}", cure="check the ids, or add it")
        return self._by_id[name]

    def find(self, text: str) -> Response | None:
        """The response of that text, in whatever case and blanks."""
        place = self._by_text.get(plain(text))
        return None if place is None else self._kept[place]


def plain(text: str) -> str:
    """A text without what makes no difference: case, width of letters, kind and number of blanks."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def read_responses(path: str | Path) -> ResponseSet:
    """Read a file of responses; those without `origins` are gold.

    Raises:
        DataError: as `read_documents`, blank texts, ids given twice, or origins that are no list of names.
    """
    found: dict[str, Response] = {}
    for line, document in read_documents(path):
        origins = document.metadata.get("origins", [GOLD])
        if not (isinstance(origins, list) and origins and all(isinstance(one, str) and one for one in origins)):
            raise DataError(path, "'origins' is no list of names", line=line, cure='write ["gold"], or leave it out')
        if not document.text.strip():
            raise DataError(path, f"the response {document.id!r} is blank", line=line, cure="leave it out")
        if document.id in found:
            raise DataError(path, f"the id {document.id!r} is there twice", line=line, cure="give each its own id")
        found[document.id] = Response(document.id, document.text, tuple(origins))
    return ResponseSet(found.values())


def write_responses(path: str | Path, responses: Iterable[Response]) -> None:
    """Write a file that `read_responses` and, as a corpus, `read_documents` read; all or nothing."""
    with replacing_lines(path) as lines:
        for one in responses:
            row = {"_id": one.id, "text": one.text, "origins": list(one.origins)}
            lines.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
