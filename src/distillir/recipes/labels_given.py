"""What the labels of a method give, and whether an objective can read them."""

from __future__ import annotations

from collections.abc import Iterable

from distillir.errors import ConfigError
from distillir.objectives import RANK_TO_SCORE
from distillir.objectives.contract import Objective


def labels_given(kind: str, rank_to_score: str | None) -> set[str]:
    """Targets of labels that are an "order" or "scores", beside golds.

    Raises:
        ConfigError: no such rule, or one for what are scores already.
    """
    if rank_to_score is not None and (kind != "order" or rank_to_score not in RANK_TO_SCORE):
        raise ConfigError(
            f"rank_to_score: {rank_to_score!r} of {kind}",
            f"make scores of an order by one of {', '.join(RANK_TO_SCORE)}",
        )
    return {"gold", kind} | ({"scores"} if rank_to_score else set())


def check_labels(objective: Objective, named: Iterable[str], kind: str, given: set[str]) -> None:
    """Refuse an objective that reads what labels do not give.

    Raises:
        ConfigError: naming it.
    """
    if missing := sorted(objective.reads_targets - given):
        raise ConfigError(
            f"objective {', '.join(named)} reads {', '.join(missing)}, and labels are {kind}",
            "choose another objective, or name a rank_to_score",
        )
