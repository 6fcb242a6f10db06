"""The constraint as a logits processor of transformers, for whoever generates with `model.generate`."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import LogitsProcessor

from distillir.students.beams import Constraint


class Narrowing(Constraint, Protocol):
    """A constraint that prefixes can be looked up in."""

    def narrow(self, spans: Any, tokens: NDArray[np.int64]) -> Any:
        """Identifiers with one token more."""
        ...


class IdentifierProcessor(LogitsProcessor):
    """Leaves only tokens with which the collection goes on; a beam's prefix is looked up anew at every step.

    Usage::

        processor = IdentifierProcessor(index.views["body"], prompt_length=ids.shape[1], end=tokenizer.eos_token_id)
        model.generate(ids, num_beams=15, max_new_tokens=10, logits_processor=[processor], length_penalty=0.0)

    Args:
        constraint: identifiers.
        prompt_length: tokens before what is written: the prompt of a decoder, 1 where a decoder of its own starts.
        end: the end token: allowed where a whole text ends, and forced, at no cost, where nothing else is left.
        whole: whether identifiers are whole texts.
    """

    def __init__(self, constraint: Narrowing, *, prompt_length: int, end: int, whole: bool = False) -> None:
        self.constraint = constraint
        self.prompt_length = prompt_length
        self.end = end
        self.whole = whole

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(R, L) what is written, (R, V) log-probabilities → the same, −inf where forbidden."""
        written = input_ids[:, self.prompt_length :].cpu().numpy()
        spans = self.constraint.start(len(written))
        for column in written.T:
            spans = self.constraint.narrow(spans, column)
        behind = self.constraint.following(spans)
        made = torch.full_like(scores, -torch.inf)
        row, token = (torch.from_numpy(one).to(scores.device) for one in (behind.rows, behind.tokens))
        made[row, token] = scores[row, token]
        ended = torch.from_numpy(behind.ends > 0).to(scores.device)
        stuck = torch.from_numpy(np.diff(behind.offsets) == 0).to(scores.device)
        if self.whole:
            made[ended, self.end] = scores[ended, self.end]
            # Others of the batch may go on, and whoever samples needs something to draw of every row.
            made[torch.from_numpy((written == self.end).any(1)).to(scores.device), self.end] = 0.0
        else:
            made[stuck, self.end] = 0.0
        return made
