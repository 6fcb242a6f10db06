"""`distillir label …`: ask large models for labels, each once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distillir.cli.common import interruptible
from distillir.cli.label_run import KEPT, Shared, first, model_of, run_teacher, shared

if TYPE_CHECKING:
    from distillir.data import Context
    from distillir.labels import LabelStore
    from distillir.labels.audit import AuditReport
    from distillir.teachers.teacher import Candidates

label = typer.Typer(
    help="Ask large models for labels: estimated first, never paid for twice, audited at the end.", no_args_is_help=True
)

Contexts = Annotated[Path, typer.Argument(help="Conversations file.", metavar="CONTEXTS")]
Pool = Annotated[Path, typer.Option("--candidates", help="Run (TREC or tab-separated) with the candidates.")]
Texts = Annotated[Path, typer.Option("--corpus", help="Documents, or responses: JSON lines or Parquet.")]
Depth = Annotated[int, typer.Option(min=1, help="Candidates a context, the run's best.")]
Query = Annotated[
    str | None, typer.Option("--query", help="Teacher whose rewrite stands for the question; none: the last turn.")
]


@label.command()
@shared
def rewrite(
    options: Shared,
    contexts: Contexts,
    out: Annotated[Path | None, typer.Option(help="Conversations file to write, with the rewrites added.")] = None,
    exchanges: Annotated[int, typer.Option(min=1, help="Exchanges of the history that are shown.")] = 4,
) -> None:
    """Rewrite open questions so that they stand alone."""
    with interruptible(KEPT), model_of(options) as model:
        from dataclasses import replace

        from distillir.data import read_contexts, write_contexts
        from distillir.teachers.rewrite import Rewrite, RewriteSettings
        from distillir.teachers.teacher import made_labels

        asked = first(read_contexts(contexts), options.limit)
        teacher = Rewrite(asked, RewriteSettings(**options.given(exchanges=exchanges)))

        def finish(store: LabelStore) -> dict[str, Any]:
            if out is None:
                return {}
            said = {c: label.value for c, label in made_labels(teacher, model.name, store).items() if label.value}
            added = ({teacher.name: said[c.id]} if c.id in said else {} for c in asked)
            rows = [replace(c, rewrites={**c.rewrites, **new}) for c, new in zip(asked, added, strict=True)]
            write_contexts(out, rows)
            return {"out": str(out)}

        run_teacher(options, teacher, model, _audit([teacher.name], asked), finish)


@label.command()
@shared
def listwise(
    options: Shared,
    contexts: Contexts,
    candidates: Pool,
    corpus: Texts,
    depth: Depth = 100,
    query: Query = None,
    window: Annotated[int, typer.Option(min=2, help="Documents shown at once.")] = 20,
    step: Annotated[int, typer.Option(min=1, help="How far the next window moves.")] = 10,
    passes: Annotated[int, typer.Option(min=1, help="Passes over the list.")] = 1,
) -> None:
    """Order candidates, a sliding window at a time."""
    with interruptible(KEPT), model_of(options) as model:
        from distillir.teachers.listwise import Listwise, ListwiseSettings

        asked, lists = _lists(contexts, candidates, corpus, depth, query, options.limit)
        teacher = Listwise(lists, ListwiseSettings(**options.given(window=window, step=step, passes=passes)))
        run_teacher(options, teacher, model, _audit([teacher.name, f"{teacher.name}/windows"], asked))


@label.command()
@shared
def pointwise(
    options: Shared,
    contexts: Contexts,
    candidates: Pool,
    corpus: Texts,
    depth: Depth = 30,
    query: Query = None,
    score: Annotated[str, typer.Option(help="logit (of yes minus of no) or log_probability.")] = "logit",
    cross_encoder: Annotated[
        str | None, typer.Option(help="Folder or id of a cross-encoder, in place of a language model.")
    ] = None,
) -> None:
    """Score candidates one by one: yes or no, or a cross-encoder's score."""
    from contextlib import nullcontext

    from distillir.errors import ConfigError
    from distillir.teachers.cross_encoder import CrossEncoderModel, CrossEncoderSettings

    if cross_encoder and (options.model or options.endpoint or options.gguf or options.prompt):
        raise ConfigError("--cross-encoder besides a language model or a prompt", "name one model")
    encoder = CrossEncoderSettings(cross_encoder, device=options.device) if cross_encoder else None
    chosen: Any = nullcontext(CrossEncoderModel(encoder)) if encoder else model_of(options)
    with interruptible(KEPT), chosen as model:
        from distillir.teachers.pointwise import Pointwise, PointwiseSettings

        asked, lists = _lists(contexts, candidates, corpus, depth, query, options.limit)
        given = options.given(score=score) | ({"prompt": None} if encoder else {})
        teacher = Pointwise(lists, PointwiseSettings(**given))
        run_teacher(options, teacher, model, _audit([teacher.name], asked))


@label.command()
@shared
def likelihood(
    options: Shared,
    contexts: Contexts,
    candidates: Pool,
    corpus: Texts,
    depth: Depth = 30,
    query: Query = None,
    of: Annotated[
        str, typer.Option(help="query (given a document), response (given the context), or mutual information.")
    ] = "query",
    prior: Annotated[float, typer.Option(min=0, help="Weight of log P(response) in mutual information.")] = 1.0,
    per_token: Annotated[bool, typer.Option(help="Divide by the number of tokens.")] = True,
) -> None:
    """Score candidates by the likelihood of the question, or as responses; local models only."""
    with interruptible(KEPT), model_of(options, scores=True) as model:
        from distillir.teachers.likelihood import LikelihoodSettings, LikelihoodTeacher

        asked, lists = _lists(contexts, candidates, corpus, depth, query, options.limit)
        how: Any = options.given(of=of, prior=prior, per_token=per_token)
        teacher = LikelihoodTeacher(lists, LikelihoodSettings(**how))
        run_teacher(options, teacher, model, _audit([teacher.name], asked))


