"""The loop between questions and the store: nothing twice, nothing lost, nothing beyond the budget."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from misbehaving import ZERO, Say, completion

from distillir.errors import ConfigError, LabelError, ModelError
from distillir.labels import Label, LabelRequest, LabelStore
from distillir.teachers import (
    SECONDS,
    Choose,
    Failure,
    Generate,
    Generated,
    Job,
    LocalModel,
    LocalSettings,
    Message,
    Outcome,
    Prices,
    Progress,
    RunSettings,
    Usage,
    label,
    label_async,
    one_call,
)

PROGRAM = Path(__file__).with_name("label_run.py")
FAST = {"give_up_after": 1000}


class Scripted:
    """A model in this process: `say(text)` tells its answer; counts what it was asked."""

    def __init__(self, say=None, wait=0.0, in_flight=4):
        self.name, self.in_flight, self.wait = "m", in_flight, wait
        self.say = say or (lambda text: text.upper())
        self.asked, self.now, self.most = Counter(), 0, 0

    def bound(self, question):
        return Usage(10, 10, calls=1)

    async def ask(self, question, *, pause=None):
        text = question.messages[-1].content
        self.asked[text] += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            said = self.say(text)
            if asyncio.iscoroutine(said):
                said = await said
            await asyncio.sleep(self.wait)
        finally:
            self.now -= 1
        if isinstance(said, Failure | Generated):
            return said
        return Generated((said,), Usage(4, 2, 0.5, calls=1, attempts=1), model_id="m-2026")

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return None


def job(text, read=None, **change):
    question = Generate((Message("user", text),))
    request = LabelRequest(
        **({"teacher": "t", "model": "m", "prompt_version": "p", "input": text} | change), context_id=text
    )
    read = read or (lambda reply: Label("rewrite", reply.texts[0], reply.texts[0]))
    return one_call(request, question, read, Usage(10, 10, calls=1))


def jobs(n):
    return [job(f"q{i}") for i in range(n)]


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.db") as opened:
        yield opened


def failures(store):
    with store.reading() as db:
        return db.execute("SELECT reason, attempts, possibly_paid, cost FROM failures ORDER BY reason").fetchall()


def leases(store):
    with store.reading() as db:
        return db.execute("SELECT count(*) FROM leases").fetchone()[0]


# Once and for all


def test_every_label_is_made_once_and_signed_with_what_it_cost(store):
    model = Scripted()
    prices = Prices(input=1e6, output=2e6, call=0.5)
    outcome = label([*jobs(9), job("q3")], model, store, RunSettings(prices=prices))
    assert outcome == Outcome(
        "done",
        Progress(9, 0, done=9, seconds=outcome.progress.seconds, spent=9 * 8.5),
        Counter(),
        Usage(36, 18, 4.5, calls=9, attempts=9),
    )
    assert set(model.asked.values()) == {1}
    made = store.get(job("q3").request.key)
    assert (made.value, made.raw, made.model_id) == ("Q3", "Q3", "m-2026")
    assert (made.tokens_in, made.tokens_out, made.seconds, made.cost, made.attempts) == (4, 2, 0.5, 8.5, 1)
    again = label(jobs(12), model, store)
    assert (again.progress.total, again.progress.stored, again.progress.done) == (12, 9, 3)
    assert set(model.asked.values()) == {1}
    assert leases(store) == 0


def test_nothing_to_do_asks_nothing(store):
    assert label([], Scripted(), store).progress == Progress(0, 0, seconds=pytest.approx(0, abs=5))
    label(jobs(3), Scripted(), store)
    model = Scripted()
    assert label(jobs(3), model, store).stopped == "done"
    assert not model.asked


def test_the_plan_is_made_when_the_model_is_open(store, tiny_llm):
    """A local model's name, part of every key, is known once it is read; its batches fill from the jobs in flight."""
    sizes = []

    def plan(model):
        answer = model._answer
        slow = lambda questions: time.sleep(0.1) or sizes.append(len(questions)) or answer(questions)  # noqa: E731
        model._batches._work = slow
        return [
            one_call(
                LabelRequest("t", model.name, "p", i),
                question := Choose((Message("user", f"{i}?"),)),
                lambda answer: Label("scores", dict(zip(("yes", "no"), answer.logprobs, strict=True))),
                model.bound(question),
            )
            for i in range(20)
        ]

    model = LocalModel(LocalSettings(str(tiny_llm), batch=4))
    outcome = label(plan, model, store, RunSettings(prices=SECONDS))
    assert (outcome.progress.done, outcome.progress.currency) == (20, "s")
    assert outcome.progress.spent == pytest.approx(outcome.usage.seconds) != 0
    assert {row.model for row in store.rows()} == {model.name}
    assert sum(sizes) == 20
    assert max(sizes) == 4
    assert len(sizes) <= 9


