"""Stored rows and the scores of a batch."""

import numpy as np
import pytest
import torch

from distillir.objectives import Targets
from distillir.students.batch import SparseBatch, StoredRows, dense_to_csr, pad, score_documents
from distillir.vectors import csr_from_rows

ROWS = csr_from_rows([([1, 3], [2.0, 0.5]), ([], []), ([0, 1, 4], [1.0, 1.5, 4.0])], 5)


def batch(candidates: list[list[int]], shared: list[int], rows=ROWS) -> SparseBatch:
    B = len(candidates)
    return SparseBatch(
        ids=torch.zeros(B, 1, dtype=torch.long),
        mask=torch.ones(B, 1, dtype=torch.bool),
        documents=StoredRows.from_csr(rows),
        candidates=torch.tensor(candidates, dtype=torch.long).view(B, -1),
        shared=torch.tensor(shared, dtype=torch.long),
        shared_mask=torch.ones(B, len(shared), dtype=torch.bool),
        targets=Targets(),
    )


def test_dot_products_by_hand():
    vectors = torch.tensor([[1.0, 10.0, 100.0, 2.0, 0.25]])
    assert StoredRows.from_csr(ROWS).dot(vectors).tolist() == [[21.0, 0.0, 17.0]]


def test_dot_products_and_gradients_equal_dense_ones():
    stored = StoredRows.from_csr(ROWS)
    vectors = torch.randn(4, 5, requires_grad=True)
    weights = torch.randn(4, 3)
    sparse = stored.dot(vectors)
    whole = vectors @ stored.dense(5).t()
    torch.testing.assert_close(sparse, whole)
    (mine,) = torch.autograd.grad((sparse * weights).sum(), vectors)
    (theirs,) = torch.autograd.grad((whole * weights).sum(), vectors)
    torch.testing.assert_close(mine, theirs)


def test_scores_of_lists_shared_block_and_padding():
    output = score_documents(torch.tensor([[1.0, 1, 0, 0, 0], [0, 0, 0, 2.0, 1]]), batch([[0, 2], [2, -1]], [0]))
    assert output.scores[0].tolist() == [2.0, 2.5]
    assert output.scores[1, 0].item() == 4.0
    assert output.mask.tolist() == [[True, True], [True, False]]
    assert output.shared.tolist() == [[2.0], [1.0]]


@pytest.mark.parametrize("rows", [csr_from_rows([], 5), csr_from_rows([([], [])], 5)])
def test_no_candidates_at_all(rows):
    vectors = torch.rand(3, 5, requires_grad=True)
    output = score_documents(vectors, batch([[], [], []], [], rows))
    assert output.scores.shape == output.mask.shape == (3, 0)
    assert output.provides() == {"scores", "vectors"}
    output.scores.sum().backward()
    assert vectors.grad is None or not vectors.grad.any()


def test_rows_of_a_read_only_map_are_taken_without_a_warning():
    for array in ROWS:
        array.setflags(write=False)
    try:
        stored = StoredRows.from_csr(ROWS)
    finally:
        for array in ROWS:
            array.setflags(write=True)
    assert stored.dense(5)[2].tolist() == [1.0, 1.5, 0.0, 0.0, 4.0]


def test_pad_and_back_to_rows():
    ids, mask = pad([[7, 8], [9]], 0)
    assert ids.tolist() == [[7, 8], [9, 0]]
    assert mask.tolist() == [[True, True], [True, False]]
    rows = list(dense_to_csr(StoredRows.from_csr(ROWS).dense(5)))
    for i, (dims, values) in enumerate(rows):
        np.testing.assert_array_equal(dims, ROWS.row(i)[0])
        np.testing.assert_array_equal(values, ROWS.row(i)[1])
    assert len(rows) == 3
