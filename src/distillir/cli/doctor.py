"""`distillir doctor`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from distillir.cli.common import Json, interruptible


def doctor(
    folder: Annotated[Path, typer.Option(help="Where runs will be written.")] = Path(),
    as_json: Json = False,
) -> None:
    """Say what is installed, which weights and devices were found, what is missing and the line that installs it.

    Ends with status 1 where something that every command needs is missing or wrong.
    """
    with interruptible("nothing was changed"):
        from distillir.doctor import examine

        found = examine(folder)
    typer.echo(json.dumps(found.plain(), ensure_ascii=False) if as_json else found.text())
    if not found.healthy:
        raise typer.Exit(1)
