"""Hits among candidates, variety, and when to say nothing."""

import math

import numpy as np
import pytest

from distillir.errors import EvaluationError
from distillir.evaluation import distinct, hits_among, mean_length, risk_coverage


def test_hits_among_all_are_ranks_by_hand():
    # one context; scores of the responses: 3, 2, 1, 0
    contexts, responses = [[1.0]], [[3.0], [2.0], [1.0], [0.0]]
    for gold, hit1, hit2 in ((0, 1, 1), (1, 0, 1), (2, 0, 0)):
        made = hits_among(contexts, responses, [[gold]], candidates=4, at=(1, 2))
        assert {name: value.tolist() for name, value in made.items()} == {"hits@1/4": [hit1], "hits@2/4": [hit2]}


def test_a_tie_is_no_hit_and_other_golds_are_no_rivals():
    assert hits_among([[1.0]], [[1.0], [1.0]], [[0]], candidates=2)["hits@1/2"].tolist() == [0]
    assert hits_among([[1.0]], [[1.0], [5.0], [0.0]], [[0, 1]], candidates=2)["hits@1/2"].tolist() == [1]


def test_chance_is_one_in_so_many_and_systems_face_the_same_candidates():
    rng = np.random.default_rng(1)
    contexts, responses = rng.normal(size=(2000, 6)), rng.normal(size=(300, 6))
    golds = [[int(g)] for g in rng.integers(0, 300, 2000)]
    made = hits_among(contexts, responses, golds, candidates=10, at=(1, 3, 10))
    assert made["hits@1/10"].mean() == pytest.approx(0.1, abs=0.03)
    assert made["hits@3/10"].mean() == pytest.approx(0.3, abs=0.04)
    assert made["hits@10/10"].mean() == 1
    again = hits_among(2 * contexts, responses, golds, candidates=10)
    np.testing.assert_array_equal(again["hits@1/10"], made["hits@1/10"])
    other = hits_among(contexts, responses, golds, candidates=10, seed=1)
    assert (other["hits@1/10"] != made["hits@1/10"]).any()


@pytest.mark.parametrize(
    "given",
    [
        {"golds": [[]]},
        {"candidates": 4},
        {"candidates": 1},
        {"at": (0,)},
        {"at": ()},
        {"contexts": [[1.0, 2.0]]},
        {"contexts": [[np.nan]]},
        {"golds": [[0], [0]]},
    ],
)
def test_hits_that_cannot_be_counted_are_refused(given):
    asked = {"contexts": [[1.0]], "responses": [[1.0], [2.0], [3.0]], "golds": [[0]], "candidates": 3}
    with pytest.raises(EvaluationError):
        hits_among(**{**asked, **given})


def test_distinct_and_length_by_hand():
    texts = ["I do not know.", "i do", ""]
    # unigrams: i do not know . i do = 7, 5 different; bigrams: i-do do-not not-know know-. i-do = 5, 4 different
    assert distinct(texts, 1) == pytest.approx(5 / 7)
    assert distinct(texts, 2) == pytest.approx(4 / 5)
    assert distinct(texts, 6) == 0.0
    assert mean_length(texts) == pytest.approx(7 / 3)
    assert (distinct([], 1), mean_length([])) == (0.0, 0.0)
    with pytest.raises(EvaluationError):
        distinct(texts, 0)


def test_risk_and_coverage_by_hand():
    curve = risk_coverage([0.9, 0.1, 0.5, 0.7], [True, False, True, False])
    # answered, best first: right, wrong, right, wrong
    assert curve.thresholds.tolist() == [0.9, 0.7, 0.5, 0.1]
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.risk.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert curve.area == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert curve.threshold_for_risk(0.4) == 0.5  # as many answers as that risk allows
    assert curve.threshold_for_risk(0.0) == 0.9
    assert curve.threshold_for_coverage(0.5) == 0.7
    assert curve.threshold_for_coverage(0.0) == 0.9
    assert curve.at(0.6) == (0.5, 0.5)
    assert curve.at(2.0) == (0.0, 0.0)
    assert curve.rows((1.0,)) == [{"threshold": 0.1, "coverage": 1.0, "risk": 0.5}]


def test_equal_scores_are_one_step_and_no_risk_may_be_low_enough():
    curve = risk_coverage([1.0, 1.0, 0.0], [False, True, True])
    assert curve.thresholds.tolist() == [1.0, 0.0]
    assert curve.risk.tolist() == pytest.approx([1 / 2, 1 / 3])
    assert curve.threshold_for_risk(0.1) == math.inf
    assert curve.at(math.inf) == (0.0, 0.0)


def test_the_thresholds_hold_what_they_promise():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=500).round(1)
    correct = rng.random(500) < 1 / (1 + np.exp(-2 * scores))
    curve = risk_coverage(scores, correct)
    for most in (0.1, 0.2, 0.4):
        given = scores >= curve.threshold_for_risk(most)
        assert (~correct[given]).mean() <= most
    for least in (0.2, 0.5, 0.9):
        assert (scores >= curve.threshold_for_coverage(least)).mean() >= least


@pytest.mark.parametrize("given", [([], []), ([1.0], [True, False]), ([np.nan], [True]), ([[1.0]], [[True]])])
def test_curves_of_nothing_are_refused(given):
    with pytest.raises(EvaluationError):
        risk_coverage(*given)


def test_shares_beyond_one_are_refused():
    curve = risk_coverage([1.0], [True])
    for ask in (curve.threshold_for_risk, curve.threshold_for_coverage):
        with pytest.raises(EvaluationError):
            ask(1.5)
