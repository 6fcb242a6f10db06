"""Students: what is trained, how it is saved, and what it makes of a batch."""

from distillir.students.dense import DenseSettings, DenseStudent
from distillir.students.generative import GenerativeSettings, GenerativeStudent
from distillir.students.onnx_encoder import OnnxEncoder, save_export
from distillir.students.origins import TermOrigin, by_turn, term_origins
from distillir.students.packaged import PACKAGED, SPLADE_TINY, resolve
from distillir.students.reranker import RerankerSettings, RerankerStudent
from distillir.students.reranker_base import Reranker
from distillir.students.reranker_checkpoint import load_reranker
from distillir.students.reranker_language import LanguageReranker, LanguageRerankerSettings
from distillir.students.response import ResponseStudent
from distillir.students.sparse import SparseSettings, SparseStudent

__all__ = [
    "PACKAGED",
    "SPLADE_TINY",
    "DenseSettings",
    "DenseStudent",
    "GenerativeSettings",
    "GenerativeStudent",
    "LanguageReranker",
    "LanguageRerankerSettings",
    "OnnxEncoder",
    "Reranker",
    "RerankerSettings",
    "RerankerStudent",
    "ResponseStudent",
    "SparseSettings",
    "SparseStudent",
    "TermOrigin",
    "by_turn",
    "load_reranker",
    "resolve",
    "save_export",
    "term_origins",
]
