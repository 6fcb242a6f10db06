"""What a term may be called and weigh in an engine."""

import math
import struct
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillir.engines import dimension_names, feature_name, stored, stored_rows, term_of
from distillir.engines.features import SMALLEST, features, short
from distillir.errors import SearchIndexError
from distillir.vectors import CSR
from engine_scorer import nine_bits

TERMS = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=12)
DOTTED = st.text(st.sampled_from(".%2E5a#"), min_size=1, max_size=12)
FLOATS = st.floats(SMALLEST, 2.0**127, width=32)


@pytest.mark.parametrize(
    ("term", "name"),
    [
        ("river", "river"),
        ("##ing", "##ing"),
        ("[unused12]", "[unused12]"),
        ("Ġthe", "Ġthe"),
        ("▁", "▁"),
        (".", "%2E"),
        ("...", "%2E%2E%2E"),
        ("u.s.", "u%2Es%2E"),
        ("%", "%25"),
        ("%2E", "%252E"),
        ('"\\', '"\\'),
    ],
)
def test_names(term, name):
    assert feature_name(term) == name
    assert term_of(name) == term


@settings(max_examples=50, deadline=None)
@given(TERMS | DOTTED)
def test_names_come_back_and_hold_no_dot(term):
    assert "." not in feature_name(term)
    assert term_of(feature_name(term)) == term


@settings(max_examples=50, deadline=None)
@given(st.lists(DOTTED, unique=True))
def test_no_two_terms_share_a_name(terms):
    assert len({feature_name(term) for term in terms}) == len(terms)


@pytest.mark.parametrize("name", ["a.b", "100%", "%2", "%2e"])
def test_a_name_we_never_write_is_refused(name):
    with pytest.raises(SearchIndexError, match="not a feature's name"):
        term_of(name)


@pytest.mark.parametrize("term", ["", None, "\ud800", "." * 11_000])
def test_terms_no_engine_can_store_are_refused(term):
    with pytest.raises(SearchIndexError):
        feature_name(term)


def test_the_longest_name_is_taken():
    assert feature_name("a" * 32766) == "a" * 32766


@pytest.mark.parametrize(
    ("weight", "kept"),
    [(1.0, 1.0), (1.00390625, 1.00390625), (1.999, 1.99609375), (0.43122650407429886, 0.43066406), (257.5, 257.0)],
)
def test_nine_bits_by_hand(weight, kept):
    assert stored([weight])[0] == np.float32(kept)


@settings(max_examples=50, deadline=None)
@given(st.lists(FLOATS, min_size=1))
def test_nine_bits_are_javas(weights):
    kept = stored(weights)
    assert kept.tolist() == [nine_bits(weight) for weight in weights]
    loss = 1 - kept.astype(np.float64) / np.asarray(weights)
    assert loss.min() >= 0
    assert loss.max() < 2**-8
    assert stored(kept).tolist() == kept.tolist()


def test_rows_are_cut_and_nothing_else():
    rows = CSR(np.array([0, 1, 2]), np.array([4, 4], np.int32), np.array([1.999, 3.0], np.float32))
    cut = stored_rows(rows)
    assert cut.indices is rows.indices
    assert cut.values.tolist() == [1.99609375, 3.0]


def test_features_are_sorted_named_and_without_the_silent_ones():
    given = {"b": 0.5, "a": 0.5, "u.s.": 2.0, "zero": 0.0, "subnormal": 1e-39}
    assert list(features(given).items()) == [("u%2Es%2E", 2.0), ("a", 0.5), ("b", 0.5)]


def test_the_smallest_weight_stays():
    assert np.float32(features({"a": SMALLEST})["a"]) == np.float32(SMALLEST)
    assert np.float32(SMALLEST) == np.float32(1.17549435e-38)


@pytest.mark.parametrize("weights", [{}, {"a": 0.0}, {"a": 1e-39}])
def test_a_query_that_says_nothing_is_refused(weights):
    with pytest.raises(SearchIndexError, match="without terms"):
        features(weights)


@pytest.mark.parametrize("weight", [math.nan, math.inf, -math.inf, 1e39, -0.5])
def test_weights_that_are_none_are_refused_by_name(weight):
    with pytest.raises(SearchIndexError, match="'river'"):
        features({"a": 1.0, "river": weight})


@settings(max_examples=50, deadline=None)
@given(FLOATS)
def test_short_weights_are_the_same_float32(weight):
    text = repr(short(weight))
    assert struct.pack("f", float(text)) == struct.pack("f", weight)
    assert significant(text) <= significant(repr(float(weight)))


def significant(number: str) -> int:
    """Digits that say something: 100000000000.0 is longer than 99999997952.0 and says less."""
    return len(Decimal(number).normalize().as_tuple().digits)


def test_dimensions_by_number():
    assert dimension_names(np.array([0, 30521])) == ["0", "30521"]
