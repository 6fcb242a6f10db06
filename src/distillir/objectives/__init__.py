"""Objectives: pure functions of student scores and labels. They know no model and no file."""

from distillir.objectives.contract import Objective, Output, Targets, check_pairing
from distillir.objectives.infonce import InfoNCE, infonce
from distillir.objectives.kld import KLD, kld, temperature_for
from distillir.objectives.representation_mse import RepresentationMSE, representation_mse
from distillir.objectives.weighted_sum import WeightedSum

OBJECTIVES: dict[str, type[Objective]] = {part.name: part for part in (InfoNCE, KLD, RepresentationMSE)}

__all__ = [
    "KLD",
    "OBJECTIVES",
    "InfoNCE",
    "Objective",
    "Output",
    "RepresentationMSE",
    "Targets",
    "WeightedSum",
    "check_pairing",
    "infonce",
    "kld",
    "representation_mse",
    "temperature_for",
]
