import pytest

from distillir.errors import LabelError
from distillir.labels import Label, LabelRequest, LabelStore, Price, count_tokens, estimate


def ask(i, **change):
    fields = {"teacher": "llm", "model": "m1", "prompt_version": "p1", "input": ["q" * 40, i]} | change
    return LabelRequest(**fields, context_id=f"c{i}")


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.db") as opened:
        yield opened


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("abcd", 1), ("abcde", 2), ("мир!", 2), ("日本語", 3), ("한국", 2), ("é" * 8, 2)]
)
def test_tokens_by_the_stated_rule(text, tokens):
    assert count_tokens(text) == tokens


def test_an_estimate_by_hand():
    requests = [ask(i, parameters={"max_tokens": 100}) for i in range(4)] + [ask(0, parameters={"max_tokens": 100})]
    found = estimate(requests, price=Price(input=2.0, output=10.0, call=0.01), prompt_tokens=90, reply_tokens=20)
    assert (found.requests, found.repeated, found.stored, found.calls) == (5, 1, 0, 4)
    # 40 Latin characters and a line break: 41 / 4, rounded up, and 90 besides.
    assert (found.tokens_in, found.tokens_out) == (4 * (11 + 90), 80)
    assert found.price == pytest.approx(4 * 0.01 + (404 * 2 + 80 * 10) / 1e6)
    assert found.at_most == pytest.approx(4 * 0.01 + (404 * 2 + 400 * 10) / 1e6)
    assert found.seconds is None
    assert "4 calls to make" in found.text()
    assert found.to_json()["calls"] == 4


def test_a_tokenizer_given_is_asked_and_without_a_limit_there_is_no_upper_end():
    found = estimate([ask(1)], tokens=lambda text: len(text.split()), reply_tokens=5)
    assert (found.tokens_in, found.at_most) == (1, None)
    assert "no limit on replies" in found.text()
    assert estimate([ask(1)], most_tokens=7, price=Price(output=1e6)).at_most == pytest.approx(7)


def test_what_is_answered_costs_nothing_and_what_was_seen_replaces_the_rules(store):
    store.put_many(
        (ask(i), Label("rewrite", "r", tokens_in=300, tokens_out=10 if i % 2 else 20, seconds=2.0)) for i in range(20)
    )
    before = store.uses()
    found = estimate([ask(i) for i in range(30)], store, price=Price(input=1e6))
    assert (found.stored, found.calls) == (20, 10)
    assert (found.tokens_in, found.tokens_out, found.seconds) == (3000, 150, 20.0)
    assert found.price == pytest.approx(3000)
    assert store.uses() == before
    other = estimate([ask(1, model="m2")], store)
    assert (other.stored, other.seconds) == (0, None)
    nothing = estimate([ask(1)], store)
    assert (nothing.calls, nothing.price, nothing.seconds, nothing.at_most) == (0, 0, 0.0, 0)


def test_few_labels_are_no_experience(store):
    store.put_many((ask(i), Label("rewrite", "r", tokens_in=300, tokens_out=1)) for i in range(19))
    assert estimate([ask(50)], store, reply_tokens=9).tokens_out == 9


def test_prices_below_nothing_are_refused():
    with pytest.raises(LabelError, match="finite prices"):
        Price(input=-1)
    with pytest.raises(LabelError, match="finite prices"):
        Price(call=float("nan"))
