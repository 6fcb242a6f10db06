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
        from distillir.recipes import (
            is_dense,
            is_generative,
            is_rerank,
            is_response,
            read_dense_recipe,
            read_generative_recipe,
            read_recipe,
            read_rerank_recipe,
            read_response_recipe,
            run_dense,
            run_generative,
            run_rerank,
            run_response,
            run_sparse,
        )

        run: SparseRun | DenseRun | GenerativeRun
        if is_rerank(recipe):
            reranker = read_rerank_recipe(recipe)
            quiet_loading()
            finish(run_rerank(reranker, quiet=quiet), as_json)
            return
        if is_response(recipe):
            response = read_response_recipe(recipe)
            quiet_loading()
            finish(run_response(response, quiet=quiet), as_json)
            if not as_json:
                typer.echo(f'next      distillir respond {response.out} "a message"')
            return
        if is_generative(recipe):
            generative = read_generative_recipe(recipe)
            quiet_loading()
            run = run_generative(generative, quiet=quiet)
        elif is_dense(recipe):
            dense = read_dense_recipe(recipe)
            quiet_loading()
            run = run_dense(dense, quiet=quiet)
        else:
            sparse = read_recipe(recipe)
            quiet_loading()
            run = run_sparse(sparse, quiet=quiet)
        finish(run, as_json)
        if not as_json:
            typer.echo(f'next      distillir search {run.out} "a question"')


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
