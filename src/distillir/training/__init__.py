"""One visible training loop, and the data it reads."""

from distillir.training.contract import Tick, TrainResult
from distillir.training.crew import lead, on_every_process
from distillir.training.dense_data import DenseData
from distillir.training.generative_data import GenerativeData, GenerativeKeys
from distillir.training.loop import train
from distillir.training.rerank_data import RerankData
from distillir.training.response_data import ResponseData
from distillir.training.settings import TrainSettings
from distillir.training.sparse_data import SparseData

__all__ = [
    "DenseData",
    "GenerativeData",
    "GenerativeKeys",
    "RerankData",
    "ResponseData",
    "SparseData",
    "Tick",
    "TrainResult",
    "TrainSettings",
    "lead",
    "on_every_process",
    "train",
]
