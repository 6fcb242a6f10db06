"""`distillir evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distillir.cli.common import Json, interruptible


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run, TREC or tab-separated.", metavar="RUN_FILE")],
    qrels: Annotated[Path, typer.Argument(help="Judgements, TREC or tab-separated.")],
    measure: Annotated[
        list[str] | None, typer.Option("--measure", "-m", help="Such as R@100 or nDCG@10; may be repeated.")
    ] = None,
    contexts: Annotated[
        Path | None, typer.Option(help="Conversations file: intervals by conversation, tables by turn.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure a run: means and intervals over all judged queries. Loads no model library."""
    with interruptible("nothing was changed"):
        from distillir.data import read_contexts, read_qrels, read_run
        from distillir.evaluation import DEFAULT_MEASURES, SystemResult, compare

        name = "".join(c if c.isprintable() else "?" for c in run.stem) or "run"
        asked = [] if contexts is None else read_contexts(contexts)
        compared = compare(
            [SystemResult(name, read_run(run))],
            read_qrels(qrels),
            {c.id: c.conversation.depth for c in asked} or None,
            {c.id: c.group for c in asked} or None,
            measures=measure or DEFAULT_MEASURES,
        )
        typer.echo(compared.to_json() if as_json else compared.text())
