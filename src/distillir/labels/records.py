"""What is asked of a teacher, and what it answered."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from distillir.errors import LabelError

Kind = Literal["rewrite", "order", "scores", "response"]
Status = Literal["ok", "repaired", "malformed"]
SHAPES: dict[Kind, str] = {
    "rewrite": "a text with something in it",
    "response": "a text with something in it",
    "order": "document ids, best first, each once",
    "scores": "document id -> finite number",
}


def canonical_json(value: Any) -> str:
    """One text per value: sorted keys, no blanks, shortest floats.

    Raises:
        LabelError: something JSON cannot say: NaN, a key that is no string, half a character, an object.
    """
    try:
        _check(value)
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise LabelError(
            f"a value that is not JSON: {error}", "use strings, finite numbers, lists and mappings"
        ) from None
    return text


def prompt_version(prompt: Any) -> str:
    """A name for a prompt that changes with any part of it: 12 hexadecimal digits of its hash."""
    return _digest(canonical_json(prompt))[:12]


@dataclass(frozen=True)
class LabelRequest:
    """One question to one teacher.

    Attributes:
        teacher: name under which labels are fused, e.g. "human" or "qwen".
        model: exact model asked, with revision or file hash where there is one.
        prompt_version: of the prompt; see `prompt_version`.
        input: what the model is shown, JSON.
        parameters: temperature, token limit and whatever else shapes the reply, JSON.
        sample_index: 0, 1, … for several replies to one input.
        context_id: whose label this is. Not part of the key: contexts with one input share one label.
        key: hash of all of these but the context.
        input_hash: hash of the input.
    """

    teacher: str
    model: str
    prompt_version: str
    input: Any
    parameters: Mapping[str, Any] = field(default_factory=dict)
    sample_index: int = 0
    context_id: str = ""
    key: str = field(init=False, compare=False, repr=False)
    input_hash: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.teacher or not self.model:
            raise LabelError("a request without teacher or model", "name both: labels are kept by them")
        if self.sample_index < 0:
            raise LabelError(f"sample index {self.sample_index}", "count samples from 0")
        input_hash = _digest(canonical_json(self.input))
        parts = [self.teacher, self.model, self.prompt_version, dict(self.parameters), self.sample_index, input_hash]
        object.__setattr__(self, "input_hash", input_hash)
        object.__setattr__(self, "key", _digest(canonical_json(parts)))


@dataclass(frozen=True)
class Label:
    """A teacher's answer.

    Attributes:
        kind: "rewrite" (a text), "order" (document ids, best first), "scores" (document id -> number)
            or "response" (a text).
        value: the label; None when malformed.
        raw: the reply as it came.
        status: "ok", "repaired", or "malformed" (kept and counted, never used as a label).
        model_id: what the endpoint said it was; "" if it did not.
        tokens_in: tokens of the prompt.
        tokens_out: tokens of the reply.
        seconds: time the call took.
        cost: its price, in the currency of the budget.
        created: UTC, ISO 8601; "" becomes the time of storing.
    """

    kind: Kind
    value: Any
    raw: str = ""
    status: Status = "ok"
    model_id: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    cost: float = 0.0
    created: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind) or self.status not in get_args(Status):
            raise LabelError(f"a label of kind {self.kind!r} and status {self.status!r}", f"kinds are {get_args(Kind)}")
        if (self.value is None) != (self.status == "malformed"):
            raise LabelError(
                f"a {self.status} label whose value is {self.value!r}", "only a malformed one has no value"
            )
        if self.value is not None and not _fits(self.kind, self.value):
            raise LabelError(f"{str(self.value)[:80]!r} is no {self.kind}", f"give {SHAPES[self.kind]}")
        spent = (self.tokens_in, self.tokens_out, self.seconds, self.cost)
        if not all(math.isfinite(amount) and amount >= 0 for amount in spent):
            raise LabelError(f"tokens, seconds and cost are {spent}", "give finite amounts of 0 or more")


@dataclass(frozen=True)
class StoredLabel:
    """A label with what was asked for it; the input itself is kept as a hash."""

    key: str
    teacher: str
    model: str
    prompt_version: str
    parameters: dict[str, Any]
    sample_index: int
    input_hash: str
    context_ids: tuple[str, ...]
    label: Label


@dataclass(frozen=True)
class TeacherSummary:
    """What one teacher, model and prompt gave and cost; `takeovers` calls were possibly paid twice."""

    teacher: str
    model: str
    prompt_version: str
    ok: int
    repaired: int
    malformed: int
    tokens_in: int
    tokens_out: int
    seconds: float
    cost: float
    takeovers: int


def _fits(kind: Kind, value: Any) -> bool:
    if kind in ("rewrite", "response"):
        return isinstance(value, str) and bool(value.strip())
    if kind == "order":
        texts = isinstance(value, list | tuple) and all(isinstance(document, str) for document in value)
        return texts and len(set(value)) == len(value) > 0
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(document, str) and _is_number(score) for document, score in value.items())
    )


def _is_number(score: Any) -> bool:
    return isinstance(score, int | float) and not isinstance(score, bool) and math.isfinite(score)


def _check(value: Any) -> None:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not isinstance(name, str):
                raise TypeError(f"the key {name!r} is no string")
            _check(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check(inner)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).hexdigest()
