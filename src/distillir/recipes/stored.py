"""Rewrites by way of the label store: what is learnt from is on record, with who said it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from distillir.data import Context
from distillir.errors import LabelError
from distillir.labels import LabelStore, import_rewrites

FILE = "file "  # opens the model name of rewrites that came with a contexts file


def through_store(
    store: LabelStore, contexts: Sequence[Context], teachers: Iterable[str], origin: str
) -> list[Context]:
    """Contexts with the rewrites that the store has of them, after importing those they bring.

    A rewrite that the contexts bring counts before one that a model was asked for; a corrected file is imported
    under its new `origin`, so what an older version said stays on record and is not read.

    Args:
        store: of the labels.
        contexts: with or without rewrites.
        teachers: whose rewrites are read.
        origin: name and version of the file the contexts come from.

    Raises:
        LabelError: the store has rewrites of one context by several models under one teacher's name.
    """
    found: dict[str, dict[str, str]] = {}
    for teacher in teachers:
        import_rewrites(store, contexts, teacher, FILE + origin)
        texts = _asked(store, teacher) | store.rewrites(teacher, model=FILE + origin)
        for name, text in texts.items():
            found.setdefault(name, {})[teacher] = text
    return [replace(c, rewrites={**c.rewrites, **found.get(c.id, {})}) for c in contexts]


def _asked(store: LabelStore, teacher: str) -> dict[str, str]:
    """Rewrites that came from no contexts file."""
    texts: dict[str, str] = {}
    owner: dict[str, str] = {}
    models = {row.model for row in store.teachers() if row.teacher == teacher and not row.model.startswith(FILE)}
    for model in sorted(models):
        for name, text in store.rewrites(teacher, model=model).items():
            if owner.setdefault(name, model) != model:
                raise LabelError(
                    f"context {name!r} has rewrites of {teacher!r} by {owner[name]!r} and by {model!r}",
                    "give each model its own teacher name",
                )
            texts[name] = text
    return texts
