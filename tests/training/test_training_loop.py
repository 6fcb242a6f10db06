"""The one loop: every shape of student passes through it, and it does what its settings say."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from distillir.errors import CollapseError, ConfigError, ObjectiveError, TrainingError
from distillir.objectives import (
    KLD,
    InfoNCE,
    Likelihood,
    Output,
    RankGap,
    RankNet,
    RepresentationMSE,
    Targets,
    WeightedSum,
)
from distillir.training import TrainSettings, train
from distillir.training.groups import parameter_groups

DIM = 6


@dataclass(frozen=True)
class Batch:
    x: Tensor  # (B, N, DIM), or (B, DIM)
    targets: Targets
    mask: Tensor | None = None

    def to(self, device: torch.device | str) -> "Batch":
        mask = None if self.mask is None else self.mask.to(device)
        return Batch(self.x.to(device), self.targets.to(device), mask)

    def part(self, start: int, stop: int) -> "Batch":
        mask = None if self.mask is None else self.mask[start:stop]
        return Batch(self.x[start:stop], self.targets.part(start, stop), mask)


class Data:
    """Contexts as rows of tensors."""

    def __init__(self, x: Tensor, lengths: Sequence[int] | None = None, mask: Tensor | None = None, **targets: Tensor):
        self.x, self.mask, self.targets = x, mask, targets
        self.lengths = lengths or [3 + i % 4 for i in range(len(x))]
        self.seen: list[tuple[int, tuple[int, ...]]] = []

    def collate(self, rows: Sequence[int], epoch: int) -> Batch:
        self.seen.append((epoch, tuple(rows)))
        rows = list(rows)
        targets = Targets(**{name: value[rows] for name, value in self.targets.items()})
        return Batch(self.x[rows], targets, None if self.mask is None else self.mask[rows])


class SparseToy(nn.Module):
    """Contexts (B, DIM) to sparse vectors, scored against stored documents; half of these are shared by the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(DIM, 24)
        nn.init.constant_(self.up.bias, -0.4)  # about a quarter of the dimensions is active
        self.register_buffer("documents", torch.rand(7, 24))

    def forward(self, batch: Batch) -> Output:
        vectors = torch.log1p(torch.relu(self.up(batch.x)))
        every = vectors @ self.documents.t()
        return Output(
            scores=every[:, :4],
            mask=torch.ones_like(every[:, :4], dtype=torch.bool),
            vectors=vectors,
            shared=every[:, 4:],
            shared_mask=torch.ones_like(every[:, 4:], dtype=torch.bool),
        )


class RerankerToy(nn.Module):
    """Query-document pairs (B, N, DIM), two at a time under the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(DIM, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 1))

    def forward(self, batch: Batch) -> Output:
        parts = [checkpoint(self.score, part, use_reentrant=False) for part in batch.x.split(2, dim=1)]
        scores = torch.cat(parts, dim=1).squeeze(-1)
        return Output(scores=scores, mask=torch.ones_like(scores, dtype=torch.bool))


class GenerativeToy(nn.Module):
    """One token of the passage's name per context, and scores of candidate names."""

    def __init__(self) -> None:
        super().__init__()
        self.decode = nn.Linear(DIM, 5)

    def forward(self, batch: Batch) -> Output:
        logs = torch.log_softmax(self.decode(batch.x), dim=1)  # (B, 5): a name is a token
        gold = batch.targets.order.argmin(1)
        return Output(
            scores=logs,
            mask=torch.ones_like(logs, dtype=torch.bool),
            token_loss=-logs.gather(1, gold[:, None]).mean(),
        )


class ResponseToy(nn.Module):
    """Dense dot products with responses, several of them positive, lists ragged."""

    def __init__(self) -> None:
        super().__init__()
        self.context = nn.Linear(DIM, 4)
        self.register_buffer("responses", torch.randn(5, 4))

    def forward(self, batch: Batch) -> Output:
        vectors = self.context(batch.x)  # dense: negative entries, and so no sparsity to watch
        return Output(scores=vectors @ self.responses.t(), mask=batch.mask, vectors=vectors)


