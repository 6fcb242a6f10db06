"""The controller: its step by hand, that it holds a target, and that it says so when it cannot."""

import json
import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from distillir.errors import ConfigError, ObjectiveError
from distillir.sparsity import SparsityControl, active_dimensions, expected_flops, flops, flops_at_corpus, l1

X = torch.tensor([[1.0, 2.0, 0.0, 3.0], [0.0, 4.0, 0.0, 0.0]])  # 3 and 1 active


def control(target=10.0, **options) -> SparsityControl:
    return SparsityControl(l1, active_dimensions, target, **options)


def test_a_step_is_the_formula():
    held = control(1.0, gain=0.5, memory=0.75, start=-1.0)
    held.update(X, None, 1.0)  # c starts as the first count, 2
    assert held.counts == {1: 2.0}
    assert held.u[1] == pytest.approx(-1 + 0.5 * math.log(2.0))
    held.update(X[:1].repeat(2, 2), None, 1.0)  # 6 active
    assert held.counts[1] == pytest.approx(0.75 * 2 + 0.25 * 6)
    assert held.u[1] == pytest.approx(-1 + 0.5 * math.log(2) + 0.5 * 1.0)  # log 3 is clipped to 1
    assert held.penalty(X).item() == pytest.approx(math.exp(held.u[1]) * l1(X).item())


def test_an_update_after_several_steps_moves_and_forgets_as_they_would():
    held = control(1.0, gain=0.1, memory=0.5, lead=0.0, start=-1.0)
    held.update(X, None, 1.0)
    held.update(X[1:], None, 1.0, steps=3)  # 1 active: a quarter of a half of the first count is left
    assert held.counts[1] == pytest.approx(2 / 8 + 7 / 8)
    assert held.u[1] == pytest.approx(-1 + 0.1 * math.log(2) + 3 * 0.1 * math.log(9 / 8))


def test_a_count_that_falls_is_looked_ahead():
    held = control(1.0, gain=0.1, memory=0.0, lead=2.0, start=-1.0)
    held.update(X.repeat(2, 2), None, 1.0)  # 4 active on average
    before = held.u[1]
    held.update(X, None, 1.0, steps=4)  # 2 after 4 steps: 2·(1/2)^(2/4) in two more
    assert held.u[1] - before == pytest.approx(4 * 0.1 * math.log(2 / math.sqrt(2)))
    before = held.u[1]
    held.update(X[1:], None, 1.0)  # 1, which is the target, and 1·(1/2)^2 in two more
    assert held.u[1] - before == pytest.approx(0.1 * max(-1.0, math.log(1 / 4)))


def test_the_weight_stays_in_its_bounds():
    held = control(1.0, gain=10.0, bounds=(-8.0, 0.5))
    held.update(X, None, 1.0)
    held.update(X, None, 1.0)
    assert held.u[1] == 0.5
    for _ in range(3):
        held.update(torch.zeros(2, 4), None, 1.0)  # a count of zero has no logarithm
    held.counts[1] = 0.0
    held.update(torch.zeros(2, 4), None, 1.0)
    assert held.u[1] == -8.0


def test_it_stops_once_the_rate_has_fallen_and_not_while_it_rises():
    held = control(1.0)
    moved = []
    for rate in (0.01, 0.19, 0.6, 1.0, 0.2, 0.02, 0.019, 0.0, 0.5):
        before = held.u[1]
        held.update(X, None, rate)
        moved.append(held.u[1] != before)
    assert moved == [True, True, True, True, True, True, False, False, True]
    held.update(X[:1], None, 0.01)
    assert held.counts[1] > 2  # it goes on counting


def test_the_weight_moves_the_faster_the_slower_the_student():
    held = control(1.0, gain=0.01, lead=0.0, start=-1.0)
    moves = []
    for rate in (0.1, 0.8, 0.4, 0.04, 0.02):
        before = held.u[1]
        held.update(X, None, rate)  # twice the target
        moves.append((held.u[1] - before) / (0.01 * math.log(2)))
    assert moves == pytest.approx([1, 1, 2, 10, 10])  # a tenth at the most


def test_how_far_off_is_the_worst_bucket_both_ways_unless_there_is_no_weight_left():
    held = control({1: 1.0, 4: 4.0}, start=-1.0)
    assert held.miss(X, torch.tensor([1, 4])) == pytest.approx(math.log(4))  # 3 for 1, 1 for 4
    assert held.miss(X[1:], torch.tensor([1])) == 0.0
    low = control(100.0, start=-8.0, bounds=(-8.0, 0.0))
    assert low.miss(X) == 0.0
    assert control(1.0, start=-8.0, bounds=(-8.0, 0.0)).miss(X) == pytest.approx(math.log(2))
    assert not held.landing(0.2)  # it has not risen yet
    held.update(X, torch.tensor([1, 4]), 1.0)
    assert held.landing(0.2)
    assert not held.landing(0.3)
    held.settle(X, torch.tensor([1, 4]))
    assert held.counts == {1: 3.0, 4: 1.0}


def test_state_is_plain_and_goes_on_bitwise():
    one, two = control({1: 1.0, 4: 2.0}), control({1: 1.0, 4: 2.0})
    turns = torch.tensor([1, 5])
    for _ in range(5):
        one.update(X, turns, 1.0)
    two.restore(json.loads(json.dumps(one.state())))
    for held in (one, two):
        held.update(X, turns, 0.9)
        held.update(X, turns, 0.01)
        held.update(X, turns, 0.3)
    assert one.u == two.u
    assert one.counts == two.counts
    one.restore({})
    assert one.state() == control({1: 1.0, 4: 2.0}).state()


