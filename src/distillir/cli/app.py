"""`distillir`: commands are imported when they run, so help and errors come at once."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distillir.errors import DistillirError

if TYPE_CHECKING:
    from distillir.recipes import SparseRun

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
ASKED = '"how do i read a csv file" "csv.reader yields each row as a list." "and with a header?"'

app = typer.Typer(
    help="Distil what large language models know about conversations into small, fast retrieval models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress display.")]


def main() -> None:
    """Run the command line; deliberate errors end in one line that names cause and cure."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("transformers", "sentence_transformers", "httpx", "bm25s"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        app()
    except DistillirError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error} → check the path, its rights and the space on its disk")


def _print_version(wanted: bool) -> None:
    if wanted:
        from distillir import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Options of the program itself."""


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("distillir-quickstart"),
    model: Annotated[str, typer.Option(help="Start: packaged name, folder or model id.")] = "splade-tiny",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Chat with Python's standard library: encode, train, index, evaluate, report."""
    with _interruptible(f"finished stages are kept in {out}; the same command goes on from there"):
        from distillir.quickstart.run import quickstart as run

        _quiet_loading()
        _finish(run(out, model, quiet=quiet), as_json)
        if not as_json:
            typer.echo(f"\nnext:     distillir search {out} {ASKED}")


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe file (YAML).")], as_json: Json = False, quiet: Quiet = False
) -> None:
    """Run a recipe: encode, train, index, evaluate, report. Run again, it goes on where it stopped."""
    with _interruptible("finished stages are kept in the run folder; the same command goes on from there"):
        from distillir.recipes import read_recipe, run_sparse

        chosen = read_recipe(recipe)
        _quiet_loading()
        _finish(run_sparse(chosen, quiet=quiet), as_json)


@app.command()
def search(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    turns: Annotated[list[str], typer.Argument(help="Question, answer, question, …; the last is searched for.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Hits.")] = 5,
    as_json: Json = False,
) -> None:
    """Search a run folder's index with a conversation; shows the terms that matched."""
    with _interruptible("nothing was changed"):
        from distillir.recipes import open_retriever

        _quiet_loading()
        roles = ["assistant" if (len(turns) - 1 - i) % 2 else "user" for i in range(len(turns))]
        messages = [{"role": role, "content": turn} for role, turn in zip(roles, turns, strict=True)]
        retriever = open_retriever(run)
        with retriever.index:
            hits = retriever.retrieve(messages, k)
    if as_json:
        rows = [{"id": h.id, "score": h.score, "title": h.title, "text": h.text, "terms": h.terms} for h in hits]
        typer.echo(json.dumps({"hits": rows}, ensure_ascii=False))
        return
    for rank, hit in enumerate(hits, 1):
        terms = ", ".join(f"{term} {weight:.1f}" for term, weight in hit.terms[:6])
        typer.echo(f"{rank:>2}. {hit.score:6.2f}  {hit.title or hit.id}\n            {terms}")


@app.command()
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
    with _interruptible("nothing was changed"):
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


@contextmanager
def _interruptible(kept: str) -> Iterator[None]:
    """End an interrupted command with a line that says what is left of its work."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"interrupted: {kept}", err=True)
        raise typer.Exit(INTERRUPTED) from None


def _fail(text: str) -> None:
    typer.echo(f"error: {' '.join(text.split())}", err=True)
    sys.exit(1)


def _finish(run: SparseRun, as_json: bool) -> None:
    if as_json:
        compared = None if run.comparison is None else json.loads(run.comparison.to_json())
        typer.echo(json.dumps({"out": str(run.out), "steps": run.training.steps, "comparison": compared}))
        return
    if run.comparison is not None:
        typer.echo(run.comparison.text())
    typer.echo(f"\nstudent   {run.out / 'student'}\nindex     {run.out / 'index'}")
    if run.report is not None:
        typer.echo(f"report    {run.report}")


def _quiet_loading() -> None:
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
