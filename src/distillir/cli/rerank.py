"""`distillir rerank`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from distillir.cli.common import Json, interruptible, quiet_loading


def rerank(
    run: Annotated[Path, typer.Argument(help="What a retriever found: TREC or tab-separated.", metavar="RUN")],
    contexts: Annotated[Path, typer.Argument(help="Conversations of its queries.", metavar="CONTEXTS")],
    corpus: Annotated[Path, typer.Argument(help="Documents: JSON lines or Parquet.", metavar="CORPUS")],
    reranker: Annotated[str, typer.Argument(help="Folder of a reranker, or a cross-encoder's model id.")],
    out: Annotated[Path, typer.Option(help="Run to write.")] = Path("reranked.trec"),
    depth: Annotated[int, typer.Option(min=1, help="Documents scored a query; the others follow as they were.")] = 50,
    as_json: Json = False,
) -> None:
    """Order a run anew: a reranker reads each conversation together with each document that was found."""
    with interruptible("nothing was written"):
        from distillir.data import ranked, read_contexts, read_documents, read_run, write_run
        from distillir.search.rerank import rerank_run
        from distillir.students import load_reranker, resolve

        found, asked = read_run(run), read_contexts(contexts)
        wanted = {name for scores in found.values() for name, _ in ranked(scores)[:depth]}
        texts = {document.id: document.contents for _, document in read_documents(corpus) if document.id in wanted}
        quiet_loading()
        model = load_reranker(resolve(reranker))
        begun = time.perf_counter()
        made = rerank_run(model, found, asked, texts, depth)
        seconds = time.perf_counter() - begun
        write_run(out, made, tag="reranked")
    if as_json:
        typer.echo(json.dumps({"out": str(out), "queries": len(made), "seconds": round(seconds, 3)}))
        return
    typer.echo(f"{len(made)} queries reranked in {seconds:.1f} s\nrun       {out}")
