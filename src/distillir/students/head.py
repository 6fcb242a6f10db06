"""The fused SPLADE head: x[b, v] = log1p(relu(max_l (hidden[b, l] · weight[v] + gate[b, l]) + bias[v])).

The (B, L, V) cube of logits is never built. log1p∘relu is monotone, so it commutes with the maximum over tokens: the
forward walks blocks of vocabulary entries and keeps each block's maxima, the backward touches only the arg-max token
of each active dimension (x > 0), because nothing else carries gradient.

B contexts, L tokens a context, H hidden width, V vocabulary entries. SPLADE: Formal et al., arXiv 2109.10086.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from distillir.errors import ModelError

CHUNK = 2048
"""Vocabulary entries a block: with 256 tokens 2 MiB of float32 logits, which stay in the processor's cache."""

_TOKENS = {"cpu": 256}
"""Tokens a block, by device; an accelerator wants larger blocks than a cache does."""
_TOKENS_ELSEWHERE = 8192

_MKLDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]

_BF16_UNIT = 2.0**-8
"""Unit roundoff of bfloat16: rounding to nearest is off by at most this share of the value."""


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
    """Sparse representation of each context, without the (B, L, V) cube.

    Under autocast the logits are computed in the autocast type, like a linear layer's; everything after the maximum is
    float32. On ties one of the maximisers receives the whole gradient, which is a subgradient.

    Args:
        hidden: (B, L, H) token states after the head's transform.
        weight: (V, H) decoder weight.
        bias: (V,) decoder bias, or None.
        mask: (B, L) bool, True on tokens that count; a row without any gives zeros and no gradient.
        gate: (B, L) number added to every logit of a token, or None.
        chunk: vocabulary entries a block.
        screen: first find the dimensions that can be active in bfloat16, then compute those in full precision; the
            active set and values are the plain path's, up to the rounding of another block size. Pays when few
            dimensions are active. Ignored unless the tensors are float32 on a CPU with bfloat16 instructions
            (`screen_supported`).

    Returns:
        (B, V) non-negative weights; float64 for float64 input, else float32.

    Raises:
        ModelError: on shapes, types or a chunk that do not fit together.
    """
    tensors = _Tensors(hidden, weight, bias, gate)
    _check(tensors, mask, chunk)
    device = hidden.device.type
    compute = torch.promote_types(hidden.dtype, weight.dtype)
    if torch.is_autocast_enabled(device):
        compute = torch.get_autocast_dtype(device)
    screen = screen and compute == torch.float32 and device == "cpu" and screen_supported()
    options = _Options(chunk, screen, compute)
    with torch.autocast(device_type=device, enabled=False):
        if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
            return cast(Tensor, _SpladeHead.apply(options, mask, *tensors))  # type: ignore[no-untyped-call]
        return _forward(tensors, mask, options)


def screen_supported() -> bool:
    """Whether this processor multiplies bfloat16 natively (AVX512-BF16 or AMX, as torch reads from CPUID)."""
    probes = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(probe() for probe in probes if probe is not None)


class _Tensors(NamedTuple):
    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    gate: Tensor | None


class _Options(NamedTuple):
    chunk: int
    screen: bool
    compute: torch.dtype  # of the logits


class _Coarse(NamedTuple):
    weight: Tensor  # (V, H) in bfloat16
    norms: Tensor  # (V,) of the float32 rows


