"""How negatives are drawn from a ranking: one draw a file, named as in recipes."""

from distillir.sampling.draw.all import All
from distillir.sampling.draw.bands import Bands
from distillir.sampling.draw.base import Draw
from distillir.sampling.draw.log_uniform import LogUniform
from distillir.sampling.draw.stratified_score import StratifiedScore
from distillir.sampling.draw.top import Top
from distillir.sampling.draw.uniform_band import UniformBand

DRAWS: dict[str, type[Draw]] = {draw.name: draw for draw in (All, Bands, LogUniform, StratifiedScore, Top, UniformBand)}

__all__ = ["DRAWS", "All", "Bands", "Draw", "LogUniform", "StratifiedScore", "Top", "UniformBand"]
