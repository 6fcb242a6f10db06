"""A causal language model of transformers: loading, prompts to tokens, and forwards that share a prefix.

B rows of a batch, T tokens, V entries of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from jinja2.exceptions import TemplateError
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer

from distillir.errors import MissingDependencyError, ModelError
from distillir.teachers.quiet import quiet
from distillir.teachers.requests import Message, whole

FORMATS = ("float32", "bfloat16", "float16")
WORTH = 16  # tokens: a shorter prefix is sooner computed than shared


@dataclass
class Step:
    """Where a batch stands.

    Attributes:
        logits: (B, keep, V), float32, of the last `keep` tokens of each row.
        cache: keys and values of all tokens so far.
        mask: (B, T) of them, 0 on padding.
    """

    logits: Tensor
    cache: DynamicCache
    mask: Tensor


class CausalLM:
    """Model and tokenizer, in evaluation mode; not for several threads at once.

    Attributes:
        context: most tokens of prompt and reply together.
        computed: tokens that went through the model, padding included: what sharing saves is seen here.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model, self.tokenizer = model, tokenizer
        model.train(False)
        config = model.config.get_text_config()
        self.context = int(getattr(config, "max_position_embeddings", 0) or 1 << 30)
        self.computed = 0
        # States of a window or a recurrence cannot be cut at a token.
        self._shares = all(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers)
        self._prefix: list[int] = []
        self._states: list[tuple[Tensor, Tensor]] = []

    @classmethod
    def load(
        cls, source: str | Path, gguf_file: str | None = None, dtype: str = "float32", device: str = "cpu"
    ) -> CausalLM:
        """Read a folder, a model id, or the GGUF file of a folder.

        Raises:
            ModelError: no such model, no causal language model, or weights missing in the checkpoint.
            MissingDependencyError: a GGUF file without the package that reads it.
        """
        where = {"gguf_file": gguf_file} if gguf_file else {}
        safe = {} if gguf_file else {"use_safetensors": True}
        if dtype not in FORMATS:
            raise ModelError(f"there is no number format {dtype!r} for weights", f"use one of {', '.join(FORMATS)}")
        if gguf_file and find_spec("gguf") is None:
            raise MissingDependencyError("gguf", "local-llm")
        try:
            with quiet():
                tokenizer = AutoTokenizer.from_pretrained(str(source), **where)
                read: Any = AutoModelForCausalLM.from_pretrained(
                    str(source), dtype=getattr(torch, dtype), output_loading_info=True, **where, **safe
                )
        except (OSError, ValueError, KeyError) as error:
            told = " ".join(str(error).split())[:300]
            raise ModelError(
                f"{source} cannot be read as a causal language model: {told}",
                "give a folder, a model id or a GGUF file",
            ) from error
        model, found = read
        if found["missing_keys"]:
            lacks = ", ".join(sorted(found["missing_keys"])[:3])
            raise ModelError(
                f"{source} lacks weights of a causal language model: {lacks}", "take a decoder, not an encoder"
            )
        return cls(model.to(device), tokenizer)

    @property
    def endings(self) -> frozenset[int]:
        """Tokens that end a reply."""
        told = self.model.generation_config.eos_token_id if self.model.generation_config else None
        listed = told if isinstance(told, list) else [told]
        return frozenset(int(token) for token in [*listed, self.tokenizer.eos_token_id] if token is not None)

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, none added."""
        return cast("list[int]", self.tokenizer(whole(text), add_special_tokens=False).input_ids)

    def encode_chat(self, messages: Sequence[Message]) -> list[int]:
        """Tokens of a chat up to where the reply begins.

        Raises:
            ModelError: no chat template, or one that has no place for these messages.
        """
        listed = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text = self.tokenizer.apply_chat_template(listed, add_generation_prompt=True, tokenize=False)
        except (ValueError, TemplateError) as error:
            raise ModelError(f"chat template: {error}", "take a model tuned for chats, or other roles") from None
        return self.encode(cast(str, text))

    def start(self) -> list[int]:
        """The token a text begins with when nothing precedes it.

        Raises:
            ModelError: the model has none.
        """
        for token in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return [int(token)]
        raise ModelError("the model has no token that begins a text", "give a prompt")

    @torch.inference_mode()
    def run(self, rows: Sequence[list[int]], needed: Sequence[int]) -> Step:
        """One forward over rows of different lengths; what they all begin with is computed once and kept.

        Args:
            rows: tokens, one or more each.
            needed: of each row, how many last positions are wanted, 1 or more.

        Returns:
            Logits of the last max(needed) positions; where a row needs fewer, the positions before are not its own.
        """
        shared = min(len(row) - need for row, need in zip(rows, needed, strict=True))
        first = min(rows), max(rows)  # what these two share, all share
        shared = min(shared, _common(*first))
        kept = self._kept(rows[0][:shared], new=len(rows) > 1) if self._shares and shared >= WORTH else 0
        length = max(len(row) for row in rows) - kept
        ids = torch.full((len(rows), length), self.pad, dtype=torch.long)  # (B, L), padded on the left
        mask = torch.zeros((len(rows), kept + length), dtype=torch.long)  # (B, kept + L)
        mask[:, :kept] = 1
        for i, row in enumerate(rows):
            rest = torch.tensor(row[kept:], dtype=torch.long)
            ids[i, length - len(rest) :] = rest
            mask[i, kept + length - len(rest) :] = 1
        return self._forward(ids, mask, self._cache(kept, len(rows)), max(needed))

    @torch.inference_mode()
    def advance(self, step: Step, tokens: Tensor) -> Step:
        """One more token (B,) of each row."""
        mask = torch.cat([step.mask, step.mask.new_ones(len(tokens), 1)], dim=1)
        return self._forward(tokens[:, None], mask, step.cache, 1)

    def _forward(self, ids: Tensor, mask: Tensor, cache: DynamicCache, keep: int) -> Step:
        self.computed += ids.numel()
        device = self.model.device
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        out: Any = self.model(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            position_ids=positions.to(device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=keep,
        )
        return Step(out.logits[:, -keep:].float(), out.past_key_values, mask)

    @property
    def pad(self) -> int:
        pad = self.tokenizer.pad_token_id
        return int(pad) if pad is not None else 0

    def _kept(self, wanted: list[int], new: bool) -> int:
        """How many tokens of `wanted` have their states kept; `new`: compute and keep all of them first."""
        there = _common(self._prefix, wanted)
        there = there if there >= WORTH else 0
        if there == len(wanted) or not new:
            return there
        ids = torch.tensor([wanted[there:]], dtype=torch.long)
        step = self._forward(ids, torch.ones(1, len(wanted), dtype=torch.long), self._cache(there, 1), 1)
        layers = cast("list[Any]", step.cache.layers)
        self._prefix, self._states = wanted, [(layer.keys, layer.values) for layer in layers]
        return len(wanted)

    def _cache(self, length: int, rows: int) -> DynamicCache:
        cache = DynamicCache(config=self.model.config)
        if length:
            for layer, (keys, values) in enumerate(self._states):
                cut = keys[..., :length, :].expand(rows, -1, -1, -1), values[..., :length, :].expand(rows, -1, -1, -1)
                cache.update(*cut, layer)
        return cache


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of what two rows begin with alike."""
    for i, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return i
    return min(len(one), len(other))