def test_a_malformed_reply_is_kept_counted_and_not_asked_again(store):
    def read(reply):
        return Label("rewrite", None, raw=reply.texts[0], status="malformed", reason="empty")

    outcome = label([job("q", read)], Scripted(), store)
    assert (outcome.progress.done, outcome.progress.malformed) == (1, 1)
    model = Scripted()
    assert label([job("q")], model, store).progress.stored == 1
    assert not model.asked


def test_a_job_may_ask_several_times(store):
    async def work(ask):
        first = await ask(Generate((Message("user", "one"),)))
        second = await ask(Generate((Message("user", first.texts[0] + " two"),)))
        return Label("rewrite", second.texts[0])

    request = LabelRequest("t", "m", "p", "both")
    outcome = label(
        [Job(request, work, Usage(20, 20, calls=2))], Scripted(), store, RunSettings(prices=Prices(call=1.0))
    )
    made = store.get(request.key)
    assert (made.value, made.tokens_in, made.cost, made.attempts) == ("ONE TWO", 8, 2.0, 2)
    assert outcome.progress.spent == 2.0


# In flight


def test_a_place_in_flight_is_held_until_the_label_is_on_the_disk(store, monkeypatch):
    model = Scripted(wait=0.002)
    put, started = store.put_many, []

    def slow(pairs, **options):
        time.sleep(0.01)
        new = put(pairs, **options)
        # Asked and not on the disk: never more than may be in flight.
        started.append(sum(model.asked.values()) - len(store))
        return new

    monkeypatch.setattr(store, "put_many", slow)
    outcome = label(jobs(40), model, store, RunSettings(in_flight=5))
    assert outcome.progress.done == 40
    assert model.most <= 5
    assert max(started) <= 5
    assert len(started) < 40  # what came together was committed together


def test_leases_of_long_calls_are_renewed(store):
    """Two runs, one lease shorter than a call: nothing is asked twice."""
    first, second = Scripted(wait=0.5, in_flight=3), Scripted(wait=0.5, in_flight=3)

    async def both():
        settings = RunSettings(lease=0.15)
        return await asyncio.gather(
            label_async(jobs(9), first, store, settings), label_async(jobs(9), second, store, settings)
        )

    outcomes = asyncio.run(both())
    assert set((first.asked + second.asked).values()) == {1}
    assert sum(outcome.progress.done for outcome in outcomes) == 9
    assert all(outcome.progress.done + outcome.progress.stored == 9 for outcome in outcomes)
    assert len(store) == 9


def test_what_a_dead_process_held_is_taken_over_when_its_lease_ends(store):
    held = [one.request for one in jobs(3)]
    store.claim(held, "dead", 0.4)
    model, seen = Scripted(), []
    outcome = label(jobs(6), model, store, RunSettings(lease=0.4), seen.append)
    assert outcome.progress.done == 6
    assert max(moment.elsewhere for moment in seen) == 3
    with store.reading() as db:
        assert db.execute("SELECT count(*) FROM takeovers").fetchone()[0] == 3


def test_of_two_answers_to_one_question_the_first_stays(store):
    """This process slept through its lease; another one answered meanwhile."""

    def say(text):
        store.put(job(text).request, Label("rewrite", "first"))
        return "second"

    outcome = label(jobs(1), Scripted(say), store)
    assert outcome.twice == 1
    assert store.get(job("q0").request.key).value == "first"
    with store.reading() as db:
        assert db.execute("SELECT value FROM conflicts").fetchall() == [('"second"',)]


# Failures


def test_a_failure_costs_one_label_and_is_asked_again_by_the_next_run(store):
    broken = {"q2": Failure("timeout", "late", usage=Usage(calls=2, attempts=3, lost=2))}
    model = Scripted(lambda text: broken.get(text, text.upper()))
    outcome = label(jobs(5), model, store, RunSettings(prices=Prices(input=1e6, call=1.0)))
    assert (outcome.progress.done, outcome.progress.failed, outcome.failures) == (4, 1, Counter(timeout=1))
    # Two lost calls at 1 and their 10 tokens of prompt at most.
    assert failures(store) == [("timeout", 3, 2, 22.0)]
    assert outcome.progress.spent == 4 * 5.0 + 22.0
    assert leases(store) == 0
    broken.clear()
    assert label(jobs(5), model, store).progress.done == 1
    assert model.asked == Counter(q0=1, q1=1, q2=2, q3=1, q4=1)


def test_a_reply_the_teacher_can_make_nothing_of_fails_alone(store):
    def read(reply):
        return Label("rewrite", {"not": "a text"})

    outcome = label([job("a"), job("b", read), job("c")], Scripted(), store)
    assert (outcome.progress.done, outcome.failures) == (2, Counter(teacher=1))
    assert [row[0] for row in failures(store)] == ["teacher"]


