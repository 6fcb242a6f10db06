"""`distillir train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distillir.cli.common import Json, Quiet, interruptible, quiet_loading

if TYPE_CHECKING:
    from distillir.recipes import DenseRun, GenerativeRun, RerankRun, ResponseRun, SparseRun


def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe file (YAML).")], as_json: Json = False, quiet: Quiet = False
) -> None:
    """Run a recipe: encode, train, index, evaluate, report. Run again, it goes on where it stopped."""
    with interruptible("finished stages are kept in the run folder; the same command goes on from there"):
        from distillir.recipes import kind_of

        kind = kind_of(recipe)
        chosen = kind.read(recipe)
        quiet_loading()
        run = kind.run(chosen, quiet=quiet)
        finish(run, as_json)
        if kind.asks and not as_json:
            typer.echo(
                f'next      distillir {kind.asks} {run.out} "a {"message" if kind.asks == "respond" else "question"}"'
            )


def finish(run: SparseRun | DenseRun | GenerativeRun | RerankRun | ResponseRun, as_json: bool) -> None:
    """Print how a run ended."""
    if as_json:
        compared = None if run.comparison is None else json.loads(run.comparison.to_json())
        typer.echo(json.dumps({"out": str(run.out), "steps": run.training.steps, "comparison": compared}))
        return
    if run.comparison is not None:
        typer.echo(run.comparison.text())
    typer.echo(f"\nstudent   {run.out / 'student'}")
    if run.report is not None:
        typer.echo(f"report    {run.report}")
