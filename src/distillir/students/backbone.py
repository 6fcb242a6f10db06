"""Masked language models as SPLADE backbones, cut open before the vocabulary projection.

The projection of a masked language model is the product that builds the (B, L, V) cube. Here the
model returns what would enter it, and `students.head` does the rest.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging
from transformers.utils.hub import cached_file

from distillir.errors import ModelError

NON_COMMERCIAL = ("naver/splade", "naver/efficient-splade")
logger = logging.getLogger(__name__)


class HeadTap(nn.Linear):
    """Stands where the vocabulary projection stood, shares its parameters, returns its input.

    Being a linear layer under the same name, it is tied, saved and loaded like the one it replaces.
    """

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
        with quiet():
            if not Path(source).exists():
                logger.info("looking for %s in the model hub", source)
                cached_file(source, "config.json")  # once; each part of a model would wait for an absent hub by itself
            tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(source))
            model, loading = AutoModelForMaskedLM.from_pretrained(
                source, output_loading_info=True, use_safetensors=True, attn_implementation="sdpa", dtype=torch.float32
            )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{source}: no masked language model could be loaded ({reason})",
            "give a folder, or a model id that the hub or its cache has, of an AutoModelForMaskedLM checkpoint in "
            "safetensors format",
        ) from error
    model = cast(PreTrainedModel, model)
    missing = sorted(name for name in loading["missing_keys"] if not name.endswith("position_ids"))
    if missing:
        raise ModelError(
            f"{source}: the checkpoint has no trained weights for {', '.join(missing[:4])}"
            f"{f' and {len(missing) - 4} more' if len(missing) > 4 else ''}",
            "use a checkpoint that was saved with its MLM head; an encoder alone cannot weigh vocabulary terms",
        )
    check_tokenizer(source, model, tokenizer)
    model.train(False)
    tap(model, source)
    return model, tokenizer


def tap(model: PreTrainedModel, name: str = "the model") -> None:
    """Put a `HeadTap` in the place of the model's vocabulary projection.

    Raises:
        ModelError: the logits are something else than that projection of the states, or the model
            reads token ids otherwise than through its word embeddings.
    """
    projection = projection_of(model)
    cure = "this architecture is not supported; use a BERT-like masked language model"
    if not isinstance(projection, nn.Linear):
        raise ModelError(f"{name}: the head is a {type(projection).__name__}, not a linear projection", cure)
    probe = torch.arange(3, min(11, projection.out_features), device=projection.weight.device)[None]
    with torch.no_grad():
        logits = model(input_ids=probe).logits
        cast(Any, model).set_output_embeddings(HeadTap(projection))
        states = model(inputs_embeds=word_embeddings(model)(probe)).logits
        same = states.shape[-1] == projection.in_features and torch.allclose(
            projection(states), logits, atol=1e-3, equal_nan=True
        )
    if not same:
        raise ModelError(f"{name}: the head does more than project", cure)


def projection_of(model: PreTrainedModel) -> nn.Linear:
    """The model's vocabulary projection, tapped or not."""
    return cast(nn.Linear, cast(Any, model).get_output_embeddings())


def word_embeddings(model: PreTrainedModel) -> nn.Embedding:
    """The model's table of word embeddings."""
    return cast(nn.Embedding, model.get_input_embeddings())


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bars and load reports: what matters in them is checked and raised here."""
    bars, level = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def fingerprint(*modules: nn.Module) -> str:
    """Hash of all weights (hex, 16 characters): names whose vectors a store holds."""
    digest = hashlib.blake2b(digest_size=8)
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def positions(config: Any) -> int:
    """Longest input the model has positions for."""
    size = getattr(config, "max_position_embeddings", None)
    if not size:
        return 1 << 30
    # RoBERTa and its kin count positions from behind the padding id.
    padded = getattr(config, "model_type", "") in ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "mpnet")
    return int(size) - (int(config.pad_token_id) + 1 if padded else 0)


def check_lengths(model: PreTrainedModel, *lengths: int) -> None:
    """Refuse lengths that the model has no positions for.

    Raises:
        ModelError: naming the longest.
    """
    if max(lengths) > positions(model.config):
        raise ModelError(
            f"length {max(lengths)} passes the model's {positions(model.config)} positions", "lower max_length"
        )


def check_tokenizer(source: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer of another vocabulary, or without the special tokens that separate turns.

    Raises:
        ModelError: naming the checkpoint, `source`.
    """
    rows = word_embeddings(model).num_embeddings
    if len(tokenizer) > rows:
        raise ModelError(
            f"{source}: the tokenizer has {len(tokenizer)} entries, the model {rows}",
            "use the tokenizer the model was trained with",
        )
    lacking = [name for name in ("cls", "sep", "pad") if getattr(tokenizer, f"{name}_token_id") is None]
    if lacking:
        raise ModelError(
            f"{source}: the tokenizer names no {' or '.join(lacking)} token", "use a tokenizer of the BERT family"
        )
