"""The service over HTTP: routes, statuses, OpenAPI. What is done stands in `answers.py` and `service.py`."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from distillir import __version__
from distillir.errors import ServiceError
from distillir.serving import schema
from distillir.serving.answers import Answers
from distillir.serving.guard import Guard, error_body
from distillir.serving.service import Service, guarded

PAGE = {
    "/": ("index.html", "text/html"),
    "/app.js": ("app.js", "text/javascript"),
    "/style.css": ("style.css", "text/css"),
}
ERRORS = {
    400: "the body is not JSON, or was cut off",
    401: "no bearer token, or a wrong one",
    403: "a page of another site asks",
    408: "the body did not arrive in time",
    409: "this service has not, or does not do, what was asked for",
    413: "the body is too large",
    421: "the request came under another host's name",
    422: "the request cannot be answered as it is",
    429: "too many requests are in flight; Retry-After says when to come again",
    503: "the service starts, ends, or cannot use its disk",
    504: "no answer in time",
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": schema.ErrorReply, "description": text} for status, text in ERRORS.items()
}
Work = Callable[[Any], Coroutine[Any, Any, dict[str, Any]]]


def create_app(service: Service, token: str = "", *, about: dict[str, Any] | None = None) -> FastAPI:
    """The ASGI application of a service, which it closes at its end.

    Args:
        service: that answers.
        token: bearer token that `/v1` and `/metrics` ask for; "" for none.
        about: engine and encoder, as `/v1/about` tells them.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if service.rewriter is not None:
                await stack.enter_async_context(service.rewriter)
            stack.push_async_callback(service.close)
            yield

    app = FastAPI(
        title="DistillIR",
        version=__version__,
        description="Conversational search without a language model in its way.",
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from another host
        redoc_url=None,
        openapi_url="/v1/openapi.json",
    )
    app.state.service = service
    _errors(app)
    _questions(app, service)
    _changes(app, service)
    _probes(app, service, about or {})
    app.add_middleware(Guard, settings=service.settings, token=token)
    return app


def _questions(app: FastAPI, service: Service) -> None:
    answer, answers = _answering(service), Answers(service)

    @app.post("/v1/search", response_model=schema.SearchReply, responses=RESPONSES)
    async def search(body: schema.Search) -> Response:
        """Documents for the open question of a conversation."""
        return await answer("search", answers.search, body)

    @app.post("/v1/encode", response_model=schema.EncodeReply, responses=RESPONSES)
    async def encode(body: schema.Encode) -> Response:
        """The query as weighted vocabulary terms, for an engine of your own."""
        return await answer("encode", answers.encode, body)

    @app.post("/v1/rerank", response_model=schema.RerankReply, responses=RESPONSES)
    async def rerank(body: schema.Rerank) -> Response:
        """Candidates of any origin, in the reranker's order."""
        return await answer("rerank", answers.rerank, body)

    @app.post("/v1/respond", response_model=schema.RespondReply, responses=RESPONSES)
    async def respond(body: schema.Respond) -> Response:
        """Responses of a fixed set; none where no score reaches the calibrated threshold."""
        return await answer("respond", answers.respond, body)

    @app.post("/v1/compare", response_model=schema.CompareReply, responses=RESPONSES)
    async def compare(body: schema.Search) -> Response:
        """The last turn alone, the student, and the rewrite of the configured language model, side by side."""
        return await answer("compare", answers.compare, body)


def _changes(app: FastAPI, service: Service) -> None:
    answer = _answering(service)

    @app.post("/v1/documents", response_model=schema.ChangeReply, responses=RESPONSES)
    async def add(body: schema.AddDocuments) -> Response:
        """Add or replace documents, all or none; each id once."""

        async def work(body: schema.AddDocuments) -> dict[str, Any]:
            names = [document.id for document in body.documents]
            _check_many(service, names)
            if len(set(names)) < len(names):
                raise ServiceError(422, "an id is twice in one request", "give each document its own id")
            rows = [document.model_dump() for document in body.documents]
            return await service.change({"op": "add", "documents": rows})

        return await answer("documents", work, body)

    @app.post("/v1/documents/delete", response_model=schema.ChangeReply, responses=RESPONSES)
    async def delete(body: schema.DeleteDocuments) -> Response:
        """Delete documents."""

        async def work(body: schema.DeleteDocuments) -> dict[str, Any]:
            _check_many(service, body.ids)
            return await service.change({"op": "delete", "ids": body.ids})

        return await answer("documents", work, body)

    @app.post("/v1/reload", response_model=schema.ReloadReply, responses=RESPONSES)
    async def reload() -> Response:
        """Serve what the run folder holds now, without losing a request; the same as the signal SIGHUP."""

        async def work(_: object) -> dict[str, Any]:
            if service.settings.workers > 1:
                raise ServiceError(
                    409, f"this is one of {service.settings.workers} workers", "send SIGHUP to the process you started"
                )
            return await service.reload()

        return await answer("reload", work, None)


