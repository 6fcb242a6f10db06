"""Which documents a student learns from: a pool of retrieved documents, and a draw from it."""

from distillir.sampling.candidates import Candidates, CandidateSampler, GoldPolicy, draw_candidates, gold_share
from distillir.sampling.collection import Collection
from distillir.sampling.draw import DRAWS, All, Bands, Draw, LogUniform, StratifiedScore, Top, UniformBand
from distillir.sampling.in_batch import shared_block
from distillir.sampling.pool import RankedPool
from distillir.sampling.ranking import Ranking
from distillir.sampling.rng import generator

__all__ = [
    "DRAWS",
    "All",
    "Bands",
    "CandidateSampler",
    "Candidates",
    "Collection",
    "Draw",
    "GoldPolicy",
    "LogUniform",
    "RankedPool",
    "Ranking",
    "StratifiedScore",
    "Top",
    "UniformBand",
    "draw_candidates",
    "generator",
    "gold_share",
    "shared_block",
]
