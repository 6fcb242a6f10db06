"""`distillir serve`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from distillir.cli.common import interruptible, quiet_loading


def serve(
    run: Annotated[Path, typer.Argument(help="Run folder, or a link to one that you point elsewhere to deploy.")],
    host: Annotated[str, typer.Option(help="Interface; others than this machine's own need a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 = any free one.")] = 8765,
    token_env: Annotated[str, typer.Option(help="Environment variable with the bearer token.")] = "DISTILLIR_TOKEN",  # noqa: S107
    responses: Annotated[Path | None, typer.Option(help="Run folder of a response recipe, for /v1/respond.")] = None,
    reranker: Annotated[str | None, typer.Option(help="Folder of a reranker, or a cross-encoder's model id.")] = None,
    encoder: Annotated[str, typer.Option(help="onnx, torch, or auto: the run's export where it has one.")] = "auto",
    engine_url: Annotated[
        str | None, typer.Option(help="Index to search in place of the run's own, such as http://host:9200/docs.")
    ] = None,
    engine: Annotated[str, typer.Option(help="What answers there: opensearch or elasticsearch.")] = "opensearch",
    engine_form: Annotated[str | None, typer.Option(help="As `export` was told, by default the first.")] = None,
    engine_field: Annotated[str, typer.Option(help="Where the documents' vectors are.")] = "vector",
    engine_by_dimension: Annotated[
        bool, typer.Option("--engine-by-dimension", help="Name terms by number, as `export` did.")
    ] = False,
    engine_two_phase: Annotated[
        float | None,
        typer.Option(help="Search there by terms of at least this share of the largest weight; others rescore."),
    ] = None,
    engine_expansion: Annotated[
        float | None, typer.Option(help="Documents to rescore for each that is asked for, by default 5.")
    ] = None,
    engine_auth_env: Annotated[
        str, typer.Option(help="Variable with the Authorization header for it, such as `ApiKey …`.")
    ] = "DISTILLIR_ENGINE_AUTH",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; by default one a core with --engine-url, else one.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="Folder of added documents and shadow log; by default RUN.serving.")
    ] = None,
    rewriter_url: Annotated[
        str | None, typer.Option(help="OpenAI-compatible endpoint that rewrites today, such as http://host/v1.")
    ] = None,
    rewriter_model: Annotated[str, typer.Option(help="Model of that endpoint.")] = "",
    rewriter_key_env: Annotated[str, typer.Option(help="Variable with its key; empty for none.")] = "OPENAI_API_KEY",
    rewriter_timeout: Annotated[float, typer.Option(help="Seconds the rewriter may take.")] = 10.0,
    price: Annotated[
        str, typer.Option(help="Of the rewriter, INPUT,OUTPUT per million tokens, for the saved cost.")
    ] = "0,0",
    shadow: Annotated[float, typer.Option(help="Share of searches to compare with the rewriter, 0 to 1.")] = 0.0,
    shadow_texts: Annotated[
        bool, typer.Option("--shadow-texts", help="Write conversations and rewrites into the shadow log too.")
    ] = False,
    fallback: Annotated[
        bool, typer.Option("--fallback", help="Ask the rewriter where the calibrated confidence is low.")
    ] = False,
    max_k: Annotated[int, typer.Option(min=1, help="Hits of a reply at most.")] = 1000,
    max_turns: Annotated[int, typer.Option(min=1, help="Messages of a conversation at most.")] = 200,
    in_flight: Annotated[int, typer.Option(min=1, help="Requests at once; further ones get 429.")] = 64,
    cache: Annotated[int, typer.Option(min=0, help="Conversations whose vectors are remembered.")] = 4096,
    timeout: Annotated[float, typer.Option(help="Seconds a request may take.")] = 30.0,
) -> None:
    """Serve a run over HTTP, with a page to try it: search, rerank, respond, add and delete documents."""
    with interruptible("documents that were acknowledged are kept"):
        from distillir.cli.query import numbers, phases_of
        from distillir.errors import ConfigError, MissingDependencyError

        try:
            from distillir.serving import Cluster, Rewriter, ServeSettings, ShadowSettings, Source
            from distillir.serving import serve as serve_run
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] not in ("fastapi", "starlette", "uvicorn", "prometheus_client"):
                raise
            raise MissingDependencyError(str(error.name), "serve") from error
        from distillir.teachers import Prices

        if workers is None:
            workers = (os.cpu_count() or 1) if engine_url is not None and responses is None else 1
        settings = ServeSettings(
            host=host, port=port, token_env=token_env, max_k=max_k, max_turns=max_turns, in_flight=in_flight,
            cache=cache, timeout=timeout, workers=workers,
        )  # fmt: skip
        prices = numbers(price, float, "--price")
        if len(prices) != 2:
            raise ConfigError(f"--price is {price!r}", "give two numbers, such as 0.15,0.6")
        rewriter = None
        if rewriter_url is not None:
            if not rewriter_model:
                raise ConfigError("--rewriter-url without --rewriter-model", "name the model as the endpoint calls it")
            rewriter = Rewriter.at(
                rewriter_url, rewriter_model, rewriter_key_env, rewriter_timeout, Prices(prices[0], prices[1])
            )
        cluster = None
        if engine_url is not None:
            phases = phases_of(engine_two_phase, engine_expansion, "--engine-two-phase", "--engine-expansion")
            cluster = Cluster(
                engine_url, engine, engine_form, engine_field, engine_by_dimension, engine_auth_env, two_phase=phases
            )
        quiet_loading()
        serve_run(
            Source(run, responses, reranker, encoder, state, cluster),
            settings,
            say=lambda line: typer.echo(line, err=True),
            rewriter=rewriter,
            shadow=ShadowSettings(shadow, keep_texts=shadow_texts),
            fallback=fallback,
        )