def test_a_bug_ends_the_run_and_what_was_in_flight_is_kept(store):
    def read(reply):
        raise ZeroDivisionError("a bug")

    model = Scripted(wait=0.02)
    with pytest.raises(ZeroDivisionError):
        label([job("a", read), *jobs(50)], model, store)
    assert 1 <= len(store) < 20
    assert len(store) == sum(model.asked.values()) - 1
    assert leases(store) == 0


def test_a_wrong_key_ends_the_run_at_once(store, server):
    server.script = [Say({"error": {"message": "wrong key"}}, 401)]
    with pytest.raises(ModelError, match=r"HTTP 401: wrong key → check"):
        label(jobs(500), server.endpoint(in_flight=4), store)
    assert len(server.asked) <= 4
    assert len(failures(store)) == len(server.asked)
    assert leases(store) == 0


def test_too_many_failures_in_a_row_end_the_run(store, server):
    server.script = [Say(completion("x")), Say("", 500)]
    with pytest.raises(ModelError, match=r"6 failures in a row, the last: HTTP 500"):
        label(jobs(100), server.endpoint(in_flight=2, retry=ZERO), store, RunSettings(give_up_after=6))
    assert len(server.asked) <= 1 + 8 * 4
    assert len(store) == 1


def test_a_store_that_refuses_ends_the_run(store, monkeypatch):
    put = store.put_many

    def full(pairs, **options):
        if len(store) >= 3:
            raise LabelError(f"{store.path}: database or disk is full", "free some space")
        return put(pairs, **options)

    monkeypatch.setattr(store, "put_many", full)
    model = Scripted(in_flight=2)
    with pytest.raises(LabelError, match="disk is full"):
        label(jobs(100), model, store)
    assert len(store) == 3
    assert sum(model.asked.values()) <= 3 + 2 * 2


# Budget


@pytest.mark.parametrize("seed", range(4))
def test_the_budget_is_never_passed(store, seed):
    """A call costs 0 to 2 and may cost 2; four at once."""
    dice, spent, most = random.Random(seed), [0.0], [0.0]

    def say(text):
        cost = dice.random()
        spent[0] += cost
        # The worst that the calls in flight could still turn out to be.
        most[0] = max(most[0], spent[0])
        return Generated((text,), Usage(int(1e6 * cost), 0, calls=1, attempts=1))

    model = Scripted(say, wait=0.002)
    model.bound = lambda question: Usage(1_000_000, 0, calls=1)
    big = [Job(one.request, one.work, Usage(1_000_000, 0, calls=1)) for one in jobs(200)]
    outcome = label(big, model, store, RunSettings(prices=Prices(input=1.0), budget=7.5))
    assert outcome.stopped == "budget"
    assert 6.5 <= outcome.progress.spent <= 7.5  # less than one call's bound is left over
    assert outcome.progress.spent == pytest.approx(spent[0], abs=1e-3)
    assert len(store) == sum(model.asked.values()) == outcome.progress.done
    assert leases(store) == 0


def test_a_budget_too_small_for_one_call_asks_nothing(store):
    model = Scripted()
    outcome = label(jobs(5), model, store, RunSettings(prices=Prices(call=1.0), budget=0.5))
    assert (outcome.stopped, outcome.progress.done, model.asked) == ("budget", 0, Counter())
    assert outcome.progress.remaining == 5
    assert label(jobs(5), model, store, RunSettings(prices=Prices(call=1.0), budget=5.0)).progress.done == 5


def test_an_attempt_that_may_have_been_paid_needs_budget_for_another(store, server):
    """Each answer is lost; a call of at most 1 with a budget of 2.5 may be tried twice, not four times."""
    server.script = [Say("<html>")]
    question = Generate((Message("user", "hi"),), max_tokens=1)
    endpoint = server.endpoint(in_flight=1, key_env=None)
    request = LabelRequest("t", "m", "p", "hi")
    one = one_call(request, question, lambda reply: Label("rewrite", "x"), endpoint.bound(question))
    outcome = label([one], endpoint, store, RunSettings(prices=Prices(call=1.0), budget=2.5))
    assert (outcome.stopped, len(server.asked)) == ("budget", 2)
    assert outcome.progress.spent == 2.0
    assert failures(store) == [("stopped", 2, 2, 2.0)]


# Progress


