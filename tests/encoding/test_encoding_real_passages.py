"""Fifty thousand real passages, encoded by two raylets of which one loses its worker in the middle."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import pytest
import ray_run
from benchmarks.scale_passages import public

from distillir.data import Corpus
from distillir.encoding import OnRay, encode_corpus
from distillir.students import SparseSettings, resolve
from distillir.vectors import SparseVectors
from raylets import on_ray, two_raylets

WANTED, SHARD = 50_000, 1024


@on_ray
@pytest.mark.timeout(3600)
@pytest.mark.skipif(
    "DISTILLIR_DATA" not in os.environ, reason="DISTILLIR_DATA does not name the folder of public data sets"
)
def test_fifty_thousand_real_passages_survive_a_killed_worker(tmp_path):
    rows = itertools.islice(public(Path(os.environ["DISTILLIR_DATA"]), tmp_path), WANTED)
    corpus = Corpus.build(rows, tmp_path / "corpus.arrow")
    assert len(corpus) == WANTED
    encoder = ray_run.Fragile.from_pretrained(resolve("splade-tiny"), SparseSettings(gate=False, document_length=64))
    encoder.fatal, encoder.there = "no passage", tmp_path / "none"
    expected = encode_corpus(encoder, corpus, tmp_path / "here", shard_rows=SHARD)
    encoder.fatal, encoder.there = corpus.text(WANTED // 2), tmp_path / "killed"
    with two_raylets(Path(ray_run.__file__).parent, memory=200 * 2**20):
        made = encode_corpus(encoder, corpus, tmp_path / "ray", shard_rows=SHARD, shares=OnRay(workers=2))
    assert (tmp_path / "killed").exists()
    assert made.digest() == expected.digest()
    assert list(made.ids) == corpus.ids
    shards = [one["name"] for one in json.loads((tmp_path / "ray" / "manifest.json").read_text())["shards"]]
    assert len(set(shards)) == len(shards) == -(-WANTED // SHARD)
    assert SparseVectors.open(tmp_path / "ray").fingerprint == expected.fingerprint
