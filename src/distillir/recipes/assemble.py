"""From a method's names to the objects that do the work."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, get_type_hints

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from distillir import objectives, sparsity
from distillir.errors import ConfigError
from distillir.objectives.contract import Objective
from distillir.recipes.method import WHOLE, LinearWeights, Method, PenaltyWeight
from distillir.sampling import DRAWS, Candidates, CandidateSampler, RankedPool, Ranking
from distillir.sampling.candidates import check_gold_policy
from distillir.sampling.draw import Draw
from distillir.sparsity import SparsityControl
from distillir.training.loop import Penalty, Schedule
from distillir.training.sparse_data import ScoreRule
from distillir.vectors import Postings, SparseVectors

PENALTIES: dict[str, Penalty] = {"l1": sparsity.l1, "flops": sparsity.flops, "anti_zero": sparsity.anti_zero}
OF_SHARES: dict[str, Callable[..., Tensor]] = {"df_flops": sparsity.df_flops, "expected_flops": sparsity.expected_flops}
COLLECTION_KLD = objectives.FullCollectionKLD
OBJECTIVES: dict[str, Callable[..., Objective]] = {**objectives.OBJECTIVES, COLLECTION_KLD.name: COLLECTION_KLD}
OF_CANDIDATES = frozenset({"scores", "order", "gold", "shared"})


def check_method(method: Method) -> None:
    """Build everything a method names once, without a document, so that a mistake costs nothing.

    Raises:
        ConfigError, ObjectiveError: an unknown name or option, a value it cannot have, or a contradiction.
    """
    parts = objective_terms(method.objective, OBJECTIVES)
    mixed(method, parts)
    build_draw(method)
    build_penalties(method)
    build_control(method)
    check_gold_policy(method.gold, method.pseudo_gold)
    for _, objective in parts:
        check_writes_nothing(objective)
        if method.pool == WHOLE and (objective.reads_output | objective.reads_targets) & OF_CANDIDATES:
            raise ConfigError(
                f"objective {objective.name!r} reads a list of candidates, and pool 'collection' draws none",
                f"use {COLLECTION_KLD.name} or representation_mse, or pool 'teacher_ranks'",
            )


def check_writes_nothing(objective: Objective) -> None:
    """Refuse what only a generative student can be trained by.

    Raises:
        ConfigError: the objective reads the likelihood of what a student writes.
    """
    if "token_loss" in objective.reads_output:
        raise ConfigError(
            f"objective {objective.name!r} reads what a student writes, and this one writes nothing",
            "choose another objective, or `student: generative`",
        )


def build_objective(method: Method, documents: SparseVectors) -> Objective:
    """The weighted sum a method names; `documents` serve objectives over the whole collection."""
    shards = (documents.invert(),) if COLLECTION_KLD.name in method.objective else ()
    return mixed(method, objective_terms(method.objective, OBJECTIVES, shards))


def objective_terms(
    named: Mapping[str, Mapping[str, Any]],
    known: Mapping[str, Callable[..., Objective]],
    shards: tuple[Postings, ...] = (),
) -> tuple[tuple[float, Objective], ...]:
    """Objectives by name with their weights.

    Args:
        named: objective → its weight and parameters.
        known: those that can be named.
        shards: of the collection, for the objective over all of it.

    Raises:
        ConfigError, ObjectiveError: none, an unknown one, or an option that cannot be.
    """
    terms: list[tuple[float, Objective]] = []
    for name, options in named.items():
        chosen = dict(options)
        weight = _typed(f"objective {name!r}: weight", float, chosen.pop("weight", 1.0))
        fixed = {"shards": shards} if name == COLLECTION_KLD.name else {}
        terms.append((weight, _make("objective", name, known, chosen, fixed)))
    if not terms:
        raise ConfigError("the method names no objective", "give at least one")
    return tuple(terms)


def mixed(method: Method, parts: tuple[tuple[float, Objective], ...]) -> Objective:
    """The sum of a method's objectives, with weights that stay or move as its mix says."""
    if isinstance(method.mix, LinearWeights):
        if unknown := sorted(set(method.mix.to) - {objective.name for _, objective in parts}):
            raise ConfigError(f"mix: {', '.join(unknown)} is no objective of the method", "name those under objective")
        last = [method.mix.to.get(objective.name, weight) for weight, objective in parts]
        return objectives.LinearMix(parts, last, method.mix.over)
    return objectives.BalancedMix(parts) if method.mix == "balanced" else objectives.WeightedSum(parts)


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


