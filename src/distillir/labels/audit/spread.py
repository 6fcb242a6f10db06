"""Score spread, a suggested τ, and the share of flat or one-hot targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from distillir.labels.audit.limits import Limits
from distillir.labels.audit.report import Check, percent, quantiles, share
from distillir.labels.audit.temperature import effective_documents, entropy_temperature


def check_spread(
    lists: Sequence[NDArray[np.floating]], subject: str, limits: Limits, scale: str | None = None
) -> Check:
    """How far a teacher's scores lie apart within a context, and the τ that gives its softmax a few documents.

    Args:
        lists: (N_i,) scores of each context.
        subject: whose.
        limits: thresholds.
        scale: what the scores are; "" warns that it was not stored, None does not ask.
    """
    real = [np.asarray(one, np.float64) for one in lists if len(one) > 1]
    constant = sum(float(one.max()) == float(one.min()) for one in real)
    taus = [tau for one in real if (tau := entropy_temperature(one, limits.effective_documents)) is not None]
    figures: dict[str, float] = {}
    if real:
        deviations, ranges = [float(one.std()) for one in real], [float(np.ptp(one)) for one in real]
        figures |= quantiles(deviations, deviation=0.5) | quantiles(ranges, range=0.5)
    figures |= quantiles(taus, suggested_tau=0.5, tau_low=0.1, tau_high=0.9)
    figures |= {"constant": share(constant, len(real))}
    warnings = []
    if constant:
        warnings.append(
            f"{constant} contexts have one score for all candidates → they teach nothing: leave them out or draw other "
            "candidates"
        )
    if scale == "":
        warnings.append("the scores' scale was not stored → label with a scale, so that teachers are not mixed up")
    return Check("score spread", subject, len(real), figures, tuple(warnings))


def check_targets(lists: Sequence[NDArray[np.floating]], subject: str, limits: Limits, tau: float = 1.0) -> Check:
    """Targets softmax(scores/τ) that say nothing (flat) or no more than a single label would (one-hot).

    Args:
        lists: (N_i,) scores of each context.
        subject: whose.
        limits: thresholds.
        tau: of the training.
    """
    real = [np.asarray(one, np.float64) for one in lists if len(one) > 1]
    effective = np.array([effective_documents(one, tau) for one in real])
    sizes = np.array([len(one) for one in real])
    flat = share(int((effective >= limits.flat_part * sizes).sum()), len(real))
    one_hot = share(int((effective <= limits.one_hot_documents).sum()), len(real))
    figures: dict[str, float] = {"tau": tau, "flat": flat, "one_hot": one_hot}
    figures |= quantiles(effective.tolist(), effective_documents=0.5)
    taus = [found for one in real if (found := entropy_temperature(one, limits.effective_documents)) is not None]
    cure = (
        f"τ near {np.median(taus):.2g} gives {limits.effective_documents:g} documents" if taus else "other candidates"
    )
    warnings = []
    if flat > limits.flat_share:
        warnings.append(f"{percent(flat)} of the targets are flat at τ = {tau:g} → lower τ: {cure}")
    if one_hot > limits.one_hot_share:
        warnings.append(
            f"{percent(one_hot)} of the targets are one-hot at τ = {tau:g}, no more than a label → raise τ: {cure}"
        )
    return Check("targets", subject, len(real), figures, tuple(warnings))
