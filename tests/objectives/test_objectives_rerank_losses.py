"""Losses of rerankers against sentence-transformers' own, up to a stated constant, and orders as scores."""

import math

import pytest
import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder import losses
from sentence_transformers.cross_encoder.losses.lambda_loss import LambdaRankScheme
from torch import Tensor, nn

from distillir.errors import ObjectiveError
from distillir.objectives import (
    ADRMSE,
    RANK_TO_SCORE,
    InfoNCE,
    LambdaRank,
    MarginMSE,
    PointwiseMSE,
    RankNet,
    check_pairing,
    rank_to_score,
)
from distillir.objectives.contract import Output, Targets

B, N = 4, 7


class Scored(CrossEncoder):
    """A cross-encoder whose score of the pair ("row", "column") is an entry of a table."""

    num_labels = 1
    device = torch.device("cpu")

    def __init__(self, table: Tensor) -> None:
        nn.Module.__init__(self)
        self.table = table

    def preprocess(self, pairs, **_):
        return {"places": torch.tensor([[int(row), int(column)] for row, column in pairs])}

    def forward(self, features, **_):
        rows, columns = features["places"].unbind(1)
        return {"scores": self.table[rows, columns][:, None]}


@pytest.fixture
def table() -> Tensor:
    torch.manual_seed(3)
    return torch.randn(B, N, requires_grad=True)


def order_of(seed: int = 5) -> Tensor:
    torch.manual_seed(seed)
    return torch.stack([torch.randperm(N) for _ in range(B)])


def lists(labels: Tensor) -> tuple[list, list[Tensor]]:
    queries = [str(i) for i in range(B)]
    return [queries, [[str(j) for j in range(N)] for _ in range(B)]], list(labels)


def output(scores: Tensor) -> Output:
    return Output(scores, torch.ones_like(scores, dtype=torch.bool))


def assert_equal(table: Tensor, ours: Tensor, theirs: Tensor) -> None:
    """Value and gradient."""
    (own,) = torch.autograd.grad(ours, table, retain_graph=True)
    (other,) = torch.autograd.grad(theirs, table)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(own, other, atol=1e-5, rtol=1e-5)
    assert own.abs().max() > 1e-3


def test_ranknet_is_theirs_times_ln_2(table):
    order = order_of()
    inputs, labels = lists(-order.float())
    theirs = losses.RankNetLoss(Scored(table))(inputs, labels)
    assert_equal(table, RankNet()(output(table), Targets(order=order)), theirs * math.log(2))


def test_adr_mse_is_theirs_with_alpha_one_over_tau(table):
    order = order_of()
    inputs, labels = lists(-order.float())
    theirs = losses.ADRMSELoss(Scored(table), alpha=2.0)(inputs, labels)
    assert_equal(table, ADRMSE(tau=0.5)(output(table), Targets(order=order)), theirs)


def test_lambda_rank_is_theirs_with_gains_one_over_rank_times_pairs_and_ln_2(table):
    order = order_of()
    inputs, labels = lists(torch.log2(1 + 1 / (order + 1.0)))  # their gain is 2^label − 1
    theirs = losses.LambdaLoss(Scored(table), weighting_scheme=LambdaRankScheme())(inputs, labels)
    ours = LambdaRank()(output(table), Targets(order=order))
    assert_equal(table, ours, theirs * math.log(2) * N * (N - 1) / 2)


def test_margin_mse_over_golds_is_theirs(table):
    torch.manual_seed(8)
    teacher = torch.randn(B, N)
    gold = torch.zeros(B, N, dtype=torch.bool)
    gold[:, 0] = True
    inputs = [[str(i) for i in range(B)], *[[str(j)] * B for j in range(N)]]
    theirs = losses.MarginMSELoss(Scored(table))(inputs, teacher)
    assert_equal(table, MarginMSE(pairs="gold")(output(table), Targets(scores=teacher, gold=gold)), theirs)


def test_pointwise_mse_is_theirs(table):
    torch.manual_seed(8)
    teacher = torch.randn(B, N)
    inputs = [[str(i) for i in range(B) for _ in range(N)], [str(j) for _ in range(B) for j in range(N)]]
    theirs = losses.MSELoss(Scored(table))(inputs, teacher.reshape(-1))
    assert_equal(table, PointwiseMSE()(output(table), Targets(scores=teacher)), theirs)


def test_infonce_with_a_listed_gold_is_their_multiple_negatives_without_the_batch(table):
    gold = torch.zeros(B, N, dtype=torch.bool)
    gold[:, 0] = True
    # One context at a time: theirs would else take other contexts' documents too.
    loss = losses.MultipleNegativesRankingLoss(
        Scored(table), num_negatives=None, scale=1.0, activation_fn=nn.Identity()
    )
    theirs = torch.stack([loss([[str(i)], *[[str(j)] for j in range(N)]], torch.ones(1)) for i in range(B)]).mean()
    assert_equal(table, InfoNCE()(output(table), Targets(gold=gold)), theirs)


def test_an_order_becomes_scores_only_by_a_named_rule():
    order = torch.tensor([[0, 2, 1, -1], [1, 0, -1, -1]])
    expected = {
        "negative_rank": [[-1, -3, -2], [-2, -1]],
        "linear": [[1, 0, 0.5], [0, 1]],
        "reciprocal": [[1, 1 / 3, 1 / 2], [1 / 2, 1]],
        "discount": [[1, 0.5, 1 / math.log2(3)], [1 / math.log2(3), 1]],
    }
    assert set(expected) == set(RANK_TO_SCORE)
    for rule, rows in expected.items():
        scores = rank_to_score(order, rule)
        assert scores[order < 0].isnan().all()
        assert scores[0, :3].tolist() == pytest.approx(rows[0])
        assert scores[1, :2].tolist() == pytest.approx(rows[1])
    assert rank_to_score(torch.tensor([[0, -1]]), "linear")[0, 0] == 1  # a list of one
    with pytest.raises(ObjectiveError, match="no rule 'rank'"):
        rank_to_score(order, "rank")


@pytest.mark.parametrize("objective", [MarginMSE(), PointwiseMSE()])
def test_an_order_alone_is_refused_where_scores_are_read(objective):
    order = Targets(order=order_of())
    with pytest.raises(ObjectiveError, match="reads scores but the labels give only order"):
        check_pairing(objective, frozenset({"scores"}), order.provides())
    scored = Targets(order=order.order, scores=rank_to_score(order.order, "linear"))
    check_pairing(objective, frozenset({"scores"}), scored.provides())
    assert objective(output(torch.randn(B, N)), scored).isfinite()
