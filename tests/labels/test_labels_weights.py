import numpy as np
import pytest
from scipy.optimize import minimize

from distillir.errors import LabelError
from distillir.labels import fit_by_fold, fit_weights, likelihood_confidence, text_agreement, vector_agreement
from distillir.vectors import csr_from_rows


def make(contexts=60, n=12, seed=0, noise=(0.5, 2.0, 50.0)):
    """Teachers that see the truth through more and more noise."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(contexts, n))
    gold = [np.arange(n) == int(row.argmax()) for row in truth]
    scores = {f"t{i}": [row + rng.normal(size=n) * sd for row in truth] for i, sd in enumerate(noise)}
    return scores, gold


def test_better_teachers_weigh_more():
    scores, gold = make()
    fitted = fit_weights(scores, gold)
    w = fitted.weights
    assert sum(w.values()) == pytest.approx(1)
    assert w["t0"] > w["t1"] > w["t2"] >= 0
    assert w["t2"] < 0.05
    assert fitted.loss < min(fitted.equal, *fitted.alone.values())
    assert fitted.alone["t0"] < fitted.alone["t1"] < fitted.alone["t2"] <= np.log(12) + 0.01
    assert fitted.contexts == 60


def test_the_fit_is_that_of_an_independent_optimiser():
    scores, gold = make(contexts=30)
    ridge = 1e-2
    stacked = np.stack([scores[name] for name in scores])  # (T, B, N)
    spread = np.mean([stacked[:, b].std(axis=1).mean() for b in range(30)])

    def loss(w):
        fused = np.einsum("t,tbn->bn", w, stacked / spread)
        picked = fused[np.arange(30), [int(g.argmax()) for g in gold]]
        return float(np.mean(np.log(np.exp(fused).sum(1)) - picked)) + ridge * float(w @ w)

    bounds, options = [(0, None)] * 3, {"ftol": 1e-15, "maxiter": 1000}
    best = minimize(loss, np.full(3, 0.1), method="SLSQP", bounds=bounds, options=options).x
    fitted = fit_weights(scores, gold, ridge=ridge)
    np.testing.assert_allclose(list(fitted.weights.values()), best / best.sum(), atol=1e-4)
    assert fitted.tau == pytest.approx(spread / best.sum(), rel=1e-3)


def test_the_scale_of_all_scores_changes_tau_only():
    scores, gold = make()
    one = fit_weights(scores, gold)
    ten = fit_weights({name: [10 * row for row in rows] for name, rows in scores.items()}, gold)
    np.testing.assert_allclose(list(one.weights.values()), list(ten.weights.values()), atol=1e-6)
    assert ten.tau == pytest.approx(10 * one.tau, rel=1e-4)


def test_a_teacher_that_is_always_wrong_gets_nothing_and_only_such_ones_count_alike():
    gold = [np.array([True, False, False])] * 5
    wrong = [np.array([-1.0, 0.0, 1.0])] * 5
    right = [np.array([1.0, 0.0, -1.0])] * 5
    assert fit_weights({"wrong": wrong, "right": right}, gold).weights == {"wrong": 0.0, "right": 1.0}
    assert fit_weights({"a": wrong, "b": wrong}, gold).weights == {"a": 0.5, "b": 0.5}


def test_contexts_that_cannot_be_used_are_counted():
    scores, gold = make(contexts=6)
    scores["t0"][0] = None
    gold[1] = np.zeros(12, bool)
    gold[2] = np.ones(12, bool)
    fitted = fit_weights(scores, gold)
    assert fitted.contexts == 3
    assert fitted.left_out == {"a teacher has no label": 1, "nothing to tell apart": 2}
    with pytest.raises(LabelError, match="no context to fit"):
        fit_weights(scores, gold, rows=[0, 1, 2])


def test_what_cannot_be_read_is_refused():
    scores, gold = make(contexts=3)
    with pytest.raises(LabelError, match="score lists for 2 contexts"):
        fit_weights(scores, gold[:2])
    with pytest.raises(LabelError, match="unequal lengths"):
        fit_weights({**scores, "t0": [row[:5] for row in scores["t0"]]}, gold)
    scores["t1"][1][0] = np.nan
    with pytest.raises(LabelError, match="context 1 has a score that is not finite"):
        fit_weights(scores, gold)


def test_a_fold_is_weighed_by_the_others_alone():
    scores, gold = make(contexts=20)
    folds = [i % 4 for i in range(20)]
    before = fit_by_fold(scores, gold, folds)
    assert list(before) == [0, 1, 2, 3]
    assert before[1] == fit_weights(scores, gold, rows=[i for i in range(20) if i % 4 != 1])
    for i in range(1, 20, 4):  # spoil fold 1's judgements: its own weights do not move
        gold[i] = np.roll(gold[i], 3)
    after = fit_by_fold(scores, gold, folds)
    assert after[1] == before[1]
    assert after[0] != before[0]


def test_confidence_by_likelihood():
    assert likelihood_confidence(0.0) == 1.0
    assert likelihood_confidence(np.log(0.25)) == pytest.approx(0.25)
    for bad in (0.1, float("nan"), float("-inf")):
        with pytest.raises(LabelError, match="natural logarithms"):
            likelihood_confidence(bad)


def test_confidence_by_agreement():
    # a ~ b: words {where, is, ann, born} and {where, was, ann, born}: 2·3 / 8
    found = text_agreement({"a": "Where is Ann born?", "b": "where was ann born", "c": "42"})
    assert found == pytest.approx({"a": 0.375, "b": 0.375, "c": 0.05})
    assert text_agreement({"a": "x"}) == {"a": 1.0}
    assert text_agreement({}) == {}


def test_confidence_by_cosine():
    def rows(*pairs):
        return csr_from_rows([(dims, values) for dims, values in pairs], 9)

    vectors = {
        "a": rows(([0, 1], [1.0, 1.0]), ([], [])),
        "b": rows(([1, 2], [1.0, 1.0]), ([1], [1.0])),
        "c": rows(([5], [3.0]), ([1], [2.0])),
    }
    assert vector_agreement(vectors, 0) == pytest.approx({"a": 0.25, "b": 0.25, "c": 0.05})
    assert vector_agreement(vectors, 1) == pytest.approx({"b": 1.0, "c": 1.0})
