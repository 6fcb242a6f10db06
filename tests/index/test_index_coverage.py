"""Coverage against a plain loop over passages and keys."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillir.errors import ConfigError
from distillir.index.coverage import coverage, passage_scores


def plain(holds, weights, tokens, repeat):
    """Passage → (score, {key: factor})."""
    made = {}
    for passage, keys in holds.items():
        covered, score, factors = set(), 0.0, {}
        for key in sorted(keys, key=lambda k: (-weights[k], k)):
            own = set(tokens[key])
            share = len(own - covered) / len(own)
            factors[key] = repeat + (1 - repeat) * share
            score += weights[key] * factors[key]
            covered |= own
        made[passage] = (score, factors)
    return made


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_it_equals_a_plain_loop(data):
    keys = data.draw(st.integers(1, 6))
    tokens = data.draw(st.lists(st.lists(st.integers(0, 7), min_size=1, max_size=5), min_size=keys, max_size=keys))
    weights = np.array(data.draw(st.lists(st.sampled_from([0.0, 1.0, 2.5, 2.5, 9.0]), min_size=keys, max_size=keys)))
    holds = data.draw(st.dictionaries(st.integers(0, 9), st.sets(st.integers(0, keys - 1), min_size=1), max_size=5))
    repeat = data.draw(st.sampled_from([0.0, 0.2, 1.0]))
    pairs = data.draw(st.permutations([(p, k) for p, ks in holds.items() for k in ks]))
    passages = np.array([p for p, _ in pairs], np.int64)
    numbers = np.array([k for _, k in pairs], np.int64)
    factors = coverage(passages, numbers, weights, tokens, repeat)
    expected = plain(holds, weights, tokens, repeat)
    assert factors == pytest.approx([expected[p][1][k] for p, k in pairs])
    found, scores = passage_scores(passages, numbers, weights, factors)
    assert found.tolist() == sorted(holds)
    assert scores == pytest.approx([expected[p][0] for p in sorted(holds)])


def test_by_hand():
    # Passage 4 holds both keys: (1, 2, 3) first, of (3, 4) only half is new. Passage 9 holds the lesser one alone.
    factors = coverage(np.array([4, 9, 4]), np.array([1, 1, 0]), np.array([10.0, 6.0]), [(1, 2, 3), (3, 4)])
    assert factors == pytest.approx([0.2 + 0.8 / 2, 1, 1])
    found, scores = passage_scores(np.array([4, 9, 4]), np.array([1, 1, 0]), np.array([10.0, 6.0]), factors)
    assert (found.tolist(), scores.tolist()) == ([4, 9], pytest.approx([10 + 6 * 0.6, 6]))


def test_hazards():
    none = np.empty(0, np.int64)
    assert coverage(none, none, np.empty(0), []).tolist() == []
    with pytest.raises(ConfigError, match="repeat"):
        coverage(none, none, np.empty(0), [], 1.5)
