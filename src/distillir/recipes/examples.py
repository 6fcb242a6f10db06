"""Questions shown in a report: what the systems found, and with which query terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distillir.data import Context, Corpus
from distillir.evaluation import Example, Hit, SystemExample, SystemResult
from distillir.students.sparse import SparseStudent

SHOWN_HITS = 3


def examples(
    contexts: Sequence[Context],
    systems: Sequence[SystemResult],
    corpus: Corpus,
    encoders: Mapping[str, SparseStudent],
    count: int = 12,
) -> list[Example]:
    """Later turns first, evenly over the conversations; no system's success has a say in the choice."""
    later = [c for c in contexts if c.conversation.depth > 1] or list(contexts)
    chosen = later[:: max(1, len(later) // count)][:count]
    shown: list[Example] = []
    for context in chosen:
        answers: dict[str, SystemExample] = {}
        for system in systems:
            if system.name not in encoders:
                continue
            row = encoders[system.name].encode_queries([context.conversation])
            order = row.values.argsort()[::-1]
            terms = encoders[system.name].terms(row.indices[order].tolist())
            weights = [round(float(w), 2) for w in row.values[order]]
            found = sorted(system.run[context.id].items(), key=lambda item: (-item[1], item[0]))[:SHOWN_HITS]
            hits: list[Hit] = [
                {"id": d, "text": corpus[d].text, "score": round(s, 2), "relevant": d in context.relevant}
                for d, s in found
            ]
            answers[system.name] = {"hits": hits, "terms": list(zip(terms, weights, strict=True))}
        history = [text for pair in context.conversation.exchanges for text in pair if text]
        shown.append(
            {
                "question": context.conversation.question,
                "turn": context.conversation.depth,
                "history": history,
                "systems": answers,
            }
        )
    return shown
