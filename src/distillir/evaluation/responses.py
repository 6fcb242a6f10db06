"""How good retrieved responses are: hits among sampled candidates, and how varied and long what is said is."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distillir.errors import EvaluationError

WORD = re.compile(r"\w+|[^\w\s]")


def hits_among(
    contexts: ArrayLike,
    responses: ArrayLike,
    golds: Sequence[Sequence[int]],
    *,
    candidates: int,
    at: Sequence[int] = (1,),
    seed: int = 0,
) -> dict[str, NDArray[np.float64]]:
    """hits@k among so many candidates: a gold and random others that are no gold of the context.

    The gold is the first of several. Others are drawn by seed and context, so systems face the same candidates. What
    scores as high as the gold stands above it.

    Args:
        contexts: (Q, D) vectors. responses: (R, D) vectors of the whole set.
        golds: positions of each context's golds, at least one.
        candidates: how many, the gold among them. at: the k.
        seed: of the draws.

    Returns:
        "hits@k/candidates" → (Q,) 0 or 1.

    Raises:
        EvaluationError: widths or counts that do not fit, a context without gold, or too few responses.
    """
    asked, said = np.asarray(contexts, np.float32), np.asarray(responses, np.float32)
    if asked.ndim != 2 or said.ndim != 2 or asked.shape[1:] != said.shape[1:] or len(golds) != len(asked):
        raise EvaluationError(
            f"contexts {asked.shape}, responses {said.shape}, golds of {len(golds)}", "give (Q, D), (R, D) and Q golds"
        )
    if not (np.isfinite(asked).all() and np.isfinite(said).all()):
        raise EvaluationError("a vector is not finite", "check the student's weights")
    if not at or min(at) < 1 or candidates < 2:
        raise EvaluationError(f"hits at {tuple(at)} among {candidates}", "give k of 1 or more among 2 or more")
    ranks = np.empty(len(asked), np.int64)
    for q, own in enumerate(golds):
        others = len(said) - len(set(own))
        if not own or others < candidates - 1:
            raise EvaluationError(
                f"context {q} has {len(own)} golds and {others} other responses for {candidates} candidates",
                "leave it out, or ask for fewer candidates",
            )
        rng = np.random.default_rng([seed, q])
        # As many more are drawn as could be golds; without these, enough are left.
        drawn = rng.permutation(rng.choice(len(said), candidates - 1 + len(set(own)), replace=False))
        rivals = drawn[~np.isin(drawn, list(own))][: candidates - 1]
        scores = said[rivals] @ asked[q]
        ranks[q] = 1 + int((scores >= float(said[own[0]] @ asked[q])).sum())
    return {f"hits@{k}/{candidates}": (ranks <= k).astype(np.float64) for k in at}


def distinct(texts: Sequence[str], n: int) -> float:
    """Dist-n: different word n-grams as a share of all, over all texts together (Li et al., "A diversity-promoting
    objective function for neural conversation models", NAACL 2016). Words in lower case, marks are words; 0 for none.

    Raises:
        EvaluationError: n below 1.
    """
    if n < 1:
        raise EvaluationError(f"Dist-{n}", "give 1 or more")
    grams = [tuple(words[i : i + n]) for words in map(words_of, texts) for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def mean_length(texts: Sequence[str]) -> float:
    """Words of a text on average, marks counted; 0 for none."""
    return float(np.mean([len(words_of(text)) for text in texts])) if texts else 0.0


def words_of(text: str) -> list[str]:
    """Words and marks in lower case."""
    return WORD.findall(text.lower())
