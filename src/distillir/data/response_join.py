"""Generated responses join the positives of their context and the fixed set: the data level of G2R
(arXiv 2108.12582)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from distillir.data.conversations import Context
from distillir.data.response_rules import ResponseRules
from distillir.data.responses import Response, ResponseSet


@dataclass(frozen=True)
class JoinedResponses:
    """What came together.

    Attributes:
        responses: gold ones in their order, then generated ones; also what negatives are drawn from.
        contexts: with the ids of all their positives as `relevant`; those without any are left out.
        left_out: why → how many generated responses, golds and contexts.
    """

    responses: ResponseSet
    contexts: tuple[Context, ...]
    left_out: Counter[str]


def join_responses(
    responses: ResponseSet,
    contexts: Sequence[Context],
    generated: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
    rules: ResponseRules | None = None,
    *,
    per_context: int | None = None,
) -> JoinedResponses:
    """Bring golds and generated responses together; every one is a positive of its context, of grade 1.

    Args:
        responses: the fixed set, gold.
        contexts: with the ids of their golds as `relevant`.
        generated: teacher → context id → texts, best first. Of contexts that are not there they are ignored.
        rules: what is left out, of golds too, which may repeat their context; None = the defaults.
        per_context: generated responses that a context gets at most, of each teacher; None = all.
    """
    rules = rules or ResponseRules()
    kept, dropped = rules.screen(responses)
    left_out = Counter({f"gold: {why}": count for why, count in dropped.items()})
    every = list(kept)
    found: dict[str, list[str]] = {}
    for context in contexts:
        names = found[context.id] = []
        for name in context.relevant:
            if name in kept:
                names.append(name)
            else:
                left_out["gold: of a context, not in the set"] += 1
        own = {kept[kept.position(name)].id for name in names}
        for teacher, said in (generated or {}).items():
            new = 0
            for text in said.get(context.id, ()):
                if per_context is not None and new >= per_context:
                    left_out[f"{teacher}: beyond per_context"] += 1
                elif why := rules.refuse(text, context.conversation):
                    left_out[f"{teacher}: {why}"] += 1
                else:
                    one = _named(text, teacher, kept)
                    every.append(one)
                    if one.id in own:
                        left_out[f"{teacher}: a duplicate in its context"] += 1
                    else:
                        own.add(one.id)
                        names.append(one.id)
                        new += 1
    whole = ResponseSet(every)
    joined = []
    for context in contexts:
        relevant = {whole[whole.position(name)].id: 1 for name in found[context.id]}
        if relevant:
            joined.append(replace(context, relevant=relevant))
        else:
            left_out["context: without a response"] += 1
    return JoinedResponses(whole, tuple(joined), left_out)


def _named(text: str, teacher: str, golds: ResponseSet) -> Response:
    """A generated response under the id of the gold that says the same, or of its text."""
    same = golds.find(text)
    return Response.of(text, teacher) if same is None else Response(same.id, text, (teacher,))