def build_penalties(
    method: Method, documents: SparseVectors | None = None
) -> dict[str, tuple[float | Schedule, Penalty]]:
    """Penalties with their weights; those that read document shares take them from `documents`."""
    made: dict[str, tuple[float | Schedule, Penalty]] = {}
    for name, given in method.penalties.items():
        weight: float | Schedule
        if isinstance(given, PenaltyWeight):
            ramp = {} if given.ramp is None else {"ramp": given.ramp}
            weight = _make("schedule", given.schedule, sparsity.SCHEDULES, {"weight": given.weight, **ramp})
        else:
            weight = given
        made[name] = weight, _penalty(name, documents)
    return made


def build_control(method: Method, documents: SparseVectors | None = None) -> SparsityControl | None:
    """What holds the method's sparsity target, if it has one; FLOPS are counted on `documents`."""
    wanted = method.sparsity
    if wanted is None:
        return None
    name, usual = ("active_dims", "l1") if wanted.flops is None else ("flops", "expected_flops")
    count = sparsity.active_dimensions if wanted.flops is None else _of_shares(sparsity.flops_at_corpus, documents)
    pressing = _penalty(wanted.penalty or usual, documents)
    return SparsityControl(
        pressing, count, wanted.target, name=name, gain=wanted.gain, lead=wanted.lead, start=wanted.start
    )


def _penalty(name: str, documents: SparseVectors | None) -> Penalty:
    if name in OF_SHARES:
        return _of_shares(OF_SHARES[name], documents)
    if name not in PENALTIES:
        known = ", ".join(sorted([*PENALTIES, *OF_SHARES]))
        raise ConfigError(f"unknown penalty {name}", f"use {known}")
    return PENALTIES[name]


def _of_shares(counted: Callable[..., Tensor], documents: SparseVectors | None) -> Penalty:
    """A function of representations and document shares, with the (V,) shares of these documents."""
    frequency = np.zeros(0) if documents is None else documents.document_frequency() / max(1, len(documents))
    return partial(counted, document_share=torch.from_numpy(frequency).float())


def build_rule(method: Method) -> ScoreRule | None:
    """The published rule for golds, or none."""
    return rank_11 if method.score_rule == "rank_11" else None


def rank_11(scores: NDArray[np.float32], candidates: Candidates, ranking: Ranking) -> NDArray[np.float32]:
    """DiSCo's rule: a gold that the teacher ranks outside 11…960, or not at all, gets the score of rank 11.

    It clips golds the teacher ranks best and lifts those it misses. Without a rank 11 the last rank stands in.
    """
    outside = candidates.is_gold & ((candidates.ranks < 11) | (candidates.ranks > 960))
    if not len(ranking):
        return scores
    return np.where(outside, ranking.scores[min(10, len(ranking) - 1)], scores).astype(np.float32)


def typed(what: str, cls: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as the types that a class declares for them.

    Raises:
        ConfigError: an unknown option, or a value that is not of its type, naming it.
    """
    allowed = set(inspect.signature(cls).parameters) - {"shards"}
    if extra := sorted(set(options) - allowed):
        raise ConfigError(f"{what} has no option {', '.join(extra)}", f"it has {', '.join(sorted(allowed)) or 'none'}")
    hints = get_type_hints(cls)
    return {name: _typed(f"{what}: {name}", hints[name], value) for name, value in options.items()}


def _typed(place: str, kind: Any, value: Any) -> Any:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        reason = "; ".join(dict.fromkeys(e["msg"] for e in error.errors()))
        raise ConfigError(f"{place} is {value!r}", reason) from error


def _make(
    kind: str,
    name: str,
    known: Mapping[str, Callable[..., Any]],
    options: Mapping[str, Any],
    fixed: Mapping[str, Any] | None = None,
) -> Any:
    if name not in known:
        raise ConfigError(f"unknown {kind} {name!r}", f"use one of {', '.join(sorted(known))}")
    return known[name](**typed(f"{kind} {name!r}", known[name], options), **(fixed or {}))
