"""`distillir index-migrate`: an embedded index into another engine."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from distillir.cli.common import Json, Quiet, interruptible


def index_migrate(
    run: Annotated[Path, typer.Argument(help="Run folder or recipe file.", metavar="RUN|RECIPE")],
    engine: Annotated[
        str | None,
        typer.Option(help="Where to, as a recipe's `engine:` line; by default what the recipe says now."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Move a run's embedded index into another engine, compare the two, and search there from now on."""
    with interruptible("no document is lost; the same command goes on from there"):
        from distillir.recipes.migrating import migrate_run
        from distillir.recipes.yaml_file import parse_yaml
        from distillir.search.waiting import bar

        line = None if engine is None else parse_yaml(engine, "--engine")
        with nullcontext() if quiet else bar("move", "documents") as watch:
            moved = migrate_run(run, line, watch=watch)
    if as_json:
        typer.echo(json.dumps({"documents": moved.documents, "written": moved.written, "queries": moved.queries}))
        return
    typer.echo(f"{moved.documents:,} documents, {moved.written:,} written now; {moved.queries} queries find the same")
    typer.echo(f"the index as it was: {moved.kept}; remove it when you no longer need it")
