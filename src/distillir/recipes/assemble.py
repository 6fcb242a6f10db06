"""From a method's names to the objects that do the work."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillir import objectives, sparsity
from distillir.errors import ConfigError
from distillir.objectives.contract import Objective
from distillir.recipes.method import Method
from distillir.sampling import DRAWS, Candidates, CandidateSampler, RankedPool, Ranking
from distillir.sampling.draw import Draw
from distillir.training.loop import Penalty
from distillir.training.sparse_data import ScoreRule
from distillir.vectors import SparseVectors

PENALTIES: dict[str, Penalty] = {"l1": sparsity.l1, "flops": sparsity.flops, "anti_zero": sparsity.anti_zero}


def build_objective(method: Method, documents: SparseVectors) -> Objective:
    """The weighted sum a method names; `documents` serve objectives over the whole collection."""
    whole = objectives.FullCollectionKLD
    known = {**objectives.OBJECTIVES, whole.name: whole}
    parts = []
    for name, options in method.objective.items():
        chosen: dict[str, Any] = dict(options)
        weight = chosen.pop("weight", 1.0)
        if name == whole.name:
            chosen["shards"] = (documents.invert(),)
        parts.append((float(weight), _make("objective", name, known, chosen)))
    if not parts:
        raise ConfigError("the method names no objective", "give at least one")
    summed: Objective = objectives.WeightedSum(tuple(parts))
    return summed


def build_draw(method: Method) -> Draw:
    """The one draw a method names."""
    if len(method.draw) != 1:
        raise ConfigError(f"the method names {len(method.draw)} draws", "give exactly one")
    ((name, options),) = method.draw.items()
    draw: Draw = _make("draw", name, DRAWS, options)
    return draw


def build_sampler(method: Method, pool: RankedPool, seed: int) -> CandidateSampler:
    """Pool, draw and gold policy under a seed."""
    return CandidateSampler(pool, build_draw(method), seed=seed, gold=method.gold, pseudo_gold=method.pseudo_gold)


def build_penalties(method: Method) -> dict[str, tuple[float, Penalty]]:
    """Penalties with their weights."""
    unknown = sorted(set(method.penalties) - set(PENALTIES))
    if unknown:
        raise ConfigError(f"unknown penalty {', '.join(unknown)}", f"use {', '.join(PENALTIES)}")
    return {name: (weight, PENALTIES[name]) for name, weight in method.penalties.items()}


def build_rule(method: Method) -> ScoreRule | None:
    """The published rule for golds, or none."""
    return rank_11 if method.score_rule == "rank_11" else None


def rank_11(scores: NDArray[np.float32], candidates: Candidates, ranking: Ranking) -> NDArray[np.float32]:
    """DiSCo's rule: a gold that the teacher ranks outside 11…960, or not at all, gets the score of rank 11.

    It clips golds the teacher ranks best and lifts those it misses. Without a rank 11 the last rank stands in.
    """
    outside = candidates.is_gold & ((candidates.ranks < 11) | (candidates.ranks > 960))
    return np.where(outside, ranking.scores[min(10, len(ranking) - 1)], scores).astype(np.float32)


def _make(kind: str, name: str, known: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    if name not in known:
        raise ConfigError(f"unknown {kind} {name!r}", f"use one of {', '.join(sorted(known))}")
    allowed = set(inspect.signature(known[name]).parameters)
    if extra := sorted(set(options) - allowed):
        raise ConfigError(f"{kind} {name!r} has no option {', '.join(extra)}", f"it has {', '.join(sorted(allowed))}")
    return known[name](**options)