def test_a_bucket_of_turns_has_a_weight_of_its_own():
    held = control({1: 1.0, 4: 1.0}, start=-1.0)
    turns = torch.tensor([4, 3])
    held.update(X, turns, 1.0)
    assert held.counts == {4: 3.0, 1: 1.0}
    assert held.u[1] == -1.0  # at its target
    assert held.u[4] > -1.0
    expected = (math.exp(held.u[4]) * 6 + math.exp(held.u[1]) * 4) / 2  # l1 of each row, half of the batch each
    assert held.penalty(X, turns).item() == pytest.approx(expected)
    held.update(X[1:], torch.tensor([1]), 1.0)  # none of turn 4 or later: its weight waits
    assert held.counts[4] == 3.0
    equal = control({1: 1.0, 3: 1.0, 5: 1.0})
    assert equal.penalty(X, torch.tensor([2, 9])).item() == pytest.approx(control(1.0).penalty(X).item())


def test_targets_by_turn_need_turns():
    with pytest.raises(ObjectiveError, match="batches without turns"):
        control({1: 5.0}).penalty(X)
    assert control(5.0).penalty(X).item() > 0


WIDTH, DOCUMENTS = 300, 64


def fitted(held: SparsityControl, steps: int = 300) -> torch.Tensor:
    """Representations (500, WIDTH) of a small student that learnt a teacher's scores under the control; half of them
    are of turn 1, half of turn 5."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    documents = torch.relu(torch.randn(DOCUMENTS, WIDTH, generator=generator) - 1)
    reading = torch.randn(16, WIDTH, generator=generator)
    student = nn.Sequential(nn.Linear(17, 64), nn.Tanh(), nn.Linear(64, WIDTH))
    optimizer = torch.optim.AdamW(student.parameters(), lr=2e-3)

    def contexts(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        turns = torch.arange(count) % 2 * 4 + 1
        return torch.randn(count, 16, generator=generator), turns

    def represented(z: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
        return torch.log1p(torch.relu(student(torch.cat([z, (turns[:, None] > 1).float()], dim=1))))

    for step in range(steps):
        rate = min((step + 1) / (0.05 * steps), 1 - step / steps)
        optimizer.param_groups[0]["lr"] = 2e-3 * rate
        z, turns = contexts(32)
        x, teacher = represented(z, turns), torch.relu(z @ reading / 4 - 1)
        scores, wanted = (vectors @ documents.t() / 4 for vectors in (x, teacher))
        loss = F.kl_div(scores.log_softmax(1), wanted.softmax(1), reduction="batchmean") + held.penalty(x, turns)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        held.update(x.detach(), turns, rate)
    with torch.no_grad():
        return represented(*contexts(500))


@pytest.mark.parametrize("target", [60.0, 30.0])  # without a control it has about 130
def test_a_target_is_held(target):
    held = control(target)
    assert active_dimensions(fitted(held)).float().mean().item() == pytest.approx(target, rel=0.05)
    assert held.report()["all"]["reached"] is True
    assert held.report()["all"]["note"] == ""


def test_flops_at_a_corpus_are_held_too():
    share = torch.linspace(0.01, 0.1, WIDTH)
    held = SparsityControl(
        partial(expected_flops, document_share=share), partial(flops_at_corpus, document_share=share), 2.5, name="flops"
    )
    assert flops_at_corpus(fitted(held), share).mean().item() == pytest.approx(2.5, rel=0.05)


def test_turns_are_held_apart():
    x = fitted(control({1: 60.0, 4: 30.0}))
    assert active_dimensions(x[::2]).float().mean().item() == pytest.approx(60, rel=0.1)
    assert active_dimensions(x[1::2]).float().mean().item() == pytest.approx(30, rel=0.1)


def test_what_cannot_be_reached_is_said_and_not_forced():
    held = control(280.0, start=-12.0, bounds=(-14.0, 8.0))
    free = active_dimensions(fitted(control(280.0, bounds=(-60.0, -50.0), start=-50.0))).float().mean().item()
    assert active_dimensions(fitted(held)).float().mean().item() == pytest.approx(free, rel=0.02)
    told = held.report()["all"]
    assert (told["reached"], told["note"], told["u"]) == (False, "below: the penalty only lowers", -14.0)
    held = control(1.0, bounds=(-12.0, -11.0), start=-12.0)
    fitted(held, 100)
    told = held.report()["all"]
    assert (told["reached"], told["note"]) == (False, "above, though the weight is at its bound")
    assert told["count"] > 100
    assert control({1: 3.0, 9: 3.0}).report()["turn 9+"]["note"] == "no context of such a turn"


def test_a_flops_penalty_sees_each_bucket_as_a_batch():
    held = SparsityControl(flops, active_dimensions, {1: 1.0, 4: 1.0}, start=0.0)
    assert held.penalty(X, torch.tensor([1, 5])).item() == pytest.approx((14 + 16) / 2)


@pytest.mark.parametrize(
    "bad",
    [
        {"target": 0.0},
        {"target": math.nan},
        {"target": {}},
        {"target": {1: 3.0, 4: -1.0}},
        {"gain": 0.0},
        {"memory": 1.0},
        {"start": 9.0},
    ],
)
def test_what_cannot_be_is_refused(bad):
    with pytest.raises(ConfigError, match="sparsity"):
        control(**{"target": 3.0, **bad})


def test_it_describes_itself_in_plain_values():
    told = json.loads(json.dumps(control({1: 3.0, 4: 2.0}).describe()))
    assert told["targets"] == {"1": 3.0, "4": 2.0}
    assert told != control({1: 3.0, 4: 2.5}).describe()
