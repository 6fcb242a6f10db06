"""A batch of a generative student: prompts, what is written behind them, and what that says of passages."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from distillir.objectives.contract import Targets


@dataclass(frozen=True)
class GenerativeBatch:
    """B contexts, Q prompts, S written sequences, N passages a context with up to K keys.

    Attributes:
        prompts, prompt_mask: (Q, P), one row a context and view.
        context_of: (Q,) which context a prompt is of.
        written, written_mask: (S, T) what follows, padded to the right; an end token where the identifier has one.
        prompt_of: (S,) which prompt a sequence follows.
        share: (S,) weight of a sequence's mean cross-entropy in its context's likelihood; 0 for keys.
        keys: (B, K) sequence that each key begins, -1 where there are fewer.
        key_length: (B, K) tokens of each key: the beginning of a sequence can be a key too, at no cost.
        prior: (B, K) float32 ln probability of each key without a query.
        factors: (B, N, K) what of each key's weight counts for each passage, see `index.coverage`.
        mask: (B, N) bool, True where a passage is real.
        targets: what the labels say of passages.
        names: (B,) context ids.
        likelihood: whether there is anything to write, so that there is a token loss.
    """

    prompts: Tensor
    prompt_mask: Tensor
    context_of: Tensor
    written: Tensor
    written_mask: Tensor
    prompt_of: Tensor
    share: Tensor
    keys: Tensor
    key_length: Tensor
    prior: Tensor
    factors: Tensor
    mask: Tensor
    targets: Targets
    names: tuple[str, ...] = ()
    likelihood: bool = False

    def __len__(self) -> int:
        return len(self.mask)

    def part(self, start: int, stop: int) -> GenerativeBatch:
        """Contexts `start` to `stop`, with only their own prompts and sequences."""
        prompts = torch.nonzero((self.context_of >= start) & (self.context_of < stop))[:, 0]
        at = _places(prompts, len(self.context_of))
        written = torch.nonzero(at[self.prompt_of] >= 0)[:, 0]
        place = _places(written, len(self.prompt_of))
        keys = self.keys[start:stop]
        return replace(
            self,
            prompts=self.prompts[prompts],
            prompt_mask=self.prompt_mask[prompts],
            context_of=self.context_of[prompts] - start,
            written=self.written[written],
            written_mask=self.written_mask[written],
            prompt_of=at[self.prompt_of[written]],
            share=self.share[written],
            keys=place[keys],  # −1 reads the last entry, which is −1
            key_length=self.key_length[start:stop],
            prior=self.prior[start:stop],
            factors=self.factors[start:stop],
            mask=self.mask[start:stop],
            targets=self.targets.part(start, stop),
            names=self.names[start:stop],
        )

    def to(self, device: torch.device | str) -> GenerativeBatch:
        """The same batch on another device."""
        moved: dict[str, Any] = {name: one.to(device) for name, one in vars(self).items() if isinstance(one, Tensor)}
        return replace(self, **moved, targets=self.targets.to(device))


def _places(chosen: Tensor, size: int) -> Tensor:
    """(size + 1,) new place of each old one, -1 for those that go and at the end."""
    place = torch.full((size + 1,), -1, device=chosen.device)
    place[chosen] = torch.arange(len(chosen), device=chosen.device)
    return place
