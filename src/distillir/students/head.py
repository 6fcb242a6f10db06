"""The fused SPLADE head: from token states to one weight per vocabulary entry, without the cube.

    x_v = log1p(relu(max_l (h_l·w_v + g_l) + b_v))          (SPLADE-max; DiSCo, arXiv 2410.14609)

A plain implementation holds all (B, L, V) logits, and autograd keeps them. Max-pooling commutes with
log1p∘relu, so only the token that wins an active entry carries gradient: the forward pass keeps the
maxima of a chunk of the vocabulary at a time, the backward pass gathers the winners.
"""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 2048  # vocabulary entries at a time; their logits over 256 tokens stay inside a processor cache
ROUNDING = 2.0**-7  # twice the relative error of a product of two numbers rounded to bfloat16


def splade_head(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor,
    gate: Tensor | None = None,
    *,
    chunk: int = CHUNK,
    screen: bool = False,
) -> Tensor:
    """SPLADE weights of a batch.

    Args:
        hidden: (B, L, H) states after the head's transform. In half precision the products are taken
            in half precision, the rest in float32.
        weight: (V, H) vocabulary projection. bias: (V,).
        mask: (B, L) bool, True on real tokens. A row without any gives zeros.
        gate: (B, L) scalar added to every logit of a token.
        chunk: vocabulary entries at a time.
        screen: take the maxima in bfloat16 first and only those entries in float32 that could be
            active; exact, about three times as fast where the processor multiplies bfloat16, and
            ignored elsewhere (`screen_supported`) and for inputs that are not float32.

    Returns:
        (B, V) weights ≥ 0, float32 (float64 for float64 input). Gradients reach hidden, weight, bias
        and gate through the winning token of each active entry; on ties through one of the winners.
    """
    screen = screen and hidden.dtype == torch.float32 and hidden.device.type == "cpu" and screen_supported()
    return cast(Tensor, _Splade.apply(hidden, weight, bias, mask, gate, chunk, screen))


@cache
def screen_supported() -> bool:
    """Whether this processor multiplies bfloat16 natively (x86 with AVX512-BF16 or AMX)."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, probe, lambda: False)()) for probe in probes)


class _Splade(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        mask: Tensor,
        gate: Tensor | None,
        chunk: int,
        screen: bool,
    ) -> Tensor:
        out = hidden.new_zeros(len(hidden), len(weight), dtype=_wide(hidden))  # (B, V)
        needs = ctx.needs_input_grad
        active: list[tuple[Tensor, Tensor]] = []
        with torch.autocast(hidden.device.type, enabled=False):
            w = weight.to(hidden.dtype)
            low = (w.bfloat16(), w.norm(dim=1)) if screen else None
            for i in range(len(hidden)):
                tokens = mask[i].nonzero().squeeze(1)  # (T,)
                if not len(tokens):
                    active.append((tokens, tokens))
                    continue
                h = hidden[i, tokens]  # (T, H)
                g = None if gate is None else gate[i, tokens].to(h.dtype)
                if low is not None:
                    keep = _screened(h, *low, bias, g, chunk)
                    out[i, keep] = _maxima(h, w[keep], g, chunk).to(out.dtype)
                    out[i, keep] += 0 if bias is None else bias[keep].to(out.dtype)
                else:
                    out[i] = _maxima(h, w, g, chunk).to(out.dtype)
                    out[i] += 0 if bias is None else bias.to(out.dtype)
                out[i].relu_().log1p_()
                if any(needs):
                    on = out[i].nonzero().squeeze(1)  # (A,)
                    active.append((on, tokens[_winners(h, w, on, g, chunk)]))
        if any(needs):
            rows = torch.repeat_interleave(
                torch.arange(len(hidden), device=hidden.device),
                torch.tensor([len(on) for on, _ in active], device=hidden.device),
            )
            columns, winners = (torch.cat(part) for part in zip(*active, strict=True))
            ctx.save_for_backward(hidden, weight, out[rows, columns], rows, columns, winners)
            ctx.kinds = (None if bias is None else bias.dtype, None if gate is None else gate.dtype)
        return out

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, x, rows, columns, winners = ctx.saved_tensors
        needs = ctx.needs_input_grad
        # d log1p(m)/dm = 1/(1+m) = e^{-x}
        g = grad[rows, columns] * torch.exp(-x)  # (A,)
        flat = rows * hidden.shape[1] + winners  # (A,) index into (B·L)
        grads: list[Tensor | None] = [None] * 7
        if needs[0]:
            terms = g[:, None] * weight[columns].to(g.dtype)  # (A, H)
            total = hidden.new_zeros(hidden.shape[0] * hidden.shape[1], hidden.shape[2], dtype=g.dtype)
            grads[0] = total.index_add_(0, flat, terms).view_as(hidden).to(hidden.dtype)
        if needs[1]:
            terms = g[:, None] * hidden.flatten(0, 1)[flat].to(g.dtype)
            grads[1] = weight.new_zeros(weight.shape, dtype=g.dtype).index_add_(0, columns, terms).to(weight.dtype)
        if needs[2]:
            grads[2] = g.new_zeros(len(weight)).index_add_(0, columns, g).to(ctx.kinds[0])
        if needs[4]:
            per_token = g.new_zeros(hidden.shape[0] * hidden.shape[1]).index_add_(0, flat, g)
            grads[4] = per_token.view(hidden.shape[:2]).to(ctx.kinds[1])
        return tuple(grads)


def _maxima(h: Tensor, weight: Tensor, gate: Tensor | None, chunk: int) -> Tensor:
    """Largest logit of each vocabulary entry over tokens (T, H) → (V,), before the bias."""
    out = h.new_empty(len(weight))
    across = h.t().contiguous()  # (H, T): tokens last, so the maximum runs over contiguous memory
    for start in range(0, len(weight), chunk):
        part = weight[start : start + chunk]
        logits = torch.mm(part, across) if gate is None else torch.addmm(gate, part, across)  # (C, T)
        out[start : start + chunk] = logits.amax(1)
    return out


def _winners(h: Tensor, weight: Tensor, on: Tensor, gate: Tensor | None, chunk: int) -> Tensor:
    """Token that attains the maximum of each active entry: (A,) index into the tokens."""
    across = h.t().contiguous()
    parts = [on[:0]]
    for start in range(0, len(on), chunk):
        part = weight[on[start : start + chunk]]
        logits = torch.mm(part, across) if gate is None else torch.addmm(gate, part, across)
        parts.append(logits.argmax(1))
    return torch.cat(parts)


def _screened(
    h: Tensor, weight: Tensor, norms: Tensor, bias: Tensor | None, gate: Tensor | None, chunk: int
) -> Tensor:
    """Entries that could be active, from maxima in bfloat16 and a bound on their error.

    Rounding both factors moves h·w by at most about 2^-8·‖h‖·‖w‖ (Cauchy-Schwarz), rounding the sum with
    the gate by 2^-8 of its size; `ROUNDING` doubles both.
    """
    low = _maxima(h.bfloat16(), weight, None if gate is None else gate.bfloat16(), chunk).float()
    reach = h.norm(dim=1).max() * norms
    slack = ROUNDING * (reach + (0 if gate is None else gate.abs().max()) + low.abs())
    return (low + (0 if bias is None else bias) + slack > 0).nonzero().squeeze(1)


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32
