"""What the commands of `distillir label` share: options, the model they name, the run, its progress and its end."""

from __future__ import annotations

import inspect
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from distillir.cli.common import Json, Quiet, quiet_loading
from distillir.errors import ConfigError

if TYPE_CHECKING:
    from distillir.labels import LabelStore
    from distillir.labels.audit import AuditReport
    from distillir.teachers import Model, Outcome, Prices, Progress, RunSettings
    from distillir.teachers.teacher import Teacher

KEPT = "every committed label stays; the same command goes on from there"
EVERY = {True: 0.5, False: 10.0}  # seconds between two progress lines, on a terminal and elsewhere


@dataclass(frozen=True)
class Shared:
    """Options of every teacher."""

    store: Annotated[Path, typer.Option(help="Label store; made when missing.")] = Path("labels.sqlite")
    model: Annotated[
        str | None,
        typer.Option(help="As the endpoint calls it; alone: a folder, model id, GGUF file or packaged model."),
    ] = None
    endpoint: Annotated[
        str | None, typer.Option(help="Base URL of an OpenAI-compatible endpoint, up to and with /v1.", metavar="URL")
    ] = None
    key_env: Annotated[str, typer.Option(help="Environment variable that holds the endpoint's key.")] = "OPENAI_API_KEY"
    gguf: Annotated[
        str | None, typer.Option(help="GGUF file or packaged model, served by llama.cpp while this runs.")
    ] = None
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell calls, tokens and price; ask nothing.")] = False
    budget: Annotated[
        float | None, typer.Option(min=0, help="Most to spend: money; seconds of a model on this machine.")
    ] = None
    concurrency: Annotated[int | None, typer.Option(min=1, help="Questions asked at once.")] = None
    price_in: Annotated[float, typer.Option(min=0, help="Price of a million tokens of prompt.")] = 0.0
    price_out: Annotated[float, typer.Option(min=0, help="Price of a million tokens of reply.")] = 0.0
    currency: Annotated[str, typer.Option(help="Of the prices.")] = "USD"
    prompt: Annotated[Path | None, typer.Option(help="Prompt file (YAML) in place of the packaged one.")] = None
    name: Annotated[str | None, typer.Option(help="Name of the labels, under which they are fused.")] = None
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many.")] = None
    device: Annotated[str, typer.Option(help="Of a local model: cpu, cuda, mps.")] = "cpu"
    ray: Annotated[
        str | None,
        typer.Option(help="Ask an endpoint from workers of a Ray cluster: its address, or `auto`.", metavar="ADDRESS"),
    ] = None
    workers: Annotated[int, typer.Option(min=1, help="Of --ray; each asks --concurrency questions at once.")] = 2
    rate: Annotated[float | None, typer.Option(min=0.001, help="Of --ray: questions a second, all together.")] = None
    shards: Annotated[
        Path | None, typer.Option(help="Of --ray: folder that all workers see; by default beside the store.")
    ] = None
    as_json: Json = False
    quiet: Quiet = False

    def given(self, **more: Any) -> dict[str, Any]:
        """Settings of a teacher that were given."""
        found = {"name": self.name, "prompt": self.prompt, **more}
        return {key: value for key, value in found.items() if value is not None}


