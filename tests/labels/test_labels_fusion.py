import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillir.errors import LabelError
from distillir.labels import FusionPlan, fuse_linear, fuse_max, fuse_min, fuse_scores, mean_weights

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


def test_confidence_moves_weight_between_the_teachers_of_one_context():
    plan = FusionPlan({"a": 1.0, "b": 1.0, "c": 2.0})
    assert plan.weights_for(["a", "b"], {"a": 0.75, "b": 0.25}) == {"a": 0.75, "b": 0.25}
    assert plan.weights_for(["a", "c"], {"c": 0.5}) == {"a": 0.5, "c": 0.5}
    assert plan.weights_for(["a", "b"], {"a": 0.0}) == {"b": 1.0}
    assert plan.weights_for(["a", "b"], {"a": 0.0, "b": 0.0}) == {"a": 0.5, "b": 0.5}  # no trust, no information
    assert plan.matrix([["a", "b"], ["c"]], [{"a": 3.0}, {}]).tolist() == [[0.75, 0.25, 0], [0, 0, 1]]
    with pytest.raises(LabelError, match="confidence"):
        plan.weights_for(["a"], {"a": float("nan")})


def test_scores_are_fused_by_the_plan():
    teachers = [SCORES[0], SCORES[1]]
    linear = FusionPlan({"a": 1, "b": 3})
    assert fuse_scores(teachers, linear, present=PRESENT).tolist() == [[2.5, -0.5], [2.0, 0.0]]
    assert fuse_scores(teachers, FusionPlan({"a": 1, "b": 3}, "max"), present=PRESENT).tolist() == [[3, 4], [2, 0]]
    assert fuse_scores(teachers, FusionPlan({"a": 1, "b": 3}, "min"), present=PRESENT).tolist() == [[1, -2], [2, 0]]
    trusted = fuse_scores(teachers, FusionPlan({"a": 1, "b": 1}), present=PRESENT, confidence=[{"a": 0.0}, {"a": 0.0}])
    assert trusted.tolist() == [[3.0, -2.0], [2.0, 0.0]]


def test_a_teacher_of_weight_nothing_is_never_read():
    for rule in ("linear", "max", "min"):
        plan = FusionPlan({"a": 1, "off": 0}, rule)
        assert fuse_scores([SCORES[0], np.full((2, 2), np.nan)], plan).tolist() == SCORES[0].tolist()
        assert fuse_scores([SCORES[0], None], plan).tolist() == SCORES[0].tolist()


def test_score_fusion_refuses_what_does_not_fit():
    plan = FusionPlan({"a": 1, "b": 1}, "max")
    for scores in ([SCORES[0]], [SCORES[0], SCORES[0][:1]], [SCORES[0][0], SCORES[0][0]], [None, None]):
        with pytest.raises(LabelError, match="score arrays"):
            fuse_scores(scores, plan)
    with pytest.raises(LabelError, match="confidence with the rule 'max'"):
        fuse_scores([SCORES[0]] * 2, plan, confidence=[{}, {}])
    with pytest.raises(LabelError, match="context 1 of the batch"):
        fuse_scores([SCORES[0], None], plan, present=np.array([[True, False], [True, True]]))
    with pytest.raises(LabelError, match="rule 'median'"):
        FusionPlan({"a": 1}, "median")
