"""Which contexts meet in which batch; what the monitor calls a collapse."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distillir.errors import CollapseError
from distillir.training.monitor import PATIENCE, Monitor, active_dimensions
from distillir.training.plan import BUCKET, batches


@settings(max_examples=50, deadline=None)
@given(lengths=st.lists(st.integers(1, 300), max_size=200), size=st.integers(1, 9), epoch=st.integers(0, 5))
def test_every_context_once_an_epoch(lengths, size, epoch):
    plan = batches(lengths, size, seed=1, epoch=epoch)
    assert sorted(row for batch in plan for row in batch) == list(range(len(lengths)))
    assert all(0 < len(batch) <= size for batch in plan)
    assert len(plan) == sum(
        -(-min(size * BUCKET, len(lengths) - i) // size) for i in range(0, len(lengths), size * BUCKET)
    )
    assert plan == batches(lengths, size, seed=1, epoch=epoch)


def test_batches_are_alike_in_length_and_new_every_epoch():
    lengths = [(i * 37) % 250 + 5 for i in range(640)]
    plan = batches(lengths, 8, seed=1, epoch=0)
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in plan)
    assert padded < 1.15 * sum(lengths)
    shuffled = torch.randperm(640, generator=torch.Generator().manual_seed(1)).split(8)
    assert sum(8 * max(lengths[i] for i in batch) for batch in shuffled) > 1.5 * sum(lengths)
    company = {frozenset(batch) for batch in plan}
    assert not company & {frozenset(batch) for batch in batches(lengths, 8, seed=1, epoch=1)}
    assert not company & {frozenset(batch) for batch in batches(lengths, 8, seed=2, epoch=0)}
    means = [sum(lengths[i] for i in batch) / 8 for batch in plan]
    assert means != sorted(means)


def test_a_single_odd_batch_is_no_collapse():
    monitor = Monitor()
    for step in range(1, 10 * PATIENCE):
        monitor.check(step, 1.0, 1.0, active=0.0 if step % PATIENCE else 3.0, dim=100)
    for step in range(1, 3 * PATIENCE):
        monitor.check(step, 1.0, 1.0, active=50.0, dim=100)  # half of them is not past half


@pytest.mark.parametrize(
    ("active", "cause"), [(0.9, r"all off\) → raise the temp"), (50.1, r"all on\) → start from a check")]
)
def test_a_collapse_is_called_after_its_patience(active, cause):
    monitor = Monitor()
    for step in range(1, PATIENCE):
        monitor.check(step, 1.0, 1.0, active=active, dim=100)
    with pytest.raises(CollapseError, match=cause):
        monitor.check(PATIENCE, 1.0, 1.0, active=active, dim=100)


@pytest.mark.parametrize(
    ("loss", "norm", "cause"), [(math.nan, 1.0, "loss nan"), (math.inf, 1.0, "loss inf"), (1.0, math.nan, "norm nan")]
)
def test_what_is_not_a_number_is_called_at_once(loss, norm, cause):
    with pytest.raises(CollapseError, match=f"step 3: .*{cause} → lower lr"):
        Monitor().check(3, loss, norm)


def test_active_dimensions():
    assert active_dimensions(torch.tensor([[0.0, 1.0, 2.0], [0.0, 0.0, 4.0]])) == 1.5
    assert active_dimensions(torch.zeros(2, 3)) == 0.0
    assert active_dimensions(torch.tensor([[0.1, -1.0]])) is None  # dense
    assert active_dimensions(None) is None


def test_the_shown_loss_is_the_mean_of_the_last_fifty():
    monitor = Monitor()
    for step in range(1, 101):
        monitor.check(step, float(step), 1.0)
    assert monitor.loss == sum(range(51, 101)) / 50
