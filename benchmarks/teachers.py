"""Teachers on MTRAG: what their rewrites find, what students learn from them, and what a live model gives.

1. Retrieval on the judged turns of clapnq, cloud and fiqa by each rewriter alone (last turn, human, LLM) and by their
   fusion. The LLM's are the replies of a 1.5B model that come with the data; they pass through the label store.
2. Students distilled from the LLM alone, from humans alone, and from both by mean, weights and max, cross-validated by
   conversation (`teachers_students`): does the fused one beat the single ones?
3. Live calls of every teacher, with the 1.5B model behind llama.cpp's server where its packages are installed, else
   with SmolLM2-135M; likelihoods always by the latter, as only a local model tells them.
4. Conversations synthesized from 200 passages of cloud by the same model; with `--full`, whether they help on dev.

The pooled corpora make R@100 optimistic: compare rows, quote none.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers.utils import logging as transformers_logging

from benchmarks.mtrag_data import BUILD, DOMAINS, Material, load, say
from benchmarks.mtrag_full import REWRITES
from benchmarks.teachers_students import MEASURES, judged_bed, summary, synthetic_gain, table
from distillir.data import Context, Run, load_llm_rewrites
from distillir.encoding import rewrite_vectors
from distillir.encoding.pool import best
from distillir.errors import ConfigError, ModelError
from distillir.evaluation import evaluate
from distillir.labels import LabelStore, import_llm_rewrites, import_rewrites
from distillir.labels.audit import audit_store
from distillir.teachers import Endpoint, LlamaServer, LocalModel, Model, Outcome, ServerSettings
from distillir.teachers.likelihood import LikelihoodSettings, LikelihoodTeacher
from distillir.teachers.listwise import Listwise, ListwiseSettings
from distillir.teachers.packaged_llm import PACKAGED_LLMS, locate
from distillir.teachers.passages import Passages
from distillir.teachers.pointwise import Pointwise
from distillir.teachers.respond import Respond, RespondSettings
from distillir.teachers.rewrite import Rewrite, RewriteSettings
from distillir.teachers.synthesize import Synthesize, SynthesizeSettings, synthetic_contexts
from distillir.teachers.synthetic_audit import audit_synthetic
from distillir.teachers.teacher import Candidates, Teacher, made_labels, teach

LARGE, SMALL = "qwen2.5-coder-1.5b", "smollm2-135m"
IMPORTED = "qwen2.5-coder-1.5b-instruct-q4_k_m"
FILE = "mtrag.qwen2.5-coder-1.5b.jsonl"
STORE = BUILD / "teachers.sqlite"
CONVERSED = BUILD / "synthesized.json"
PASSAGES, DEPTH = 200, 10
CALLS = {False: 4, True: 50}  # least live calls of a teacher, in short and with --full
CONVERSATIONS = {False: 1, True: 20}


def run(data: Path | None, full: bool) -> dict[str, Any]:
    """All four parts; without `full` fewer calls and shorter trainings, and no gain of the synthetic turns."""
    if data is None:
        raise ConfigError("teachers needs the data sets", "give --data DIR")
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    material = load(data)
    with LabelStore(STORE) as store:
        material, imported = through_the_store(material, data, store)
        result: dict[str, Any] = {"bench": "teachers", "imported": imported, "retrieval": retrieval(material)}
        result["live"], synthetic = live(material, store, full)
    result["students"] = table(material, full)
    if full:
        result["synthetic_gain"] = synthetic_gain(material, synthetic)
    return result


def through_the_store(material: Material, data: Path, store: LabelStore) -> tuple[Material, dict[str, Any]]:
    """The contexts with the rewrites that the store gives; a malformed reply falls back to the last turn."""
    every = [*material.train, *material.dev, *material.test]
    bare = [replace(c, rewrites={"human": c.rewrites["human"]} if "human" in c.rewrites else {}) for c in every]
    replies = load_llm_rewrites(data / "llm_rewrites" / FILE)
    counts = import_llm_rewrites(store, bare, replies, teacher="llm", model=IMPORTED)
    import_rewrites(store, bare, model="mtrag")
    said = {teacher: store.rewrites(teacher) for teacher in ("llm", "human")}

    def labelled(contexts: Sequence[Context]) -> list[Context]:
        return [replace(c, rewrites={t: said[t].get(c.id, c.conversation.question) for t in said}) for c in contexts]

    train, dev, test = map(labelled, (material.train, material.dev, material.test))
    report = audit_store(store, bare, teachers=["llm"])
    missing = sum(c.id not in said["llm"] for c in every)
    told = {"turns": len(every), "fell_back": missing, "counts": str(counts), "warnings": list(report.warnings)}
    return replace(material, train=train, dev=dev, test=test), told


def retrieval(material: Material) -> dict[str, Any]:
    """Rows of rewriters, alone and fused, with intervals by conversation, and paired differences."""
    bed = judged_bed(material)
    contexts = list(bed.contexts)
    vectors = {
        "last_turn": _vectors(material, [c.conversation.question for c in contexts]),
        "llm": _vectors(material, [c.rewrites["llm"] for c in contexts]),
        "human": _vectors(material, [c.rewrites["human"] for c in contexts]),
    }
    fused = {
        **{name: ([name], "mean") for name in vectors},
        "mean(human, llm)": (["human", "llm"], "mean"),
        "max(human, llm)": (["human", "llm"], "max"),
        "mean(llm, last_turn)": (["llm", "last_turn"], "mean"),
    }
    rows: dict[str, dict[str, Any]] = {}
    for name, (members, rule) in fused.items():
        found: Run = {}
        for domain in DOMAINS:
            postings, ids = material.documents[domain].invert(), material.documents[domain].ids
            for i, context in enumerate(contexts):
                if context.domain == domain:
                    scores = np.stack([postings.scores(*vectors[member].row(i)).copy() for member in members])
                    one = scores.max(axis=0) if rule == "max" else scores.mean(axis=0)
                    found[context.id] = {ids[int(p)]: float(one[p]) for p in best(one.astype(np.float32), 100)}
        scored = evaluate(found, bed.qrels, MEASURES)
        rows[name] = dict(zip(scored.query_ids, scored.values, strict=True))
        say(f"  {name}: " + ", ".join(f"{m} {v:.3f}" for m, v in scored.means.items()))
    pairs = [("mean(human, llm)", "human"), ("mean(human, llm)", "llm"), ("llm", "human"), ("llm", "last_turn")]
    return summary(rows, bed.group, pairs)


def live(material: Material, store: LabelStore, full: bool) -> tuple[dict[str, Any], list[Context]]:
    """What every teacher made of at least some calls: seconds a call, states of the labels, and what they are good for;
    and the synthetic contexts that passed."""
    calls = CALLS[full]
    follow_ups = [c for c in material.dev if c.conversation.exchanges and c.relevant]
    asked = [follow_ups[i * len(follow_ups) // calls] for i in range(min(calls, len(follow_ups)))]
    half = asked[: max(2, calls // 2)]  # two calls each: two windows of an order, two responses
    lists = _lists(material, half)
    told: dict[str, Any] = {}
    with live_model() as (model, how):
        say(f"live: {how}")
        told["model"] = how
        rewrite = Rewrite(asked, RewriteSettings(name="live"))
        told["rewrite"] = _teach(rewrite, model, store) | _rewritten(material, asked, rewrite, model, store)
        listwise = Listwise(lists, ListwiseSettings(window=6, step=4, words=60))
        told["listwise"] = _teach(listwise, model, store) | _ranked(listwise, model, store, half, lists)
        few = lists[: max(2, calls // DEPTH + 1)]
        told["pointwise"] = _teach(Pointwise(few), model, store) | _ranked(Pointwise(few), model, store, asked, few)
        told["respond"] = _teach(Respond(half, RespondSettings(n=2, max_tokens=40)), model, store)
        synthetic, told["synthesize"] = _synthesize(material, model, store, full)
    small = LocalModel(SMALL)
    likelihood = LikelihoodTeacher(few, LikelihoodSettings(words=100))
    told["likelihood"] = _teach(likelihood, small, store) | _ranked(likelihood, small, store, asked, few)
    return told, synthetic


@contextmanager
def live_model() -> Iterator[tuple[Model, str]]:
    """The best packaged model there is, behind llama.cpp's server."""
    try:
        locate(PACKAGED_LLMS[LARGE])
        name = LARGE
    except ModelError:
        name = SMALL
    with LlamaServer(ServerSettings(name, context=4096, slots=1)) as server:
        yield Endpoint(server.endpoint()), server.name


