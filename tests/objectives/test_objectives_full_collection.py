"""Full-collection KLD against dense autograd, its temperature and the teacher's profile."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from distillir.errors import ObjectiveError
from distillir.objectives import (
    FullCollectionKLD,
    Output,
    Targets,
    check_pairing,
    collection_temperature,
    full_collection_kld,
    teacher_profile,
)
from distillir.vectors import Postings


def inverted(dense, dtype=np.float32) -> Postings:
    """The columns of a dense (N, V) matrix."""
    columns = dense.numpy().T
    dims, documents = np.nonzero(columns)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(dims, minlength=len(columns)))]).astype(np.int64)
    return Postings(indptr, documents.astype(np.int32), columns[dims, documents].astype(dtype), dense.shape[0])


def sparse(rows, dim, seed, share=0.2, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    on = torch.rand(rows, dim, generator=generator) < share
    return torch.rand(rows, dim, generator=generator).float() * on * scale


def dense_kld(student, teacher, documents, tau):
    tau = torch.as_tensor(tau, dtype=torch.float64).reshape(-1, 1)
    log_s = torch.log_softmax(student.double() @ documents.double().t() / tau, dim=1)
    log_t = torch.log_softmax(teacher.double() @ documents.double().t() / tau, dim=1)
    return (log_t.exp() * (log_t - log_s)).sum(1)


def documents_in_shards(cuts=(0, 90, 90, 137, 200)):
    documents = sparse(200, 60, seed=1)
    return documents, [inverted(documents[a:b]) for a, b in pairwise(cuts)]


def test_by_hand():
    # two documents, one dimension each; scores student (1, 0)·ln 3, teacher (0, 0)
    shards = [inverted(torch.eye(2))]
    student = torch.tensor([[math.log(3), 0.0]], requires_grad=True)
    loss = full_collection_kld(student, torch.zeros(1, 2), shards)
    assert loss.item() == pytest.approx(0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25), abs=1e-6)
    loss.backward()
    assert student.grad.tolist() == [[pytest.approx(0.75 - 0.5, abs=1e-6), 0.0]]  # the second dimension is off


@pytest.mark.parametrize("tau", [1.0, 0.1, torch.tensor([0.3, 1.0, 2.0, 0.05])])
def test_values_and_gradients_equal_dense_autograd(tau):
    documents, shards = documents_in_shards()
    teacher, student = sparse(4, 60, seed=2), sparse(4, 60, seed=3).requires_grad_()
    loss = full_collection_kld(student, teacher, shards, tau)
    expected = dense_kld(student, teacher, documents, tau)
    torch.testing.assert_close(loss.double(), expected, atol=1e-5, rtol=1e-5)
    weights = torch.tensor([1.0, -2.0, 0.5, 3.0])
    (mine,) = torch.autograd.grad((loss * weights).sum(), student)
    (theirs,) = torch.autograd.grad((expected * weights).sum(), student)
    assert (mine[student == 0] == 0).all()
    assert (theirs[student > 0] != 0).any()
    torch.testing.assert_close(mine[student > 0], theirs[student > 0], atol=1e-5, rtol=1e-4)


def test_how_the_collection_is_cut_does_not_matter():
    documents, shards = documents_in_shards()
    teacher, student = sparse(4, 60, seed=2), sparse(4, 60, seed=3)
    whole = full_collection_kld(student, teacher, [inverted(documents)], 0.5)
    torch.testing.assert_close(full_collection_kld(student, teacher, shards, 0.5), whole, atol=1e-6, rtol=1e-6)


def test_half_precision_values_are_summed_in_float32():
    documents = sparse(300, 40, seed=1).half().float()
    teacher, student = sparse(2, 40, seed=2, scale=3.0), sparse(2, 40, seed=3, scale=3.0)
    loss = full_collection_kld(student, teacher, [inverted(documents, np.float16)])
    torch.testing.assert_close(loss.double(), dense_kld(student, teacher, documents, 1.0), atol=1e-6, rtol=1e-5)


def test_only_the_postings_of_active_dimensions_are_read():
    _, shards = documents_in_shards()
    read = []

    class Watched(Postings):
        def dimension(self, d):
            read.append(d)
            return super().dimension(d)

    watched = [Watched(s.indptr, s.documents, s.values, s.rows) for s in shards]
    teacher, student = sparse(2, 60, seed=2, share=0.05), sparse(2, 60, seed=3, share=0.05).requires_grad_()
    full_collection_kld(student, teacher, watched).sum().backward()
    assert set(read) == set(((teacher + student).sum(0) > 0).nonzero().view(-1).tolist())


def test_a_large_score_does_not_overflow():
    documents, shards = documents_in_shards()
    teacher, student = sparse(1, 60, seed=2, scale=1e4), sparse(1, 60, seed=3, scale=1e4).requires_grad_()
    loss = full_collection_kld(student, teacher, shards)
    assert loss.item() == pytest.approx(dense_kld(student, teacher, documents, 1.0).item(), rel=1e-5)
    loss.backward()
    assert student.grad.isfinite().all()


def test_an_empty_student_query_is_uniform_and_has_no_gradient():
    documents, shards = documents_in_shards()
    teacher, student = sparse(1, 60, seed=2), torch.zeros(1, 60, requires_grad=True)
    loss = full_collection_kld(student, teacher, shards)
    assert loss.item() == pytest.approx(dense_kld(student, teacher, documents, 1.0).item(), abs=1e-6)
    loss.backward()
    assert (student.grad == 0).all()


def test_the_temperature_gives_the_number_of_documents():
    documents, shards = documents_in_shards()
    teacher = sparse(5, 60, seed=2)
    tau = collection_temperature(teacher, shards, 12.0)
    profile = teacher_profile(teacher, shards, tau, depth=20)
    assert profile.effective_documents.tolist() == pytest.approx([12.0] * 5, rel=1e-3)
    p = torch.softmax(teacher.double() @ documents.double().t() / tau[:, None], dim=1)
    assert torch.exp(-(p * p.log()).sum(1)).tolist() == pytest.approx([12.0] * 5, rel=1e-3)
    assert profile.mass.tolist() == pytest.approx(p.topk(20).values.sum(1).tolist(), rel=1e-4)
    assert profile.depth == 20


def test_at_temperature_one_the_zero_scores_outweigh_a_weak_teacher():
    """ln 5000 = 8.5: a teacher whose best score is 3 has nearly all its mass on documents it knows nothing of."""
    documents = torch.zeros(5000, 3)
    documents[:10, 0] = 3.0
    shards, teacher = [inverted(documents)], torch.tensor([[1.0, 0.0, 0.0]])
    weak = teacher_profile(teacher, shards, 1.0, depth=10)
    assert weak.mass.item() == pytest.approx(10 * math.exp(3) / (10 * math.exp(3) + 4990), rel=1e-5)
    assert weak.effective_documents > 4000
    whole = teacher_profile(teacher, shards, 1.0, depth=10**6)
    assert whole.mass.item() == pytest.approx(1.0, abs=1e-5)


def test_a_teacher_that_scores_all_alike_has_no_temperature():
    _, shards = documents_in_shards()
    with pytest.raises(ObjectiveError, match="same teacher score"):
        collection_temperature(torch.zeros(1, 60), shards, 5.0)


@pytest.mark.parametrize("tau", ["entropy", 0.4])
def test_the_objective_is_the_mean_over_contexts(tau):
    documents, shards = documents_in_shards()
    teacher, student = sparse(3, 60, seed=2), sparse(3, 60, seed=3).requires_grad_()
    output = Output(torch.zeros(3, 0), torch.zeros(3, 0, dtype=torch.bool), vectors=student)
    objective = FullCollectionKLD(tuple(shards), tau=tau, effective_documents=7.0)
    check_pairing(objective, output.provides(), frozenset({"vectors"}))
    used = collection_temperature(teacher, shards, 7.0) if tau == "entropy" else tau
    loss = objective(output, Targets(vectors=teacher))
    assert loss.item() == pytest.approx(dense_kld(student, teacher, documents, used).mean().item(), rel=1e-4)
    assert loss.dtype == torch.float32


@pytest.mark.parametrize(
    ("teacher", "words"),
    [
        (torch.zeros(4, 61), "60 dimensions for vectors of 61"),
        (torch.zeros(1, 60), "beside student"),
        (torch.full((4, 60), torch.nan), "not finite"),
    ],
)
def test_what_does_not_fit_is_refused(teacher, words):
    _, shards = documents_in_shards()
    with pytest.raises(ObjectiveError, match=words):
        full_collection_kld(sparse(4, 60, seed=3), teacher, shards)


def test_a_collection_without_documents_is_refused():
    with pytest.raises(ObjectiveError, match="without documents"):
        full_collection_kld(torch.zeros(1, 3), torch.zeros(1, 3), [])


def test_a_contexts_temperature_is_sought_once(monkeypatch):
    documents, shards = documents_in_shards()
    teacher, student = sparse(3, 60, seed=2), sparse(3, 60, seed=3)
    sought = []

    def watched(vectors, *rest):
        sought.append(len(vectors))
        return collection_temperature(vectors, *rest)

    monkeypatch.setattr("distillir.objectives.full_collection.collection_temperature", watched)
    objective = FullCollectionKLD(tuple(shards), effective_documents=5.0)
    losses = [
        objective(Output(student, torch.ones(3, 0, dtype=torch.bool), student), Targets(vectors=teacher[rows])).item()
        for rows in ([0, 1, 1], [1, 2, 0], [2, 1, 0])
    ]
    assert sum(sought) == 3
    tau = collection_temperature(teacher, shards, 5.0)[[2, 1, 0]]
    assert losses[2] == pytest.approx(dense_kld(student, teacher[[2, 1, 0]], documents, tau).mean().item(), rel=1e-4)
