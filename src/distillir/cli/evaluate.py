"""`distillir evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from distillir.cli.common import Json, Quiet, interruptible, quiet_loading
from distillir.errors import ConfigError

RECIPES = (".yaml", ".yml")


def evaluate(
    run: Annotated[Path, typer.Argument(help="Recipe file, or a run (TREC or tab-separated).", metavar="RECIPE|RUN")],
    qrels: Annotated[Path | None, typer.Argument(help="Judgements of a run, TREC or tab-separated.")] = None,
    measure: Annotated[
        list[str] | None, typer.Option("--measure", "-m", help="Of a run, such as R@100; may be repeated.")
    ] = None,
    contexts: Annotated[
        Path | None, typer.Option(help="Conversations of a run: intervals by conversation, tables by turn.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure the systems of a recipe on its test contexts, or a run file against judgements.

    A recipe needs no training: without a student the table shows BM25, the last turn, the full context and the
    untrained turn gate. A run file loads no model library.
    """
    with interruptible("nothing was changed"):
        if run.suffix in RECIPES:
            _recipe(run, qrels, measure, contexts, as_json=as_json, quiet=quiet)
        elif qrels is None:
            raise ConfigError(f"{run} is a run and no judgements were given", "give QRELS too, or a recipe (.yaml)")
        else:
            _run(run, qrels, measure, contexts, as_json=as_json)


def _recipe(
    path: Path, qrels: Path | None, measure: list[str] | None, contexts: Path | None, *, as_json: bool, quiet: bool
) -> None:
    if qrels is not None or measure or contexts is not None:
        raise ConfigError("a recipe names its own test contexts", "leave QRELS, --measure and --contexts out")
    from distillir.recipes import evaluate_alone, read_recipe

    chosen = read_recipe(path)
    quiet_loading()
    compared, report = evaluate_alone(chosen, quiet=quiet)
    if as_json:
        typer.echo(json.dumps({"report": str(report), "comparison": json.loads(compared.to_json())}))
    else:
        typer.echo(f"{compared.text()}\n\nreport    {report}")


def _run(path: Path, qrels: Path, measure: list[str] | None, contexts: Path | None, *, as_json: bool) -> None:
    from distillir.data import read_contexts, read_qrels, read_run
    from distillir.evaluation import DEFAULT_MEASURES, SystemResult, compare

    name = "".join(c if c.isprintable() else "?" for c in path.stem) or "run"
    asked = [] if contexts is None else read_contexts(contexts)
    compared = compare(
        [SystemResult(name, read_run(path))],
        read_qrels(qrels),
        {c.id: c.conversation.depth for c in asked} or None,
        {c.id: c.group for c in asked} or None,
        measures=measure or DEFAULT_MEASURES,
    )
    typer.echo(compared.to_json() if as_json else compared.text())
