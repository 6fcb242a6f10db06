import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillir.errors import LabelError
from distillir.labels import Label, LabelRequest, canonical_json, prompt_version

BASE = {"teacher": "t", "model": "m", "prompt_version": "p", "input": ["x"], "parameters": {"a": 1}, "sample_index": 0}
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def test_canonical_json_has_one_text_per_value():
    assert canonical_json({"b": (1, 2.0), "a": "é"}) == '{"a":"é","b":[1,2.0]}'


@pytest.mark.parametrize("value", [math.nan, {"a": math.inf}, {1: "a"}, [{"x": {None: 1}}], "\ud800", object(), {1, 2}])
def test_what_json_cannot_say_is_refused(value):
    with pytest.raises(LabelError, match="not JSON"):
        canonical_json(value)


def test_a_bottomless_value_is_refused():
    value: list = []
    value.append(value)
    with pytest.raises(LabelError, match="not JSON"):
        canonical_json(value)


@pytest.mark.parametrize(
    "change",
    [
        {"teacher": "t2"},
        {"model": "m2"},
        {"prompt_version": "p2"},
        {"input": ["y"]},
        {"parameters": {"a": 2}},
        {"parameters": {"a": 1, "b": None}},
        {"sample_index": 1},
    ],
)
def test_each_part_of_a_request_changes_its_key(change):
    assert LabelRequest(**BASE).key != LabelRequest(**(BASE | change)).key


def test_the_context_and_the_order_of_parameters_do_not_change_the_key():
    one = LabelRequest(**(BASE | {"parameters": {"a": 1, "b": 2}}), context_id="c1")
    two = LabelRequest(**(BASE | {"parameters": {"b": 2, "a": 1}}), context_id="c2")
    assert one.key == two.key


def test_the_parts_do_not_run_into_each_other():
    assert LabelRequest("ab", "c", "", None).key != LabelRequest("a", "bc", "", None).key
    assert LabelRequest("a", "b", "c", None).key == LabelRequest("a", "b", "c", None).key


def test_prompt_versions_follow_the_prompt():
    prompt = {"system": "Rewrite.", "shots": []}
    assert prompt_version(prompt) == prompt_version(dict(reversed(prompt.items())))
    assert prompt_version(prompt) != prompt_version({**prompt, "system": "Rewrite!"})
    assert len(prompt_version(prompt)) == 12


@pytest.mark.parametrize("change", [{"teacher": ""}, {"model": ""}, {"sample_index": -1}, {"input": math.nan}])
def test_incomplete_requests_are_refused(change):
    with pytest.raises(LabelError):
        LabelRequest(**(BASE | change))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("rewrite", " "),
        ("rewrite", 5),
        ("response", ["a"]),
        ("order", []),
        ("order", ["d1", "d1"]),
        ("order", [1, 2]),
        ("order", "d1"),
        ("scores", {}),
        ("scores", {"d1": math.nan}),
        ("scores", {"d1": True}),
        ("scores", {1: 0.5}),
        ("scores", [0.5]),
        ("vote", "x"),
    ],
)
def test_values_that_are_not_of_their_kind_are_refused(kind, value):
    with pytest.raises(LabelError):
        Label(kind, value)


def test_only_a_malformed_label_has_no_value():
    assert Label("order", None, raw="Sorry!", status="malformed").raw == "Sorry!"
    with pytest.raises(LabelError):
        Label("order", None)
    with pytest.raises(LabelError):
        Label("order", ["d"], status="malformed")


@pytest.mark.parametrize("spent", [{"tokens_in": -1}, {"cost": math.nan}, {"seconds": math.inf}])
def test_impossible_amounts_are_refused(spent):
    with pytest.raises(LabelError, match="finite amounts"):
        Label("rewrite", "r", **spent)


@settings(max_examples=50, deadline=None)
@given(json_values, json_values)
def test_keys_are_equal_exactly_when_inputs_are(a, b):
    same = canonical_json(a) == canonical_json(b)
    assert (LabelRequest("t", "m", "p", a).key == LabelRequest("t", "m", "p", b).key) == same
