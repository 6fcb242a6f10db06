"""`distillir train`."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distillir.cli.common import Json, Quiet, interruptible, quiet_loading

if TYPE_CHECKING:
    from distillir.recipes import DenseRun, GenerativeRun, RerankRun, ResponseRun, SparseRun

    AnyRun = SparseRun | DenseRun | GenerativeRun | RerankRun | ResponseRun


def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe file (YAML).")],
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Tell time, memory and disk from a sample of the data; train nothing.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run a recipe: encode, train, index, evaluate, report. Run again, it goes on where it stopped.

    Under `torchrun` or `accelerate launch` all processes train together; the first does everything else.
    """
    with interruptible("finished stages are kept in the run folder; the same command goes on from there"):
        from distillir.recipes import kind_of
        from distillir.training.crew import is_first, lead

        if not is_first():
            logging.getLogger().setLevel(logging.ERROR)
        quiet_loading()
        kind = kind_of(recipe)
        if estimate:
            from distillir.recipes.estimate import estimate_run

            told = estimate_run(kind.read(recipe), lambda small: kind.run(small, quiet=True))
            typer.echo(json.dumps(told.to_json()) if as_json else told.text())
            return
        run = lead(lambda: kind.run(kind.read(recipe), quiet=quiet))
    if run is None:
        return
    finish(run, as_json)
    if kind.asks and not as_json:
        asked = "message" if kind.asks == "respond" else "question"
        typer.echo(f'next      distillir {kind.asks} {run.out} "a {asked}"')


def finish(run: AnyRun, as_json: bool) -> None:
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
