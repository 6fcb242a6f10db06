"""What must not be published: text that looks like a key or a password."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from distillir.errors import LabelError
from distillir.labels.records import StoredLabel

NAMED = re.compile(
    r"(?:^|[_-])(?:api[_-]?key|secret|passw(?:or)?d|authorization|access[_-]?token|auth[_-]?token|bearer)$",
    re.IGNORECASE,
)
LOOKS = re.compile(
    r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{20,}"  # OpenAI and those who follow it
    r"|\bhf_[A-Za-z0-9]{20,}|\bgh[pousr]_[A-Za-z0-9]{20,}|\bAKIA[0-9A-Z]{16}\b|\bAIza[0-9A-Za-z_-]{30,}"
    r"|\bBearer\s+[A-Za-z0-9._~+/-]{16,}|-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----"
    r"|://[^/\s:@]{1,100}:[^/\s:@]{1,100}@"  # a password in an address
)


def looks_secret(text: str) -> bool:
    """Whether a text holds something of the shape of a key, a token or an address with a password."""
    return LOOKS.search(text) is not None


def refuse_secrets(row: StoredLabel, record: Mapping[str, Any]) -> None:
    """Refuse a label one of whose texts, or one of whose parameters' names, looks like a secret.

    Raises:
        LabelError: naming the label and the field, not the secret.
    """
    name = _secret_name(row.parameters)
    where = "parameters" if name else ""
    where = where or next((field for field, text in record.items() if isinstance(text, str) and looks_secret(text)), "")
    if where:
        raise LabelError(
            f"label {row.key}: {where}{' ' + repr(name) if name else ''} looks like a key or password",
            "look at it with `distillir labels show`; leave replies out (raw=False, --no-raw) or allow it "
            "(allow_secrets=True, --allow-secrets)",
        )


def refuse_secret_prompts(prompts: Mapping[str, str]) -> None:
    """Refuse a prompt that holds what looks like a secret.

    Raises:
        LabelError: naming the prompt's version, not the secret.
    """
    for version, text in prompts.items():
        if looks_secret(text):
            raise LabelError(
                f"the prompt {version} holds what looks like a key or password",
                "take it out of the prompt's file, or allow it (allow_secrets=True, --allow-secrets)",
            )


def _secret_name(value: Any) -> str:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            found = name if NAMED.search(name) else _secret_name(inner)
            if found:
                return str(found)
    elif isinstance(value, list | tuple):
        return next(filter(None, map(_secret_name, value)), "")
    return ""