def shape(kind: str) -> tuple[nn.Module, Data, object]:
    torch.manual_seed(2)
    x = torch.randn(20, DIM)
    order = torch.stack([torch.randperm(5) for _ in range(20)])
    if kind == "sparse":
        gold = torch.zeros(20, 4, dtype=torch.bool)
        gold[:15, 0] = True  # some contexts have none
        data = Data(x, scores=torch.randn(20, 4) * 3, gold=gold)
        return SparseToy(), data, WeightedSum(((0.9, KLD()), (0.1, InfoNCE())))
    if kind == "reranker":
        return RerankerToy(), Data(torch.randn(20, 5, DIM), order=order), RankNet()
    if kind == "generative":
        return GenerativeToy(), Data(x, order=order), WeightedSum(((1.0, RankGap()), (0.5, Likelihood())))
    mask = torch.rand(20, 5) < 0.8
    mask[:, :3] = True
    gold = torch.zeros(20, 5, dtype=torch.bool)
    gold[:, :2] = True  # two positives that never compete
    return ResponseToy(), Data(x, mask=mask, gold=gold), InfoNCE()


def result_of(kind: str = "sparse", evaluate=None, **options):
    student, data, objective = shape(kind)
    ticks = []
    settings = TrainSettings(**{"batch_size": 4, "epochs": 2, "lr": 0.01, **options})
    return train(student, data, objective, settings, evaluate=evaluate, watch=ticks.append), student, data, ticks


@pytest.mark.parametrize("kind", ["sparse", "reranker", "generative", "response"])
def test_the_four_shapes_learn(kind):
    result, student, _, ticks = result_of(kind, epochs=30, lr=0.03)
    assert result.steps == 150
    assert not student.training
    first = sum(t.loss for t in ticks[:5]) / 5
    assert ticks[-1].loss < 0.85 * first
    assert (ticks[-1].active is not None) == (kind == "sparse")


