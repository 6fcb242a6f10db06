"""An OpenAI-compatible endpoint over real HTTP, and everything that goes wrong with one."""

import asyncio
import json
import logging
import math
import socket
import time
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from misbehaving import ZERO, Say, completion, user

from distillir.errors import ConfigError, ModelError
from distillir.teachers import Choose, Endpoint, EndpointSettings, Failure, Generate, Generated, Message, Retry, Score
from distillir.teachers.completions import MalformedError, body_of, read_generated
from distillir.teachers.faults import of_status
from distillir.teachers.requests import Usage
from distillir.teachers.retry import retry_after

HI = Generate(user("hi"))
KEY = "sk-do-not-tell-anyone-0123456789"


# What is sent and what comes back


def test_a_reply_with_what_it_used(server):
    server.script = [Say(completion("hello", usage=(7, 3)))]
    answer = server.ask(HI)
    assert (answer.texts, answer.finish, answer.model_id) == (("hello",), ("stop",), "m-2026")
    used = answer.usage
    assert (used.prompt_tokens, used.completion_tokens, used.calls, used.attempts, used.lost) == (7, 3, 1, 1, 0)
    assert 0 < used.seconds < 5


def test_what_is_sent(server):
    server.script = [Say(completion("a", "b"))]
    messages = (Message("system", "Be brief."), Message("user", "hi ☃"))
    server.ask(Generate(messages, 9, 0.5, n=2, seed=4, stop=("\n",), logprobs=True), extra={"top_p": 0.9})
    assert server.asked == [
        {
            "model": "m",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi ☃"}],
            "max_tokens": 9,
            "temperature": 0.5,
            "n": 2,
            "seed": 4,
            "stop": ["\n"],
            "logprobs": True,
            "top_p": 0.9,
        }
    ]
    server.ask(HI, reply_limit="max_completion_tokens")
    assert sorted(server.asked[-1]) == ["max_completion_tokens", "messages", "model", "temperature"]


def test_usage_and_model_an_endpoint_does_not_tell(server):
    server.script = [Say(completion("x", usage=None) | {"model": None})]
    answer = server.ask(Generate(user("hé"), max_tokens=5))
    assert answer.model_id == ""
    # Three bytes and a message's separators; the whole reply: an upper bound, never less.
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3 + 16, 5)


def test_several_replies_with_their_likelihoods(server):
    tokens = [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.25}]
    server.script = [Say(completion("ab", "ab", logprobs=tokens))]
    answer = server.ask(Generate(user("hi"), temperature=1, n=2, logprobs=True))
    assert [(one.logprob, one.tokens, one.mean) for one in answer.likelihoods] == [(-1.75, 2, -0.875)] * 2


def test_a_choice_sums_the_spellings_of_a_word(server):
    listed = [
        {"token": "Yes", "logprob": math.log(0.5)},
        {"token": " yes", "logprob": math.log(0.2)},
        {"token": "No", "logprob": math.log(0.1)},
        {"token": "yes!", "logprob": math.log(0.05)},
    ]
    server.script = [Say(completion("Yes", logprobs=[{"token": "Yes", "logprob": -0.7, "top_logprobs": listed}]))]
    answer = server.ask(Choose(user("hi")))
    assert answer.logprobs == pytest.approx((math.log(0.7), math.log(0.1)))
    assert answer.bounded == ()
    sent = server.asked[0]
    assert (sent["max_tokens"], sent["logprobs"], sent["top_logprobs"], sent["temperature"]) == (1, True, 20, 0.0)


def test_a_word_that_is_not_listed_has_an_upper_bound(server):
    listed = [{"token": "Yes", "logprob": -0.1}, {"token": "Maybe", "logprob": -4.0}]
    server.script = [Say(completion("Yes", logprobs=[{"token": "Yes", "logprob": -0.1, "top_logprobs": listed}]))]
    answer = server.ask(Choose(user("hi")))
    assert (answer.logprobs, answer.bounded) == ((-0.1, -4.0), ("no",))


