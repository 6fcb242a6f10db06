"""`distillir ablate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from distillir.cli.common import Json, Quiet, interruptible, quiet_loading
from distillir.cli.query import numbers


def ablate(
    recipe: Annotated[Path, typer.Argument(help="Recipe file (YAML), the baseline.")],
    factors: Annotated[
        Path | None, typer.Option(help="File of factors; by default those of the KLD follow-up.", show_default=False)
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Vary this factor only; may be repeated.")] = None,
    grid: Annotated[bool, typer.Option("--grid", help="All combinations, not one factor at a time.")] = False,
    seeds: Annotated[str, typer.Option(help="Seeds of the trainings, with commas.")] = "1,2,3",
    folds: Annotated[
        int, typer.Option(help="0: learn from train, measure on dev. From 2: cross-validate the judged turns of both.")
    ] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the trainings; do none.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Vary a recipe and compare what comes out: quality, FLOPS, active dimensions, by factor and by turn.

    Vectors and teachers' scores are shared; finished trainings are kept in the run folder, so a stopped ablation goes
    on. Test contexts are not read.
    """
    with interruptible("finished trainings are kept in the run folder; the same command goes on from there"):
        from distillir.recipes import read_recipe
        from distillir.recipes.ablation import run_ablation
        from distillir.recipes.ablation_plan import cells_of, read_factors, runs_of

        chosen, varied = read_recipe(recipe), read_factors(factors).only(only or [])
        tried = numbers(seeds, int, "--seeds")
        cells = cells_of(chosen, varied, grid=grid)
        runs = runs_of(cells, max(1, folds), tried)
        if dry_run:
            told = {"cells": [cell.name for cell in cells], "trainings": runs}
            typer.echo(json.dumps(told) if as_json else "\n".join([*(c.name for c in cells), f"{runs} trainings"]))
            return
        quiet_loading()
        found, report = run_ablation(chosen, varied, grid=grid, seeds=tried, folds=folds, quiet=quiet)
        if as_json:
            typer.echo(json.dumps({"report": str(report), **json.loads(found.to_json())}))
        else:
            typer.echo(f"{found.text()}\n\nreport    {report}")
