"""Draws: exact small cases, distributions, and what they refuse."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from distillir.errors import ConfigError, SamplingError
from distillir.sampling import (
    DRAWS,
    All,
    Bands,
    LogUniform,
    Ranking,
    StratifiedScore,
    Top,
    UniformBand,
    generator,
)


def ranking(n, scores=None):
    scores = np.linspace(20, 1, n) if scores is None else scores
    return Ranking(np.arange(n, dtype=np.int64) * 7 + 3, np.asarray(scores, dtype=np.float32))


def ranks(draw, of, seed=0):
    return (draw(of, generator(seed, 0, "c")) + 1).tolist()


def test_registry_holds_each_draw_under_its_recipe_name():
    assert set(DRAWS) == {"all", "bands", "log_uniform", "stratified_score", "top", "uniform_band"}
    assert all(DRAWS[name].name == name for name in DRAWS)


def test_top_is_the_best_ranks_and_leaves_the_generator_alone():
    rng = generator(0, 0, "c")
    assert Top(n=3)(ranking(9), rng).tolist() == [0, 1, 2]
    assert Top(n=5)(ranking(2), rng).tolist() == [0, 1]
    assert rng.random() == generator(0, 0, "c").random()


def test_all_is_the_ranking():
    assert ranks(All(), ranking(5)) == [1, 2, 3, 4, 5]
    assert All().n is None


def test_uniform_band_is_one_based_and_includes_both_ends():
    assert ranks(UniformBand(n=3, first=2, last=4), ranking(10)) == [2, 3, 4]
    assert ranks(UniformBand(n=3, first=2, last=4), ranking(3)) == [2, 3]  # the ranking ends inside the band
    assert ranks(UniformBand(n=1, first=10, last=10), ranking(10)) == [10]


def test_uniform_band_defaults_are_published_ones():
    drawn = np.concatenate([UniformBand()(ranking(1000), generator(0, e, "c")) + 1 for e in range(2000)])
    assert len(drawn) == 2000 * 16
    assert drawn.min() == 11
    assert drawn.max() == 960


def test_uniform_band_is_uniform():
    draw, of = UniformBand(n=4, first=3, last=22), ranking(40)
    counts = Counter(r for e in range(3000) for r in ranks(draw, of, seed=e))
    assert sorted(counts) == list(range(3, 23))
    assert chisquare([counts[r] for r in range(3, 23)]).pvalue > 0.01


def test_uniform_band_draws_every_set_alike():
    draw, of = UniformBand(n=2, first=1, last=4), ranking(4)
    counts = Counter(tuple(ranks(draw, of, seed=e)) for e in range(3000))
    assert len(counts) == 6
    assert chisquare(list(counts.values())).pvalue > 0.01


def test_log_uniform_draws_in_proportion_to_one_over_rank():
    draw, of = LogUniform(n=1, first=2, last=9), ranking(30)
    counts = Counter(ranks(draw, of, seed=e)[0] for e in range(6000))
    expected = np.array([1 / r for r in range(2, 10)])
    expected *= 6000 / expected.sum()
    assert chisquare([counts[r] for r in range(2, 10)], expected).pvalue > 0.01


def test_log_uniform_without_replacement_follows_successive_draws():
    """Two of ranks 1–3: P({a, b}) = p_a p_b / (1 − p_a) + p_b p_a / (1 − p_b), p = (6, 3, 2) / 11."""
    p = np.array([6, 3, 2]) / 11
    pairs = [(1, 2), (1, 3), (2, 3)]
    probability = [p[a - 1] * p[b - 1] / (1 - p[a - 1]) + p[b - 1] * p[a - 1] / (1 - p[b - 1]) for a, b in pairs]
    assert sum(probability) == pytest.approx(1)
    draw, of = LogUniform(n=2, first=1, last=3), ranking(3)
    counts = Counter(tuple(ranks(draw, of, seed=e)) for e in range(6000))
    assert chisquare([counts[pair] for pair in pairs], 6000 * np.array(probability)).pvalue > 0.01


def test_bands_take_their_counts():
    drawn = np.array(ranks(Bands(), ranking(1000)))
    assert len(drawn) == Bands().n == 17
    assert [int(((a <= drawn) & (drawn <= b)).sum()) for a, b in ((1, 10), (11, 100), (101, 960))] == [4, 5, 8]


def test_bands_past_the_ranking_give_what_there_is():
    draw = Bands(bands=((1, 1, 2), (2, 3, 5), (3, 6, 9)))
    assert len(ranks(draw, ranking(4))) == 3  # one of two, both of ranks 3–4, none of 6–9
    assert ranks(draw, ranking(4))[1:] == [3, 4]


def test_bands_from_a_recipe_are_lists_and_stay_hashable():
    assert hash(Bands(bands=[[1, 1, 2], [2, 3, 5]])) == hash(Bands(bands=((1, 1, 2), (2, 3, 5))))


def test_strata_hold_equal_mass():
    # masses 6 3 2 1 0, total 12; two strata: middles 3, 7.5, 10, 11.5, 12 against the cut at 6
    scores = np.array([16, 13, 12, 11, 10], dtype=np.float32)
    assert StratifiedScore(n=2, strata=2).assign(scores).tolist() == [0, 1, 1, 1, 1]
    # four strata: cuts at 3, 6, 9; the first document fills two of them alone
    assert StratifiedScore(n=4, strata=4).assign(scores).tolist() == [1, 2, 3, 3, 3]


def test_strata_do_not_depend_on_shift_scale_or_order():
    draw = StratifiedScore(n=4, strata=4)
    scores = np.array([9, 7, 6.5, 4, 2, 1, 0], dtype=np.float32)
    expected = draw.assign(scores).tolist()
    assert draw.assign(scores * 3 - 50).tolist() == expected
    assert draw.assign(scores[::-1].copy()).tolist() == expected[::-1]


def test_constant_scores_make_strata_of_equal_size():
    assert np.bincount(StratifiedScore(n=4, strata=4).assign(np.full(20, 3.5, np.float32))).tolist() == [5, 5, 5, 5]


def test_stratified_score_takes_its_share_of_each_stratum():
    scores = [10, 10, 10, 10, 5, 5, 5, 5, 5, 5, 5, 5, 0]  # 40 + 40 of mass
    drawn = np.array(ranks(StratifiedScore(n=4, strata=2), ranking(13, scores)))
    assert int((drawn <= 4).sum()) == 2
    assert int((drawn > 4).sum()) == 2


def test_stratified_score_fills_up_an_empty_stratum():
    """One document holds nearly all the mass: its strata cannot give their share, the list is full all the same."""
    drawn = ranks(StratifiedScore(n=8, strata=8), ranking(50, [1000.0, *np.linspace(1, 0, 49)]))
    assert len(set(drawn)) == 8
    assert 1 in drawn


def test_stratified_score_refuses_scores_of_several_retrievers():
    mixed = Ranking(np.arange(3), np.array([3, 9, 1], np.float32), np.array([1, 2, 3], np.uint8))
    with pytest.raises(SamplingError, match="several retrievers"):
        StratifiedScore(n=2, strata=2)(mixed, generator(0, 0, "c"))


ANY_DRAW = st.one_of(
    st.builds(lambda a, w, n: UniformBand(n=min(n, w), first=a, last=a + w - 1), *[st.integers(1, 30)] * 3),
    st.builds(lambda a, w, n: LogUniform(n=min(n, w), first=a, last=a + w - 1), *[st.integers(1, 30)] * 3),
    st.builds(lambda s, p: StratifiedScore(n=s * p, strata=s, last=40), st.integers(1, 8), st.integers(1, 5)),
    st.builds(Top, st.integers(1, 30)),
    st.just(All()),
    st.just(Bands(bands=((2, 1, 4), (3, 6, 9), (4, 20, 40)))),
)


@settings(max_examples=50, deadline=None)
@given(ANY_DRAW, st.integers(0, 60), st.data())
def test_every_draw_returns_distinct_ascending_indices_as_many_as_there_are(draw, length, data):
    values = data.draw(st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=length, max_size=length))
    of = ranking(length, values)
    first = getattr(draw, "first", 1)
    if length < first:
        with pytest.raises(SamplingError, match=rf"{draw.name}.*{length} documents"):
            ranks(draw, of)
        return
    drawn = ranks(draw, of)
    assert drawn == sorted(set(drawn))
    assert drawn == ranks(draw, of)  # the key decides, nothing else
    last = min(getattr(draw, "last", length), length)
    if isinstance(draw, Bands):
        expected = sum(min(n, max(0, min(b, length) - a + 1)) for n, a, b in draw.bands)
    else:
        expected = last - first + 1 if draw.n is None else min(draw.n, last - first + 1)
    assert len(drawn) == expected
    assert first <= drawn[0]
    assert drawn[-1] <= last


@pytest.mark.parametrize(
    "make",
    [
        lambda: UniformBand(n=0),
        lambda: UniformBand(first=0),
        lambda: UniformBand(first=20, last=10),
        lambda: UniformBand(n=16, first=1, last=15),
        lambda: LogUniform(n=5, first=3, last=6),
        lambda: Top(n=0),
        lambda: StratifiedScore(n=16, strata=5),
        lambda: StratifiedScore(n=16, strata=0),
        lambda: Bands(bands=()),
        lambda: Bands(bands=((1, 1),)),
        lambda: Bands(bands=((1, 1, 5), (1, 5, 9))),
        lambda: Bands(bands=((9, 1, 5),)),
    ],
)
def test_contradictory_parameters_are_refused(make):
    with pytest.raises(ConfigError):
        make()
