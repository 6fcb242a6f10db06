"""Encoders for dense vectors: any `AutoModel`, and what a sentence-transformers folder says of how to read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.hub import cached_file

from distillir.errors import ModelError
from distillir.students.backbone import check_tokenizer, quiet

POOLINGS = ("mean", "cls")
_LEGACY = "pooling_mode_"  # before 5.0 one flag a mode: pooling_mode_mean_tokens
UNLIMITED = 1 << 20  # tokenizers write numbers beyond for "no limit"
_KNOWN = ("Transformer", "Pooling", "Normalize")


def load_encoder(source: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """An encoder and its tokenizer.

    Args:
        source: a local folder or a model id.

    Raises:
        ModelError: not found, an encoder with parts that were never trained, or a tokenizer of another vocabulary or
            without the special tokens that separate turns.
    """
    source = str(source)
    try:
        with quiet():
            tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(source))
            model, loading = AutoModel.from_pretrained(
                source, output_loading_info=True, use_safetensors=True, attn_implementation="sdpa", dtype=torch.float32
            )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{source}: no encoder could be loaded ({reason})",
            "give a folder or model id of an AutoModel or sentence-transformers checkpoint in safetensors format",
        ) from error
    model = cast(PreTrainedModel, model)
    missing = sorted(name for name in loading["missing_keys"] if not name.endswith("position_ids"))
    if untrained := [name for name in missing if not name.startswith("pooler.")]:
        raise ModelError(
            f"{source}: the checkpoint has no trained weights for {', '.join(untrained[:4])}",
            "use a checkpoint of the architecture its config names",
        )
    _set_pooler_aside(model, untrained=bool(missing))
    check_tokenizer(source, model, tokenizer)
    model.train(False)
    return model, tokenizer


def read_reading(source: str | Path) -> dict[str, Any]:
    """How a sentence-transformers checkpoint is to be read: `pooling`, `normalise`, `length`, and prompts as
    `query_prefix` and `document_prefix`, as far as it says so. Empty for any other checkpoint.

    Raises:
        ModelError: modules or a pooling that a dense student does not have.
    """
    modules = _json(source, "modules.json")
    if not isinstance(modules, list):
        return {}
    kinds = [str(module.get("type", "")).rsplit(".", 1)[-1] for module in modules]
    if unknown := [kind for kind in kinds if kind not in _KNOWN]:
        raise ModelError(
            f"{source}: its sentence-transformers module {unknown[0]} is not supported",
            "use a checkpoint of transformer, pooling and normalisation",
        )
    found: dict[str, Any] = {"normalise": "Normalize" in kinds}
    if "Pooling" in kinds:
        folder = str(modules[kinds.index("Pooling")].get("path", ""))
        found["pooling"] = _pooling(source, _json(source, f"{folder}/config.json"))
    if (length := _length(source)) is not None:
        found["length"] = length
    prompts = _json(source, "config_sentence_transformers.json")
    prompts = prompts.get("prompts") if isinstance(prompts, dict) else None
    for side, names in (("query_prefix", ("query",)), ("document_prefix", ("document", "passage"))):
        text = next((prompts[name] for name in names if prompts.get(name)), "") if isinstance(prompts, dict) else ""
        if text:
            found[side] = text
    return found


def _length(source: str | Path) -> int | None:
    """Longest text in tokens; since 6.0 the tokenizer keeps it."""
    for name, key in (("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")):
        about = _json(source, name)
        length = about.get(key) if isinstance(about, dict) else None
        if isinstance(length, int) and length < UNLIMITED:
            return length
    return None


def _pooling(source: str | Path, config: Any) -> str:
    content = config if isinstance(config, dict) else {}
    modes = content.get("pooling_mode")
    if modes is None:
        flags = [key for key, on in content.items() if key.startswith(_LEGACY) and on is True]
        modes = [key.removeprefix(_LEGACY).removesuffix("_tokens").removesuffix("_token") for key in flags]
    modes = [modes] if isinstance(modes, str) else list(modes)
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise ModelError(
            f"{source}: pooling {' + '.join(map(str, modes)) or 'not named'} is not supported",
            f"use a checkpoint with {' or '.join(POOLINGS)} pooling",
        )
    return str(modes[0])


def _json(source: str | Path, name: str) -> Any:
    """A JSON file of a checkpoint, None where it has none."""
    try:
        path = cached_file(
            str(source),
            name,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        return None if path is None else json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{source}: {name} cannot be read ({reason})", "fetch the checkpoint again") from error


def _set_pooler_aside(model: PreTrainedModel, *, untrained: bool) -> None:
    """Vectors are pooled from token states, so a pooler gets no gradient; an untrained one is dropped, because its
    random weights would make every load another encoder."""
    pooler = getattr(model, "pooler", None)
    if isinstance(pooler, nn.Module):
        if untrained:
            cast(Any, model).pooler = None
        else:
            pooler.requires_grad_(False)
