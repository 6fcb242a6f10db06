"""What is asked of a teacher, and what it answered."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, get_args

from distillir.errors import LabelError
from distillir.labels.kinds import SHAPES, Kind, Status, fits

LARGEST = 2**63 - 1  # of the integers of SQLite and Parquet


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


def request_key(
    teacher: str, model: str, prompt_version: str, parameters: Mapping[str, Any], sample_index: int, input_hash: str
) -> str:
    """The key a request's label is stored under: a hash of all that shapes the reply."""
    return _digest(canonical_json([teacher, model, prompt_version, dict(parameters), sample_index, input_hash]))


class Asked(Protocol):
    """What a request and a stored label both tell of the question."""

    @property
    def key(self) -> str: ...
    @property
    def teacher(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def prompt_version(self) -> str: ...
    @property
    def parameters(self) -> Mapping[str, Any]: ...
    @property
    def sample_index(self) -> int: ...
    @property
    def input_hash(self) -> str: ...


@dataclass(frozen=True)
class LabelRequest:
    """One question to one teacher.

    Attributes:
        teacher: name under which labels are fused, e.g. "human" or "qwen".
        model: exact model asked, with revision or file hash where there is one.
        prompt_version: of the prompt; see `prompt_version`.
        input: what the model is shown, JSON.
        parameters: temperature, token limit and whatever else shapes the reply, JSON. They are published with the
            labels, so no address with a password and no key belongs here.
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
        if not 0 <= self.sample_index <= LARGEST:
            raise LabelError(f"sample index {self.sample_index}", "count samples from 0")
        asked = (self.teacher, self.model, self.prompt_version, self.parameters, self.sample_index)
        object.__setattr__(self, "input_hash", _digest(canonical_json(self.input)))
        object.__setattr__(self, "key", request_key(*asked, self.input_hash))


@dataclass(frozen=True)
class Label:
    """A teacher's answer.

    Attributes:
        kind: "rewrite" (a text), "order" (document ids, best first), "scores" (document id -> number),
            "response" (a text), "responses" (texts with log-likelihoods) or "conversation" (a synthesised one).
        value: the label; None when malformed.
        raw: the reply as it came; half characters (lone surrogates) in it become "?".
        status: "ok", "repaired", or "malformed" (kept and counted, never used as a label).
        model_id: what the endpoint said it was; "" if it did not.
        tokens_in: tokens of the prompt.
        tokens_out: tokens of the reply.
        seconds: time the call took.
        cost: its price, in the currency of the budget.
        created: UTC, ISO 8601; "" becomes the time of storing.
        reason: how it was repaired or why it is malformed, as `parsing` words it: "missing:2; cut off (length)".
        attempts: calls made for it, failed ones included; 0 for a label nobody was asked for.
        scale: what the numbers of "scores" and "responses" are: "logit", "probability", "logprob_per_token", …
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
    reason: str = ""
    attempts: int = 1
    scale: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind) or self.status not in get_args(Status):
            raise LabelError(f"a label of kind {self.kind!r} and status {self.status!r}", f"kinds are {get_args(Kind)}")
        if (self.value is None) != (self.status == "malformed"):
            raise LabelError(
                f"a {self.status} label whose value is {self.value!r}", "only a malformed one has no value"
            )
        if self.value is not None and not fits(self.kind, self.value):
            raise LabelError(f"{str(self.value)[:80]!r} is no {self.kind}", f"give {SHAPES[self.kind]}")
        spent = (self.tokens_in, self.tokens_out, self.seconds, self.cost, self.attempts)
        if not all(math.isfinite(amount) and 0 <= amount <= LARGEST for amount in spent):
            raise LabelError(f"tokens, seconds, cost and attempts are {spent}", "give finite amounts of 0 or more")
        for name in ("raw", "reason", "model_id"):  # a broken endpoint's reply is still a reply
            object.__setattr__(self, name, getattr(self, name).encode("utf-8", "replace").decode("utf-8"))


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
