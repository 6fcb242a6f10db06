"""From a conversation to a student's tokens, under a budget, newest first.

    [CLS] q_n [SEP] a_{n-1} [SEP] q_{n-1} [SEP] … a_0 [SEP] q_0 [SEP]        (DiSCo, arXiv 2410.14609)

Every segment ends with its own separator, even when it is empty or was cut to nothing, and
special tokens written inside a turn are broken up. So whose turn a token is follows from the
token ids alone: the number of separators before it (`segment_types`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np
import numpy.typing as npt

from distillir.conversation import Conversation
from distillir.errors import ConfigError

Tokenize = Callable[[str], Sequence[int]]  # text → content token ids, no special tokens added


class TurnType(IntEnum):
    """Whose turn a token belongs to."""

    QUESTION = 0  # the open question
    EARLIER_QUESTION = 1
    EARLIER_ANSWER = 2


@dataclass(frozen=True)
class RenderSettings:
    """How conversations become tokens; part of every checkpoint.

    Attributes:
        max_length: tokens in all, specials included.
        answers: whether the assistant's turns are rendered.
        budget: who gives way when the turns do not fit. "share": every earlier turn may keep the
            same number of tokens, short turns leave theirs to longer ones, and the oldest exchanges
            are dropped when that number would fall under `min_turn_tokens`. "newest_first": turns
            are kept whole from the newest on and what passes the limit falls off, as published.
        min_turn_tokens: under "share", tokens below which a turn is not worth keeping.
    """

    max_length: int = 256
    answers: bool = True
    budget: Literal["share", "newest_first"] = "share"
    min_turn_tokens: int = 8

    def __post_init__(self) -> None:
        if self.max_length < 4:
            raise ConfigError(f"max_length is {self.max_length}", "give at least 4: two specials and some text")
        if self.min_turn_tokens < 1:
            raise ConfigError(f"min_turn_tokens is {self.min_turn_tokens}", "give at least 1")
        if self.budget not in ("share", "newest_first"):
            raise ConfigError(f"unknown budget {self.budget!r}", "use 'share' or 'newest_first'")


@dataclass(frozen=True)
class CutReport:
    """What the budget cost: tokens of the open question, of kept turns, and whole exchanges left out."""

    question_tokens_cut: int = 0
    turn_tokens_cut: int = 0
    turns_shortened: int = 0
    exchanges_dropped: int = 0

    @property
    def anything(self) -> bool:
        """Whether anything at all was cut."""
        return bool(self.question_tokens_cut or self.turn_tokens_cut or self.exchanges_dropped)


@dataclass(frozen=True)
class Rendered:
    """Tokens of a conversation.

    Attributes:
        ids: (L,) token ids with specials.
        types: (L,) `TurnType` of each token; a separator belongs to the turn it ends.
        distances: (L,) exchanges back from the open question, 0 on the open question.
        cut: what did not fit.
    """

    ids: list[int]
    types: list[int]
    distances: list[int]
    cut: CutReport


def render(
    conversation: Conversation, tokenize: Tokenize, *, cls_id: int, sep_id: int, settings: RenderSettings
) -> Rendered:
    """Render newest first under `settings.max_length`."""
    budget = settings.max_length - 2
    full_question = list(tokenize(conversation.question))
    question = full_question[:budget]
    # Segments of the history, newest first: (answer, question) or (question,) per exchange.
    width = 2 if settings.answers else 1
    history: list[list[int]] = []
    reachable = (budget - len(question)) // width  # exchanges whose separators alone would fit
    for exchange in conversation.exchanges[::-1][:reachable]:
        texts = (exchange.answer, exchange.question) if settings.answers else (exchange.question,)
        history += [list(tokenize(text)) for text in texts]
    lengths = [len(segment) for segment in history]
    fit = _share if settings.budget == "share" else _newest_first
    kept = fit(lengths, budget - len(question), width, settings.min_turn_tokens)
    ids = [cls_id, *question, sep_id]
    for segment, size in zip(history, kept, strict=False):
        ids += [*segment[:size], sep_id]
    types, distances = segment_types(np.array(ids), sep_id, answers=settings.answers)
    cut = CutReport(
        question_tokens_cut=len(full_question) - len(question),
        turn_tokens_cut=sum(lengths[: len(kept)]) - sum(kept),
        turns_shortened=sum(size < length for size, length in zip(kept, lengths, strict=False)),
        exchanges_dropped=len(conversation.exchanges) - len(kept) // width,
    )
    return Rendered(ids, types.tolist(), distances.tolist(), cut)


def segment_types(
    ids: npt.NDArray[np.integer], sep_id: int, *, answers: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Turn type and distance of each token, from ids (…, L) alone.

    Returns:
        types (…, L) and distances (…, L). Padding continues the segment after the last separator; mask it.
    """
    is_sep = (ids == sep_id).astype(np.int64)
    segment = np.cumsum(is_sep, axis=-1) - is_sep
    earlier = np.where(answers & (segment % 2 == 1), TurnType.EARLIER_ANSWER, TurnType.EARLIER_QUESTION)
    types = np.where(segment == 0, TurnType.QUESTION, earlier)
    return types.astype(np.int64), (segment + 1) // 2 if answers else segment


