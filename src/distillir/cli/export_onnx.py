"""`distillir export-onnx`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from distillir.cli.common import Json, interruptible, quiet_loading


def export_onnx(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    contexts: Annotated[
        Path | None, typer.Option(help="Conversations to measure by; by default the run's dev contexts.")
    ] = None,
    tolerance: Annotated[float, typer.Option(min=0.0, help="Loss that is accepted, as a share of R@100.")] = 0.005,
    int8: Annotated[bool, typer.Option("--int8/--fp32", help="Quantise, or keep full precision.")] = True,
    as_json: Json = False,
) -> None:
    """Export a run's student for onnxruntime, measured before and after; `distillir serve` then runs the export.

    A reranker keeps full precision and its scores; whatever opens it then runs the export.
    """
    with interruptible("an earlier export is as it was"):
        from distillir.recipes.onnx import OnnxExport, export_run
        from distillir.recipes.onnx_reranker import RerankerExport, export_reranker, reranker_in

        quiet_loading()
        made: OnnxExport | RerankerExport
        if (reranker := reranker_in(run)) is not None:
            made = export_reranker(reranker)
        else:
            made = export_run(run, contexts, tolerance=tolerance, int8=int8)
    if as_json:
        typer.echo(json.dumps(made.as_dict()))
        return
    typer.echo(made.text())
