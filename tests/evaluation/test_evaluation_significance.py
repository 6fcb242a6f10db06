"""Bootstrap and randomisation by conversation, against enumeration and known distributions."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillir.errors import EvaluationError
from distillir.evaluation import bootstrap_intervals, clusters, holm, sign_flip_test, significance


def singles(n):
    return np.arange(n)


def test_clusters_are_numbered_by_name_and_every_query_needs_one():
    assert clusters(["q1", "q2", "q3"], {"q1": "b", "q2": "a", "q3": "b"}).tolist() == [1, 0, 1]
    assert clusters(["q1", "q2"], None).tolist() == [0, 1]
    with pytest.raises(EvaluationError, match=r"1 of 2 queries.*'q2'"):
        clusters(["q1", "q2"], {"q1": "a"})


def test_interval_of_a_mean_of_normal_values():
    values = np.random.default_rng(5).normal(3, 2, 400)
    mean, low, high = bootstrap_intervals(values, singles(400), seed=1)
    half = 1.96 * values.std() / 20
    assert mean[0] == pytest.approx(values.mean())
    assert low[0] == pytest.approx(values.mean() - half, abs=0.06 * half)
    assert high[0] == pytest.approx(values.mean() + half, abs=0.06 * half)


def test_interval_equals_the_enumerated_bootstrap():
    """Four conversations of 1, 2, 3 and 2 turns: all 4^4 draws of them, each a ratio of sums."""
    cluster = np.array([0, 1, 1, 2, 2, 2, 3, 3])
    values = np.array([0.9, 0.1, 0.4, 0.5, 0.7, 0.2, 0.0, 1.0])
    ratios = []
    for draw in itertools.product(range(4), repeat=4):
        drawn = np.concatenate([values[cluster == c] for c in draw])
        ratios.append(drawn.mean())
    ratios = np.sort(ratios)
    for level in (0.5, 0.8, 0.95):
        got = bootstrap_intervals(values, cluster, level=level, resamples=100_000)
        # Discrete: the sampled percentile lies between the enumerated ones half a percent around it.
        for bound, share in ((got.low[0], (1 - level) / 2), (got.high[0], (1 + level) / 2)):
            assert np.quantile(ratios, share - 0.005) - 1e-12 <= bound <= np.quantile(ratios, share + 0.005) + 1e-12


def test_copies_inside_a_conversation_do_not_shrink_the_interval():
    rng = np.random.default_rng(2)
    cluster = np.repeat(np.arange(15), rng.integers(1, 6, 15))
    values = rng.random(len(cluster))
    once = bootstrap_intervals(values, cluster, seed=3)
    tenfold = bootstrap_intervals(np.tile(values, 10), np.tile(cluster, 10), seed=3)
    np.testing.assert_allclose(np.stack(tenfold), np.stack(once), rtol=1e-12)
    as_if_independent = bootstrap_intervals(np.tile(values, 10), singles(10 * len(values)), seed=3)
    assert np.ptp(as_if_independent[1:]) < 0.5 * np.ptp(once[1:])  # what ignoring conversations would claim
    assert sign_flip_test(np.tile(values - 0.3, 10), np.tile(cluster, 10)) == pytest.approx(
        sign_flip_test(values - 0.3, cluster)
    )


def test_coverage_with_strong_conversation_effects():
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(40), 6)
    covered, naive = 0, 0
    for trial in range(150):
        values = rng.normal(0, 1, 40)[cluster] + rng.normal(0, 0.3, 240)
        _, low, high = bootstrap_intervals(values, cluster, resamples=400, seed=trial)
        covered += low[0] <= 0 <= high[0]
        _, low, high = bootstrap_intervals(values, singles(240), resamples=400, seed=trial)
        naive += low[0] <= 0 <= high[0]
    assert 0.88 <= covered / 150 <= 0.99
    assert naive / 150 < 0.75


def test_columns_share_their_draws_so_differences_are_paired():
    rng = np.random.default_rng(1)
    base = rng.random(60)
    cluster = np.repeat(np.arange(20), 3)
    table = np.stack([base, base + 0.125], axis=1)
    got = bootstrap_intervals(table, cluster, seed=9)
    assert got.low[1] - got.low[0] == pytest.approx(0.125)
    alone = bootstrap_intervals(base, cluster, seed=9)
    assert (alone.low[0], alone.high[0]) == pytest.approx((got.low[0], got.high[0]))
    constant = bootstrap_intervals(table[:, 1] - table[:, 0], cluster)
    assert constant.low[0] == pytest.approx(0.125)
    assert constant.high[0] == pytest.approx(0.125)


def test_seed_and_order_of_queries():
    rng = np.random.default_rng(4)
    values, cluster = rng.random(50), np.repeat(np.arange(10), 5)
    shuffled = rng.permutation(50)
    one = bootstrap_intervals(values, cluster, seed=7)
    np.testing.assert_allclose(
        np.stack(bootstrap_intervals(values[shuffled], cluster[shuffled], seed=7)), np.stack(one)
    )
    assert bootstrap_intervals(values, cluster, seed=8).low != one.low


def test_blocks_of_draws_do_not_change_the_result(monkeypatch):
    rng = np.random.default_rng(4)
    values, cluster = rng.random((60, 2)), np.repeat(np.arange(30), 2)
    whole = bootstrap_intervals(values, cluster, resamples=1001), sign_flip_test(values - 0.5, cluster, resamples=1001)
    monkeypatch.setattr(significance, "_CHUNK", 30 * 7)
    pieces = bootstrap_intervals(values, cluster, resamples=1001), sign_flip_test(values - 0.5, cluster, resamples=1001)
    np.testing.assert_allclose(np.stack(pieces[0]), np.stack(whole[0]))
    np.testing.assert_array_equal(pieces[1], whole[1])


def test_one_conversation_shows_no_spread():
    mean, low, high = bootstrap_intervals([0.2, 0.4], np.array([3, 3]))
    assert mean[0] == pytest.approx(0.3)
    assert np.isnan([low[0], high[0]]).all()
    assert sign_flip_test([0.2, 0.4], np.array([3, 3])).tolist() == [1.0]


def enumerated_p(differences, cluster):
    sums = [differences[cluster == c].sum() for c in np.unique(cluster)]
    observed = abs(sum(sums))
    flips = [
        abs(sum(s * d for s, d in zip(signs, sums, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(sums))
    ]
    return np.mean([f >= observed - 1e-9 for f in flips])


def test_sign_flips_by_hand():
    # 3 conversations: of the 8 flips only +++ and --- reach |1 + 2 + 3|.
    assert sign_flip_test([1.0, 2.0, 3.0], singles(3)).tolist() == [0.25]
    # The two turns of one conversation flip together: 2 + 2 = 4 of 4 flips reach |3 - 3|.
    assert sign_flip_test([1.0, 2.0, -3.0], np.array([0, 0, 1])).tolist() == [1.0]
    # 1 + 1 - 1: |sum| = 1 is reached by every flip of three ones.
    assert sign_flip_test([1.0, 1.0, -1.0], singles(3)).tolist() == [1.0]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.sampled_from([-0.3, -0.1, 0.0, 0.1, 0.2, 1 / 3])), min_size=1, max_size=25)
)
def test_sign_flips_equal_enumeration(pairs):
    cluster = np.array([c for c, _ in pairs])
    differences = np.array([d for _, d in pairs])
    assert sign_flip_test(differences, cluster)[0] == pytest.approx(enumerated_p(differences, cluster))


def test_sampled_flips_approach_the_exact_value():
    rng = np.random.default_rng(3)
    differences = rng.normal(0.35, 1, (13, 4))
    exact = sign_flip_test(differences, singles(13), resamples=2**13)
    sampled = sign_flip_test(differences, singles(13), resamples=2**13 - 1)
    assert (exact != sampled).any()
    np.testing.assert_allclose(sampled, exact, atol=0.02)
    certain = sign_flip_test(np.ones(40), singles(40), resamples=999)
    assert certain.tolist() == [1 / 1000]  # never zero


def test_rate_of_false_alarms_without_a_difference():
    rng = np.random.default_rng(11)
    cluster = np.repeat(np.arange(24), 5)
    differences = rng.normal(0, 1, (24, 400))[cluster] + rng.normal(0, 0.2, (120, 400))
    by_conversation = sign_flip_test(differences, cluster, resamples=2000)
    by_query = sign_flip_test(differences, singles(120), resamples=2000)
    assert 0.02 <= (by_conversation < 0.05).mean() <= 0.085
    assert (by_query < 0.05).mean() > 0.2  # why conversations are the unit


def test_no_difference_gives_one():
    assert sign_flip_test(np.zeros((30, 2)), singles(30)).tolist() == [1.0, 1.0]


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]).tolist() == [1.0, 1.0]
    assert holm([0.2]).tolist() == [0.2]
    assert holm([]).tolist() == []
    for bad in ([float("nan")], [-0.1], [1.1], [[0.1]]):
        with pytest.raises(EvaluationError, match="p-values"):
            holm(bad)


@pytest.mark.parametrize("values", [[0.1, float("nan")], [0.1, float("inf")], [0.1], np.zeros((2, 2, 2)), []])
def test_values_that_cannot_be_resampled_are_refused(values):
    cluster = singles(0 if len(values) == 0 else 2)
    for function in (bootstrap_intervals, sign_flip_test):
        with pytest.raises(EvaluationError, match=r"finite|shape"):
            function(values, cluster)


@pytest.mark.parametrize("wrong", [{"level": 0}, {"level": 1}, {"level": float("nan")}, {"resamples": 0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(EvaluationError, match="interval level"):
        bootstrap_intervals([0.0, 1.0], singles(2), **wrong)


def test_thousands_of_conversations():
    values = np.random.default_rng(0).normal(0.1, 1, 3000)
    assert sign_flip_test(values, singles(3000), resamples=500)[0] < 0.01
    mean, low, high = bootstrap_intervals(values, singles(3000), resamples=500)
    assert high[0] - low[0] == pytest.approx(2 * 1.96 / np.sqrt(3000), rel=0.2)
    assert low[0] < mean[0] < high[0]
