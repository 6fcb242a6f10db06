import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillir.errors import LabelError
from distillir.labels import FusionPlan, fuse_linear, fuse_max, fuse_min, mean_weights

SCORES = np.array([[[1.0, 4.0], [2.0, 0.0]], [[3.0, -2.0], [np.nan, np.nan]]])  # 2 teachers, 2 contexts, 2 candidates
PRESENT = np.array([[True, True], [True, False]])


def test_mean_weights():
    assert mean_weights(["human", "llm", "human"]) == {"human": 0.5, "llm": 0.5}
    assert mean_weights([]) == {}


def test_a_context_without_the_model_falls_back_to_the_human():
    plan = FusionPlan({"human": 1.0, "llm": 3.0, "off": 0.0})
    assert plan.weights_for(["llm", "human", "stranger"]) == {"human": 0.25, "llm": 0.75}
    assert plan.weights_for({"human": "text"}) == {"human": 1.0}
    assert plan.weights_for(["off", "stranger"]) == {}
    expected = [[0.25, 0.75, 0], [0, 1, 0], [0, 0, 0]]
    assert plan.matrix([["human", "llm"], ["llm"], ["off"]]).tolist() == expected
    assert plan.matrix([]).shape == (0, 3)


@pytest.mark.parametrize("weights", [{}, {"a": 0.0}, {"a": -1.0, "b": 2.0}, {"a": float("nan")}, {"a": float("inf")}])
def test_impossible_weights_are_refused(weights):
    with pytest.raises(LabelError, match="fusion weights"):
        FusionPlan(weights)


def test_linear_max_and_min_by_hand_with_a_teacher_missing():
    weights = FusionPlan({"a": 1, "b": 3}).matrix([["a", "b"], ["a"]])
    assert fuse_linear(SCORES, weights).tolist() == [[0.25 + 2.25, 1.0 - 1.5], [2.0, 0.0]]
    assert fuse_max(SCORES, PRESENT).tolist() == [[3.0, 4.0], [2.0, 0.0]]
    assert fuse_min(SCORES, PRESENT).tolist() == [[1.0, -2.0], [2.0, 0.0]]


def test_a_context_without_any_teacher_is_refused():
    for fuse in (fuse_max, fuse_min):
        with pytest.raises(LabelError, match="context 1 of the batch"):
            fuse(SCORES, np.array([[True, False], [True, False]]))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_fusing_scores_is_fusing_vectors(seed, teachers):
    rng = np.random.default_rng(seed)
    vectors, documents = rng.random((teachers, 3, 7)), rng.random((5, 7))
    names = [f"t{i}" for i in range(teachers)]
    plan = FusionPlan(dict(zip(names, rng.random(teachers) + 0.1, strict=True)))
    weights = plan.matrix([rng.permutation(names)[: rng.integers(1, teachers + 1)].tolist() for _ in range(3)])
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    fused_vectors = np.einsum("bt,tbv->bv", weights, vectors)
    np.testing.assert_allclose(fuse_linear(vectors @ documents.T, weights), fused_vectors @ documents.T)
