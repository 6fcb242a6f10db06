"""`distillir reproduce`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from distillir.cli.common import Json, Quiet, interruptible, quiet_loading


def reproduce(
    method: Annotated[str, typer.Argument(help="disco, kld_contrastive, dgr, g2r or twolar.")],
    source: Annotated[Path, typer.Option(help="Folder of the data set's release.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of data, recipe and run; by default reproduce-METHOD.")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="Another recipe than the paper's.")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Accept a part of the release.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would do and need, and stop.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run a paper's experiment again: prepare its data, run its recipe, print published, ours and the difference."""
    with interruptible("finished stages are kept; the same command goes on from there"):
        from distillir import recipes

        folder = out or Path(f"reproduce-{method}")
        if dry_run:
            typer.echo(recipes.plan_reproduction(method, source, folder, recipe))
            return
        quiet_loading()
        say = (lambda text: None) if quiet else (lambda text: typer.echo(text, err=True))
        made = recipes.reproduce(method, source, folder, recipe=recipe, partial=partial, quiet=quiet, say=say)
    typer.echo(json.dumps(made.to_dict()) if as_json else made.text())