class _SpladeHead(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, options: _Options, mask: Tensor, *inputs: Any) -> Tensor:
        hidden, weight, bias, gate = tensors = _Tensors(*inputs)
        winners = torch.zeros(hidden.shape[0], weight.shape[0], dtype=torch.int32, device=hidden.device)
        represented = _forward(tensors, mask, options, winners)
        ctx.save_for_backward(hidden, weight, represented, winners)
        ctx.kinds = (bias.dtype if bias is not None else None, gate.dtype if gate is not None else None)
        return represented

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, represented, winners = ctx.saved_tensors
        _, _, *needs = ctx.needs_input_grad  # of hidden, weight, bias, gate
        B, L, H = hidden.shape
        entry, context = represented.t().nonzero(as_tuple=True)  # sorted by vocabulary entry
        # d log1p(z)/dz = 1/(1 + z) = exp(-x)
        slope = grad[context, entry] * torch.exp(-represented[context, entry])  # (active,)
        token = context * L + winners[context, entry]  # row of hidden.view(B·L, H)
        acc = represented.dtype
        grads: list[Tensor | None] = [None] * 4
        if needs[0]:
            by_token = torch.argsort(token, stable=True)
            summed = _weighted_rows(weight.to(acc), entry[by_token], slope[by_token], token[by_token], B * L)
            grads[0] = summed.view(B, L, H).to(hidden.dtype)
        if needs[1]:
            summed = _weighted_rows(hidden.reshape(B * L, H).to(acc), token, slope, entry, weight.shape[0])
            grads[1] = summed.to(weight.dtype)
        if needs[2]:
            grads[2] = slope.new_zeros(weight.shape[0]).index_add_(0, entry, slope).to(ctx.kinds[0])
        if needs[3]:
            grads[3] = slope.new_zeros(B * L).index_add_(0, token, slope).view(B, L).to(ctx.kinds[1])
        return None, None, *grads


def _weighted_rows(table: Tensor, rows: Tensor, weights: Tensor, group: Tensor, groups: int) -> Tensor:
    """(groups, H) sums of weights[i]·table[rows[i]] over each run of the sorted `group`.

    An embedding bag is this sum and, on a CPU, about ninety times faster than `index_add_` on rows.
    """
    starts = torch.searchsorted(group, torch.arange(groups + 1, device=group.device))
    return F.embedding_bag(rows, table, starts, mode="sum", per_sample_weights=weights, include_last_offset=True)


def _forward(tensors: _Tensors, mask: Tensor, options: _Options, winners: Tensor | None = None) -> Tensor:
    """The representation; where `winners` (B, V) is given, the arg-max token of each active dimension goes there."""
    hidden, weight, bias, gate = tensors
    chunk, screen, compute = options
    acc = torch.promote_types(compute, torch.float32)
    peaks = torch.full((hidden.shape[0], weight.shape[0]), -torch.inf, dtype=acc, device=hidden.device)
    weight = weight.to(compute)
    screened = _Coarse(weight.bfloat16(), torch.linalg.vector_norm(weight, dim=1)) if screen else None
    for rows, take in _blocks_of_rows(mask):
        R, T = take.shape
        tokens = hidden[rows[:, None], take].view(R * T, -1).to(compute)
        lift = None if gate is None else gate[rows[:, None], take].view(R * T).to(compute)
        kept = None if screened is None else _screened(tokens, screened, bias=bias, lift=lift, chunk=chunk)
        for lo, hi in _spans(weight.shape[0] if kept is None else len(kept), chunk):
            entries = torch.arange(lo, hi, device=rows.device) if kept is None else kept[lo:hi]
            block = weight[lo:hi] if kept is None else weight[entries]
            logits = _logits(block, tokens, lift).view(-1, R, T)  # (C, R, T)
            top = logits.amax(2).to(acc)  # (C, R)
            if bias is not None:
                top += bias[entries, None]
            peaks[rows[:, None], entries] = top.t()
            if winners is not None:
                on = (top > 0).view(-1).nonzero().squeeze(1)  # into (C·R,)
                c, r = on // R, on % R
                winners[rows[r], entries[c]] = take[r, logits.view(-1, T).index_select(0, on).argmax(1)].int()
    return peaks.relu_().log1p_()


