"""One way to go on writing with a language model, decoder-only or sequence to sequence.

A prompt is read once, however many continuations it has: `start` reads prompts, `extend` writes behind any of them.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel


@dataclass
class Written:
    """What R rows of a model have read so far.

    Attributes:
        cache: keys and values. mask: (R, L) bool of what they attend to: prompt and continuation of a decoder, the
            prompt of an encoder. states: (R, L, H) of an encoder, else None.
        length: (R,) tokens before the next one.
    """

    cache: Any
    mask: Tensor
    length: Tensor
    states: Tensor | None = None

    def rows(self, chosen: Tensor) -> Written:
        """Some of the rows, each as often as it is named; gradients flow back into them."""
        cache: Any = self.cache
        if isinstance(cache, EncoderDecoderCache):
            cache = EncoderDecoderCache(_own(cache.self_attention_cache), _own(cache.cross_attention_cache))
        else:
            cache = _own(cache)
        cache.batch_select_indices(chosen)
        states = None if self.states is None else self.states[chosen]
        return Written(cache, self.mask[chosen], self.length[chosen], states)


def start(model: PreTrainedModel, ids: Tensor, mask: Tensor) -> tuple[Written, Tensor]:
    """Read prompts.

    Args:
        model: of either kind.
        ids, mask: (B, P); padded to the left for a decoder.

    Returns:
        What was read, and (B, V) logits of the first token behind each.
    """
    net: Any = model
    if model.config.is_encoder_decoder:
        states = net.get_encoder()(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        cache: Any = EncoderDecoderCache(DynamicCache(), DynamicCache())
        written = Written(cache, mask, torch.zeros(len(ids), dtype=torch.long, device=ids.device), states)
        first = torch.full_like(ids[:, :1], model.config.decoder_start_token_id)
        logits = _write(model, written, first)
        return written, logits[:, -1]
    places = (mask.long().cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache()
    logits = net(
        input_ids=ids,
        attention_mask=mask.long(),
        position_ids=places,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits
    return Written(cache, mask, mask.sum(1)), logits[:, -1]


def read_whole(model: PreTrainedModel, ids: Tensor, mask: Tensor, tokens: Tensor) -> Tensor:
    """(R, T + 1, V) logits behind each of R prompts, and behind each of (R, T) tokens written after it.

    A prompt is read once a row and nothing is cached: layers that are computed again under backward keep no cache.

    Args:
        model, ids, mask: see `start`; a row for each continuation.
        tokens: of the continuations.
    """
    net: Any = model
    if model.config.is_encoder_decoder:
        first = torch.full_like(ids[:, :1], model.config.decoder_start_token_id)
        written = torch.cat([first, tokens], 1)
        made = net(input_ids=ids, attention_mask=mask.long(), decoder_input_ids=written, use_cache=False)
        return cast(Tensor, made.logits)
    seen = torch.cat([mask.long(), torch.ones_like(tokens)], 1)
    made = net(
        input_ids=torch.cat([ids, tokens], 1),
        attention_mask=seen,
        position_ids=(seen.cumsum(1) - 1).clamp(min=0),
        use_cache=False,
        logits_to_keep=tokens.shape[1] + 1,
    )
    return cast(Tensor, made.logits)


def extend(model: PreTrainedModel, written: Written, tokens: Tensor) -> Tensor:
    """(R, T, V) logits behind each of (R, T) tokens that are written; `written` holds them afterwards."""
    return _write(model, written, tokens)


def _write(model: PreTrainedModel, written: Written, tokens: Tensor) -> Tensor:
    net: Any = model
    steps = torch.arange(tokens.shape[1], device=tokens.device)
    if written.states is not None:
        logits: Tensor = net(
            encoder_outputs=(written.states,),
            attention_mask=written.mask.long(),
            decoder_input_ids=tokens,
            past_key_values=written.cache,
            use_cache=True,
        ).logits
    else:
        written.mask = torch.cat([written.mask, torch.ones_like(tokens, dtype=torch.bool)], 1)
        logits = net(
            input_ids=tokens,
            attention_mask=written.mask.long(),
            position_ids=written.length[:, None] + steps,
            past_key_values=written.cache,
            use_cache=True,
        ).logits
    written.length = written.length + tokens.shape[1]
    return logits


def _own(cache: DynamicCache) -> DynamicCache:
    """A cache that can be narrowed by itself: narrowing replaces tensors, so they can be shared until then."""
    made = copy.copy(cache)
    made.layers = [copy.copy(layer) for layer in cache.layers]
    return made
