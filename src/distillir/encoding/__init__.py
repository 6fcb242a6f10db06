"""Texts into stored vectors: corpora and rewrites."""

from distillir.encoding.corpus import encode_corpus
from distillir.encoding.dense import encode_dense_corpus
from distillir.encoding.on_ray import OnRay
from distillir.encoding.rewrites import fuse, rewrite_vectors

__all__ = ["OnRay", "encode_corpus", "encode_dense_corpus", "fuse", "rewrite_vectors"]