def test_progress_tells_rate_money_and_what_is_left(store):
    seen = []
    label(jobs(2), Scripted(), store)
    label(jobs(12), Scripted(wait=0.005), store, RunSettings(in_flight=2, prices=Prices(call=2.0)), seen.append)
    assert seen[0] == Progress(12, 2, seconds=seen[0].seconds)
    assert (seen[0].rate, seen[0].remaining_seconds, seen[0].projected) == (0.0, None, None)
    assert [one.done for one in seen] == sorted(one.done for one in seen)
    last = seen[-1]
    assert (last.done, last.remaining, last.spent, last.in_flight) == (10, 0, 20.0, 0)
    assert all(1 <= one.in_flight <= 2 for one in seen[2:-2])
    middle = Progress(total=10, stored=2, done=3, failed=1, seconds=8.0, spent=6.0)
    assert (middle.remaining, middle.rate, middle.remaining_seconds, middle.projected) == (4, 0.5, 8.0, 12.0)


@pytest.mark.parametrize("wrong", [{"in_flight": 0}, {"lease": 0}, {"give_up_after": 0}])
def test_settings_that_cannot_work_are_refused(wrong):
    with pytest.raises(ConfigError, match="1 or more"):
        RunSettings(**wrong)


# Ends


def test_ctrl_c_waits_for_the_calls_in_flight(store):
    model = Scripted(wait=0.2)

    def say(text):
        if sum(model.asked.values()) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return text.upper()

    model.say = say
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        label(jobs(50), model, store)
    assert signal.getsignal(signal.SIGINT) is before
    assert 3 <= len(store) == sum(model.asked.values()) <= 4
    assert leases(store) == 0


def test_ctrl_c_does_not_wait_for_the_next_attempt(store, server):
    server.script = [Say("", 429, {"Retry-After": "200"})]
    timer = threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        label(jobs(5), server.endpoint(), store)
    timer.join()
    assert {row[0] for row in failures(store)} == {"stopped"}
    assert len(server.asked) <= 5  # nothing was asked twice


@pytest.fixture
def shell_like():
    """Ctrl-C as in a shell: a job that was started in the background ignores it, and so would these tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("shell_like")
def test_ctrl_c_twice_ends_at_once(store):
    async def stuck(text):
        if text == "q0":
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(0.1)
            os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()  # for ever

    with pytest.raises(KeyboardInterrupt):
        label(jobs(5), Scripted(stuck), store)
    assert leases(store) == 0


def test_from_another_thread_signals_are_left_alone(store):
    done = []
    thread = threading.Thread(target=lambda: done.append(label(jobs(3), Scripted(), store)))
    thread.start()
    thread.join()
    assert done[0].progress.done == 3


def run_label(store, server, n, in_flight=4, lease=0.5):
    arguments = [str(store.path), server.url, str(n), str(in_flight), str(lease)]
    return subprocess.Popen([sys.executable, str(PROGRAM), *arguments], stdout=subprocess.PIPE, text=True)


def test_kill_9_loses_nothing_that_was_acknowledged_and_asks_for_nothing_committed(store, server):
    n, in_flight = 120, 4
    server.script = [lambda body: Say(completion(body["messages"][0]["content"].upper()), wait=0.02)]
    acknowledged, possibly_paid, dice = [], 0, random.Random(1)
    for _ in range(3):
        before = len(server.asked)
        process = run_label(store, server, n, in_flight)
        for _ in range(dice.randrange(5, 30)):
            acknowledged.append(process.stdout.readline().strip())
        process.kill()
        acknowledged += process.stdout.read().split()
        process.wait()
        process.stdout.close()
        time.sleep(0.2)  # calls the server had taken up
        committed = {row.context_ids[0].replace("c", "q") for row in store.rows()}
        assert set(acknowledged) <= {name.replace("q", "c") for name in committed}
        unanswered = {body["messages"][0]["content"] for body in server.asked[before:]} - committed
        assert len(unanswered) <= in_flight
        possibly_paid += len(unanswered)
        seen = Counter(body["messages"][0]["content"] for body in server.asked)
        at_this_kill = {name: seen[name] for name in committed}
    with run_label(store, server, n, in_flight) as process:
        process.stdout.read()
    assert process.returncode == 0
    assert store.rewrites("t") == {f"c{i}": f"Q{i}" for i in range(n)}
    asked = Counter(body["messages"][0]["content"] for body in server.asked)
    assert all(asked[name] == times for name, times in at_this_kill.items())  # never again after the commit
    assert sum(asked.values()) - n <= possibly_paid <= 3 * in_flight
    with store.reading() as db:
        counted = db.execute("SELECT count(*) FROM takeovers").fetchone()[0]
    assert counted >= sum(asked.values()) - n  # the store knows of each call that may be paid twice


def test_an_interrupted_process_ends_as_shells_expect(store, server):
    server.script = [Say(completion("x"), wait=0.1)]
    process = run_label(store, server, 400)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read().split()
    assert process.wait() in (130, -signal.SIGINT)
    process.stdout.close()
    assert len(store) == len(rest) + 1 < 60
    assert len(server.asked) == len(store)
    assert leases(store) == 0
