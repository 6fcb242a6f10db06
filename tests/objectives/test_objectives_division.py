"""Contexts divided over processes: here threads, which know nothing of each other but what they sum."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from distillir.errors import ObjectiveError
from distillir.objectives import FullCollectionKLD, Output, Targets
from distillir.objectives.division import divided, joined, own
from distillir.vectors import Postings

DOCUMENTS, DIM, CONTEXTS = 120, 30, 7


class Thread:
    """One of some that sum together; a sum that not all come to fails."""

    device = torch.device("cpu")

    def __init__(self, rank, given, barrier):
        self.rank, self.count, self._given, self._barrier = rank, len(given), given, barrier

    def sum(self, tensor):
        self._given[self.rank] = tensor
        self._barrier.wait()
        total = torch.stack(list(self._given)).sum(0)
        self._barrier.wait()
        return total


def together(count, work):
    """What `work(rank)` returns in each of so many threads."""
    given, barrier = [None] * count, threading.Barrier(count, timeout=20)

    def one(rank):
        with divided(Thread(rank, given, barrier)):
            return work(rank)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


class Watched(Postings):
    """Counts the queries that walk it."""

    def scores(self, indices, values):
        self.walks = getattr(self, "walks", 0) + 1
        return super().scores(indices, values)


def postings():
    rng = np.random.default_rng(1)
    held = rng.random((DIM, DOCUMENTS)) < 0.2
    dimensions, documents = np.nonzero(held)
    indptr = np.concatenate([[0], np.cumsum(held.sum(1))]).astype(np.int64)
    return Watched(indptr, documents.astype(np.int32), rng.random(len(dimensions)).astype(np.float32) + 0.1, DOCUMENTS)


def queries(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(CONTEXTS, DIM, generator=generator) * (torch.rand(CONTEXTS, DIM, generator=generator) < 0.3)


def loss_and_gradient(objective, student, teacher):
    leaf = student.clone().requires_grad_()
    listed = torch.zeros(len(student), 0)
    loss = objective(Output(listed, listed.bool(), vectors=leaf), Targets(vectors=teacher))
    return loss.detach(), torch.autograd.grad(loss, leaf)[0]


@pytest.mark.parametrize("tau", ["entropy", 0.5])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
def test_loss_and_gradient_are_those_of_one_process(count, tau):
    """More processes than contexts as well; and a context without an active dimension."""
    student, teacher, alone = queries(2), queries(3), postings()
    student[4] = 0
    wanted = [loss_and_gradient(FullCollectionKLD((alone,), tau), student, teacher)] * count
    each = [postings() for _ in range(count)]
    found = together(count, lambda rank: loss_and_gradient(FullCollectionKLD((each[rank],), tau), student, teacher))
    for (loss, gradient), (one, two) in zip(wanted, found, strict=True):
        assert torch.equal(one, loss)
        assert torch.equal(two, gradient)
    walks = [getattr(one, "walks", 0) for one in each]
    assert sum(walks) == alone.walks
    assert max(walks) <= -(-CONTEXTS // count) * (3 if tau == "entropy" else 2)


def test_a_temperature_is_sought_once_whoever_meets_its_context_again():
    teacher, turned = queries(3), queries(3).roll(1, 0)
    each = [postings() for _ in range(2)]
    objectives = [FullCollectionKLD((one,)) for one in each]
    together(2, lambda rank: loss_and_gradient(objectives[rank], queries(2), teacher))
    first = sum(one.walks for one in each)
    together(2, lambda rank: loss_and_gradient(objectives[rank], queries(2), turned))
    assert (first, sum(one.walks for one in each) - first) == (3 * CONTEXTS, 2 * CONTEXTS)


def test_what_one_process_refuses_all_refuse():
    teacher = queries(3)
    teacher[1] = 0  # of the second process

    def refused(rank):
        with pytest.raises(ObjectiveError, match="same teacher score"):
            loss_and_gradient(FullCollectionKLD((postings(),)), queries(2), teacher)
        return True

    assert together(2, refused) == [True, True]


def test_every_place_is_one_process_s():
    for count in (1, 2, 3, 5):
        places = together(count, lambda _: list(own(7)))
        assert sorted(i for one in places for i in one) == list(range(7))
        assert max(map(len, places)) - min(map(len, places)) <= 1


def test_alone_everything_is_one_s_own():
    assert list(own(3)) == [0, 1, 2]
    found = torch.ones(2)
    assert joined(found) is found
    (inside,) = together(1, lambda _: (list(own(3)), joined(found)))
    assert inside[0] == [0, 1, 2]
    assert inside[1] is found  # one process sums with nobody
