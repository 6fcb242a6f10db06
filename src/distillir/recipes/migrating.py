"""A run's embedded index moved into another engine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from distillir.errors import ConfigError, DataError
from distillir.index import EngineLine
from distillir.index.migrate import Migration, migrate_index
from distillir.recipes.marks import engine_moved, mark_of
from distillir.recipes.opening import RECIPES
from distillir.recipes.recipe import read_recipe


def migrate_run(
    source: str | Path, engine: EngineLine | None = None, *, watch: Callable[[int, int], None] | None = None
) -> Migration:
    """Move the index of a run folder, or of a recipe's run folder, into another engine; see `migrate_index`.

    Args:
        source: run folder or recipe file.
        engine: where to; None = what the recipe's `engine:` says now.
        watch: told (done, total) documents.

    Raises:
        ConfigError: no engine is named. DataError: a run without an index. And those of `migrate_index`.
    """
    source = Path(source)
    out = source
    if source.suffix in RECIPES:
        recipe = read_recipe(source)
        out, engine = recipe.out, engine or recipe.engine
    if engine is None:
        raise ConfigError("no engine to move the index to", "name it, or give a recipe whose `engine:` line does")
    mark = mark_of(out, "index")
    if not mark.is_file():
        raise DataError(out, "not a run folder with an index", cure="run `distillir index RECIPE`")
    return migrate_index(out / "index", engine, watch=watch, then=partial(engine_moved, mark))