def _probes(app: FastAPI, service: Service, about: dict[str, Any]) -> None:
    @app.get("/healthz", responses={200: {"content": {"text/plain": {}}}}, response_class=Response)
    async def healthy() -> Response:
        """The process is alive."""
        return Response("ok\n", media_type="text/plain")

    @app.get("/readyz", responses={200: {"content": {"text/plain": {}}}, 503: RESPONSES[503]}, response_class=Response)
    async def ready() -> Response:
        """It takes requests."""
        if service.desk.closing:
            raise ServiceError(503, "the service is ending", wait=5)
        return Response("ready\n", media_type="text/plain")

    @app.get("/metrics", responses={200: {"content": {"text/plain": {}}}, 401: RESPONSES[401]}, response_class=Response)
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/about", response_model=schema.About, responses={n: RESPONSES[n] for n in (401, 403, 421)})
    async def tell() -> Response:
        """What is served and what this service can do."""
        return _json(about_of(service, about))

    for path, (name, kind) in PAGE.items():
        content = files("distillir.serving").joinpath("static", name).read_bytes()
        app.add_api_route(path, _constant(content, kind), include_in_schema=False)


def _constant(content: bytes, kind: str) -> Callable[[], Awaitable[Response]]:
    async def page() -> Response:
        return Response(content, media_type=kind)

    return page


def _answering(service: Service) -> Callable[[str, Work, Any], Awaitable[Response]]:
    async def answer(route: str, work: Work, body: Any) -> Response:
        begun, status = time.perf_counter(), 500
        try:
            response = _json(await guarded(service.desk.do(work(body))))
            status = 200
            return response
        except ServiceError as error:
            status = error.status
            raise
        finally:
            service.metrics.requests.labels(route, str(status)).inc()
            service.metrics.seconds.labels(route).observe(time.perf_counter() - begun)

    return answer


def _errors(app: FastAPI) -> None:
    @app.exception_handler(ServiceError)
    async def refused(_: Request, error: ServiceError) -> Response:
        headers = {} if error.wait is None else {"Retry-After": str(error.wait)}
        return Response(error_body(error), error.status, headers, "application/json")

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        status = 400 if first["type"] == "json_invalid" else 422
        place = ".".join(str(part) for part in first["loc"][1:]) or "body"
        return await refused(request, ServiceError(status, f"{place}: {first['msg']}", "see /v1/openapi.json"))

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        response = await refused(request, ServiceError(error.status_code, str(error.detail), "see /v1/openapi.json"))
        response.headers.update(error.headers or {})
        return response


def _json(content: dict[str, Any]) -> Response:
    try:
        data = json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:  # half a character, which broken documents hold
        data = json.dumps(content, allow_nan=False).encode()
    return Response(data, media_type="application/json")


def _check_many(service: Service, ids: list[str]) -> None:
    if len(ids) > service.settings.max_documents:
        raise ServiceError(422, f"{len(ids)} documents", f"send at most {service.settings.max_documents} at a time")


def about_of(service: Service, about: dict[str, Any]) -> dict[str, Any]:
    """What `/v1/about` tells."""
    gen = service.current
    return {
        "served": gen.served,
        "documents": len(gen.searcher.collection.index) if gen.searcher else 0,
        "engine": about.get("engine", ""),
        "encoder": about.get("encoder", ""),
        "rerank": gen.reranker is not None,
        "respond": gen.responder is not None,
        "rewriter": service.rewriter.name if service.rewriter else "",
        "fallback": service.fallback and gen.confidence is not None,
        "workers": service.settings.workers,
        "note": about.get("note", ""),
    }
