"""`distillir`: commands are imported when they run, so help and errors come at once."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from distillir.cli.ablate import ablate
from distillir.cli.ask import ask
from distillir.cli.chat import chat
from distillir.cli.common import fail
from distillir.cli.data import data
from distillir.cli.doctor import doctor
from distillir.cli.evaluate import evaluate
from distillir.cli.export import export
from distillir.cli.export_onnx import export_onnx
from distillir.cli.identifiers import identifiers
from distillir.cli.import_chats import import_chats
from distillir.cli.import_data import import_data
from distillir.cli.init import init
from distillir.cli.judge import judge
from distillir.cli.label import label
from distillir.cli.labels import labels
from distillir.cli.migrate import index_migrate
from distillir.cli.query import prune, query_terms
from distillir.cli.quickstart import quickstart
from distillir.cli.recipe import recipe
from distillir.cli.reproduce import reproduce
from distillir.cli.rerank import rerank
from distillir.cli.respond import respond
from distillir.cli.search import search
from distillir.cli.serve import serve
from distillir.cli.shadow import shadow
from distillir.cli.stages import encode, index
from distillir.cli.train import train
from distillir.errors import DistillirError

app = typer.Typer(
    help="Distil what large language models know about conversations into small, fast retrieval models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    quickstart,
    import_chats,
    import_data,
    init,
    train,
    encode,
    index,
    index_migrate,
    evaluate,
    ablate,
    reproduce,
    search,
    identifiers,
    rerank,
    respond,
    ask,
    chat,
    query_terms,
    export,
    export_onnx,
    prune,
    serve,
    doctor,
):
    app.command(command.__name__.replace("_", "-"))(command)
app.add_typer(data, name="data")
app.add_typer(judge, name="judge")
app.add_typer(label, name="label")
app.add_typer(labels, name="labels")
app.add_typer(recipe, name="recipe")
app.add_typer(shadow, name="shadow")


def main() -> None:
    """Run the command line; deliberate errors end in one line that names cause and cure."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("transformers", "sentence_transformers", "huggingface_hub", "httpx", "httpx2", "bm25s"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        app()
    except DistillirError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error} → check the path, its rights and the space on its disk")


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
