"""May the rewriter be switched off? What a shadow log says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

import numpy as np

from distillir.errors import EvaluationError
from distillir.serving.shadow import DEPTH, ShadowRow

ENOUGH = 100  # follow-up turns
SAMPLES = 2000


@dataclass(frozen=True)
class ShadowReport:
    """Figures over the follow-up turns of a log; first turns need no rewrite.

    Attributes:
        answer: "yes", "not yet" or "too few turns". reason: the figures it rests on.
        turns: follow-ups compared. first_turns, failed: left out, as they need none or have none.
        overlap, interval: mean overlap at 10 and its 95 % bootstrap interval. low: share of turns below one half.
        tau: mean rank correlation.
        student_ms, rewrite_ms: median and 95th percentile. saved_ms: median a turn.
        cost, cost_1000: of all rewrites, and of a thousand turns; currency.
        by_depth: turn → overlap and turns.
        by_confidence: quarter of the calibrated confidence, lowest first → overlap, where it is calibrated.
        differ: the turns where they differ most.
    """

    answer: str
    reason: str
    turns: int
    first_turns: int
    failed: int
    overlap: float
    interval: tuple[float, float]
    low: float
    tau: float
    student_ms: tuple[float, float]
    rewrite_ms: tuple[float, float] | None
    saved_ms: float | None
    cost: float
    cost_1000: float
    currency: str
    by_depth: dict[str, tuple[float, int]]
    by_confidence: tuple[float, ...]
    differ: tuple[ShadowRow, ...]

    def to_json(self) -> str:
        """All of it."""
        return json.dumps(asdict(self))

    def text(self) -> str:
        """To be read."""
        low, high = self.interval
        lines = [
            f"May the rewriter be switched off?  {self.answer}: {self.reason}",
            f"  turns        {self.turns:,} follow-ups, {self.first_turns:,} first turns, {self.failed:,} failed",
            f"  overlap@{DEPTH}   {self.overlap:.3f} [{low:.3f}, {high:.3f}]; under one half: {self.low:.1%} of turns",
            f"  rank corr.   {self.tau:.3f} (Kendall)",
            f"  student      {self.student_ms[0]:.0f} ms, 95 %: {self.student_ms[1]:.0f} ms",
        ]
        if self.rewrite_ms is not None:
            saved = f"; {self.saved_ms:.0f} ms saved a turn" if self.saved_ms is not None else ""
            lines.append(f"  rewrite      {self.rewrite_ms[0]:.0f} ms, 95 %: {self.rewrite_ms[1]:.0f} ms{saved}")
        lines.append(f"  saved cost   {self.cost:.4g} {self.currency} so far, {self.cost_1000:.4g} a thousand turns")
        lines += [
            f"  turn {depth:<8}overlap {value:.3f} on {count:,}" for depth, (value, count) in self.by_depth.items()
        ]
        if self.by_confidence:
            shown = ", ".join(f"{value:.3f}" for value in self.by_confidence)
            lines.append(f"  overlap by quarter of confidence, lowest first: {shown}")
        lines.append("They differ most on:")
        for row in self.differ:
            lines.append(f"  {row.request}  turn {row.depth}  overlap {row.overlap:.2f}  tau {row.tau:+.2f}")
            if row.texts:
                lines.append(f"    asked    {_line(row.texts['messages'][-1]['content'])}")
                lines.append(f"    rewrite  {_line(row.texts['rewrite'])}")
        lines.append("Agreement is no judgement: look at turns where they differ before you decide who is right.")
        return "\n".join(lines)


def shadow_report(rows: Sequence[ShadowRow], *, agree: float = 0.6, worst: int = 10) -> ShadowReport:
    """What the rows say.

    Args:
        rows: of one log. agree: mean overlap from which the answer is yes, at the lower end of its interval.
        worst: turns that are named.

    Raises:
        EvaluationError: no follow-up turn among them.
    """
    failed = [row for row in rows if row.failure]
    first = [row for row in rows if not row.failure and row.depth == 1]
    kept = [row for row in rows if not row.failure and row.depth > 1]
    if not kept:
        raise EvaluationError(
            f"no follow-up turn was compared ({len(first)} first turns, {len(failed)} without a rewrite)",
            "let the service run on real traffic, with a rewriter it can reach",
        )
    found = np.array([row.overlap for row in kept])
    rng = np.random.default_rng(13)
    means = found[rng.integers(len(found), size=(SAMPLES, len(found)))].mean(1)
    interval = (float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975)))
    answer, reason = _answer(len(kept), interval, agree)
    took = [row.rewrite_ms for row in kept if row.rewrite_ms is not None]
    saved = [row.rewrite_ms - row.student_ms for row in kept if row.rewrite_ms is not None]
    depths = {"2": [2], "3": [3], "4 to 6": [4, 5, 6], "7 and on": range(7, 10**6)}
    by_depth = {name: [row.overlap for row in kept if row.depth in among] for name, among in depths.items()}
    sure = sorted((row.confidence, row.overlap) for row in kept if row.confidence is not None)
    quarters = np.array_split(np.array([value for _, value in sure]), 4) if len(sure) >= 8 else []
    return ShadowReport(
        answer=answer,
        reason=reason,
        turns=len(kept),
        first_turns=len(first),
        failed=len(failed),
        overlap=float(found.mean()),
        interval=interval,
        low=float((found < 0.5).mean()),
        tau=fmean(row.tau for row in kept),
        student_ms=_median_and_tail([row.student_ms for row in kept]),
        rewrite_ms=_median_and_tail(took) if took else None,
        saved_ms=float(np.median(saved)) if saved else None,
        cost=sum(row.cost for row in rows),
        cost_1000=1000 * fmean(row.cost for row in kept),
        currency=kept[-1].currency,
        by_depth={name: (fmean(values), len(values)) for name, values in by_depth.items() if values},
        by_confidence=tuple(float(part.mean()) for part in quarters),
        differ=tuple(sorted(kept, key=lambda row: (row.overlap, row.tau))[:worst]),
    )


def _answer(turns: int, interval: tuple[float, float], agree: float) -> tuple[str, str]:
    if turns < ENOUGH:
        return "too few turns", f"{turns} follow-ups were compared, and {ENOUGH} are the least to judge by"
    low, high = interval
    if low >= agree:
        return "yes", f"the mean overlap is at least {low:.2f}, and {agree:g} was asked for"
    return "not yet", f"the mean overlap is between {low:.2f} and {high:.2f}, and {agree:g} was asked for"


def _median_and_tail(values: Sequence[float]) -> tuple[float, float]:
    return float(np.median(values)), float(np.quantile(values, 0.95))


def _line(text: str, width: int = 100) -> str:
    flat = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))  # a terminal obeys some others
    return flat if len(flat) <= width else f"{flat[: width - 1]}…"
