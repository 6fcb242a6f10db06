"""A service in a process of its own: a port, a token, signals, a graceful end."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI

from distillir.errors import ConfigError, DistillirError
from distillir.serving.app import create_app
from distillir.serving.generation import Generation
from distillir.serving.journal import Journal
from distillir.serving.loading import Source, engine_of, open_generation
from distillir.serving.metrics import Metrics
from distillir.serving.rewriter import Rewriter
from distillir.serving.service import Service
from distillir.serving.settings import ServeSettings
from distillir.serving.shadow import ShadowSettings
from distillir.serving.workers import Workers

logger = logging.getLogger(__name__)


def open_service(
    source: Source,
    settings: ServeSettings | None = None,
    *,
    rewriter: Rewriter | None = None,
    shadow: ShadowSettings | None = None,
    fallback: bool = False,
) -> Service:
    """A service over run folders; `create_app` makes the application of it.

    Raises:
        DataError, ModelError, SearchIndexError: nothing there that can be served, or it is served already.
        ConfigError: fallback or a shadow share without a rewriter, or fallback without a calibration.
    """
    settings, metrics = settings or ServeSettings(), Metrics()
    if rewriter is None and (fallback or (shadow and shadow.share)):
        raise ConfigError("shadow and fallback need the language model", "name its endpoint with --rewriter-url")
    if not source.run.exists():
        raise ConfigError(f"{source.run}: no such run folder", "check the path, or run `distillir quickstart`")
    journal = None if source.cluster else Journal(source.folder)
    source.folder.mkdir(parents=True, exist_ok=True)
    try:

        def opened(present: Generation | None) -> Generation:
            return open_generation(source, settings, metrics, journal, present)

        service = Service(
            opened, journal, source.folder, settings, metrics, rewriter=rewriter, shadow=shadow, fallback=fallback
        )
        if fallback and service.current.confidence is None:
            service.current.retire()
            raise ConfigError(
                f"{source.run} has no calibrated confidence", f"run `distillir shadow calibrate {source.run}` first"
            )
    except BaseException:
        if journal is not None:
            journal.close()
        raise
    return service


def app_of(source: Source, service: Service, token: str = "") -> FastAPI:
    """The application of an opened service, which says what it runs on."""
    engine = engine_of(source)
    encoder = type(service.current.searcher.retriever.encoder).__name__ if service.current.searcher else ""
    return create_app(
        service, token, about={"engine": engine, "encoder": encoder, "note": workers_note(source, service.settings)}
    )


def workers_note(source: Source, settings: ServeSettings) -> str:
    """How many workers, and why."""
    if source.cluster is not None:
        many = settings.workers
        return f"{many} worker{'s' if many > 1 else ''}: {source.cluster.engine} has the documents"
    if not (engine := engine_of(source)):
        return "one worker"
    return f"one worker: the index ({engine}) is changed by one process; its threads use all cores"


def bound(settings: ServeSettings) -> socket.socket:
    """A socket at the address, not yet listening.

    Raises:
        ConfigError: the address is taken, or not this machine's.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # The protocol is named because asyncio switches Nagle's algorithm off on such sockets only; with it, a small reply
    # waits 40 ms for the acknowledgement of its own head.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((settings.host, settings.port))
    except (OSError, OverflowError) as error:
        made.close()
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise ConfigError(
                f"port {settings.port} of {settings.host} is taken by another program",
                "choose another with --port, or 0 for any free one",
            ) from error
        raise ConfigError(
            f"cannot listen at {settings.host}:{settings.port} ({error})", "give an address of this machine"
        ) from error
    made.set_inheritable(False)
    return made


def serve(
    source: Source,
    settings: ServeSettings,
    *,
    say: Callable[[str], None],
    **options: Any,
) -> None:
    """Serve until the process is told to end (SIGTERM, Ctrl-C); SIGHUP reloads, all workers where there are several.

    Args:
        source: what. settings: where, and limits.
        say: takes what tells address and workers.
        options: of `open_service`.

    Raises:
        ConfigError: the port is taken, others could reach a service without token, or several workers were to change
            one embedded index. And those of `open_service`.
    """
    settings.token()
    if settings.workers > 1 and (source.cluster is None or source.responses is not None):
        what = "index of responses" if source.cluster else "index"
        raise ConfigError(
            f"{settings.workers} workers over one embedded {what}, which belongs to one process",
            "serve with --workers 1, whose threads use all cores, or search an engine with --engine-url",
        )
    with bound(settings) as listener:  # before models are loaded: a taken port is known at once
        if settings.workers == 1:
            serve_at(listener, say, source, settings, options)
        else:
            Workers(settings.workers, serve_at, listener, source, settings, options).run(say)


def serve_at(
    listener: socket.socket,
    say: Callable[[str], None],
    source: Source,
    settings: ServeSettings,
    options: dict[str, Any],
) -> None:
    """`serve` in this process, at a socket that is bound already."""
    token, service = settings.token(), open_service(source, settings, **options)
    app = app_of(source, service, token)
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _reloading(service))
        async with inner(app) as state:
            yield state

    app.router.lifespan_context = lifespan
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # addresses and paths of users are nobody's business
        server_header=False,
        timeout_graceful_shutdown=int(settings.grace) + 1,
    )
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    about = f"http://{shown}:{port}  {', '.join(_told(service))}, {'with' if token else 'without'} token"
    say(f"{about}\n{workers_note(source, settings)}")
    uvicorn.Server(config).run(sockets=[listener])


def _told(service: Service) -> Iterator[str]:
    gen = service.current
    if gen.searcher is not None:
        yield f"{len(gen.searcher.collection.index):,} documents"
    if gen.responder is not None:
        yield f"{len(gen.responder.index):,} responses"
    yield from (f"{name} {version}" for name, version in gen.served.items())


def _reloading(service: Service) -> Callable[[], None]:
    tasks: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        try:
            done = await service.reload()
            logger.info("reloaded: %s", done["served"])
        except DistillirError as error:
            logger.error("not reloaded: %s", error)

    def start() -> None:
        task = asyncio.ensure_future(reload())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    return start