def escape(text: str, specials: Collection[str]) -> str:
    """Break up special tokens written in a turn: a space after the first character of each.

    A user who types "[SEP]" then says ordinary text, not a turn boundary.
    """
    while any(special in text for special in specials):
        for special in specials:
            text = text.replace(special, f"{special[0]} {special[1:]}")
    return text


def to_string(conversation: Conversation, *, sep: str, specials: Collection[str], answers: bool = True) -> str:
    """The conversation as one string, newest first, with separators between segments; nothing is cut."""
    segments = [conversation.question]
    for exchange in reversed(conversation.exchanges):
        segments += [exchange.answer, exchange.question] if answers else [exchange.question]
    return f" {sep} ".join(escape(segment, specials) for segment in segments)


def from_string(text: str, *, sep: str, answers: bool = True) -> Conversation:
    """Read what `to_string` wrote; a plain question without separators is a first turn."""
    segments = [segment.strip() for segment in text.split(sep)]
    question, earlier = segments[0], segments[1:]
    if not answers:
        return Conversation.from_pairs([(asked, "") for asked in reversed(earlier)], question)
    if len(earlier) % 2:
        earlier.append("")
    pairs = [(earlier[i + 1], earlier[i]) for i in range(0, len(earlier), 2)]
    return Conversation.from_pairs(pairs[::-1], question)


def _share(lengths: Sequence[int], budget: int, width: int, least: int) -> list[int]:
    """Tokens kept of each segment, newest first: one cap for all, as high as the budget allows."""
    count = 0
    while count < len(lengths):
        segments = lengths[: count + width]
        if sum(min(size, least) for size in segments) + len(segments) > budget:
            break
        count += width
    segments, room = lengths[:count], budget - count  # a separator each
    cap = max(segments, default=0)
    if sum(segments) > room:
        # Fill level of a set of vessels: vessels lower than the level are full.
        cap = 0
        while sum(min(size, cap + 1) for size in segments) <= room:
            cap += 1
    kept = [min(size, cap) for size in segments]
    spare = room - sum(kept)
    for i, size in enumerate(segments):  # fewer than one token a segment is left: the newest take it
        if spare > 0 and size > kept[i]:
            kept[i] += 1
            spare -= 1
    return kept


def _newest_first(lengths: Sequence[int], budget: int, width: int, least: int) -> list[int]:
    """Tokens kept of each segment when the oldest fall off."""
    kept: list[int] = []
    for start in range(0, len(lengths), width):
        if budget < width:
            break
        budget -= width
        for size in lengths[start : start + width]:
            kept.append(min(size, budget))
            budget -= kept[-1]
    return kept
