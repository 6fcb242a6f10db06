"""`distillir recipe …`: look at a recipe before it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from distillir.cli.common import Json, interruptible

recipe = typer.Typer(help="Look at a recipe before it runs.", no_args_is_help=True)


@recipe.callback()
def _recipe() -> None:
    """A group of its own, so that further commands find a place."""


@recipe.command()
def check(
    path: Annotated[Path, typer.Argument(help="Recipe file (YAML), of any kind.", metavar="RECIPE")],
    as_json: Json = False,
) -> None:
    """Read and check a recipe, look for its files, estimate sizes; exit status 1 where something is missing."""
    with interruptible("nothing was changed"):
        from distillir.recipes import check_recipe

        done = check_recipe(path)
    typer.echo(json.dumps(done.to_dict()) if as_json else done.text())
    if not done.ready:
        raise typer.Exit(1)