def test_an_endpoint_without_log_probabilities_says_so_once(server):
    server.script = [Say(completion("Yes"))]
    answer = server.ask(Choose(user("hi")))
    assert (answer.reason, answer.usage.attempts) == ("malformed", 1)
    assert "does not give them" in answer.detail


def test_what_a_chat_endpoint_cannot_do(server):
    for question in (Score("a", "b"), Generate(user("hi"), beams=2)):
        with pytest.raises(ModelError, match="use a local model"):
            server.ask(question)
    assert server.asked == []


def test_an_endpoint_must_be_open():
    with pytest.raises(ModelError, match="not open"):
        asyncio.run(Endpoint(EndpointSettings("m", base_url="http://127.0.0.1:9/v1")).ask(HI))


def test_empty_and_refused_replies_are_replies(server):
    refused = completion(None)
    refused["choices"][0]["message"]["refusal"] = "I cannot."
    server.script = [Say(completion("")), Say(completion(None)), Say(refused)]
    assert [server.ask(HI).texts for _ in range(3)] == [("",), ("",), ("I cannot.",)]


def test_half_characters_do_not_get_in(server):
    server.script = [Say(json.dumps(completion("half \ud83d")))]
    text = server.ask(HI).texts[0]
    assert text == "half �"
    text.encode("utf-8")
    server.ask(Generate(user("half \ud83d")))
    assert server.asked[-1]["messages"][0]["content"] == "half �"


# Concurrency


def test_at_most_in_flight_at_once(server):
    server.script = [Say(completion("x"), wait=0.05)]
    answers = server.ask(*[HI] * 12, in_flight=3)
    assert all(isinstance(answer, Generated) for answer in answers)
    assert server.most == 3


# Faults that pass


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_temporary_errors_are_tried_again(server, status):
    server.script = [Say({"error": {"message": "later"}}, status), Say("", status), Say(completion("now"))]
    answer = server.ask(HI)
    assert answer.texts == ("now",)
    assert (answer.usage.attempts, answer.usage.calls, answer.usage.lost) == (3, 1, 0)


def test_errors_that_do_not_pass_end_as_a_failure(server):
    server.script = [Say({"error": {"message": "the engine is overloaded"}}, 503)]
    answer = server.ask(HI)
    assert isinstance(answer, Failure)
    assert (answer.reason, answer.usage.attempts, answer.ends_run) == ("server", 4, False)
    assert answer.detail == "HTTP 503: the engine is overloaded (4 attempts)"
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    ("say", "words"),
    [
        (Say('{"choices": [{"mess'), "no JSON instead of a completion"),
        (Say(""), "an empty answer"),
        (Say("<html><body>Bad gateway</body></html>", kind="text/html"), "a web page instead of a completion"),
        (Say(completion()), "an answer without choices"),
        (Say({"error": {"message": "upstream failed"}}), "an answer without choices"),
        (Say("[1, 2]"), "an answer without choices"),
        (Say('{"choices": [7]}'), "choices that are no objects"),
        (Say('{"choices": [{"text": "old style"}]}'), "a choice without a message"),
    ],
)
def test_broken_answers_are_tried_again_and_possibly_paid(server, say, words):
    server.script = [say, Say(completion("now"))]
    answer = server.ask(HI)
    assert answer.texts == ("now",)
    assert (answer.usage.attempts, answer.usage.calls, answer.usage.lost) == (2, 2, 1)
    server.script = [say]
    failed = server.ask(HI)
    assert failed.reason == "malformed"
    assert words in failed.detail
    assert failed.usage.lost == 4


def test_json_of_a_wrong_content_type_is_read_all_the_same(server):
    server.script = [Say(completion("fine"), kind="text/plain")]
    assert server.ask(HI).texts == ("fine",)


