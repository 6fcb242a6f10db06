"""KLD over every document of a collection, from an inverted copy of its vectors.

A score changes only with the documents that hold one of the query's active dimensions, so forward and backward walk
those dimensions' postings: Σ_{j active} |postings of j| operations a query, its `flops_at_corpus` times N. The result
is exact. A dimension that is off gets no gradient, as it gets none through the head's relu. Processes that train
together walk for a share of the batch's contexts each, see `division`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, ClassVar, Literal, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from distillir.errors import ObjectiveError
from distillir.objectives._lists import check_shape, present, wide
from distillir.objectives.contract import Output, Targets
from distillir.objectives.division import joined, own
from distillir.objectives.kld import check_temperature
from distillir.objectives.temperature import entropy_temperature
from distillir.vectors import Postings

Scores = list[NDArray[np.float32]]
"""One query's score of every document, an array a shard."""


class TeacherProfile(NamedTuple):
    """How a teacher spreads its mass over a collection at a temperature.

    Attributes:
        effective_documents: (B,) exp(entropy).
        mass: (B,) share held by its best `depth` documents; far below 1, a student that lists only those is taught a
            different distribution.
        depth: documents counted in `mass`.
    """

    effective_documents: Tensor
    mass: Tensor
    depth: int


def full_collection_kld(
    student: Tensor, teacher: Tensor, shards: Sequence[Postings], tau: Tensor | float = 1.0
) -> Tensor:
    """KL(p_T ‖ p_S) of each context over all N documents of the shards, p = softmax(q·d/τ).

    Works on the processor, one context at a time, in 8 N bytes. At τ = 1 the N documents of score zero outweigh a
    teacher whose best score is below ln N: see `collection_temperature`.

    Args:
        student: (B, V) query representations; the gradient goes to their active dimensions.
        teacher: (B, V) teacher representations.
        shards: inverted copies of the collection's shards, of V dimensions.
        tau: one temperature, or (B,).

    Returns:
        (B,) divergences in nats.

    Raises:
        ObjectiveError: shapes or vocabularies that differ, or a teacher that is not finite.
    """
    _check(teacher, shards)
    check_shape(FullCollectionKLD.name, "teacher vectors", teacher, student)
    each = torch.as_tensor(tau, dtype=torch.float64).detach().cpu().expand(len(student))
    return cast(Tensor, _FullCollectionKLD.apply(student, teacher, tuple(shards), each))  # type: ignore[no-untyped-call]


def collection_temperature(teacher: Tensor, shards: Sequence[Postings], effective_documents: float) -> Tensor:
    """(B,) temperatures at which each teacher query has so many effective documents in the collection.

    Raises:
        ObjectiveError: a teacher query that scores all documents alike, such as an empty one.
    """
    _check(teacher, shards)
    rows = sum(shard.rows for shard in shards)
    found = []
    for vector in teacher.detach():
        scores = np.concatenate(_scores(vector, shards))
        # documents of score zero are one entry that stands for all of them
        hit = scores[scores != 0]
        copies = np.append(np.ones(len(hit)), rows - len(hit))
        listed = torch.from_numpy(np.append(hit, np.float32(0)))[None]
        weight = torch.from_numpy(copies)[None]
        found.append(entropy_temperature(listed, weight > 0, effective_documents, weight))
    return torch.cat(found)


def teacher_profile(
    teacher: Tensor, shards: Sequence[Postings], tau: Tensor | float, depth: int = 1000
) -> TeacherProfile:
    """Effective documents and mass of the best `depth` documents, for choosing τ.

    Raises:
        ObjectiveError: a vocabulary that differs, or a teacher that is not finite.
    """
    _check(teacher, shards)
    each = torch.as_tensor(tau, dtype=torch.float64).detach().cpu().expand(len(teacher)).tolist()
    effective, mass = [], []
    for vector, t in zip(teacher.detach(), each, strict=True):
        scores = np.concatenate(_scores(vector, shards))
        p = np.exp(scores / t - _log_sum_exp([scores], t))
        effective.append(float(np.exp(-np.sum(p * np.log(p, where=p > 0, out=np.zeros_like(p)), dtype=np.float64))))
        best = p if depth >= len(p) else np.partition(p, len(p) - depth)[len(p) - depth :]
        mass.append(float(best.sum(dtype=np.float64)))
    return TeacherProfile(torch.tensor(effective), torch.tensor(mass), depth)


