"""Distillation objectives: pure tensor functions of what a student returns and what the labels say.

you have                                   | use
teacher scores                             | KLD, MarginMSE, PointwiseMSE, RankNet(by="scores")
a teacher's order (listwise LLM)           | RankNet, ADRMSE, LambdaRank, ListNet, RankGap; by rank_to_score, any
relevance judgements                       | InfoNCE, beside any of them
identifiers to write                       | Likelihood, beside any of them
teacher vectors                            | RepresentationMSE
teacher vectors and an inverted collection | FullCollectionKLD
"""

from distillir.objectives.adr_mse import ADRMSE
from distillir.objectives.contract import Objective, Output, Targets, check_pairing
from distillir.objectives.full_collection import (
    FullCollectionKLD,
    TeacherProfile,
    collection_temperature,
    full_collection_kld,
    teacher_profile,
)
from distillir.objectives.infonce import InfoNCE
from distillir.objectives.kld import KLD, kl_divergence
from distillir.objectives.lambda_rank import LambdaRank
from distillir.objectives.likelihood import Likelihood
from distillir.objectives.listnet import ListNet
from distillir.objectives.margin_mse import MarginMSE
from distillir.objectives.mix import BalancedMix, LinearMix
from distillir.objectives.pointwise_mse import PointwiseMSE
from distillir.objectives.rank_gap import RankGap
from distillir.objectives.ranknet import RankNet
from distillir.objectives.ranks import RANK_TO_SCORE, rank_to_score
from distillir.objectives.representation_mse import RepresentationMSE
from distillir.objectives.temperature import effective_documents, entropy_temperature
from distillir.objectives.weighted_sum import WeightedSum

OBJECTIVES = {
    objective.name: objective
    for objective in (
        KLD,
        InfoNCE,
        RepresentationMSE,
        MarginMSE,
        PointwiseMSE,
        RankNet,
        RankGap,
        ADRMSE,
        LambdaRank,
        ListNet,
        Likelihood,
    )
}
"""Objectives that a recipe can name; each is made from its parameters alone."""

__all__ = [
    "ADRMSE",
    "KLD",
    "OBJECTIVES",
    "RANK_TO_SCORE",
    "BalancedMix",
    "FullCollectionKLD",
    "InfoNCE",
    "LambdaRank",
    "Likelihood",
    "LinearMix",
    "ListNet",
    "MarginMSE",
    "Objective",
    "Output",
    "PointwiseMSE",
    "RankGap",
    "RankNet",
    "RepresentationMSE",
    "Targets",
    "TeacherProfile",
    "WeightedSum",
    "check_pairing",
    "collection_temperature",
    "effective_documents",
    "entropy_temperature",
    "full_collection_kld",
    "kl_divergence",
    "rank_to_score",
    "teacher_profile",
]