def test_a_step_is_the_formula():
    """AdamW's first step moves every weight by lr·sign(gradient), and the loss is objective + λ·penalty."""
    student, data, objective = shape("sparse")
    student.train()
    batch = data.collate(range(20), 0)
    output = student(batch)
    loss = objective(output, batch.targets) + 0.3 * output.vectors.sum(1).mean()
    weight, bias = torch.autograd.grad(loss, [student.up.weight, student.up.bias])
    before = student.up.weight.detach().clone(), student.up.bias.detach().clone()
    ticks = []
    settings = TrainSettings(batch_size=20, lr=0.01, weight_decay=0.1, clip=0)
    penalties = {"l1": (0.3, lambda v: v.sum(1).mean())}
    train(student, data, objective, settings, penalties=penalties, watch=ticks.append)
    assert ticks[0].loss == pytest.approx(loss.item(), rel=1e-5)
    decayed = before[0] * (1 - 0.01 * 0.1)  # matrices only
    torch.testing.assert_close(student.up.weight, decayed - 0.01 * weight / (weight.abs() + 1e-8), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(student.up.bias, before[1] - 0.01 * bias / (bias.abs() + 1e-8), atol=1e-6, rtol=1e-4)


def test_accumulation_is_the_larger_batch():
    ended = []
    for size, accumulate in ((20, 1), (5, 4)):
        student, data, _ = shape("response")
        data.targets = {"vectors": torch.randn(20, 4, generator=torch.Generator().manual_seed(1))}
        settings = TrainSettings(batch_size=size, accumulate=accumulate, epochs=3, lr=0.01)
        assert train(student, data, RepresentationMSE(), settings).steps == 3
        ended.append(nn.utils.parameters_to_vector(student.parameters()))
    torch.testing.assert_close(ended[0], ended[1], atol=1e-5, rtol=1e-4)


def test_the_last_group_of_an_epoch_may_be_smaller():
    result, _, data, _ = result_of(accumulate=3, epochs=2)  # batches of 12 and 8
    assert result.steps == 4
    assert [epoch for epoch, _ in data.seen[1:]] == [0] * 2 + [1] * 2  # the first is the pairing check
    for epoch in (0, 1):
        rows = [row for e, batch in data.seen[1:] if e == epoch for row in batch]
        assert sorted(rows) == list(range(20))


def test_clipping_bounds_the_gradient():
    norms = []

    class Watched(torch.optim.AdamW):
        def step(self, *args, **kwargs):
            gradients = [p.grad for group in self.param_groups for p in group["params"]]
            norms.append(torch.linalg.vector_norm(torch.cat([g.flatten() for g in gradients])).item())
            return super().step(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "AdamW", Watched)
        result_of(clip=0.0)
        free, norms[:] = max(norms), []
        result_of(clip=free / 10)
    assert max(norms) == pytest.approx(free / 10, rel=1e-3)


def test_the_rate_rises_and_falls():
    settings = TrainSettings(warmup=0.4)
    assert [settings.rate(step, 10) for step in range(10)] == pytest.approx(
        [1 / 4, 2 / 4, 3 / 4, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    )
    constant = TrainSettings(schedule="constant", warmup=0.2)
    assert [constant.rate(step, 10) for step in (0, 1, 9)] == [0.5, 1.0, 1.0]


def test_groups_by_prefix_and_decay():
    student = nn.Module()
    student.gate, student.body = nn.Linear(2, 2), nn.Linear(2, 2)
    student.body.bias.requires_grad_(False)
    settings = TrainSettings(lr=1.0, lr_scale={"gate.": 10.0, "absent.": 3.0}, weight_decay=0.1)
    found = {(g["lr"], g["weight_decay"]): g["params"] for g in parameter_groups(student, settings)}
    expected = {(10.0, 0.1): student.gate.weight, (10.0, 0.0): student.gate.bias, (1.0, 0.1): student.body.weight}
    assert found.keys() == expected.keys()
    for key, parameter in expected.items():
        assert len(found[key]) == 1
        assert found[key][0] is parameter
    student.requires_grad_(False)
    with pytest.raises(TrainingError, match="no trainable parameters"):
        parameter_groups(student, settings)


def test_early_stop_and_the_best_weights():
    figures = iter([0.1, 0.5, 0.4, 0.3, 0.9])
    kept = {}

    def evaluate(student):
        assert not student.training
        assert not torch.is_grad_enabled()
        figure = next(figures)
        kept[figure] = student.up.weight.detach().clone()
        return figure

    result, student, _, ticks = result_of(evaluate=evaluate, epochs=9, patience=2)
    assert result.stopped == "no better dev figure since step 10"
    assert result.history == ((5, 0.1), (10, 0.5), (15, 0.4), (20, 0.3))
    assert (result.best, result.best_step, result.steps) == (0.5, 10, 20)
    assert torch.equal(student.up.weight, kept[0.5])
    assert [t.dev for t in ticks if t.dev is not None] == [0.1, 0.5, 0.4, 0.3]


def test_the_last_weights_where_the_best_are_not_wanted():
    seen = []

    def evaluate(student):
        seen.append(student.up.weight.detach().clone())
        return -float(len(seen))

    result, student, _, _ = result_of(evaluate=evaluate, epochs=2, keep_best=False)
    assert result.best_step == 5
    assert torch.equal(student.up.weight, seen[-1])


def test_steps_may_be_bounded_and_the_last_is_evaluated():
    result, _, _, ticks = result_of(evaluate=lambda _: 1.0, max_steps=7, evaluate_every=3)
    assert [t.step for t in ticks] == [1, 2, 3, 4, 5, 6, 7]
    assert all(t.steps == 7 for t in ticks)
    assert [step for step, _ in result.history] == [3, 6, 7]


def test_two_runs_of_one_process_are_equal_whatever_came_before():
    one = nn.utils.parameters_to_vector(result_of("reranker")[1].parameters())
    torch.rand(17)
    two = nn.utils.parameters_to_vector(result_of("reranker")[1].parameters())
    assert torch.equal(one, two)
    other = nn.utils.parameters_to_vector(result_of("reranker", seed=14)[1].parameters())
    assert not torch.equal(one, other)


def test_precisions_follow_each_other_in_one_process():
    for precision in ("fp32", "bf16", "fp16", "fp32"):
        _, student, _, ticks = result_of(precision=precision, epochs=8)
        assert ticks[-1].loss < ticks[0].loss
        assert student.up.weight.dtype == torch.float32
        assert "forward" not in vars(student)  # nothing stays wrapped around it


def test_autocast_reaches_the_student():
    student, data, objective = shape("sparse")
    kinds = set()
    student.up.register_forward_hook(lambda module, args, out: kinds.add((module.training, out.dtype)))
    train(student, data, objective, TrainSettings(batch_size=10, precision="bf16"))
    assert (True, torch.bfloat16) in kinds


def test_fp16_steps_over_an_overflow_and_goes_on():
    def after(steps: int) -> Tensor:
        student, data, _ = shape("sparse")
        data.targets = {"vectors": torch.full((20, 24), 100.0)}  # its gradient times the first loss scale passes 65,504
        settings = TrainSettings(batch_size=4, epochs=6, max_steps=steps, lr=0.01, precision="fp16")
        assert train(student, data, RepresentationMSE(), settings).steps == steps
        return student.up.weight.detach()

    assert torch.equal(after(1), shape("sparse")[0].up.weight)
    assert not torch.equal(after(9), shape("sparse")[0].up.weight)


@pytest.mark.parametrize(
    ("break_it", "cause"),
    [
        (lambda s: nn.init.constant_(s.up.weight, math.nan), r"step 1: loss nan → lower lr"),
        (lambda s: nn.init.constant_(s.up.bias, -100.0), r"step 10: under one active dimension .*all off.*temperature"),
        (lambda s: nn.init.constant_(s.up.bias, 100.0), r"step 10: 24 of 24 dimensions .*all on.*penalty"),
    ],
)
def test_a_collapsing_run_is_stopped_and_told_why(break_it, cause):
    student, data, objective = shape("sparse")
    break_it(student)
    with pytest.raises(CollapseError, match=cause):
        train(student, data, objective, TrainSettings(batch_size=4, epochs=5, lr=1e-5))


def test_a_bad_pairing_is_refused_before_step_0():
    student, data, _ = shape("reranker")
    ticks = []
    for objective, cause in (
        (RepresentationMSE(), "the student give only scores"),
        (KLD(), "the labels give only order"),
    ):
        with pytest.raises(ObjectiveError, match=cause):
            train(student, data, objective, TrainSettings(), watch=ticks.append)
    with pytest.raises(TrainingError, match="a penalty reads representations"):
        train(student, data, RankNet(), TrainSettings(), penalties={"l1": (1.0, torch.sum)}, watch=ticks.append)
    assert ticks == []


def test_what_cannot_be_trained():
    student, data, objective = shape("sparse")
    with pytest.raises(TrainingError, match="no contexts"):
        train(student, Data(torch.zeros(0, DIM), scores=torch.zeros(0, 4)), objective, TrainSettings())
    with pytest.raises(TrainingError, match="step 5: the dev figure is nan"):
        train(student, data, objective, TrainSettings(batch_size=4), evaluate=lambda _: math.nan)
    with pytest.raises(ConfigError, match="patience"):
        train(student, data, objective, TrainSettings(patience=2))


def test_an_error_of_the_data_comes_through():
    class Broken(Data):
        def collate(self, rows, epoch):
            if epoch == 1:
                raise KeyError("context 7")
            return super().collate(rows, epoch)

    student, _, objective = shape("reranker")
    with pytest.raises(KeyError, match="context 7"):
        train(
            student,
            Broken(torch.randn(20, 5, DIM), order=torch.arange(5).repeat(20, 1)),
            objective,
            TrainSettings(epochs=2),
        )


@pytest.mark.parametrize(
    "option",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"accumulate": 0},
        {"max_steps": -1},
        {"seed": -1},
        {"patience": -1},
        {"evaluate_every": -1},
        {"checkpoint_every": -1},
        {"lr": 0.0},
        {"lr": math.inf},
        {"lr_scale": {"gate.": math.nan}},
        {"weight_decay": -0.1},
        {"clip": math.nan},
        {"warmup": 1.0},
        {"schedule": "cosine"},
        {"precision": "fp8"},
    ],
)
def test_settings_that_cannot_be(option):
    with pytest.raises(ConfigError, match=next(iter(option))):
        TrainSettings(**option)
