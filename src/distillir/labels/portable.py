"""A stored label outside its store: a flat record that shards and bundles write, and that proves its own key."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from distillir.errors import LabelError
from distillir.labels.records import Label, StoredLabel, request_key

ASKED = ("key", "teacher", "model", "prompt_version", "parameters", "sample_index", "input_hash")
ANSWERED = tuple(field.name for field in fields(Label))
TEXTS = ("key", "teacher", "model", "prompt_version", "input_hash", "raw", "model_id", "created", "reason", "scale")
NUMBERS = ("sample_index", "tokens_in", "tokens_out", "attempts")


def to_record(row: StoredLabel) -> dict[str, Any]:
    """A flat mapping of JSON values."""
    record = {name: getattr(row, name) for name in ASKED}
    return record | {"context_ids": list(row.context_ids)} | {name: getattr(row.label, name) for name in ANSWERED}


def from_record(record: dict[str, Any], where: str) -> StoredLabel:
    """The label of a record, its key worked out again.

    Args:
        record: as `to_record` makes it.
        where: file and row, for the error.

    Raises:
        LabelError: a missing or foreign field, a value that is none of its kind, or a key that is not the hash of
            what it stands for.
    """
    unknown = sorted(set(record) ^ {*ASKED, *ANSWERED, "context_ids"})
    if unknown:
        raise LabelError(f"{where}: field {unknown[0]!r} is missing or unknown", "export it again with this distillir")
    wrong = [name for name in TEXTS if not isinstance(record[name], str)]
    wrong += [name for name in NUMBERS if type(record[name]) is not int]
    contexts = record["context_ids"]
    if wrong or not isinstance(contexts, list) or not all(isinstance(name, str) for name in contexts):
        raise LabelError(f"{where}: field {(wrong or ['context_ids'])[0]!r} is of the wrong type", "export it again")
    asked = {name: record[name] for name in ASKED}
    try:
        key = request_key(*(asked[name] for name in ASKED[1:]))
        label = Label(**{name: record[name] for name in ANSWERED})
    except (TypeError, ValueError, AttributeError) as error:
        raise LabelError(f"{where}: a damaged label: {error}", "export it again") from None
    except LabelError as error:
        raise LabelError(f"{where}: {error.cause}", error.cure) from None
    if key != asked["key"]:
        raise LabelError(
            f"{where}: the key {asked['key']!r} is not that of its teacher, model, prompt, parameters and input",
            "the file was changed after it was written; get it again",
        )
    return StoredLabel(**asked, context_ids=tuple(contexts), label=label)
