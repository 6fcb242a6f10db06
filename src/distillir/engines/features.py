"""What a term may be called and weigh inside Lucene's feature fields, which both engines store sparse vectors in.

Names. Elasticsearch refuses a dot in a feature's name (`rank_features` always, `sparse_vector` before 8.16), and the
`rank_feature` query of both engines takes what stands behind the last dot for the name. So "." is written "%2E" and
"%" is written "%25"; every other term keeps its spelling, and no two terms share a name.

Weights. A stored weight is a positive, finite, normal float32 of which 9 significant bits are kept, the rest cut off:
what is searched is at most 2^-8 = 0.4 % below what was written (`stored`). Zeros, and the weights below the smallest
normal float, say nothing and are left out; negative ones and NaN are refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distillir.errors import SearchIndexError
from distillir.vectors import CSR

Terms = Callable[[Sequence[int]], Sequence[str | None]]
"""Vocabulary strings of dimensions, such as `SparseStudent.terms`."""

SMALLEST = float(np.finfo(np.float32).tiny)
LARGEST = float(np.finfo(np.float32).max)
LONGEST_NAME = 32766  # bytes of a Lucene term
_CUT = np.uint32(0xFFFF8000)  # sign, 8 bits of exponent, 8 of 23 bits of fraction


def feature_name(term: str) -> str:
    """The name a term has as a feature; `term_of` reads it back.

    Raises:
        SearchIndexError: the term is empty, not Unicode, or longer than an engine stores.
    """
    if not isinstance(term, str) or not term:
        raise SearchIndexError(f"{term!r} is not a term", "name terms by dimension_names (--by-dimension)")
    name = term.replace("%", "%25").replace(".", "%2E") if "." in term or "%" in term else term
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise SearchIndexError(
            f"the term {term!r} is not valid Unicode", "name terms by dimension_names (--by-dimension)"
        ) from error
    if size > LONGEST_NAME:
        raise SearchIndexError(
            f"a term has {size} bytes, more than {LONGEST_NAME}", "name terms by dimension_names (--by-dimension)"
        )
    return name


def term_of(name: str) -> str:
    """The term that `feature_name` wrote as `name`.

    Raises:
        SearchIndexError: no term is written so.
    """
    term = re.sub("%(25|2E)", lambda found: "%" if found[1] == "25" else ".", name)
    if feature_name(term) != name:
        raise SearchIndexError(f"{name!r} is not a feature's name of ours", "read features that `export` wrote")
    return term


def dimension_names(indices: Sequence[int]) -> list[str]:
    """Dimensions by number instead of by term: for vocabularies with gaps, and where an engine wants integers."""
    return [str(int(i)) for i in indices]


def stored(values: ArrayLike) -> NDArray[np.float32]:
    """Weights as Lucene's `FeatureField` keeps them: float32 cut to 9 significant bits."""
    exact = np.ascontiguousarray(values, np.float32)
    return (exact.view(np.uint32) & _CUT).view(np.float32)


def stored_rows(rows: CSR) -> CSR:
    """Sparse rows as the engines keep them."""
    return CSR(rows.indptr, rows.indices, stored(rows.values))


def features(weights: Mapping[str, float]) -> dict[str, float]:
    """A query's terms as features, largest weight first.

    Raises:
        SearchIndexError: no term above zero, a negative weight, one that is not a finite float32, a term that cannot
            be a feature.
    """
    known = {term: _checked(term, weight) for term, weight in weights.items()}
    best_first = sorted(known.items(), key=lambda pair: (-pair[1], pair[0]))
    found = {feature_name(term): short(weight) for term, weight in best_first if weight >= SMALLEST}
    if not found:
        raise SearchIndexError("a query without terms", "give at least one term with a weight above zero")
    return found


def short(weight: float) -> float:
    """The shortest decimal that reads back as the same float32: 0.1 and not 0.10000000149011612."""
    return float(str(np.float32(weight)))


def _checked(term: str, given: float) -> float:
    weight = float(given)
    if not math.isfinite(weight) or weight > LARGEST:
        raise SearchIndexError(
            f"the weight of {term!r} is {weight}, which is no finite float32", "look at the encoder's output"
        )
    if weight < 0:
        raise SearchIndexError(
            f"the weight of {term!r} is {weight:g}", "the engines take weights above zero: leave others out"
        )
    return weight
