"""`distillir query-terms` and `distillir prune`: sparse queries for an engine of the user's own, and shorter ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from distillir.cli.common import Json, conversation_of, interruptible, quiet_loading

if TYPE_CHECKING:
    from distillir.engines import TwoPhase
    from distillir.search import Retriever


def query_terms(
    run: Annotated[Path, typer.Argument(help="Run folder or recipe file.", metavar="RUN|RECIPE")],
    turns: Annotated[list[str], typer.Argument(help="Question, answer, question, …; the last is searched for.")],
    engine: Annotated[
        str | None, typer.Option(help="opensearch or elasticsearch: print its search request instead of terms.")
    ] = None,
    form: Annotated[str | None, typer.Option(help="Form of the request, by default the engine's first.")] = None,
    by_dimension: Annotated[
        bool, typer.Option("--by-dimension", help="Name terms by number, as `export` did.")
    ] = False,
    top: Annotated[int | None, typer.Option(min=1, help="Keep this many terms.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Documents to ask for.")] = 10,
    field: Annotated[str, typer.Option(help="Where the documents' vectors are.")] = "vector",
    two_phase: Annotated[
        float | None,
        typer.Option(help="Search by terms of at least this share of the largest weight, such as 0.4; others rescore."),
    ] = None,
    expansion: Annotated[
        float | None, typer.Option(help="Documents to rescore for each that is asked for, by default 5.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The weighted terms of a conversation's query, or the search request that asks an engine for them."""
    with interruptible("nothing was changed"):
        from distillir.conversation import Conversation
        from distillir.engines import dimension_names, engine_named, prune_terms
        from distillir.engines.phases import check_form
        from distillir.errors import ConfigError
        from distillir.recipes import open_retriever

        if engine is None and form is not None:
            raise ConfigError(f"the form {form!r} is of no engine", "name it with --engine")
        phases = phases_of(two_phase, expansion, "--two-phase", "--expansion")
        if engine is None and phases is not None:
            raise ConfigError("--two-phase is for an engine's request", "name the engine with --engine")
        asked = None if engine is None else engine_named(engine).form_named(form)
        if asked is not None:
            check_form(asked, phases)
        quiet_loading()
        with open_retriever(run) as retriever:
            messages = conversation_of(turns)
            if by_dimension or (asked is not None and asked.by_dimension):
                query = retriever.queries([Conversation.from_messages(messages)])[0]
                named = zip(dimension_names(query.indices.tolist()), query.values.tolist(), strict=True)
                weights = prune_terms(dict(named), top)
            else:
                weights = retriever.query_terms(messages, top)
        if engine is not None:
            body = engine_named(engine).query(weights, size=k, field=field, form=form, two_phase=phases)
            typer.echo(json.dumps(body, ensure_ascii=False))
        elif as_json:
            typer.echo(json.dumps({"terms": weights}, ensure_ascii=False))
        else:
            for term, weight in weights.items():
                typer.echo(f"{weight:8.4f}  {term}")


def prune(
    run: Annotated[Path, typer.Argument(help="Run folder or recipe file.", metavar="RUN|RECIPE")],
    queries: Annotated[Path, typer.Option(help="Conversations file, a sample of what users ask.")],
    at: Annotated[str, typer.Option(help="Numbers of terms to keep, with commas.")] = "8,16,32,64",
    ratio: Annotated[str, typer.Option(help="Shares of the largest weight to keep terms down to, with commas.")] = "",
    documents: Annotated[bool, typer.Option("--documents", help="Prune the documents, not the queries.")] = False,
    qrels: Annotated[
        Path | None, typer.Option(help="Judgements; by default those of the conversations file, if it has any.")
    ] = None,
    measure: Annotated[
        list[str] | None, typer.Option("--measure", "-m", help="Such as R@100 or nDCG@10; may be repeated.")
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Conversations to use, evenly spread over the file.")] = 500,
    as_json: Json = False,
) -> None:
    """What shorter vectors cost: weight, ranking and measures lost, postings saved."""
    with interruptible("nothing was changed"):
        from distillir.data import read_contexts, read_qrels
        from distillir.engines import document_loss, query_loss
        from distillir.evaluation import evaluate
        from distillir.recipes import open_retriever
        from distillir.vectors import SparseVectors, csr_from_rows

        tops, ratios = numbers(at, int, "--at"), numbers(ratio, float, "--ratio")
        contexts = read_contexts(queries)
        contexts = (
            [contexts[i * len(contexts) // sample] for i in range(sample)] if len(contexts) > sample else contexts
        )
        judged = {c.id: dict(c.relevant) for c in contexts if c.relevant} if qrels is None else read_qrels(qrels)
        judged = {c.id: judged[c.id] for c in contexts if c.id in judged}
        names = measure or ["nDCG@10", "R@100"]
        quiet_loading()
        with open_retriever(run) as retriever:
            asked = [retriever.queries([context.conversation])[0] for context in contexts]
            vectors = SparseVectors.open(vectors_of(retriever))
        table = (document_loss if documents else query_loss)(
            vectors,
            csr_from_rows([(query.indices, query.values) for query in asked], vectors.dim),
            tops,
            ratios,
            [context.id for context in contexts],
            (lambda found: evaluate(found, judged, names).means) if judged else None,
        )
    typer.echo(table.to_json() if as_json else table.text())


def vectors_of(retriever: Retriever) -> Path:
    """Where the document vectors of an opened run are: beside its corpus."""
    from distillir.errors import SearchIndexError

    if retriever.corpus is None:
        raise SearchIndexError("the retriever has no corpus", "open a run folder")
    return retriever.corpus.path.with_suffix(".vectors")


def phases_of(ratio: float | None, rate: float | None, ratio_option: str, rate_option: str) -> TwoPhase | None:
    """Two phases of two options, None without the first."""
    from distillir.engines import TwoPhase
    from distillir.errors import ConfigError

    if ratio is None and rate is not None:
        raise ConfigError(f"{rate_option} without {ratio_option}", f"name the share too, such as {ratio_option} 0.4")
    if ratio is None:
        return None
    return TwoPhase(ratio) if rate is None else TwoPhase(ratio, rate)


Number = TypeVar("Number", int, float)


def numbers(text: str, kind: Callable[[str], Number], option: str) -> list[Number]:
    """Numbers between commas."""
    from distillir.errors import ConfigError

    try:
        return [kind(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ConfigError(f"{option} is {text!r}", "give numbers with commas between them, such as 8,16,32") from None
