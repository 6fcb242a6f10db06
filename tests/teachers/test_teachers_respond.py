"""Respond: different replies, the most likely first."""

import asyncio

import pytest
from table_model import Table, by_context, context

from distillir.errors import ConfigError
from distillir.labels import LabelStore
from distillir.teachers import Failure, Generated, Likelihood, Score, Usage
from distillir.teachers.respond import Respond, RespondSettings, read_responses
from distillir.teachers.teacher import estimate_teacher, teach, teach_async
from distillir.teachers.texts import turns_of

TEA = context("t", "Do you like tea?", "I do.", "Which kind?")


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.sqlite") as opened:
        yield opened


def replies(*said, finish=None, likelihoods=None):
    pairs = tuple(Likelihood(*pair) for pair in likelihoods or ())
    return Generated(said, Usage(9, 9, calls=1, attempts=1), "m", finish or ("stop",) * len(said), pairs)


def test_replies_are_ranked_by_likelihood_per_token():
    label = read_responses(replies("Green.", "Black tea, always.", likelihoods=[(-4.0, 2), (-5.0, 5)]))
    assert label.value == [
        {"text": "Black tea, always.", "log_likelihood": -1.0},
        {"text": "Green.", "log_likelihood": -2.0},
    ]
    assert (label.status, label.scale, label.raw) == ("ok", "logprob_per_token", "Green.\n---\nBlack tea, always.")


def test_empty_repeated_and_cut_replies_are_counted():
    label = read_responses(
        replies(
            "Green.", " Green. ", "", "I like it. But only when the", "never ends and",
            finish=("stop", "stop", "stop", "length", "length"), likelihoods=[(-2.0, 2)] * 5,
        )
    )  # fmt: skip
    assert label.value == [{"text": "Green.", "log_likelihood": -1.0}, {"text": "I like it."}]
    assert (label.status, label.reason) == ("repaired", "repeated:1; empty:2; cut off:2")


def test_nothing_said_is_malformed():
    label = read_responses(replies("", " "))
    assert (label.value, label.status, label.reason) == (None, "malformed", "empty:2")


def test_endpoints_without_likelihoods_give_texts_alone():
    assert read_responses(replies("Green.", "Black.")).value == [{"text": "Green."}, {"text": "Black."}]


def test_the_context_is_asked_as_a_chat(store):
    model = Table(lambda _: replies("Green.", "Black."))
    teach(Respond([TEA], RespondSettings(n=2, seed=5)), model, store)
    (question,) = model.questions
    assert (question.n, question.temperature, question.seed, question.logprobs, question.beams) == (2, 0.8, 5, True, 1)
    assert [message.role for message in question.messages] == ["system", "user", "assistant", "user"]
    assert [one["text"] for one in by_context(store, "respond")["t"].value] == ["Green.", "Black."]
    teach(Respond([TEA], RespondSettings(n=2, seed=5)), model, store)
    assert len(model.questions) == 1
    told = estimate_teacher(Respond([TEA], RespondSettings(n=3)), "table@1", store)
    assert (told.calls, told.tokens_out) == (1, 96)


@pytest.mark.parametrize("reason", ["refused", "malformed"])
def test_where_an_endpoint_gives_one_reply_a_call_they_are_asked_for_singly(store, reason):
    said = iter(["Green.", "Black.", "White.", "Red."])

    class Single(Table):
        async def ask(self, question, *, pause=None):
            self.say = lambda _: (
                Failure(reason, "n") if question.n > 1 else replies(next(said), likelihoods=[(-1.0, 2)])
            )
            return await super().ask(question)

    model = Single(None, in_flight=1)
    outcome = teach(Respond([TEA, context("u", "And coffee?")], RespondSettings(n=2, seed=3)), model, store)
    assert [(question.n, question.seed) for question in model.questions] == [(2, 3), (1, 6), (1, 7), (1, 6), (1, 7)]
    labels = by_context(store, "respond")
    assert [one["text"] for one in labels["t"].value] == ["Green.", "Black."]
    assert labels["u"].value[1] == {"text": "Red.", "log_likelihood": -0.5}
    assert labels["t"].attempts == 3
    assert not outcome.failures


def test_other_failures_are_no_reason_to_ask_singly(store):
    model = Table(lambda _: Failure("timeout", "slow"))
    outcome = teach(Respond([TEA], RespondSettings(n=2)), model, store)
    assert outcome.failures == {"timeout": 1}
    assert len(model.questions) == 1


def test_beams_neither_sample_nor_have_a_seed(store):
    model = Table(lambda _: replies("Green.", "Black."))
    teach(Respond([TEA], RespondSettings(n=2, beams=3)), model, store)
    assert (model.questions[0].beams, model.questions[0].temperature, model.questions[0].seed) == (3, 0.0, None)
    with pytest.raises(ConfigError, match="beams 0 or at least n"):
        RespondSettings(n=4, beams=3)


def test_speakers_take_turns_also_where_a_question_was_never_answered(store):
    unanswered = context("u", "Hello", "", "Are you there?")
    assert [tuple(turn) for turn in turns_of(unanswered.conversation, 4, 50)] == [("user", "Hello\nAre you there?")]


def test_the_small_real_model_responds_with_likelihoods_that_scoring_confirms(smollm2, store):
    asyncio.run(teach_async(Respond([TEA], RespondSettings(n=2, seed=1, max_tokens=24)), smollm2, store))
    (row,) = store.rows("respond")
    assert row.label.raw.count("\n---\n") == 1
    chat = Respond([TEA]).prompt.messages({}, turns_of(TEA.conversation, 4, 100))
    told = {one["text"]: one["log_likelihood"] for one in row.label.value if len(one) == 2}
    assert told
    for text, mean in told.items():
        confirmed = asyncio.run(smollm2.ask(Score(chat, text)))
        assert mean == pytest.approx(confirmed.likelihood.mean, abs=0.02)
