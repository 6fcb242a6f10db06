"""The fused head against the cube: values, gradients, ties, masks, half precision, screen."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distillir.errors import ModelError
from distillir.students import head as head_module
from distillir.students.head import screen_supported, splade_head


def reference_head(hidden, weight, bias, mask, gate=None):
    """The definition, with the whole (B, L, V) cube and autograd."""
    logits = hidden @ weight.t()  # (B, L, V)
    if gate is not None:
        logits = logits + gate[..., None]
    if bias is not None:
        logits = logits + bias
    x = torch.log1p(torch.relu(logits)) * mask[..., None]
    return x.amax(1) if not x.requires_grad else x.max(1).values


def batch(B=3, L=7, H=16, V=50, *, dtype=torch.float32, seed=0, shift=-0.5):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    tensors = [draw(B, L, H), draw(V, H) / math.sqrt(H), draw(V) + shift, draw(B, L)]
    hidden, weight, bias, gate = (t.to(dtype).requires_grad_() for t in tensors)
    lengths = torch.randint(1, L + 1, (B,), generator=generator)
    return hidden, weight, bias, torch.arange(L) < lengths[:, None], gate


def gradients(x: Tensor, inputs, direction):
    return torch.autograd.grad((x * direction).sum(), [t for t in inputs if t is not None])


def test_value_by_hand():
    hidden = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [9.0, 9.0]]])  # the third token is padding
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    bias = torch.tensor([0.5, -1.0, 0.25])
    x = splade_head(hidden, weight, bias, torch.tensor([[True, True, False]]))
    # maxima over the two tokens: 1, 2, -1; plus bias: 1.5, 1, -0.75
    assert x.tolist() == [[pytest.approx(math.log(2.5)), pytest.approx(math.log(2.0)), 0.0]]


def test_gradient_by_hand():
    hidden = torch.tensor([[[1.0], [3.0]]], requires_grad=True)
    weight = torch.tensor([[2.0], [-1.0]], requires_grad=True)
    gate = torch.tensor([[0.0, -1.0]], requires_grad=True)
    x = splade_head(hidden, weight, None, torch.ones(1, 2, dtype=torch.bool), gate)
    x.sum().backward()
    # entry 0: max(2, 5) = 5 from token 1; entry 1: max(-1, -4) < 0, off
    assert x.tolist() == [[pytest.approx(math.log(6.0)), 0.0]]
    assert hidden.grad.flatten().tolist() == [0.0, pytest.approx(2 / 6)]
    assert weight.grad.flatten().tolist() == [pytest.approx(3 / 6), 0.0]
    assert gate.grad.flatten().tolist() == [0.0, pytest.approx(1 / 6)]


@pytest.mark.parametrize("chunk", [1, 16, 33, 2048])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("with_gate", [True, False])
def test_matches_the_cube(chunk, with_bias, with_gate):
    hidden, weight, bias, mask, gate = batch(V=83)
    bias, gate = bias if with_bias else None, gate if with_gate else None
    expected = reference_head(hidden, weight, bias, mask, gate)
    actual = splade_head(hidden, weight, bias, mask, gate, chunk=chunk)
    assert 0 < (expected > 0).sum() < expected.numel()
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)
    direction = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    inputs = (hidden, weight, bias, gate)
    for mine, theirs in zip(gradients(actual, inputs, direction), gradients(expected, inputs, direction), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 40), st.integers(0, 10**6), st.integers(1, 12))
def test_matches_the_cube_for_any_shape_and_block(B, L, V, seed, tokens):
    hidden, weight, bias, mask, gate = batch(B, L, 3, V, seed=seed)
    mask = torch.rand(B, L, generator=torch.Generator().manual_seed(seed)) < 0.6  # holes, empty rows
    usual = head_module._TOKENS["cpu"]
    try:
        head_module._TOKENS["cpu"] = tokens
        actual = splade_head(hidden, weight, bias, mask, gate, chunk=16)
    finally:
        head_module._TOKENS["cpu"] = usual
    torch.testing.assert_close(actual, reference_head(hidden, weight, bias, mask, gate), atol=1e-5, rtol=0)
    inputs = (hidden, weight, bias, gate)
    theirs = gradients(reference_head(hidden, weight, bias, mask, gate), inputs, 1.0)
    for mine, other in zip(gradients(actual, inputs, 1.0), theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=0)


def test_gradcheck_in_double_precision():
    hidden, weight, bias, mask, gate = batch(2, 4, 3, 9, dtype=torch.float64)
    assert splade_head(hidden, weight, bias, mask, gate).dtype == torch.float64
    assert torch.autograd.gradcheck(lambda h, w, b, g: splade_head(h, w, b, mask, g), (hidden, weight, bias, gate))


def test_a_tie_gives_the_gradient_to_maximisers_only():
    hidden = torch.tensor([[[2.0], [2.0], [1.0]]], requires_grad=True)
    x = splade_head(hidden, torch.tensor([[1.0]]), None, torch.ones(1, 3, dtype=torch.bool))
    x.backward()
    grad = hidden.grad.flatten()
    assert grad[2] == 0
    assert (grad >= 0).all()
    assert grad.sum().item() == pytest.approx(1 / 3)  # a convex combination of the maximisers' gradients


def test_a_row_without_tokens_is_zero_and_moves_nothing():
    hidden, weight, bias, mask, gate = batch(shift=3.0)  # the bias alone would switch entries on
    mask[1] = False
    x = splade_head(hidden, weight, bias, mask, gate)
    assert (x[1] == 0).all()
    assert (x[0] > 0).any()
    x[1].sum().backward()
    assert all((t.grad == 0).all() for t in (hidden, weight, bias, gate))
    assert (splade_head(hidden, weight, bias, torch.zeros_like(mask), gate) == 0).all()


def test_negative_logits_give_zeros_and_no_gradient():
    hidden, weight, bias, mask, gate = batch(shift=-100.0)
    x = splade_head(hidden, weight, bias, mask, gate)
    x.sum().backward()
    assert (x == 0).all()
    assert all((t.grad == 0).all() for t in (hidden, weight, bias, gate))


@pytest.mark.parametrize("chunk", [16, 7])
def test_padding_and_what_it_holds_change_nothing(chunk):
    hidden, weight, bias, mask, gate = batch()
    noisy = torch.where(mask[..., None], hidden, torch.nan)
    x = splade_head(noisy, weight, bias, mask, gate, chunk=chunk)
    torch.testing.assert_close(x, splade_head(hidden, weight, bias, mask, gate, chunk=chunk), atol=0, rtol=0)


def test_not_a_number_in_a_token_is_seen():
    hidden, weight, bias, mask, gate = batch(L=1)
    hidden = hidden.detach().index_fill(0, torch.tensor(0), torch.nan)
    for screen in (False, True):
        x = splade_head(hidden, weight, bias, mask, gate.detach(), screen=screen)
        assert x[0].isnan().all()
        assert not x[1:].isnan().any()


def test_only_the_gradients_asked_for_are_computed():
    hidden, weight, bias, mask, gate = batch()
    weight, bias = weight.detach(), bias.detach()
    splade_head(hidden, weight, bias, mask, gate).sum().backward()
    assert weight.grad is None
    assert bias.grad is None
    assert hidden.grad.abs().sum() > 0
    assert gate.grad.abs().sum() > 0


def test_no_graph_without_gradients():
    hidden, weight, bias, mask, gate = batch()
    with torch.no_grad():
        x = splade_head(hidden, weight, bias, mask, gate)
    assert x.grad_fn is None
    assert not x.requires_grad
    frozen = [t.detach() for t in (hidden, weight, bias, gate)]
    assert splade_head(*frozen[:3], mask, frozen[3]).grad_fn is None


def test_saved_state_does_not_grow_with_the_cube():
    hidden, weight, bias, mask, gate = batch(2, 64, 8, 500)
    saved: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        splade_head(hidden, weight, bias, mask, gate)
    assert sum(saved) <= hidden.numel() + weight.numel() + 2 * 2 * 500  # inputs, output, winners


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 3e-2), (torch.float16, 4e-3)])
def test_half_precision(dtype, tolerance):
    """Output and sums are float32; only the logits are rounded, to the tolerance stated here."""
    hidden, weight, bias, mask, gate = batch(V=64, dtype=dtype, shift=0.5)
    x = splade_head(hidden, weight, bias, mask, gate)
    assert x.dtype == torch.float32
    wide = [t.detach().float().requires_grad_() for t in (hidden, weight, bias, gate)]
    expected = reference_head(*wide[:3], mask, wide[3])
    torch.testing.assert_close(x, expected, atol=tolerance, rtol=0)
    x.sum().backward()
    expected.sum().backward()
    for half, full in zip((hidden, weight, bias, gate), wide, strict=True):
        assert half.grad.dtype == dtype
        # another token may win within rounding, so compare the direction rather than each number
        cosine = torch.cosine_similarity(half.grad.float().flatten(), full.grad.flatten(), dim=0)
        assert cosine > 0.98


def test_mixed_types_are_promoted():
    hidden, weight, bias, mask, gate = batch()
    x = splade_head(hidden.bfloat16(), weight, bias, mask, gate)
    expected = reference_head(hidden.bfloat16().float(), weight, bias, mask, gate)
    torch.testing.assert_close(x, expected, atol=1e-5, rtol=0)


def test_autocast():
    hidden, weight, bias, mask, gate = batch(V=64)
    expected = reference_head(hidden, weight, bias, mask, gate)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = splade_head(hidden, weight, bias, mask, gate)
    x.sum().backward()
    assert x.dtype == torch.float32
    assert hidden.grad.dtype == torch.float32
    assert 0 < (x - expected).abs().max() < 3e-2  # the logits really were bfloat16
    assert weight.grad.isfinite().all()
    assert weight.grad.abs().sum() > 0


needs_bf16 = pytest.mark.skipif(not screen_supported(), reason="this processor does not multiply bfloat16")


@needs_bf16
@pytest.mark.parametrize("with_gate", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_the_screen_loses_nothing(with_gate, seed):
    hidden, weight, bias, mask, gate = batch(4, 20, 96, 3000, seed=seed, shift=-4.5)
    gate = gate if with_gate else None
    plain = splade_head(hidden, weight, bias, mask, gate)
    screened = splade_head(hidden, weight, bias, mask, gate, screen=True)
    assert 0 < (plain > 0).float().mean() < 0.5
    # values next to zero may differ in the last bits: another block size sums in another order
    assert ((plain > 1e-5) <= (screened > 0)).all()
    torch.testing.assert_close(screened, plain, atol=2e-6, rtol=0)
    direction = torch.randn(plain.shape, generator=torch.Generator().manual_seed(seed))
    inputs = (hidden, weight, bias, gate)
    pairs = zip(gradients(screened, inputs, direction), gradients(plain, inputs, direction), strict=True)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in pairs)


@needs_bf16
def test_the_screen_keeps_a_weight_that_bfloat16_rounds_away():
    """1.00390625 = 1 + 2^-8 becomes 1 in bfloat16, so h·w - 1 looks inactive there and is not."""
    hidden = torch.full((1, 1, 16), 0.25)
    weight = torch.full((16, 16), 0.25 * (1 + 2.0**-8))
    bias = torch.full((16,), -1.0)
    mask = torch.ones(1, 1, dtype=torch.bool)
    assert ((hidden.bfloat16() @ weight.bfloat16().t()).float() + bias <= 0).all()
    x = splade_head(hidden, weight, bias, mask, screen=True)
    torch.testing.assert_close(x, torch.full((1, 16), math.log1p(2.0**-8)))


@needs_bf16
def test_the_screen_computes_few_entries_exactly(monkeypatch):
    hidden, weight, bias, mask, gate = batch(1, 20, 96, 3000, shift=-6.0)
    exact = []
    plain_logits = head_module._logits
    monkeypatch.setattr(head_module, "_logits", lambda w, *rest: exact.append(len(w)) or plain_logits(w, *rest))
    x = splade_head(hidden, weight, bias, mask, gate, screen=True)
    assert (x > 0).sum() <= sum(exact) < 600


def test_the_screen_is_ignored_without_bfloat16(monkeypatch):
    monkeypatch.setattr(head_module, "screen_supported", lambda: False)
    monkeypatch.setattr(head_module, "_screened", lambda *_: pytest.fail("screened"))
    hidden, weight, bias, mask, gate = batch()
    plain = splade_head(hidden, weight, bias, mask, gate)
    assert torch.equal(splade_head(hidden, weight, bias, mask, gate, screen=True), plain)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weight": torch.zeros(5, 4)}, "decoder weight"),
        ({"mask": torch.ones(2, 3)}, "mask"),
        ({"mask": torch.ones(2, 4, dtype=torch.bool)}, "mask"),
        ({"bias": torch.zeros(1)}, "bias"),
        ({"gate": torch.zeros(2, 1)}, "gate"),
        ({"chunk": 0}, "chunk"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(change, words):
    arguments = {
        "hidden": torch.zeros(2, 3, 8),
        "weight": torch.zeros(5, 8),
        "bias": torch.zeros(5),
        "mask": torch.ones(2, 3, dtype=torch.bool),
    } | change
    with pytest.raises(ModelError, match=words):
        splade_head(**arguments)