def test_a_cut_connection_is_tried_again_and_possibly_paid(server):
    server.script = [Say(completion("half"), cut=True), Say(completion("whole"))]
    answer = server.ask(HI)
    assert (answer.texts, answer.usage.attempts, answer.usage.lost) == (("whole",), 2, 1)
    server.script = [Say(completion("half"), cut=True)]
    assert server.ask(HI).reason == "connection"


def test_a_slow_answer_is_a_time_out_and_possibly_paid(server):
    server.script = [Say(completion("late"), wait=0.6), Say(completion("in time"))]
    answer = server.ask(HI, total=0.25)
    assert (answer.texts, answer.usage.attempts, answer.usage.lost) == (("in time",), 2, 1)
    server.script = [Say(completion("late"), wait=0.6)]
    failed = server.ask(HI, read=0.2, retry=Retry(attempts=1))
    assert (failed.reason, failed.usage.lost) == ("timeout", 1)
    assert "read 0.2 s" in failed.detail


def test_an_answer_that_drips_ends_at_the_total(server):
    """A byte now and then resets a read time-out for ever; the total does not care."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"

        async def drip():
            loop = asyncio.get_running_loop()
            listening.setblocking(False)
            connection, _ = await loop.sock_accept(listening)
            with connection:
                await loop.sock_sendall(connection, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                for _ in range(40):
                    await asyncio.sleep(0.05)
                    await loop.sock_sendall(connection, b" ")

        async def both():
            dripping = asyncio.create_task(drip())
            settings = EndpointSettings("m", base_url=url, read=0.3, total=0.4, retry=Retry(attempts=1))
            async with Endpoint(settings) as endpoint:
                started = time.monotonic()
                answer = await endpoint.ask(HI)
            dripping.cancel()
            await asyncio.gather(dripping, return_exceptions=True)
            return answer, time.monotonic() - started

        answer, seconds = asyncio.run(both())
    assert answer.reason == "timeout"
    assert 0.35 < seconds < 1.5


def test_nobody_there_costs_nothing():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"

        async def ask():
            async with Endpoint(EndpointSettings("m", base_url=url, retry=ZERO)) as endpoint:
                return await endpoint.ask(HI)

        answer = asyncio.run(ask())
    assert (answer.reason, answer.usage.attempts, answer.usage.calls, answer.usage.lost) == ("connection", 4, 0, 0)
    assert "is http://127.0.0.1:" in answer.cure


# Waits


def test_retry_after_in_seconds_is_waited_and_holds_the_others_back(server):
    server.script = [Say("", 429, {"Retry-After": "0.4"}), Say(completion("x"))]

    async def two():
        async with server.endpoint(in_flight=2) as endpoint:
            first = asyncio.create_task(endpoint.ask(HI))
            await asyncio.sleep(0.15)
            return await asyncio.gather(first, endpoint.ask(HI))

    answers = asyncio.run(two())
    assert [answer.texts for answer in answers] == [("x",), ("x",)]
    told = server.times[0]
    assert len(server.times) == 3
    assert all(time_ - told >= 0.39 for time_ in server.times[1:])


def test_retry_after_as_a_date_is_waited(server):
    def at(_):
        return Say("", 503, {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)})

    server.script = [at, Say(completion("x"))]
    assert server.ask(HI).texts == ("x",)
    assert 0.9 <= server.times[1] - server.times[0] <= 3  # the date has whole seconds


def test_a_wait_beyond_patience_is_not_waited_for(server):
    server.script = [Say("", 429, {"Retry-After": "86400"})]

    async def two():
        async with server.endpoint() as endpoint:
            return [await endpoint.ask(HI), await endpoint.ask(HI)]

    first, second = asyncio.run(two())
    assert (first.reason, second.reason, len(server.asked)) == ("rate_limited", "rate_limited", 2)


def test_back_off_grows_and_stays_below_its_bound():
    retry = Retry(attempts=8, first=1.0, most=10.0)
    for failed in range(1, 8):
        full = min(10.0, 2.0 ** (failed - 1))
        waits = [retry.wait(failed) for _ in range(50)]
        assert all(full / 2 <= wait <= full for wait in waits)
        assert len(set(waits)) > 40  # jitter: callers do not come back in one moment
    assert retry.wait(8) is None
    assert all(7.0 <= retry.wait(1, 7.0) <= 8.0 for _ in range(50))
    assert retry.wait(1, 301.0) is None
    assert Retry(attempts=10**9).wait(10**8) <= 60  # no overflow


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"first": -1}, {"first": 9, "most": 1}, {"patience": -1}])
def test_a_retry_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ConfigError, match="attempts"):
        Retry(**wrong)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("-4", 0.0),
        ("Wed, 21 Oct 2015 07:28:10 GMT", 10.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("Wed, 99 Oct 2015 07:28:10 GMT", None),
    ],
)
def test_retry_after_is_read(text, seconds):
    now = datetime(2015, 10, 21, 7, 28, 0, tzinfo=UTC).timestamp()
    assert retry_after({"retry-after": text}, now) == seconds


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=40))
def test_no_retry_after_header_breaks_the_run(text):
    seconds = retry_after({"retry-after": text})
    assert seconds is None or seconds >= 0


def test_the_caller_decides_whether_to_go_on(server):
    server.script = [Say("", 500)]
    paused = []

    async def pause(seconds, lost):
        paused.append((seconds, lost))
        return len(paused) < 2

    async def ask():
        async with server.endpoint(retry=Retry(first=0.001)) as endpoint:
            return await endpoint.ask(HI, pause=pause)

    answer = asyncio.run(ask())
    assert (answer.reason, answer.usage.attempts, len(server.asked)) == ("stopped", 2, 2)
    assert [lost for _, lost in paused] == [False, False]


# Faults that stay


@pytest.mark.parametrize(
    ("status", "body", "reason", "ends_run", "cure"),
    [
        (400, {"error": {"message": "bad parameter"}}, "refused", False, "parameters"),
        (401, {"error": {"message": "wrong key"}}, "not_allowed", True, "check the key in OPENAI_API_KEY"),
        (402, {"error": "pay"}, "not_allowed", True, "top it up"),
        (403, "", "not_allowed", True, "may not use 'm'"),
        (404, {"error": {"message": "no such model"}}, "not_allowed", True, "check the model name 'm'"),
        (413, "", "refused", False, "shorten the input"),
        (422, {"detail": "unprocessable"}, "refused", False, "parameters"),
        (429, {"error": {"message": "quota", "code": "insufficient_quota"}}, "not_allowed", True, "top it up"),
        (400, {"error": {"message": "m", "code": "context_length_exceeded"}}, "too_long", False, "shorten the input"),
        (400, {"error": {"message": "m", "type": "exceed_context_size_error"}}, "too_long", False, "shorten the input"),
    ],
)
def test_errors_that_would_repeat_are_not_tried_again(server, monkeypatch, status, body, reason, ends_run, cure):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.script = [Say(body, status)]
    answer = server.ask(HI)
    assert (answer.reason, answer.ends_run, answer.usage.attempts, len(server.asked)) == (reason, ends_run, 1, 1)
    assert answer.detail.startswith(f"HTTP {status}")
    assert cure in answer.cure


def test_fewer_replies_than_asked_are_no_answer(server):
    server.script = [Say(completion("only one"))]
    answer = server.ask(Generate(user("hi"), temperature=1, n=3))
    assert (answer.reason, answer.usage.attempts) == ("malformed", 1)
    assert "1 of 3 replies" in answer.detail


@settings(max_examples=50, deadline=None)
@given(st.integers(300, 599), st.text(max_size=100) | st.binary(max_size=50).map(lambda b: b.decode("latin-1")))
def test_every_status_with_every_body_has_a_verdict(status, body):
    fault = of_status(status, body, "m", "KEY")
    assert not (fault.again and fault.ends_run)
    assert len(fault.detail) < 400
    assert "\n" not in fault.detail


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "message", "content", "logprobs", "usage", "prompt_tokens", "top_logprobs"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=50, deadline=None)
@given(json_values)
def test_any_json_is_read_or_refused_but_never_breaks(value):
    try:
        answer = read_generated(body_of(json.dumps({"choices": [{"message": value}]})), HI, Usage(1, 1))
    except MalformedError:
        return
    assert len(answer.texts) == 1
    assert answer.usage.prompt_tokens >= 0


# The key


def test_the_key_goes_to_the_server_and_nowhere_else(server, monkeypatch, caplog):
    monkeypatch.setenv("MY_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    # Servers repeat the key they were given: in an error, and here even in a reply.
    server.script = [
        Say({"error": {"message": f"Incorrect API key provided: {KEY}" + "x" * 400}}, 401),
        Say(f"<p>{KEY}</p>"),
        Say(completion(f"your key is {KEY}")),
    ]
    endpoint = server.endpoint(key_env="MY_KEY")
    seen = []

    async def ask():
        async with endpoint:
            seen.append(repr(endpoint.settings) + repr(vars(endpoint.settings)))
            return [await endpoint.ask(HI), await endpoint.ask(HI)]

    refused, answer = asyncio.run(ask())
    assert [headers["authorization"] for headers in server.headers] == [f"Bearer {KEY}"] * 3
    assert answer.texts == ("your key is [key]",)
    seen += [repr(refused), repr(answer), caplog.text]
    assert caplog.records  # something was logged at this level
    assert "[key]" in refused.detail
    for text in seen:
        assert KEY not in text
        assert KEY[:16] not in text


def test_the_key_is_in_no_traceback(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(ConfigError) as caught:
        EndpointSettings("m", base_url=f"http://user:{KEY}@example.org/v1")
    assert KEY not in "".join(traceback.format_exception(caught.value))
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://example.org/v1?key={KEY}")
    with pytest.raises(ConfigError) as caught:
        asyncio.run(Endpoint(EndpointSettings("m")).__aenter__())
    assert KEY not in str(caught.value)
    assert "OPENAI_BASE_URL" in str(caught.value)


def test_a_placeholder_is_no_secret(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    server.script = [Say(completion("none of them"))]
    assert server.ask(HI).texts == ("none of them",)


def test_without_a_key_only_this_machine_is_asked(server, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert isinstance(server.ask(HI), Generated)
    assert server.headers[0]["authorization"] == "Bearer none"
    with pytest.raises(ConfigError, match=r"OPENAI_API_KEY is not set → export OPENAI_API_KEY"):
        asyncio.run(Endpoint(EndpointSettings("m", base_url="https://example.org/v1")).__aenter__())


def test_a_key_that_is_not_wanted_is_not_sent(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.ask(HI, key_env=None)
    assert server.headers[0]["authorization"] == "Bearer none"


def test_the_base_url_comes_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    assert server.ask(HI, base_url=None).texts == ("yes",)
    monkeypatch.setenv("OTHER_URL", server.url)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert server.ask(HI, base_url=None, base_url_env="OTHER_URL").texts == ("yes",)


def test_a_proxy_of_the_environment_does_not_stand_before_this_machine(server, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert server.ask(HI).texts == ("yes",)


@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        ({"model": ""}, "without a model"),
        ({"in_flight": 0}, "in_flight 0"),
        ({"total": 0}, "time-outs"),
        ({"base_url": "127.0.0.1:80"}, "no web address"),
        ({"base_url": "ftp://a/v1"}, "no web address"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong, cause):
    with pytest.raises(ConfigError, match=cause):
        EndpointSettings(**({"model": "m"} | wrong))
