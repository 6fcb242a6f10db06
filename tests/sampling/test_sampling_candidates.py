"""Candidate lists: golds in front, never among the negatives, the same after a resume."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from distillir.errors import ConfigError, SamplingError
from distillir.sampling import (
    All,
    CandidateSampler,
    Collection,
    RankedPool,
    Ranking,
    Top,
    UniformBand,
    draw_candidates,
    generator,
    gold_share,
    shared_block,
)


def ranked(positions):
    return Ranking(np.array(positions, dtype=np.int64), np.linspace(2, 1, len(positions), dtype=np.float32))


def lists(positions, golds, draw=None, **policy):
    return draw_candidates(ranked(positions), golds, draw or All(), generator(0, 0, "c"), **policy)


def test_gold_comes_first_and_leaves_the_negatives():
    c = lists([10, 20, 30, 40], [30])
    assert c.positions.tolist() == [30, 10, 20, 40]
    assert c.is_gold.tolist() == [True, False, False, False]
    assert c.ranks.tolist() == [3, 1, 2, 4]
    assert c.known_gold.tolist() == [30]


def test_gold_that_the_teacher_missed_has_rank_zero():
    c = lists([10, 20], [99], Top(n=1))
    assert c.positions.tolist() == [99, 10]
    assert c.ranks.tolist() == [0, 1]


def test_all_golds_in_front():
    c = lists([10, 20, 30], [30, 7, 30], gold="all")
    assert c.positions.tolist() == [7, 30, 10, 20]
    assert c.is_gold.tolist() == [True, True, False, False]
    assert c.ranks.tolist() == [0, 3, 1, 2]


def test_golds_that_were_not_chosen_are_still_no_negatives():
    c = lists([10, 20, 30], [10, 20], gold="one")
    assert sorted(c.positions.tolist()) in ([10, 30], [20, 30])
    assert c.known_gold.tolist() == [10, 20]


def test_one_gold_is_drawn_anew_each_epoch_and_all_alike():
    pool = RankedPool.build([("c", ranked([1, 2, 3]))])
    sample = CandidateSampler(pool, Top(n=3), seed=5)
    counts = Counter(int(sample("c", [4, 5, 6], epoch).positions[0]) for epoch in range(1500))
    assert sorted(counts) == [4, 5, 6]
    assert chisquare(list(counts.values())).pvalue > 0.01


def test_none_is_the_list_as_drawn_without_labels():
    c = lists([10, 20], [20, 99], gold="none")
    assert c.positions.tolist() == [10, 20]
    assert not c.is_gold.any()
    assert c.known_gold.tolist() == []


def test_context_without_gold_draws_from_the_pool_only():
    c = lists([10, 20], [])
    assert c.positions.tolist() == [10, 20]
    assert not c.is_gold.any()


def test_pseudo_gold_is_rank_one_and_only_where_there_is_no_gold():
    assert lists([10, 20], [], pseudo_gold=True).positions.tolist() == [10, 20]
    assert lists([10, 20], [], pseudo_gold=True).is_gold.tolist() == [True, False]
    assert lists([10, 20], [20], pseudo_gold=True).positions.tolist() == [20, 10]
    assert lists([10, 20], [20], pseudo_gold=True).known_gold.tolist() == [20]


def test_the_gold_policy_does_not_move_the_negatives():
    ranking = ranked(range(100))
    negatives = []
    for gold in ("one", "all"):
        c = draw_candidates(
            ranking, [200, 201, 202], UniformBand(n=5, first=1, last=100), generator(1, 1, "c"), gold=gold
        )
        negatives.append(c.positions[~c.is_gold].tolist())
    assert negatives[0] == negatives[1]
    assert len(negatives[0]) == 5


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 30), unique=True, min_size=1, max_size=20),
    st.sets(st.integers(0, 30), max_size=5),
    st.sampled_from(["one", "all", "none"]),
    st.integers(1, 8),
    st.integers(0, 3),
)
def test_lists_are_well_formed(positions, golds, gold, n, epoch):
    c = draw_candidates(
        ranked(positions), sorted(golds), UniformBand(n=n, first=1, last=20), generator(0, epoch, "c"), gold=gold
    )
    listed = c.positions.tolist()
    assert len(set(listed)) == len(listed) == len(c.is_gold) == len(c.ranks) == len(c)
    assert c.positions.dtype == c.ranks.dtype == np.int64
    chosen = {d for d, is_gold in zip(listed, c.is_gold, strict=True) if is_gold}
    assert c.is_gold.tolist() == sorted(c.is_gold.tolist(), reverse=True)
    if gold == "all":
        assert chosen == golds
    elif gold == "one":
        assert chosen <= golds
        assert len(chosen) == min(1, len(golds))
    else:
        assert not chosen
        assert len(listed) == min(n, len(positions))
    if gold != "none":
        assert not (set(listed) - chosen) & golds
    assert [positions.index(d) + 1 if d in positions else 0 for d in listed] == c.ranks.tolist()


def sampler_of(contexts=40, **options):
    rows = [(f"c{i}", ranked(np.random.default_rng(i).permutation(500)[:200])) for i in range(contexts)]
    return CandidateSampler(RankedPool.build(rows), UniformBand(n=8, first=11, last=150), seed=3, **options)


def test_resume_and_number_of_processes_change_nothing():
    sample, ids = sampler_of(), [f"c{i}" for i in range(40)]
    straight = {(e, c): sample(c, [1, 2], e).positions.tolist() for e in range(3) for c in ids}
    # three processes, each with its share of the contexts in another order, that began at epoch 1
    for part in range(3):
        resumed = sampler_of()
        for epoch in (1, 2):
            for c in reversed(ids[part::3]):
                assert resumed(c, [1, 2], epoch).positions.tolist() == straight[epoch, c]


def test_epochs_and_seeds_draw_anew():
    sample = sampler_of()
    drawn = {tuple(sample("c0", [], epoch).positions.tolist()) for epoch in range(20)}
    assert len(drawn) == 20


def test_errors_name_the_context():
    pool = RankedPool.build([("short", ranked([1, 2, 3]))])
    with pytest.raises(SamplingError, match=r"'short'.*ranks 11 to 960 are empty"):
        CandidateSampler(pool, UniformBand())("short", [], 0)
    with pytest.raises(SamplingError, match="'absent'"):
        CandidateSampler(pool, Top())("absent", [], 0)


@pytest.mark.parametrize("golds", [[-1], [1.5], ["d7"], [[1]]])
def test_golds_that_are_no_positions_are_refused(golds):
    with pytest.raises(SamplingError, match="golds are"):
        lists([1, 2], golds)


def test_contradictory_policies_are_refused():
    with pytest.raises(ConfigError, match="'two'"):
        sampler_of(1, gold="two")
    with pytest.raises(ConfigError, match="pseudo_gold"):
        sampler_of(1, gold="none", pseudo_gold=True)


def test_gold_share_by_source():
    contexts = [("logs", []), ("qrecc", [3]), ("qrecc", np.array([], dtype=np.int64)), ("qrecc", [1, 2]), ("cast", [9])]
    assert gold_share(contexts) == {"logs": 0.0, "qrecc": pytest.approx(2 / 3), "cast": 1.0}
    assert gold_share([]) == {}


def test_collection_is_a_named_marker():
    assert Collection().name == "collection"
    assert Collection() == Collection()


# in-batch negatives


@pytest.fixture
def batch():
    a = lists([1, 2, 3], [10, 11], gold="one")  # 1 2 3 drawn, one of 10 and 11 in the list, both known
    b = lists([3, 4, 11], [20])  # drew the gold 11 of a
    c = lists([5, 1], [])
    return [a, b, c]


def test_shared_block_by_hand(batch):
    positions, allowed = shared_block(batch)
    assert positions.tolist() == [1, 2, 3, 4, 5]  # 11 is a gold of the first context
    assert allowed.tolist() == [
        [False, False, False, True, True],
        [True, True, False, False, True],
        [False, True, True, True, False],
    ]


def test_shared_block_with_the_other_contexts_golds(batch):
    positions, allowed = shared_block(batch, exclude_other_golds=False)
    drawn_gold = int(batch[0].positions[0])
    assert positions.tolist() == sorted({1, 2, 3, 4, 5, 11, 20, drawn_gold})
    column = {d: allowed[:, i].tolist() for i, d in enumerate(positions.tolist())}
    assert column[20] == [True, False, True]
    assert column[11] == [False, False, True]  # known gold of the first, own candidate of the second
    assert column[1] == [False, True, False]


def test_shared_block_of_one_context_allows_nothing(batch):
    positions, allowed = shared_block(batch[:1])
    assert positions.tolist() == [1, 2, 3]
    assert allowed.shape == (1, 3)
    assert not allowed.any()


def test_shared_block_of_no_context_is_refused():
    with pytest.raises(SamplingError):
        shared_block([])


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 15), unique=True, min_size=1, max_size=6), st.sets(st.integers(0, 15), max_size=3)
        ),
        min_size=1,
        max_size=5,
    ),
    st.booleans(),
)
def test_nothing_a_context_knows_is_its_shared_negative(contexts, exclude):
    batch = [lists(positions, sorted(golds)) for positions, golds in contexts]
    positions, allowed = shared_block(batch, exclude_other_golds=exclude)
    for (_, golds), own, row in zip(contexts, batch, allowed, strict=True):
        learnt = set(positions[row].tolist())
        assert not learnt & golds
        assert not learnt & set(own.positions.tolist())
    everyone = set().union(*(golds for _, golds in contexts))
    if exclude:
        assert not set(positions.tolist()) & everyone
