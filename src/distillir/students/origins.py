"""Where the terms of a query come from: the token, and so the turn, that gave each term its weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from distillir.conversation import Conversation
from distillir.rendering import TurnType
from distillir.students import backbone
from distillir.students.sparse import SparseStudent, evaluating


@dataclass(frozen=True)
class TermOrigin:
    """One term of a query.

    Attributes:
        term: vocabulary entry.
        weight: its weight in the query.
        token: the token of the conversation where the term peaks; for a term that expands the text, another word.
        role: whose turn that token belongs to, "user" or "assistant".
        back: exchanges back from the open question, 0 for the open question itself.
    """

    term: str
    weight: float
    token: str
    role: str
    back: int


def term_origins(
    student: SparseStudent, conversation: Conversation, query: tuple[ArrayLike, ArrayLike] | None = None
) -> list[TermOrigin]:
    """Terms of a conversation's query, largest weight first; SPLADE keeps one token's logit a term, its maximum.

    Args:
        student: whose query it is.
        conversation: up to an open question.
        query: dimensions and weights of the query, where they were computed already, such as by a quantised export.
    """
    rendered = student.render(conversation)
    device = next(student.parameters()).device
    ids = torch.tensor([rendered.ids], device=device)
    mask = torch.ones_like(ids, dtype=torch.bool)
    with evaluating(student), torch.inference_mode():
        if query is None:
            weights = student.represent(ids, mask)[0]  # (V,)
        else:
            weights = torch.zeros(student.dim, device=device)
            weights[torch.as_tensor(np.asarray(query[0], np.int64))] = torch.as_tensor(np.asarray(query[1], np.float32))
        dims = torch.argsort(weights, descending=True, stable=True)[: int((weights > 0).sum())]
        states, gate = student.states(ids, mask)  # (1, L, H), (1, L) or None
        logits = states[0] @ backbone.projection_of(student.model).weight[dims].t()  # (L, active)
        if gate is not None:
            logits = logits + gate[0][:, None]
        places = logits.argmax(0).tolist()
    terms, tokens = student.terms(dims.tolist()), student.terms(rendered.ids)
    return [
        TermOrigin(term, float(weights[dim]), tokens[place], _role(rendered.types[place]), rendered.distances[place])
        for term, dim, place in zip(terms, dims.tolist(), places, strict=True)
    ]


def by_turn(origins: Sequence[TermOrigin]) -> dict[tuple[int, str], list[TermOrigin]]:
    """Origins by (exchanges back, role), the open question first, then back in time."""
    turns: dict[tuple[int, str], list[TermOrigin]] = {}
    for origin in sorted(origins, key=lambda o: (o.back, o.role)):
        turns.setdefault((origin.back, origin.role), []).append(origin)
    return turns


def _role(kind: int) -> str:
    return "assistant" if kind == TurnType.EARLIER_ANSWER else "user"
