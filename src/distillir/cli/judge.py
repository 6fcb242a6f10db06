"""`distillir judge export` and `distillir judge import`: two systems' responses compared by people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from distillir.cli.common import Json, interruptible

judge = typer.Typer(help="Blind sheets for people who compare two systems' responses.", no_args_is_help=True)


@judge.command("export")
def export_sheet(
    one: Annotated[Path, typer.Argument(help="Run of the first system.", metavar="RUN")],
    two: Annotated[Path, typer.Argument(help="Run of the second system.", metavar="RUN")],
    contexts: Annotated[Path, typer.Option(help="Conversations of the runs' queries.")],
    responses: Annotated[Path, typer.Option(help="The set of responses.")],
    out: Annotated[Path, typer.Option(help="Sheet to write; its key goes beside it.")] = Path("sheet.csv"),
    count: Annotated[int, typer.Option("-n", min=1, help="Pairs, evenly spread over the conversations.")] = 100,
    twice: Annotated[float, typer.Option(min=0, max=1, help="Share of pairs shown again, sides swapped.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Of sides and order.")] = 0,
    as_json: Json = False,
) -> None:
    """Write a sheet with both systems' first responses, and the key that tells which is whose."""
    with interruptible("nothing was written"):
        from distillir.data import ranked, read_contexts, read_responses, read_run
        from distillir.evaluation.judge import write_sheet

        said, runs = read_responses(responses), (read_run(one), read_run(two))
        asked = [c for c in read_contexts(contexts) if all(run.get(c.id) for run in runs)]
        asked = [asked[i * len(asked) // count] for i in range(count)] if len(asked) > count else asked
        pairs = {}
        for context in asked:
            first, second = (said.text(said.position(ranked(run[context.id])[0][0])) for run in runs)
            lines = [f"{turn.role}: {turn.content}" for turn in context.conversation.turns]
            pairs[context.id] = ("\n".join(lines), first, second)
        key = out.with_suffix(".key.json")
        items = write_sheet(out, key, pairs, (str(one), str(two)), twice=twice, seed=seed)
    told = {"sheet": str(out), "key": str(key), "items": items}
    typer.echo(json.dumps(told) if as_json else f"{out}: {items} items; keep {key} to yourself")


@judge.command("import")
def import_sheets(
    sheets: Annotated[list[Path], typer.Argument(help="Filled sheets, one a judge.", metavar="SHEET...")],
    key: Annotated[Path, typer.Option(help="Key of the sheet.")],
    as_json: Json = False,
) -> None:
    """What the judges said: wins, ties, significance, agreement."""
    with interruptible("nothing was changed"):
        from distillir.evaluation.judge import read_sheets

        found = read_sheets(sheets, key)
    if as_json:
        typer.echo(found.to_json())
        return
    for name, value in json.loads(found.to_json()).items():
        for label, one in value.items() if isinstance(value, dict) else [(name, value)]:
            typer.echo(f"{label:<12} {'–' if one is None else f'{one:.4g}'}")
