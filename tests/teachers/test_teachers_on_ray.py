"""Labelling by several workers under one budget and rate; nothing that was paid for is lost."""

import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import ray_table
from table_model import context

from distillir.errors import ConfigError, LabelError, ModelError
from distillir.labels import Label, LabelRequest, LabelStore, ShardWriter, overview
from distillir.labels.shards import Shard, shards_in
from distillir.teachers import RunSettings
from distillir.teachers.hub import Hub
from distillir.teachers.on_ray import OnRaySettings, teach_on_ray
from distillir.teachers.prices import Prices
from distillir.teachers.rewrite import Rewrite
from raylets import on_ray, two_raylets

PRICES = Prices(call=1.0)
CONTEXTS = [context(f"c{i}", "what does the otter eat", "Fish.", f"and its young number {i}") for i in range(30)]


def request(i: int) -> LabelRequest:
    return LabelRequest("t", "m", "p", f"q{i}", context_id=f"c{i}")


def test_the_hub_keeps_one_budget_and_one_rate(tmp_path, monkeypatch):
    hub = Hub(str(tmp_path / "labels.sqlite"), str(tmp_path / "shards"), 3.0, 4.0)
    assert hub.reserve(2.0) == (True, 0.0)
    assert hub.reserve(2.0) == (False, 0.0)
    assert hub.settle(2.0, 0.5) == 0.5
    assert hub.reserve(2.0) == (True, 0.5)
    assert hub.spent() == 0.5
    now = [100.0]
    monkeypatch.setattr("distillir.teachers.hub.time.monotonic", lambda: now[0])
    assert [hub.turn() for _ in range(3)] == pytest.approx([0.0, 0.25, 0.5])
    now[0] = 110.0  # a pause saves up no questions
    assert [hub.turn() for _ in range(2)] == pytest.approx([0.0, 0.25])


def test_the_hub_takes_over_shards_that_the_store_has_not_seen(tmp_path):
    with ShardWriter(tmp_path / "shards", "lost") as shard:
        shard.put(request(1), Label("rewrite", "paid for", "paid for"))
    hub = Hub(str(tmp_path / "labels.sqlite"), str(tmp_path / "shards"), None, None)
    assert hub.turn() == 0.0
    assert hub.gather() is None
    assert hub.gather() is None
    assert hub.store("get", request(1).key).value == "paid for"
    assert hub.store("missing", [request(1), request(2)]) == [request(2)]
    (path,) = shards_in(tmp_path / "shards")
    path.write_bytes(path.read_bytes().replace(b"paid", b"pair"))
    kind, cause, _ = hub.gather()
    assert kind == "DataError"
    assert "damaged" in cause
    refused = hub.store("claim", [request(2)], "w", 0.0)
    assert refused.kind == "LabelError"


def test_settings_that_cannot_be():
    for wrong in ({"workers": 0}, {"rate": 0.0}, {"retries": -1}):
        with pytest.raises(ConfigError):
            OnRaySettings(**wrong)


@pytest.fixture(scope="module")
def two_machines():
    with two_raylets(Path(ray_table.__file__).parent) as ray:
        yield ray


def asked_in(folder: Path) -> list[list[str]]:
    return [line.split("\t") for line in (folder / "asked.log").read_text().splitlines()]


@on_ray
def test_a_killed_worker_loses_nothing_that_was_paid_for(two_machines, tmp_path):
    model = partial(ray_table.Noting, tmp_path, fatal="number 11")
    settings = RunSettings(prices=PRICES, lease=3.0)
    outcome = teach_on_ray(
        Rewrite(CONTEXTS), model, tmp_path / "labels.sqlite", tmp_path / "shards", settings, OnRaySettings(workers=2)
    )
    assert outcome.stopped == "done"
    rows = asked_in(tmp_path)
    asked = Counter(question for _, _, question in rows)
    assert len(asked) == 30
    twice = {question for question, times in asked.items() if times > 1}
    assert any("number 11" in question for question in twice)
    assert len(twice) <= ray_table.Noting.in_flight  # only what was in flight when it was killed
    assert len({process for _, process, _ in rows}) >= 2
    with LabelStore(tmp_path / "labels.sqlite") as store:
        assert len(store.rewrites("llm")) == 30
        in_store = {row.key for row in store.rows("llm", "rewrite")}
        assert sum(group.possibly_paid for group in overview(store, time.time() + 99)) >= 1
    in_shards = Counter(row.key for path in shards_in(tmp_path / "shards") for row in Shard(path))
    assert set(in_shards) == in_store
    assert max(in_shards.values()) == 1  # no label was made twice
    again = teach_on_ray(
        Rewrite(CONTEXTS), model, tmp_path / "labels.sqlite", tmp_path / "shards", settings, OnRaySettings(workers=1)
    )
    assert again.progress.done == 0
    assert len(asked_in(tmp_path)) == len(rows)


@on_ray
def test_budget_and_rate_are_those_of_all_workers(two_machines, tmp_path):
    settings = RunSettings(prices=PRICES, budget=12.0)
    outcome = teach_on_ray(
        Rewrite(CONTEXTS), partial(ray_table.Noting, tmp_path), tmp_path / "labels.sqlite", tmp_path / "shards",
        settings, OnRaySettings(workers=2, rate=10.0),
    )  # fmt: skip
    moments = sorted(float(moment) for moment, _, _ in asked_in(tmp_path))
    assert outcome.stopped == "budget"
    assert len(moments) == 12
    assert outcome.progress.spent == pytest.approx(12.0)
    assert moments[-1] - moments[0] >= 0.8  # twelve questions at ten a second, of two workers


@on_ray
def test_a_wrong_key_ends_all(two_machines, tmp_path):
    with pytest.raises(ModelError, match=r"401 wrong key → set the key"):
        teach_on_ray(
            Rewrite(CONTEXTS), partial(ray_table.Noting, tmp_path, wrong_key=True), tmp_path / "labels.sqlite",
            tmp_path / "shards", spread=OnRaySettings(workers=2),
        )  # fmt: skip


@on_ray
def test_more_workers_than_fit_take_turns_and_one_that_never_fits_is_refused(two_machines, tmp_path):
    model, places = partial(ray_table.Noting, tmp_path), (tmp_path / "labels.sqlite", tmp_path / "shards")
    with pytest.raises(LabelError, match=r"no room for a worker of 2 processors .* has 1 processors"):
        teach_on_ray(Rewrite(CONTEXTS), model, *places, spread=OnRaySettings(cpus=2))
    outcome = teach_on_ray(Rewrite(CONTEXTS), model, *places, spread=OnRaySettings(workers=4))
    assert (outcome.stopped, len(asked_in(tmp_path))) == ("done", 30)
