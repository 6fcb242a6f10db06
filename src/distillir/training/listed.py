"""A context's candidates and what a teacher said of them, for students that score lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from distillir.objectives.contract import Targets
from distillir.objectives.ranks import rank_to_score
from distillir.sampling import Candidates

Kind = Literal["order", "scores"]
Labels: TypeAlias = Mapping[int, float]  # position → a rank, 0 = best, or a score
List: TypeAlias = tuple[NDArray[np.int64], NDArray[np.bool_]]  # positions, and which are gold
WORST = 1 << 30


def listed(drawn: Candidates, labels: Labels | None, kind: Kind, rule: str | None) -> List:
    """Candidates that stay in the list: all, or, where scores are read, those that have one."""
    if labels is None or (kind == "order" and rule is None):
        return drawn.positions, drawn.is_gold
    known = np.array([int(position) in labels for position in drawn.positions], bool)
    return drawn.positions[known], drawn.is_gold[known]


def list_targets(lists: Sequence[List], labels: Sequence[Labels] | None, kind: Kind, rule: str | None) -> Targets:
    """Targets (B, N) of B lists, padded to the longest.

    Args:
        lists: as `listed` gives them.
        labels: of each list; None = no teacher: only golds are told.
        kind: what labels are.
        rule: makes scores of ranks, see `rank_to_score`.
    """
    width = max((len(positions) for positions, _ in lists), default=0)
    golds = np.zeros((len(lists), width), bool)
    told = np.full((len(lists), width), np.nan)
    for i, (positions, is_gold) in enumerate(lists):
        golds[i, : len(positions)] = is_gold
        if labels is not None:
            told[i, : len(positions)] = [labels[i].get(int(position), np.nan) for position in positions]
    gold, said = torch.from_numpy(golds), torch.from_numpy(told)
    if labels is None:
        return Targets(gold=gold)
    if kind == "scores":
        return Targets(scores=said.float(), gold=gold)
    missing = said.isnan()
    order = said.nan_to_num(WORST).long().masked_fill(missing, -1)
    scores = None if rule is None else rank_to_score(order, rule)
    return Targets(scores=scores, order=order, gold=gold)
