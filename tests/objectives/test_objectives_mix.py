"""Weights that move over a run, and the graded list objective."""

import json

import pytest
import torch

from distillir.errors import ObjectiveError
from distillir.objectives import (
    KLD,
    BalancedMix,
    InfoNCE,
    LinearMix,
    ListNet,
    Output,
    RankNet,
    RepresentationMSE,
    Targets,
)
from distillir.training import TrainSettings, train


def batch(gold: bool = True):
    torch.manual_seed(0)
    scores = torch.randn(3, 5, requires_grad=True)
    marks = torch.zeros(3, 5, dtype=torch.bool)
    marks[:, 0] = gold
    return scores, Output(scores, torch.ones(3, 5, dtype=torch.bool)), Targets(scores=torch.randn(3, 5), gold=marks)


def test_a_straight_line_of_weights():
    mix = LinearMix(((1.0, KLD()), (0.0, InfoNCE())), [0.8, 0.2], over=0.5)
    _, output, targets = batch()
    kld, infonce = KLD()(output, targets), InfoNCE()(output, targets)
    assert mix(output, targets).item() == pytest.approx(kld.item())
    seen = []
    for done in (0.25, 0.5, 1.0):
        mix.observe(output, targets, done, lambda value: 1.0)
        seen.append(mix.weights)
    assert seen == [pytest.approx([0.9, 0.1]), pytest.approx([0.8, 0.2]), pytest.approx([0.8, 0.2])]
    assert mix(output, targets).item() == pytest.approx((0.8 * kld + 0.2 * infonce).item())
    assert mix.report() == pytest.approx({"kld": 0.8, "infonce": 0.2})
    mix.restore({})
    assert mix.weights == [1.0, 0.0]


def test_gradients_are_in_the_proportion_of_the_weights():
    scores, output, targets = batch()

    def norm(value):
        return torch.autograd.grad(value, scores, retain_graph=True)[0].norm().item()

    mix = BalancedMix(((0.9, KLD()), (0.1, InfoNCE(tau=0.08))))
    mix.observe(output, targets, 0.1, norm)
    kld, infonce = mix.parts(output, targets).values()
    assert mix.weights[0] == 0.9
    assert norm(mix.weights[1] * infonce) == pytest.approx(norm(0.9 * kld) / 9, rel=1e-5)
    assert mix(output, targets).item() == pytest.approx((0.9 * kld + mix.weights[1] * infonce).item())


def test_measurements_are_averaged_and_rare():
    mix = BalancedMix(((1.0, KLD()), (0.5, InfoNCE())), every=2, memory=0.5)
    _, output, targets = batch()
    norms = iter([2.0, 1.0, 4.0, 5.0])
    for _ in range(4):
        mix.observe(output, targets, 0.0, lambda value: next(norms))
    assert mix.norms == [3.0, 3.0]
    assert mix.weights == [1.0, 0.5]
    other = BalancedMix(((1.0, KLD()), (0.5, InfoNCE())), every=2, memory=0.5)
    other.restore(json.loads(json.dumps(mix.state())))
    assert other.state() == mix.state()
    other.restore({})
    assert other.state() == BalancedMix(((1.0, KLD()), (0.5, InfoNCE()))).state()


def test_a_term_without_a_gradient_keeps_its_weight():
    scores, output, targets = batch(gold=False)
    mix = BalancedMix(((1.0, KLD()), (0.5, InfoNCE())))
    mix.observe(output, targets, 0.0, lambda v: torch.autograd.grad(v, scores, retain_graph=True)[0].norm().item())
    assert mix.weights == [1.0, 0.5]
    mix.observe(output, targets, 0.0, lambda v: 0.0)
    tiny = iter([1.0, 1e-9])
    mix = BalancedMix(((1.0, KLD()), (0.5, InfoNCE())))
    mix.observe(output, targets, 0.0, lambda v: next(tiny))
    assert mix.weights == [1.0, 500.0]


