"""Buckets of turn depth."""

import pytest

from distillir.errors import EvaluationError
from distillir.evaluation import bucket_index, bucket_labels


def test_default_buckets():
    assert bucket_labels() == ("1", "2", "3", "4", "5", "6+")
    depth = {f"q{d}": d for d in range(1, 13)}
    assert bucket_index(list(depth), depth).tolist() == [0, 1, 2, 3, 4, 5, 5, 5, 5, 5, 5, 5]


def test_own_buckets():
    assert bucket_labels((1, 4, 5, 9)) == ("1–3", "4", "5–8", "9+")
    depth = {"a": 1, "b": 3, "c": 4, "d": 8, "e": 9, "f": 100}
    assert bucket_index(list(depth), depth, (1, 4, 5, 9)).tolist() == [0, 0, 1, 2, 3, 3]
    assert bucket_labels((1,)) == ("1+",)


def test_refusals():
    with pytest.raises(EvaluationError, match=r"1 of 2 queries have no turn depth, first 'b'"):
        bucket_index(["a", "b"], {"a": 1})
    with pytest.raises(EvaluationError, match=r"'b' has turn depth 0"):
        bucket_index(["a", "b"], {"a": 1, "b": 0})
    for edges in ((), (1, 1), (3, 2)):
        with pytest.raises(EvaluationError, match="do not rise"):
            bucket_index(["a"], {"a": 5}, edges)