def _teach(teacher: Teacher, model: Model, store: LabelStore) -> dict[str, Any]:
    started = time.monotonic()
    outcome: Outcome = teach(teacher, model, store)
    made = made_labels(teacher, model.name, store)
    states = {state: sum(label.status == state for label in made.values()) for state in ("ok", "repaired", "malformed")}
    parts = [row.label for row in store.rows() if row.teacher.startswith(f"{teacher.name}/")]
    asked = [label for label in parts or list(made.values()) if label.attempts]
    seconds = [label.seconds for label in asked]
    say(f"  {teacher.name}: {outcome.usage.calls} calls now, {states}, {time.monotonic() - started:.0f} s")
    return {
        "calls": len(asked),
        "seconds_a_call": round(float(np.mean(seconds)), 2) if seconds else None,
        "labels": states,
        "failures": dict(outcome.failures),
    }


def _rewritten(
    material: Material, asked: Sequence[Context], teacher: Rewrite, model: Model, store: LabelStore
) -> dict[str, Any]:
    """Retrieval by the live rewrites beside the others, on the same turns."""
    said = {name: label.value for name, label in made_labels(teacher, model.name, store).items()}
    kept = [c for c in asked if c.id in said]
    texts = {
        "last_turn": [c.conversation.question for c in kept],
        "live": [said[c.id] for c in kept],
        "llm": [c.rewrites["llm"] for c in kept],
        "human": [c.rewrites["human"] for c in kept],
    }
    return {"turns": len(kept), "figures": {name: _figures(material, kept, words) for name, words in texts.items()}}