class Student(torch.nn.Module):
    """Scores and vectors from the context's own row, so that the two terms meet in one weight."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.up = torch.nn.Linear(4, 6)

    def forward(self, batch):
        vectors = torch.relu(self.up(batch.x))
        scores = vectors @ torch.linspace(-1, 1, 30).reshape(6, 5)
        return Output(scores, torch.ones_like(scores, dtype=torch.bool), vectors=vectors)


class Batch:
    def __init__(self, x, targets):
        self.x, self.targets = x, targets

    def to(self, device):
        return self

    def part(self, start, stop):
        return Batch(self.x[start:stop], self.targets.part(start, stop))


class Data:
    lengths = (1,) * 12

    def collate(self, rows, epoch):
        g = torch.Generator().manual_seed(2)
        x, scores, vectors = (torch.randn(12, n, generator=g)[list(rows)] for n in (4, 5, 6))
        return Batch(x, Targets(scores=scores, vectors=vectors.relu()))


@pytest.mark.parametrize(("size", "accumulate"), [(12, 1), (3, 4)])
def test_the_loop_balances_by_the_students_own_gradient(size, accumulate):
    student, data = Student(), Data()
    mix = BalancedMix(((1.0, KLD()), (0.25, RepresentationMSE())))
    batch = data.collate(range(12), 0)
    output = student(batch)
    norms = [
        torch.cat([g.flatten() for g in torch.autograd.grad(value, [*student.parameters()], retain_graph=True)]).norm()
        for value in mix.parts(output, batch.targets).values()
    ]
    result = train(student, data, mix, TrainSettings(batch_size=size, accumulate=accumulate))
    expected = {"kld": 1.0, "representation_mse": 0.25 * (norms[0] / norms[1]).item()}
    assert result.steered["mix"] == pytest.approx(expected, rel=1e-4)


def test_a_schedule_ends_where_it_says_and_starts_anew():
    mix = LinearMix(((1.0, KLD()), (0.0, RepresentationMSE())), [0.5, 0.5])
    settings = TrainSettings(batch_size=12, epochs=4)
    for _ in range(2):
        ticks = []
        train(Student(), Data(), mix, settings, watch=ticks.append)
        assert [t.steered["mix"]["kld"] for t in ticks] == [0.875, 0.75, 0.625, 0.5]


@pytest.mark.parametrize(
    "make",
    [
        lambda: LinearMix(((1.0, KLD()),), [1.0, 2.0]),
        lambda: LinearMix(((1.0, KLD()),), [float("nan")]),
        lambda: LinearMix(((1.0, KLD()),), [1.0], over=0.0),
        lambda: BalancedMix(((0.0, KLD()), (1.0, InfoNCE()))),
        lambda: BalancedMix(((1.0, KLD()),), every=0),
        lambda: LinearMix((), []),
    ],
)
def test_mixes_that_cannot_be(make):
    with pytest.raises(ObjectiveError):
        make()


def test_listnet_by_hand():
    scores = torch.tensor([[1.0, 0.0, 2.0, 9.0]])
    output = Output(scores, torch.tensor([[True, True, True, False]]))
    targets = Targets(order=torch.tensor([[1, 2, 0, 3]]))
    gains = torch.tensor([1 / 2, 1 / 3, 1.0]) / (11 / 6)
    expected = -(gains * scores[0, :3].log_softmax(0)).sum()
    assert ListNet()(output, targets).item() == pytest.approx(expected.item(), rel=1e-6)
    half = ListNet(tau=2.0)(output, targets).item()
    assert half == pytest.approx(-(gains * (scores[0, :3] / 2).log_softmax(0)).sum().item(), rel=1e-6)


def test_listnet_is_flat_where_scores_have_the_gains_logarithm():
    scores = (-torch.tensor([[2.0, 3.0, 1.0]]).log()).requires_grad_()
    output = Output(scores, torch.ones(1, 3, dtype=torch.bool))
    for objective, targets in (
        (ListNet(), Targets(order=torch.tensor([[1, 2, 0]]))),
        (ListNet(by="scores"), Targets(scores=torch.tensor([[5.0, -1.0, 7.0]]))),
    ):
        (slope,) = torch.autograd.grad(objective(output, targets), scores)
        torch.testing.assert_close(slope, torch.zeros(1, 3), atol=1e-6, rtol=0)


def test_listnet_without_an_order_is_zero():
    scores = torch.randn(2, 3, requires_grad=True)
    output = Output(scores, torch.ones(2, 3, dtype=torch.bool))
    loss = ListNet()(output, Targets(order=torch.tensor([[-1, -1, -1], [0, -1, -1]])))
    loss.backward()
    assert loss.item() == 0
    assert scores.grad.abs().max() == 0
    assert ListNet().reads_targets == RankNet().reads_targets