def _blocks_of_rows(mask: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Contexts of like length, their counted tokens packed to the front.

    Yields:
        rows: (R,) contexts; those without a counted token never appear.
        take: (R, T) positions of their tokens; short rows repeat their first token, which leaves a maximum alone.
    """
    budget = _TOKENS.get(mask.device.type, _TOKENS_ELSEWHERE)
    counts = mask.sum(1)
    front = torch.argsort(~mask, dim=1, stable=True)
    lengths = counts.tolist()
    order = sorted((b for b, n in enumerate(lengths) if n), key=lambda b: -lengths[b])
    while order:
        T = lengths[order[0]]
        R = max(1, budget // T)
        rows = torch.tensor(order[:R], device=mask.device)
        order = order[R:]
        take = front[rows, :T]
        real = torch.arange(T, device=mask.device) < counts[rows, None]
        yield rows, torch.where(real, take, take[:, :1])


def _spans(size: int, chunk: int) -> Iterator[tuple[int, int]]:
    """Blocks of `chunk`; the last is cut where a multiple of 16 ends, see `_logits`."""
    for lo in range(0, size, chunk):
        hi = min(lo + chunk, size)
        even = hi - (hi - lo) % 16
        if even > lo:
            yield lo, even
        if even < hi:
            yield even, hi


def _logits(weight: Tensor, tokens: Tensor, lift: Tensor | None) -> Tensor:
    """(C, R·T) logits of a block: weight (C, H) · tokens (R·T, H) + lift (R·T,).

    In float32 on a CPU the product is written as a 1 × 1 convolution (vocabulary entries are pixels, tokens are
    filters), which torch gives to oneDNN; its matmul goes to MKL, half as fast on an AMD EPYC.
    Sixteen images, because torch keeps smaller batches away from oneDNN when it runs on one thread.
    """
    C, H = weight.shape
    plain = weight.dtype == torch.float32 and weight.device.type == "cpu" and _MKLDNN
    if plain and C % 16 == 0:
        images = weight.reshape(16, 1, C // 16, H).permute(0, 3, 1, 2)  # channels last: no copy
        return F.conv2d(images, tokens[:, :, None, None], lift).permute(0, 2, 3, 1).reshape(C, -1)
    return weight @ tokens.t() if lift is None else torch.addmm(lift, weight, tokens.t())


def _screened(tokens: Tensor, coarse: _Coarse, *, bias: Tensor | None, lift: Tensor | None, chunk: int) -> Tensor:
    """Vocabulary entries whose maximum can be positive for one of the block's contexts, from bfloat16 logits.

    With u the unit roundoff, rounding both factors moves a dot product by at most (2u + u²)·‖token‖·‖weight‖ (Cauchy–
    Schwarz), storing it by u of its value, rounding the gate and storing the sum by u of each again; the last term
    covers float32 sums. An entry stays when its bfloat16 maximum plus that slack may be above zero.
    """
    u = 1.02 * _BF16_UNIT  # 2 % for the products of errors
    reach = torch.linalg.vector_norm(tokens, dim=1).max() * coarse.norms  # (V,)
    slack = (4 * u + tokens.shape[1] * 2.0**-23) * reach + (0.0 if lift is None else 2 * u * lift.abs().max())
    if bias is not None:
        slack = slack + bias
    tokens16 = tokens.bfloat16().t()
    lift16 = None if lift is None else lift.bfloat16()
    kept = []
    for lo, hi in _spans(len(coarse.norms), chunk):
        rough = coarse.weight[lo:hi] @ tokens16  # (C, R·T)
        if lift16 is not None:
            rough += lift16
        hopeless = rough.amax(1).float() + slack[lo:hi] <= 0  # so written, what is not a number stays and is seen
        kept.append((~hopeless).nonzero().view(-1) + lo)
    return torch.cat(kept)


def _check(tensors: _Tensors, mask: Tensor, chunk: int) -> None:
    hidden, weight, bias, gate = tensors
    if hidden.ndim != 3 or weight.ndim != 2 or hidden.shape[2] != weight.shape[1]:
        raise ModelError(
            f"hidden states {tuple(hidden.shape)} do not fit a decoder weight {tuple(weight.shape)}",
            "pass hidden (B, L, H) and weight (V, H) of one model",
        )
    if mask.shape != hidden.shape[:2] or mask.dtype != torch.bool:
        raise ModelError(
            f"mask {tuple(mask.shape)} of {mask.dtype} for hidden states {tuple(hidden.shape)}",
            "pass a bool mask (B, L), True on tokens that count",
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ModelError(f"bias {tuple(bias.shape)} for {weight.shape[0]} vocabulary entries", "pass bias (V,)")
    if gate is not None and gate.shape != hidden.shape[:2]:
        raise ModelError(f"gate {tuple(gate.shape)} for hidden states {tuple(hidden.shape)}", "pass gate (B, L)")
    if chunk < 1:
        raise ModelError(f"chunk of {chunk} vocabulary entries", "pass a positive chunk")
