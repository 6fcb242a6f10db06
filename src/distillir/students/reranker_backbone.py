"""Encoders with one logit: a cross-encoder's checkpoint, or any encoder with a head that is drawn anew."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from distillir.errors import ModelError
from distillir.students.backbone import check_tokenizer, quiet

HEAD = ("classifier", "pre_classifier", "score", "pooler", "head")  # what a classification head is made of
logger = logging.getLogger(__name__)


def load_classifier(
    source: str | Path, seed: int = 0, *, trained: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """An encoder with one logit, and its tokenizer.

    Args:
        source: a local folder or a model id; a checkpoint without a classification head gets a fresh one.
        seed: of the fresh head.
        trained: refuse a checkpoint without a head.

    Raises:
        ModelError: not found, a head with another number of outputs, parts of the encoder that were never trained, or
            a tokenizer of another vocabulary.
    """
    source = str(source)
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            config = AutoConfig.from_pretrained(source)
            whole = any(kind.endswith("ForSequenceClassification") for kind in config.architectures or [])
            if whole and config.num_labels != 1:
                raise ModelError(f"{source} has {config.num_labels} outputs", "give a cross-encoder with one score")
            tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(source))
            config.num_labels = 1
            model, loading = AutoModelForSequenceClassification.from_pretrained(
                source, config=config, output_loading_info=True, use_safetensors=True, dtype=torch.float32
            )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{source}: no cross-encoder could be loaded ({reason})",
            "give a folder or model id of an encoder or a cross-encoder in safetensors format",
        ) from error
    model = cast(PreTrainedModel, model)
    base = str(model.base_model_prefix)
    missing = {name.removeprefix(f"{base}.") for name in loading["missing_keys"] if not name.endswith("position_ids")}
    lost = sorted(name for name in missing if trained or whole or name.split(".")[0] not in HEAD)
    if lost:
        raise ModelError(
            f"{source}: the checkpoint has no trained weights for {', '.join(lost[:4])}",
            "use a checkpoint of the architecture its config names",
        )
    if missing:
        logger.info("%s has no classification head: %s are drawn anew", source, ", ".join(sorted(missing)))
    check_tokenizer(source, model, tokenizer)
    cast(Any, model.config).problem_type = "regression"
    model.train(False)
    return model, tokenizer
