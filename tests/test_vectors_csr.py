from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillir.errors import VectorsError
from distillir.vectors import CSR, check_csr, csr_concat, csr_from_rows
from distillir.vectors.csr import take_rows


def test_rows_are_sorted_and_zeros_left_out():
    rows = csr_from_rows([([7, 2, 4], [0.5, 1.0, 0.0]), ([], []), ([0], [3.0])], dim=8)
    assert rows.indptr.tolist() == [0, 2, 2, 3]
    assert rows.indices.tolist() == [2, 7, 0]
    assert rows.values.tolist() == [1.0, 0.5, 3.0]
    assert (rows.indptr.dtype, rows.indices.dtype, rows.values.dtype) == (np.int64, np.int32, np.float32)
    assert rows.rows == 3
    assert [part.tolist() for part in rows.row(0)] == [[2, 7], [1.0, 0.5]]
    assert [part.tolist() for part in rows.row(1)] == [[], []]


def test_concat_shifts_the_pointers():
    first = csr_from_rows([([1], [1.0]), ([0, 3], [2.0, 4.0])], dim=4)
    second = csr_from_rows([([], []), ([2], [8.0])], dim=4)
    both = csr_concat([first, second])
    assert both.indptr.tolist() == [0, 1, 3, 3, 4]
    assert both.indices.tolist() == [1, 0, 3, 2]
    assert csr_concat([]).rows == 0


def test_take_rows_repeats_and_reorders():
    rows = csr_from_rows([([1], [1.0]), ([0, 3], [2.0, 4.0]), ([], [])], dim=4)
    taken = take_rows(*rows, np.array([1, 2, 0, 1]))
    assert taken.indptr.tolist() == [0, 2, 2, 3, 5]
    assert taken.values.tolist() == [2.0, 4.0, 1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("indptr", "indices", "values", "message"),
    [
        ([0, 2], [3, 1], [1, 1], "row 0 has unsorted"),
        ([0, 1, 1, 3], [0, 2, 2], [1, 1, 1], "row 2 has unsorted or repeated"),
        ([0, 1], [5], [1], r"dimension 5 is outside \[0, 5\)"),
        ([0, 1], [-1], [1], "dimension -1"),
        ([0, 1, 2], [0, 0], [1, np.nan], "row 1 holds a value that is not a finite"),
        ([0, 1], [0], [np.inf], "row 0 holds"),
        ([0, 1], [0], [1e300], "row 0 holds"),
        ([1, 1], [0], [1], "row pointers run from 1"),
        ([0, 2, 1], [0], [1], "row pointers run"),
        ([0, 2], [0], [1], "over 1 entries"),
        ([], [], [], "are not sparse rows"),
        ([0, 1], [0], [1, 2], "are not sparse rows"),
        ([0, 1], [0.0], [1], "of types"),
    ],
)
def test_what_is_not_sparse_rows_is_refused(indptr, indices, values, message):
    with pytest.raises(VectorsError, match=message):
        check_csr(indptr, indices, np.array(values, np.float64), dim=5)


def test_a_new_row_may_start_below_the_last():
    assert check_csr([0, 2, 2, 3], [1, 4, 0], [1, 1, 1], dim=5).rows == 3


@pytest.mark.parametrize(
    "rows", [[([0, 0], [1.0, 2.0])], [([0, 1], [1.0])], [([0.5], [1.0])], [([9], [1.0])], [([0], [float("nan")])]]
)
def test_bad_rows_are_refused(rows):
    with pytest.raises(VectorsError):
        csr_from_rows(rows, dim=9)


@pytest.mark.parametrize("i", [-1, 1])
def test_a_row_that_does_not_exist_is_refused(i):
    with pytest.raises(VectorsError, match=f"row {i} of 1 rows"):
        CSR(np.array([0, 0]), np.empty(0, np.int32), np.empty(0, np.float32)).row(i)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.dictionaries(st.integers(0, 19), st.floats(-4, 4, width=16)), max_size=8))
def test_rows_agree_with_a_dense_matrix(rows):
    dense = np.zeros((len(rows), 20), np.float32)
    for i, row in enumerate(rows):
        for d, v in row.items():
            dense[i, d] = v
    built = csr_from_rows([(list(r), list(r.values())) for r in rows], dim=20)
    back = np.zeros_like(dense)
    for i in range(built.rows):
        indices, values = built.row(i)
        back[i, indices] = values
    assert np.array_equal(back, dense)
    assert len(built.indices) == np.count_nonzero(dense)
