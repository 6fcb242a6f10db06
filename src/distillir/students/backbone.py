"""Masked language models as SPLADE backbones, cut open before the vocabulary projection.

The projection of a masked language model is the product that builds the (B, L, V) cube. Here the
model returns what would enter it, and `students.head` does the rest.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from distillir.errors import ModelError

NON_COMMERCIAL = ("naver/splade", "naver/efficient-splade")
logger = logging.getLogger(__name__)


class HeadTap(nn.Linear):
    """Stands where the vocabulary projection stood, shares its parameters, returns its input."""

    def __init__(self, projection: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = projection.in_features, projection.out_features
        self.weight = projection.weight  # (V, H), usually tied to the word embeddings
        self.bias = projection.bias  # (V,)

    def forward(self, input: Tensor) -> Tensor:  # the name is nn.Linear's
        """(B, L, H) → the same."""
        return input


def load_backbone(source: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A masked language model whose forward returns (B, L, H) states, and its tokenizer.

    Args:
        source: a local folder or a model id.

    Raises:
        ModelError: not found, not a masked language model, without a trained head (transformers
            would silently initialise one), with a head that does more than project, or with a
            tokenizer of another vocabulary.
    """
    source = str(source)
    if source.startswith(NON_COMMERCIAL):
        logger.warning("%s is published under CC BY-NC-SA 4.0: not for commercial use", source)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        model, loading = AutoModelForMaskedLM.from_pretrained(
            source, output_loading_info=True, use_safetensors=True, attn_implementation="sdpa", dtype=torch.float32
        )
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{source}: no masked language model could be loaded ({str(error).splitlines()[0]})",
            "give a folder or model id of an AutoModelForMaskedLM checkpoint in safetensors format",
        ) from error
    model = cast(PreTrainedModel, model)
    projection = model.get_output_embeddings()
    names = {id(p): n for n, p in model.named_parameters(remove_duplicate=False)}
    missing = sorted(k for k in loading["missing_keys"] if not k.endswith("position_ids"))
    if missing or not isinstance(projection, nn.Linear):
        raise ModelError(
            f"{source}: the checkpoint has no trained masked-language-model head (missing: {', '.join(missing[:4]) or names})",
            "use a checkpoint that was saved with its MLM head; an encoder alone cannot weigh vocabulary terms",
        )
    if len(tokenizer) > projection.out_features:
        raise ModelError(
            f"{source}: the tokenizer has {len(tokenizer)} entries, the model {projection.out_features}",
            "use the tokenizer the model was trained with",
        )
    if tokenizer.cls_token_id is None or tokenizer.sep_token_id is None or tokenizer.pad_token_id is None:
        raise ModelError(f"{source}: the tokenizer names no [CLS], [SEP] or [PAD] token", "use a BERT-like tokenizer")
    model.eval()
    probe = torch.tensor([[tokenizer.cls_token_id, tokenizer.sep_token_id]])
    with torch.no_grad():
        logits = model(input_ids=probe).logits
        tap(model)
        states = model(input_ids=probe).logits
    if states.shape[-1] != projection.in_features or not torch.allclose(
        nn.functional.linear(states, projection.weight, projection.bias), logits, atol=1e-3
    ):
        raise ModelError(f"{source}: the head does more than project", "this architecture is not supported yet")
    return model, cast(PreTrainedTokenizerBase, tokenizer)


def tap(model: PreTrainedModel) -> None:
    """Put a `HeadTap` in the place of the model's vocabulary projection."""
    projection = cast(nn.Linear, model.get_output_embeddings())
    model.set_output_embeddings(HeadTap(projection))


def untapped_state(model: PreTrainedModel) -> dict[str, Tensor]:
    """State dict under the names of the untouched architecture: the tap has its projection's names."""
    return cast(dict[str, Tensor], model.state_dict())


def fingerprint(*modules: nn.Module) -> str:
    """Hash of all weights (hex, 16 characters): names whose vectors a store holds."""
    digest = hashlib.blake2b(digest_size=8)
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def positions(config: Any) -> int:
    """Longest input the model has positions for."""
    return int(getattr(config, "max_position_embeddings", 0) or 1 << 30)
