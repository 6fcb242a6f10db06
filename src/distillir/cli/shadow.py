"""`distillir shadow`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from distillir.cli.common import Json, interruptible, quiet_loading

shadow = typer.Typer(help="May the rewriter be switched off?", no_args_is_help=True)


@shadow.command("report")
def report(
    log: Annotated[Path, typer.Argument(help="State folder of the service (RUN.serving), or its shadow log.")],
    agree: Annotated[float, typer.Option(help="Mean overlap from which the answer is yes.")] = 0.6,
    worst: Annotated[int, typer.Option(min=0, help="Turns to name where both differ most.")] = 10,
    as_json: Json = False,
) -> None:
    """What the shadow log says: agreement, latency, saved cost, and the turns where both differ most."""
    with interruptible("nothing was changed"):
        from distillir.serving.agreement import shadow_report
        from distillir.serving.shadow import read_shadow

        made = shadow_report(read_shadow(log), agree=agree, worst=worst)
    typer.echo(made.to_json() if as_json else made.text())


@shadow.command("calibrate")
def calibrate(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    contexts: Annotated[
        Path | None, typer.Option(help="Judged conversations; by default the run's dev contexts.")
    ] = None,
    risk: Annotated[float, typer.Option(help="Share of trusted turns that may be wrong.")] = 0.2,
    k: Annotated[int, typer.Option("-k", min=1, help="Right = a relevant document among so many hits.")] = 10,
    as_json: Json = False,
) -> None:
    """Fit the confidence that `distillir serve --fallback` goes by, on judged conversations."""
    with interruptible("nothing was changed"):
        from distillir.serving.calibration import calibrate_run

        quiet_loading()
        made, path = calibrate_run(run, contexts, risk=risk, k=k)
    if as_json:
        told = {"threshold": made.threshold, "risk": made.risk, "coverage": made.coverage, "contexts": made.contexts}
        typer.echo(json.dumps({"out": str(path), **told, "curve": list(made.curve)}))
        return
    typer.echo(f"{'trusted':>8} {'wrong':>8}   of {made.contexts:,} contexts, held out by conversation")
    for row in made.curve:
        typer.echo(f"{row['coverage']:8.1%} {row['risk']:8.1%}")
    told_line = f"{made.coverage:.1%} of turns are trusted, {made.risk:.1%} of them wrong"
    typer.echo(f"threshold {made.threshold:.3f}: {told_line}\nsaved     {path}")