def shared(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose first argument is `Shared`, with the options of `Shared` behind its own."""
    hints = get_type_hints(command, include_extras=True)
    own = [
        parameter.replace(annotation=hints[name])
        for name, parameter in list(inspect.signature(command).parameters.items())[1:]
    ]
    common = get_type_hints(Shared, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [
        inspect.Parameter(one.name, keyword, default=one.default, annotation=common[one.name]) for one in fields(Shared)
    ]

    @wraps(command)
    def called(*arguments: Any, **options: Any) -> None:
        taken = {one.name: options.pop(one.name) for one in fields(Shared)}
        command(Shared(**taken), *arguments, **options)

    del called.__wrapped__
    signature = inspect.Signature([*own, *added])
    called.__signature__ = signature  # type: ignore[attr-defined]
    called.__annotations__ = {name: one.annotation for name, one in signature.parameters.items()}
    return called


@contextmanager
def model_of(options: Shared, *, scores: bool = False) -> Iterator[Model]:
    """The model the options name; a server it needs runs until the end.

    Args:
        options: of the command.
        scores: whether likelihoods of given texts are asked for, which only a local model tells.

    Raises:
        ConfigError: no model, or several.
    """
    from distillir.teachers import Endpoint, EndpointSettings, LlamaServer, LocalModel, LocalSettings, ServerSettings

    if options.gguf and (options.endpoint or options.model):
        raise ConfigError("--gguf besides --model or --endpoint", "name one model")
    if options.endpoint and not options.model:
        raise ConfigError("an endpoint without a model", "give --model as the endpoint calls it")
    if scores and (options.gguf or options.endpoint):
        raise ConfigError("an endpoint does not tell the likelihood of a given text", "give --model alone: a local one")
    if options.endpoint:
        how = EndpointSettings(
            str(options.model), options.endpoint, key_env=options.key_env, in_flight=options.concurrency or 8
        )
        yield Endpoint(how)
    elif options.gguf:
        with LlamaServer(ServerSettings(options.gguf, slots=options.concurrency or 2)) as server:
            yield Endpoint(server.endpoint())
    elif options.model:
        quiet_loading()
        yield LocalModel(LocalSettings(options.model, device=options.device))
    else:
        raise ConfigError("no model", "give --model, --endpoint with --model, or --gguf")


def prices_of(options: Shared) -> Prices:
    """Money for an endpoint; seconds for a model on this machine, unless prices were given."""
    from distillir.teachers import SECONDS, Prices

    priced = options.endpoint or options.price_in or options.price_out
    return Prices(options.price_in, options.price_out, currency=options.currency) if priced else SECONDS


def run_teacher(
    options: Shared,
    teacher: Teacher,
    model: Model,
    audit: Callable[[LabelStore], AuditReport],
    finish: Callable[[LabelStore], dict[str, Any]] = lambda store: {},
) -> None:
    """Estimate, or ask; then audit, finish and report.

    Args:
        options: of the command.
        teacher: whose labels.
        model: to ask.
        audit: of the labels.
        finish: writes what is to be written; what it returns is reported.

    Raises:
        typer.Exit: 1 where labels are still open.
    """
    from distillir.labels import LabelStore
    from distillir.teachers import RunSettings
    from distillir.teachers.teacher import estimate_teacher, teach

    prices = prices_of(options)
    if options.dry_run:
        there = options.store.is_file()
        with _maybe(LabelStore(options.store, create=False) if there else None) as store:
            told = estimate_teacher(teacher, _name(model) if there else "unknown", store, price=prices)
        typer.echo(json.dumps(told.to_json()) if options.as_json else told.text())
        return
    with LabelStore(options.store) as store:
        show = None if options.quiet or options.as_json else _Display()
        settings = RunSettings(options.concurrency, prices, options.budget)
        if options.ray is None:
            outcome = teach(teacher, model, store, settings, show)
        else:
            outcome = _on_ray(options, teacher, model, settings)
        if show is not None:
            show.end()
        report = audit(store)
        wrote = finish(store)
    now = outcome.progress
    open_ones = now.failed > 0 or outcome.stopped != "done"
    if options.as_json:
        content = {
            "name": teacher.name, "model": model.name, "stopped": outcome.stopped, "labels": now.done,
            "stored": now.stored, "malformed": now.malformed, "failures": dict(outcome.failures), "spent": now.spent,
            "currency": now.currency, "usage": asdict(outcome.usage), "audit": json.loads(report.to_json()), **wrote,
        }  # fmt: skip
        typer.echo(json.dumps(content, ensure_ascii=False))
    else:
        typer.echo(report.text())
        typer.echo("\n".join([*_summary(outcome, options), *(f"wrote {key}: {value}" for key, value in wrote.items())]))
    if open_ones:
        raise typer.Exit(1)


def _on_ray(options: Shared, teacher: Teacher, model: Model, settings: RunSettings) -> Outcome:
    """Asked by workers; the key is read from their environment.

    Raises:
        ConfigError: a model that lives in this process or beside it.
    """
    from distillir.teachers import Endpoint
    from distillir.teachers.on_ray import OnRaySettings, teach_on_ray

    if not isinstance(model, Endpoint) or options.gguf:
        raise ConfigError("--ray with a model of this machine", "give --endpoint and --model")
    shards = options.shards or options.store.with_name(f"{options.store.name}.shards")
    spread = OnRaySettings(options.workers, options.rate, options.ray)
    return teach_on_ray(teacher, partial(Endpoint, model.settings), options.store, shards, settings, spread)


def _summary(outcome: Outcome, options: Shared) -> list[str]:
    now = outcome.progress
    used = f"{outcome.usage.prompt_tokens:,} tokens in, {outcome.usage.completion_tokens:,} out"
    lines = [
        f"{now.done:,} labels made ({now.malformed:,} malformed), {now.stored:,} were there, in {options.store}",
        f"{outcome.usage.calls:,} calls, {used}, {now.spent:,.4g} {now.currency}",
    ]
    if outcome.failures:
        listed = ", ".join(f"{number:,} {reason}" for reason, number in outcome.failures.items())
        lines.append(f"in vain: {listed}; the same command asks for them again")
    return [*lines, *(["stopped by the budget"] if outcome.stopped == "budget" else [])]


class _Display:
    """A line of progress on standard error, now and then."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._last = time.monotonic()

    def __call__(self, now: Progress) -> None:
        moment = time.monotonic()
        if moment - self._last >= EVERY[self._live]:
            self._last = moment
            sys.stderr.write(f"\r\x1b[2K{progress_line(now)}" if self._live else f"{progress_line(now)}\n")
            sys.stderr.flush()

    def end(self) -> None:
        if self._live:
            sys.stderr.write("\r\x1b[2K")


def progress_line(now: Progress) -> str:
    """Labels, rate, remaining time, spent and projected money."""
    parts = [f"{now.stored + now.done:,} of {now.total:,} labels", f"{now.rate:.2g}/s"]
    if now.remaining_seconds is not None:
        parts.append(f"{now.remaining_seconds / 60:.0f} min left")
    money = f"{now.spent:.4g} {now.currency} spent"
    parts.append(money if now.projected is None else f"{money}, {now.projected:.4g} at the end")
    parts += [f"{now.failed:,} in vain"] if now.failed else []
    return " · ".join(parts)


@contextmanager
def _maybe(store: LabelStore | None) -> Iterator[LabelStore | None]:
    if store is None:
        yield None
    else:
        with store:
            yield store


def _name(model: Model) -> str:
    """Its name; a local model has to be read for it."""
    import asyncio

    async def read() -> str:
        async with model:
            return model.name

    return asyncio.run(read())


def first(rows: Sequence[Any], limit: int | None) -> list[Any]:
    """The first `limit` of some rows, all without one."""
    return list(rows[:limit])
