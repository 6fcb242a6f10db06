"""`distillir encode` and `distillir index`: stages of a recipe by themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from distillir.cli.common import Json, Quiet, interruptible, quiet_loading

Recipe = Annotated[Path, typer.Argument(help="Recipe file (YAML); only `out` and `corpus` are needed.")]
KEPT = "finished shards are kept in the run folder; the same command goes on from there"


def encode(
    recipe: Recipe,
    ray: Annotated[
        str | None,
        typer.Option(
            help="Encode on a Ray cluster: its address, `auto`, or `local`; the run folder must be one that all see.",
            metavar="ADDRESS",
        ),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Workers on Ray; by default as many as fit.")] = None,
    cpus: Annotated[float, typer.Option(min=0.1, help="Processors of a worker.")] = 1.0,
    gpus: Annotated[float, typer.Option(min=0.0, help="Accelerators of a worker.")] = 0.0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Encode a recipe's corpus once; vectors of unchanged documents and weights are reused."""
    with interruptible(KEPT):
        from distillir.encoding import OnRay
        from distillir.recipes import encode_alone, read_recipe

        chosen = read_recipe(recipe)
        quiet_loading()
        shares = None if ray is None else OnRay(workers, cpus, gpus, ray)
        made = encode_alone(chosen, quiet=quiet, shares=shares)
    lines = [f"{name}: {count:,} documents in {chosen.out}" for name, count in made.items()]
    typer.echo(json.dumps({"out": str(chosen.out), "documents": made}) if as_json else "\n".join(lines))


def index(recipe: Recipe, as_json: Json = False, quiet: Quiet = False) -> None:
    """Index a recipe's corpus, encoding it first where needed; enough to search with the untrained turn gate."""
    with interruptible(KEPT):
        from distillir.index import read_engine
        from distillir.index.options import RemoteOptions
        from distillir.recipes import index_alone, read_recipe

        chosen = read_recipe(recipe)
        quiet_loading()
        count = index_alone(chosen, quiet=quiet)
        engine, options = read_engine(chosen.engine)
    where = f"{engine}, collection {options.collection}" if isinstance(options, RemoteOptions) else engine
    told = f"{count:,} documents in {chosen.out / 'index'} ({where})"
    typer.echo(json.dumps({"out": str(chosen.out), "documents": count}) if as_json else told)
