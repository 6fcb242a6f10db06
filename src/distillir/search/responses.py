"""From a conversation to a response of a fixed set, or to none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from distillir.closing import Closing
from distillir.conversation import Conversation
from distillir.data import Response
from distillir.errors import ConfigError, ConversationError, SearchIndexError
from distillir.index.protocol import Payload
from distillir.index.responses import FoundResponse, ResponseIndex
from distillir.search.retriever import Messages

_BATCH = 1024  # responses encoded and added at a time


class ResponseEncoder(Protocol):
    """What a student must be able to do to find responses; a `ResponseStudent` can."""

    @property
    def dim(self) -> int: ...
    def fingerprint(self) -> str: ...
    def encode_queries(self, conversations: Sequence[Conversation]) -> NDArray[np.float32]: ...
    def encode_responses(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


class ResponseRetriever(Closing):
    """A chat that answers from a fixed set, without a language model.

    Usage::

        student = ResponseStudent.from_pretrained("run/student")
        with ResponseRetriever.build(student, read_responses("responses.jsonl"), "responses.index") as chat:
            chat.respond([{"role": "user", "content": "are you open today?"}], k=1)

    Args:
        encoder: of conversations and responses.
        index: responses as this encoder's vectors.
        threshold: score from which on a response is given; see `evaluation.risk_coverage`. By default any is.

    Raises:
        SearchIndexError: an index of other vectors.
        ConfigError: a threshold that is not a number.
    """

    def __init__(self, encoder: ResponseEncoder, index: ResponseIndex, *, threshold: float = -math.inf) -> None:
        if encoder.dim != index.dim or (index.encoder and index.encoder != encoder.fingerprint()):
            raise SearchIndexError(
                f"the index holds vectors of width {index.dim} by {index.encoder or 'nobody knows whom'}, the student "
                f"makes {encoder.dim} and is {encoder.fingerprint()}",
                "build the index with this student",
            )
        if math.isnan(threshold):
            raise ConfigError("the threshold is not a number", "calibrate it on held-out contexts, or leave it out")
        self.encoder = encoder
        self.index = index
        self.threshold = threshold

    @classmethod
    def build(
        cls,
        encoder: ResponseEncoder,
        responses: Iterable[Response],
        folder: str | Path,
        *,
        threshold: float = -math.inf,
    ) -> ResponseRetriever:
        """Encode a set of responses into a new index folder.

        Raises:
            SearchIndexError: something lies there.
        """
        index = ResponseIndex.create(folder, encoder.dim, encoder=encoder.fingerprint())
        try:
            made = cls(encoder, index, threshold=threshold)
            made.add(responses)
            index.optimize()
        except BaseException:
            index.close()
            raise
        return made

    def add(self, responses: Iterable[Response], payloads: Sequence[Payload] | None = None) -> None:
        """Add or replace responses; they are found at once.

        Args:
            responses: what is said; `origins` can be filtered by.
            payloads: further fields to filter by, one mapping a response.
        """
        given = list(responses)
        if payloads is not None and len(payloads) != len(given):
            raise SearchIndexError(f"{len(given)} responses and {len(payloads)} payloads", "give one a response")
        for start in range(0, len(given), _BATCH):
            some = given[start : start + _BATCH]
            own = [{}] * len(some) if payloads is None else payloads[start : start + _BATCH]
            self.index.add(
                [one.id for one in some],
                [one.text for one in some],
                self.encoder.encode_responses([one.text for one in some]),
                [{"origins": list(one.origins), **more} for one, more in zip(some, own, strict=True)],
            )

    def withdraw(self, ids: Sequence[str]) -> None:
        """Take responses back; from now on none of them is given."""
        self.index.withdraw(ids)

    def respond(
        self, messages: Messages | Conversation, k: int = 1, where: Payload | None = None
    ) -> list[FoundResponse]:
        """The k best responses, best first; empty where none reaches the threshold: say that there is no answer.

        Args:
            messages: OpenAI-style messages, the last one the user's, or a `Conversation`.
            k: how many at most.
            where: fields that a response must have, such as {"origins": "gold"}.

        Raises:
            ConversationError: messages that are no conversation, or a blank question.
            SearchIndexError: the index cannot answer.
        """
        return self.respond_batch([messages], k, where)[0]

    def respond_batch(
        self, many: Sequence[Messages | Conversation], k: int = 1, where: Payload | None = None
    ) -> list[list[FoundResponse]]:
        """`respond` for many conversations, encoded and searched together."""
        if not many:
            return []
        chats = [m if isinstance(m, Conversation) else Conversation.from_messages(m) for m in many]
        for chat in chats:
            if not chat.question.strip():
                raise ConversationError("the last message is blank: nothing to respond to", "say something")
        found = self.index.search_batch(self.encoder.encode_queries(chats), k, where)
        return [[one for one in some if one.score >= self.threshold] for some in found]

    def close(self) -> None:
        """Let the index go; closing twice is harmless."""
        self.index.close()