@dataclass(frozen=True)
class FullCollectionKLD:
    """L = mean over contexts of KL(p_T ‖ p_S) over the whole collection; no candidates are drawn.

    Attributes:
        shards: inverted copies of the collection's shards.
        tau: temperature, or "entropy": per context, the one at which the teacher has `effective_documents`.
        effective_documents: exp(entropy) of the teacher's distribution that "entropy" aims at.

    Raises:
        ObjectiveError: see `full_collection_kld` and `collection_temperature`.
    """

    name: ClassVar[str] = "full_collection_kld"
    reads_output: ClassVar[frozenset[str]] = frozenset({"vectors"})
    reads_targets: ClassVar[frozenset[str]] = frozenset({"vectors"})

    shards: tuple[Postings, ...]
    tau: float | Literal["entropy"] = "entropy"
    effective_documents: float = 10.0
    _found: dict[bytes, float] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_temperature(self.name, self.tau, self.effective_documents)

    def __call__(self, output: Output, targets: Targets) -> Tensor:
        student = present(self.name, "output.vectors", output.vectors)
        teacher = present(self.name, "targets.vectors", targets.vectors)
        tau = self._temperatures(teacher) if self.tau == "entropy" else self.tau
        return full_collection_kld(student, teacher, self.shards, tau).mean()

    def _temperatures(self, teacher: Tensor) -> Tensor:
        """(B,) temperatures; each teacher vector's is sought once, since it returns every epoch."""
        keys = [blake2b(row.tobytes(), digest_size=16).digest() for row in teacher.detach().cpu().contiguous().numpy()]
        found = torch.zeros(len(keys), dtype=torch.float64)
        for i in own(len(keys)):
            if keys[i] not in self._found:
                try:
                    self._found[keys[i]] = self._temperature(teacher, i)
                except ObjectiveError:  # told below, by every process
                    self._found[keys[i]] = math.nan
            found[i] = self._found[keys[i]]
        found = joined(found)
        for i in found.isnan().nonzero().view(-1).tolist():
            self._temperature(teacher, i)
        self._found.update(zip(keys, found.tolist(), strict=True))
        return found

    def _temperature(self, teacher: Tensor, i: int) -> float:
        return collection_temperature(teacher[i : i + 1], self.shards, self.effective_documents).item()


class _FullCollectionKLD(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, shards: tuple[Postings, ...], tau: Tensor) -> Tensor:
        places = student.detach().nonzero()
        sloped = bool(ctx.needs_input_grad[0])
        divergences = torch.zeros(len(student), dtype=torch.float64)
        slopes = torch.zeros(len(places) if sloped else 0, dtype=torch.float64)  # of the active dimensions, row by row
        ends = torch.bincount(places[:, 0], minlength=len(student)).cumsum(0).tolist()
        for i in own(len(student)):
            divergences[i], back = _divergence(student[i], teacher[i], shards, float(tau[i]))
            if sloped:
                slopes[ends[i - 1] if i else 0 : ends[i]] = _to_dimensions(student[i], back, shards)
        found = joined(torch.cat([divergences, slopes]))
        divergences, slopes = found[: len(student)], found[len(student) :]
        if sloped:
            ctx.save_for_backward(places, slopes)
        ctx.like = student.shape, student.dtype, student.device
        return divergences.to(wide(student).dtype).to(student.device)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        places, slopes = ctx.saved_tensors
        shape, dtype, device = ctx.like
        total = torch.zeros(shape, dtype=grad.dtype, device=device)
        rows, dimensions = places.unbind(1)
        total[rows, dimensions] = grad[rows] * slopes.to(grad)
        return total.to(dtype), None, None, None


def _divergence(student: Tensor, teacher: Tensor, shards: Sequence[Postings], tau: float) -> tuple[float, Scores]:
    """KL of one context, and its slope in the student's score of each document."""
    mine, theirs = _scores(student, shards), _scores(teacher, shards)
    log_mine, log_theirs = _log_sum_exp(mine, tau), _log_sum_exp(theirs, tau)
    total = log_mine - log_theirs
    for i, (s, target) in enumerate(zip(mine, theirs, strict=True)):
        p = np.exp(target / tau - log_theirs)
        total += float(np.sum(p * (target - s), dtype=np.float64)) / tau
        mine[i] = (np.exp(s / tau - log_mine) - p) / tau
    return total, mine


def _scores(vector: Tensor, shards: Sequence[Postings]) -> Scores:
    """Dot product of one query with every document."""
    active = vector.detach().nonzero().view(-1)
    indices, values = active.cpu().numpy(), vector.detach()[active].float().cpu().numpy()
    return [shard.scores(indices, values) for shard in shards]


def _to_dimensions(vector: Tensor, slopes: Scores, shards: Sequence[Postings]) -> Tensor:
    """(active,) Σ_d slope_d·w_dj for each active dimension j: the way back from scores to the query."""
    out = []
    for j in vector.detach().nonzero().view(-1).tolist():
        total = 0.0
        for shard, slope in zip(shards, slopes, strict=True):
            documents, held = shard.dimension(j)
            total += float(held @ slope[documents])
        out.append(total)
    return torch.tensor(out, dtype=torch.float64)


def _log_sum_exp(scores: Scores, tau: float) -> float:
    """Log-sum-exp of s/τ over all shards, each folded into the sum of those before."""
    total = -np.inf
    for shard in scores:
        if len(shard):
            top = float(shard.max()) / tau
            total = np.logaddexp(total, top + np.log(np.exp(shard / tau - top).sum(dtype=np.float64)))
    return float(total)


def _check(teacher: Tensor, shards: Sequence[Postings]) -> None:
    if not sum(shard.rows for shard in shards):
        raise ObjectiveError("a divergence over a collection without documents", "encode the collection first")
    if wrong := {shard.dim for shard in shards} - {teacher.shape[-1]}:
        raise ObjectiveError(
            f"a collection of {', '.join(map(str, sorted(wrong)))} dimensions for vectors of {teacher.shape[-1]}",
            "encode the collection with a model of the student's vocabulary",
        )
    if not teacher.isfinite().all():
        raise ObjectiveError("teacher vectors are not finite", "encode the rewrites again, in float32")