def _figures(material: Material, contexts: Sequence[Context], texts: Sequence[str]) -> dict[str, float]:
    vectors = _vectors(material, texts)
    found: Run = {}
    for i, context in enumerate(contexts):
        documents = material.documents[context.domain]
        scores = documents.invert().scores(*vectors.row(i))
        found[context.id] = {documents.ids[int(p)]: float(scores[p]) for p in best(scores, 100)}
    qrels = {c.id: dict(c.relevant) for c in contexts}
    return {name: round(value, 3) for name, value in evaluate(found, qrels, MEASURES).means.items()}


def _lists(material: Material, contexts: Sequence[Context]) -> list[Candidates]:
    """The first documents of the human rewrite, with a relevant one among them."""
    vectors = _vectors(material, [c.rewrites["human"] for c in contexts])
    lists = []
    for i, context in enumerate(contexts):
        documents, corpus = material.documents[context.domain], material.corpora[context.domain]
        top = [documents.ids[int(p)] for p in best(documents.invert().scores(*vectors.row(i)), DEPTH)]
        if not set(top) & set(context.relevant):
            top[-1] = next(iter(context.relevant))
        texts = {name: corpus[name].contents for name in top}
        lists.append(Candidates(context.id, context.rewrites["human"], texts, context.conversation))
    return lists


def _ranked(
    teacher: Teacher, model: Model, store: LabelStore, contexts: Sequence[Context], lists: Sequence[Candidates]
) -> dict[str, Any]:
    """nDCG@10 of the teacher's order of the candidates, and of the order they came in."""
    labels = made_labels(teacher, model.name, store)
    found: Run = {}
    before: Run = {}
    for given in lists:
        label = labels.get(given.context_id)
        if label is not None and label.value is not None:
            ranked: Mapping[str, float] = (
                label.value if isinstance(label.value, dict) else {d: -float(i) for i, d in enumerate(label.value)}
            )
            found[given.context_id] = {name: ranked.get(name, -1e9) for name in given.texts}
            before[given.context_id] = {name: -float(i) for i, name in enumerate(given.texts)}
    if not found:
        return {"lists": 0}
    qrels = {c.id: dict(c.relevant) for c in contexts if c.id in found}
    figures = [round(evaluate(one, qrels, ("nDCG@10",)).means["nDCG@10"], 3) for one in (found, before)]
    return {"lists": len(found), "ndcg10": figures[0], "ndcg10_before": figures[1]}


def _synthesize(
    material: Material, model: Model, store: LabelStore, full: bool
) -> tuple[list[Context], dict[str, Any]]:
    corpus = material.corpora["cloud"]
    rng = np.random.default_rng(0)
    chosen = sorted(rng.choice(len(corpus), PASSAGES, replace=False).tolist())
    passages = Passages(corpus.document(i) for i in chosen)
    teacher = Synthesize(passages, SynthesizeSettings(conversations=CONVERSATIONS[full], turns=4, seed=1))
    told = _teach(teacher, model, store)
    labels = made_labels(teacher, model.name, store)
    values = {name: label.value for name, label in labels.items() if label.value is not None}
    report = audit_synthetic(values, passages.texts, 4 * CONVERSATIONS[full], finds=passages.find)
    passes = report.checks[-1]
    contexts = [c for c in synthetic_contexts(values, domain="cloud") if c.id not in passes.flagged]
    figures = {check.name: dict(check.figures) for check in report.checks}
    said = {name: value["messages"] for name, value in values.items()}
    CONVERSED.write_text(json.dumps(said, indent=1, ensure_ascii=False), encoding="utf-8")  # to read, not to keep
    return contexts, told | {"audit": figures, "conversations": len(said)}


def _vectors(material: Material, texts: Sequence[str]) -> Any:
    return rewrite_vectors(material.encoder, list(texts), REWRITES)
