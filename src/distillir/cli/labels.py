"""`distillir labels …`: look at a label store, audit it, carry it elsewhere."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distillir.cli.common import Json, interruptible

if TYPE_CHECKING:
    from distillir.labels import LabelStore, MergeReport, StoredLabel

Store = Annotated[Path, typer.Argument(help="Label store (SQLite file).", metavar="STORE")]
Teacher = Annotated[str | None, typer.Option(help="Only this teacher's labels.")]
Kind = Annotated[str | None, typer.Option(help="Only labels of this kind: rewrite, order, scores, …")]

labels = typer.Typer(help="Look at a label store, audit it, carry it elsewhere.", no_args_is_help=True)

UNCHANGED = "nothing was changed"
REPEAT = "what was committed stays; the same command goes on from there"


@labels.command("list")
def list_(store: Store, as_json: Json = False) -> None:
    """Teachers, models and prompts of a store: labels, contexts, tokens, money, calls possibly paid."""
    with interruptible(UNCHANGED):
        import time

        from distillir.labels import overview

        with _opened(store) as opened:
            groups = overview(opened, time.time())
            conflicts = len(opened.conflicts())
        if as_json:
            _print({"groups": [asdict(group) for group in groups], "conflicts": conflicts})
            return
        for group in groups:
            typer.echo(
                f"{group.teacher} · {group.kind or 'no label yet'} · {group.model} · prompt {group.prompt_version}"
            )
            states = (
                f"{group.labels:,} labels ({group.ok:,} ok, {group.repaired:,} repaired, {group.malformed:,} malformed)"
            )
            typer.echo(f"  {states} of {group.contexts:,} contexts{f', scale {group.scale}' if group.scale else ''}")
            tokens = f"{group.tokens_in:,} tokens in, {group.tokens_out:,} out"
            spent = f"{tokens}, {group.seconds:,.0f} s, cost {group.cost:,.2f}"
            typer.echo(f"  {group.attempts:,} calls, {spent}; {group.first[:10]} to {group.last[:10]}")
            if group.failures or group.possibly_paid or group.in_flight:
                open_ones = f"{group.failures:,} given up, {group.possibly_paid:,} possibly paid without a label"
                typer.echo(f"  {open_ones}, {group.in_flight:,} in flight")
        typer.echo(f"{sum(group.labels for group in groups):,} labels, {conflicts:,} answers kept aside")


@labels.command()
def show(
    store: Store,
    key: Annotated[list[str] | None, typer.Argument(help="Contexts or keys; none = the first labels.")] = None,
    teacher: Teacher = None,
    kind: Kind = None,
    status: Annotated[str | None, typer.Option(help="Only ok, repaired or malformed ones.")] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Labels at most.")] = 10,
    as_json: Json = False,
) -> None:
    """Labels with their raw replies."""
    with interruptible(UNCHANGED):
        from itertools import islice

        from distillir.labels.portable import to_record

        wanted = set(key or ())
        with _opened(store) as opened:
            rows = (row for row in opened.rows(teacher, _kind(kind)) if _chosen(row, wanted, status))
            found = list(islice(rows, n))
        if as_json:
            _print({"labels": [to_record(row) for row in found]})
            return
        for row in found:
            label = row.label
            typer.echo(
                f"{row.key}  {row.teacher} · {label.kind} · {label.status}{f' ({label.reason})' * bool(label.reason)}"
            )
            typer.echo(f"  contexts {', '.join(row.context_ids[:5]) or 'none'}; {row.model}; {label.created}")
            typer.echo(f"  value    {json.dumps(label.value, ensure_ascii=False)[:500]}")
            if label.raw and label.raw != label.value:
                typer.echo(f"  raw      {json.dumps(label.raw, ensure_ascii=False)[:500]}")
        if not found:
            typer.echo("no such label")


@labels.command()
def audit(
    store: Store,
    contexts: Annotated[
        Path | None, typer.Option(help="Conversations file: rewrites and gold ranks are checked.")
    ] = None,
    teacher: Annotated[list[str] | None, typer.Option(help="Only these teachers; may be repeated.")] = None,
    tau: Annotated[float, typer.Option(min=1e-6, help="Temperature the scores will be trained at.")] = 1.0,
    out: Annotated[Path | None, typer.Option(help="Folder to write audit.json and audit.txt to.")] = None,
    as_json: Json = False,
) -> None:
    """Check labels before training on them: what is odd, why, and what helps."""
    with interruptible(UNCHANGED):
        from distillir.data import read_contexts
        from distillir.labels.audit import audit_store

        known = [] if contexts is None else read_contexts(contexts)
        with _opened(store) as opened:
            report = audit_store(opened, known, teachers=teacher, tau=tau)
        if out is not None:
            report.save(out)
        typer.echo(report.to_json() if as_json else report.text())


@labels.command()
def export(
    store: Store,
    folder: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    teacher: Teacher = None,
    kind: Kind = None,
    licence: Annotated[str, typer.Option(help="Licence of the labels, such as cc-by-4.0.")] = "",
    title: Annotated[str, typer.Option(help="Title of the card.")] = "Labels",
    raw: Annotated[bool, typer.Option(help="Raw replies too.")] = True,
    allow_secrets: Annotated[bool, typer.Option("--allow-secrets", help="Export what looks like a key.")] = False,
    prompt: Annotated[list[Path] | None, typer.Option(help="A prompt file of your own that was used.")] = None,
    as_json: Json = False,
) -> None:
    """Write labels as Parquet with their prompts and a data set card."""
    with interruptible("an earlier bundle there is as it was, or whole"):
        from distillir.labels import export_bundle
        from distillir.teachers.prompts import prompt_texts

        with _opened(store) as opened:
            done = export_bundle(
                opened, folder, teacher=teacher, kind=_kind(kind), licence=licence, title=title, raw=raw,
                allow_secrets=allow_secrets, prompts=prompt_texts(prompt or []),
            )  # fmt: skip
        if as_json:
            _print(
                {"folder": str(done.folder), "labels": done.labels, "contexts": done.contexts}
                | {"untold": list(done.untold)}
            )
            return
        typer.echo(f"{done.labels:,} labels of {done.contexts:,} contexts in {done.folder}")
        if done.untold:
            typer.echo(f"no text of the prompts {', '.join(done.untold)}: give --prompt FILE")
        if not licence:
            typer.echo("no licence stated: give --licence before you publish")


@labels.command("import")
def import_(
    store: Annotated[Path, typer.Argument(help="Label store; made when missing.", metavar="STORE")],
    folder: Annotated[Path, typer.Argument(help="Bundle made by `distillir labels export`.")],
    as_json: Json = False,
) -> None:
    """Take over a bundle; its questions are not asked again."""
    with interruptible(REPEAT):
        from distillir.labels import LabelStore, import_bundle

        with LabelStore(store) as opened:
            _report(import_bundle(opened, folder), as_json)


@labels.command()
def merge(
    store: Annotated[Path, typer.Argument(help="Label store; made when missing.", metavar="STORE")],
    sources: Annotated[list[Path], typer.Argument(help="Stores, shards, folders of shards, bundles.")],
    as_json: Json = False,
) -> None:
    """Take over labels of other stores and of workers; of two answers the one committed first counts."""
    with interruptible(REPEAT):
        from distillir.labels import LabelStore
        from distillir.labels import merge as merge_into

        with LabelStore(store) as opened:
            _report(merge_into(opened, sources), as_json)


def _opened(path: Path) -> LabelStore:
    from distillir.labels import LabelStore

    return LabelStore(path, create=False)


def _kind(name: str | None) -> Any:
    """A kind of label, checked.

    Raises:
        ConfigError: there is no such kind.
    """
    from distillir.errors import ConfigError
    from distillir.labels.kinds import SHAPES

    if name is not None and name not in SHAPES:
        raise ConfigError(f"labels of kind {name!r}", f"kinds are {', '.join(SHAPES)}")
    return name


def _chosen(row: StoredLabel, wanted: set[str], status: str | None) -> bool:
    named = not wanted or row.key in wanted or bool(wanted.intersection(row.context_ids))
    return named and status in (None, row.label.status)


def _report(report: MergeReport, as_json: bool) -> None:
    if as_json:
        _print(report.to_json())
    else:
        typer.echo(report.text())


def _print(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False))