@label.command()
@shared
def respond(
    options: Shared,
    contexts: Contexts,
    n: Annotated[int, typer.Option("-n", min=1, help="Responses a context.")] = 4,
    beams: Annotated[int, typer.Option(min=0, help="Width of a beam search (local models); 0: sample.")] = 0,
    temperature: Annotated[float, typer.Option(min=0, help="Of the sampling.")] = 0.8,
    seed: Annotated[int, typer.Option(help="Of the sampling.")] = 0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Of a response.")] = 64,
) -> None:
    """Respond to contexts several times, with log-likelihoods."""
    with interruptible(KEPT), model_of(options) as model:
        from distillir.data import read_contexts
        from distillir.teachers.respond import Respond, RespondSettings

        asked = first(read_contexts(contexts), options.limit)
        given = options.given(n=n, beams=beams, temperature=temperature, seed=seed, max_tokens=max_tokens)
        teacher = Respond(asked, RespondSettings(**given))
        run_teacher(options, teacher, model, _audit([teacher.name], asked))


@label.command()
@shared
def synthesize(
    options: Shared,
    documents: Annotated[Path, typer.Argument(help="Documents: JSON lines or Parquet.", metavar="DOCUMENTS")],
    out: Annotated[Path | None, typer.Option(help="Conversations file to write: the turns that pass.")] = None,
    conversations: Annotated[int, typer.Option(min=1, help="Conversations to make.")] = 20,
    turns: Annotated[int, typer.Option(min=1, help="Turns of each.")] = 4,
    switch: Annotated[float, typer.Option(min=0, max=1, help="Probability that a turn changes the topic.")] = 0.25,
    seed: Annotated[int, typer.Option(help="Of the walk over the documents, and of the sampling.")] = 0,
    temperature: Annotated[float, typer.Option(min=0, help="Of the sampling.")] = 0.0,
    follow_up: Annotated[Path | None, typer.Option(help="Prompt file of the follow-ups.")] = None,
) -> None:
    """Make conversations from documents: questions, follow-ups and answers, each grounded in a passage."""
    with interruptible(KEPT), model_of(options) as model:
        from distillir.data import read_documents, write_contexts
        from distillir.labels.audit import audit_store
        from distillir.teachers.passages import Passages
        from distillir.teachers.synthesize import Synthesize, SynthesizeSettings, synthetic_contexts
        from distillir.teachers.synthetic_audit import audit_synthetic
        from distillir.teachers.teacher import made_labels

        passages = Passages(first([document for _, document in read_documents(documents)], options.limit))
        given = options.given(
            conversations=conversations, turns=turns, switch=switch, seed=seed, temperature=temperature,
            least_turns=min(2, turns), follow_up=follow_up,
        )  # fmt: skip
        teacher = Synthesize(passages, SynthesizeSettings(**given))
        parts = [f"{teacher.name}/questions", f"{teacher.name}/turns"]
        failing: set[str] = set()

        def made(store: LabelStore) -> dict[str, Any]:
            labels = made_labels(teacher, model.name, store)
            return {name: label.value for name, label in labels.items() if label.value is not None}

        def audit(store: LabelStore) -> AuditReport:
            report = audit_synthetic(
                made(store), passages.texts, conversations * turns, teacher.settings.limits, passages.find, teacher.name
            )
            failing.update(report.checks[-1].flagged)
            return audit_store(store, teachers=parts) + report

        def finish(store: LabelStore) -> dict[str, Any]:
            if out is None:
                return {}
            rows = [c for c in synthetic_contexts(made(store), teacher.name) if c.id not in failing]
            write_contexts(out, rows)
            return {"out": str(out), "contexts": len(rows)}

        run_teacher(options, teacher, model, audit, finish)


def _audit(teachers: list[str], contexts: list[Context]) -> Any:
    def audit(store: LabelStore) -> AuditReport:
        from distillir.labels.audit import audit_store

        return audit_store(store, contexts, teachers=teachers)

    return audit


def _lists(
    path: Path, run: Path, corpus: Path, depth: int, query: str | None, limit: int | None
) -> tuple[list[Context], list[Candidates]]:
    """Contexts that a run has candidates for, and these with their texts.

    Raises:
        DataError: a context without the rewrite that is to stand for it, a document that the corpus lacks, a run of
            other contexts.
    """
    from distillir.data import ranked, read_contexts, read_documents, read_run
    from distillir.errors import DataError
    from distillir.teachers.teacher import Candidates

    found = read_run(run)
    contexts = first([c for c in read_contexts(path) if found.get(c.id)], limit)
    if not contexts:
        raise DataError(run, f"no candidates for any context of {path}", cure="check that the ids belong together")
    best = {c.id: [name for name, _ in ranked(found[c.id])[:depth]] for c in contexts}
    wanted = {name for names in best.values() for name in names}
    texts = {document.id: document.contents for _, document in read_documents(corpus) if document.id in wanted}
    lists = []
    for context in contexts:
        asked = context.conversation.question if query is None else context.rewrites.get(query, "")
        if not asked:
            raise DataError(path, f"context {context.id!r} has no rewrite by {query!r}", cure="label it first (--out)")
        missing = [name for name in best[context.id] if name not in texts]
        if missing:
            raise DataError(
                corpus, f"no document {missing[0]!r}, a candidate of {context.id!r}", cure="check the files"
            )
        given = {name: texts[name] for name in best[context.id]}
        lists.append(Candidates(context.id, asked, given, context.conversation))
    return contexts, lists
