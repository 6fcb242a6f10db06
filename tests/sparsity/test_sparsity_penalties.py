"""Penalties and counts against their formulas."""

from __future__ import annotations

import math

import pytest
import torch

from distillir.errors import ObjectiveError
from distillir.sparsity import active_dimensions, anti_zero, df_flops, expected_flops, flops, flops_at_corpus, l1

X = torch.tensor([[1.0, 0.0, 3.0], [0.0, 0.0, 1.0]])
SHARE = torch.tensor([0.5, 0.9, 0.25])


def test_values_by_hand():
    assert l1(X).item() == (4 + 1) / 2
    assert flops(X).item() == 0.5**2 + 0 + 2.0**2
    assert expected_flops(X, SHARE).item() == (0.5 + 0.75 + 0.25) / 2
    assert anti_zero(X).item() == (1 / 16 + 1) / 2
    assert active_dimensions(X).tolist() == [2, 1]
    assert flops_at_corpus(X, SHARE).tolist() == [0.75, 0.25]


def test_flops_at_corpus_is_the_published_product_of_shares():
    x = torch.relu(torch.randn(50, 30, generator=torch.Generator().manual_seed(0)))
    share = torch.rand(30, generator=torch.Generator().manual_seed(1))
    published = ((x > 0).float().mean(0) * share).sum()
    assert flops_at_corpus(x, share).mean().item() == pytest.approx(published.item(), rel=1e-6)


def test_flops_falls_when_weight_is_spread_and_l1_does_not():
    one_sided = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    spread = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    assert flops(one_sided) == 4
    assert flops(spread) == 2
    assert l1(one_sided) == l1(spread)


def test_df_flops_spares_rare_dimensions():
    share = torch.tensor([0.1, 1.0, 0.0])  # at the cutoff, in every document, in none
    assert df_flops(X, share).item() == pytest.approx((0.5 * 0.5) ** 2, rel=1e-5)
    x = torch.tensor([[2.0, 2.0, 2.0]])
    assert df_flops(x, share).item() == pytest.approx(1 + 4, rel=1e-5)
    # P = .25: .25^(ln 2 / ln .1) = 1.5178; weight 1 / (1 + .5178^10)
    alone = torch.tensor([[0.0, 0.0, 2.0]])
    assert df_flops(alone, SHARE).item() == pytest.approx(4 / (1 + 0.51780**10) ** 2, rel=1e-3)


@pytest.mark.parametrize(
    "penalty", [l1, flops, anti_zero, lambda x: expected_flops(x, SHARE), lambda x: df_flops(x, SHARE)]
)
def test_gradients(penalty):
    x = torch.rand(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    assert torch.autograd.gradcheck(penalty, (x.requires_grad_(),))


def test_anti_zero_pushes_an_emptying_query_up_with_a_bounded_force():
    x = torch.tensor([[0.0, 0.0], [0.05, 0.0], [0.1, 0.0], [5.0, 5.0]], requires_grad=True)
    loss = anti_zero(x)
    # tangent of 1/s² at .1: 300 − 2000 s
    assert loss.item() == pytest.approx((300 + 200 + 100 + 0.01) / 4, rel=1e-5)
    loss.backward()
    assert x.grad[:, 0].tolist() == pytest.approx([-500.0, -500.0, -500.0, -2 / 1000 / 4], rel=1e-4)


def test_half_precision_sums_in_float32():
    x = torch.full((2, 4096), 0.1, dtype=torch.float16)
    value = 4096 * x[0, 0].item()
    assert l1(x).dtype == torch.float32
    assert l1(x).item() == pytest.approx(value, rel=1e-5)
    assert anti_zero(x).item() == pytest.approx(value**-2, rel=1e-5)
    assert math.isfinite(flops(x * 1000).item())


def test_a_share_of_another_vocabulary_is_refused():
    for count in (expected_flops, df_flops, flops_at_corpus):
        with pytest.raises(ObjectiveError, match="same vocabulary"):
            count(X, SHARE[:1])  # one number would broadcast


def test_counts_have_no_gradient():
    x = X.clone().requires_grad_()
    assert not flops_at_corpus(x, SHARE).requires_grad
    assert not active_dimensions(x).requires_grad
