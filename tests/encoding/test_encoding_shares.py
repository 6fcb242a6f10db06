"""Shares of a corpus, made anywhere and put together once: in this process, and on Ray with a worker that is killed."""

import json
import random
from pathlib import Path

import encode_run
import pytest
import ray_run

from distillir.data import Corpus
from distillir.encoding import OnRay, encode_corpus, encode_dense_corpus
from distillir.encoding.shares import in_this_process, read_share
from distillir.errors import ConfigError, MissingDependencyError, VectorsError
from distillir.students import resolve
from distillir.students.dense import DenseSettings, DenseStudent
from distillir.vectors import SparseVectors
from raylets import on_ray, two_raylets


@pytest.fixture(scope="module")
def encoder():
    return encode_run.encoder()


@pytest.fixture
def corpus(tmp_path) -> Corpus:
    return Corpus.build(encode_run.texts(23), tmp_path / "corpus.arrow")


def in_any_order(numbers, work):
    shuffled = list(numbers)
    random.Random(1).shuffle(shuffled)
    yield from in_this_process([*shuffled, *shuffled[:2]], work)


def whole(encoder, corpus, folder) -> SparseVectors:
    return encode_corpus(encoder, corpus, folder, shard_rows=4)


def test_shares_in_any_order_make_the_same_files(encoder, corpus, tmp_path):
    expected = whole(encoder, corpus, tmp_path / "whole")
    seen = []
    made = encode_corpus(
        encoder, corpus, tmp_path / "shares", shard_rows=4, shares=in_any_order,
        watch=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert made.fingerprint == expected.fingerprint
    assert made.digest() == expected.digest()
    assert list(made.ids) == corpus.ids
    assert seen == [(n, 23) for n in (4, 8, 12, 16, 20, 23)]
    names = {path.name for path in (tmp_path / "whole").rglob("*") if path.is_file()}
    assert {path.name for path in (tmp_path / "shares").rglob("*") if path.is_file()} == names
    assert not (tmp_path / "shares.shares").exists()


def test_dense_vectors_too(corpus, tmp_path):
    student = DenseStudent.from_pretrained(resolve("splade-tiny"), DenseSettings(gate=False))
    expected = encode_dense_corpus(student, corpus, tmp_path / "whole", shard_rows=4)
    made = encode_dense_corpus(student, corpus, tmp_path / "shares", shard_rows=4, shares=in_any_order)
    assert made.fingerprint == expected.fingerprint


def test_a_stop_keeps_the_shares_that_were_ready(encoder, corpus, tmp_path):
    def cut(numbers, work):
        for number in [0, 1, 3, 5]:  # the third, number 2, is at work when the process ends
            yield from in_this_process([number], work)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_corpus(encoder, corpus, tmp_path / "v", shard_rows=4, shares=cut)
    assert len(SparseVectors.open(tmp_path / "v", partial=True)) == 8
    asked = []

    def rest(numbers, work):
        asked.extend(numbers)
        return in_this_process(numbers, work)

    made = encode_corpus(encoder, corpus, tmp_path / "v", shard_rows=4, shares=rest)
    assert asked == [2, 4]
    assert made.fingerprint == whole(encoder, corpus, tmp_path / "whole").fingerprint


def test_shares_of_another_corpus_are_not_read_and_damaged_ones_are_named(encoder, corpus, tmp_path):
    def cut(numbers, work):
        yield from in_this_process([1], work)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_corpus(encoder, corpus, tmp_path / "v", shard_rows=4, shares=cut)
    (share,) = (tmp_path / "v.shares").rglob("*.safetensors")
    assert read_share(share).rows == 4
    share.write_bytes(share.read_bytes()[:-9])
    with pytest.raises(VectorsError, match=r"00000001\.safetensors cannot be read.*remove it"):
        encode_corpus(encoder, corpus, tmp_path / "v", shard_rows=4, shares=in_this_process)
    other = Corpus.build([{**row, "text": "other"} for row in encode_run.texts(23)], tmp_path / "other.arrow")
    made = encode_corpus(encoder, other, tmp_path / "w", shard_rows=4, shares=in_this_process)
    assert made.digest() == whole(encoder, other, tmp_path / "x").digest()


def test_a_share_that_nobody_makes_and_shards_of_another_size_are_refused(encoder, corpus, tmp_path):
    with pytest.raises(VectorsError, match=r"share 0 .* was never made"):
        encode_corpus(encoder, corpus, tmp_path / "v", shard_rows=4, shares=lambda numbers, work: iter([1]))

    def cut(numbers, work):
        yield from in_this_process([0], work)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_corpus(encoder, corpus, tmp_path / "v", shard_rows=4, shares=cut)
    with pytest.raises(VectorsError, match="shards of another size than 5"):
        encode_corpus(encoder, corpus, tmp_path / "v", shard_rows=5, shares=in_this_process)


def test_settings_that_cannot_be(monkeypatch, corpus, encoder, tmp_path):
    for wrong in ({"workers": 0}, {"cpus": 0.0}, {"retries": -1}):
        with pytest.raises(ConfigError):
            OnRay(**wrong)
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"distillir\[ray\]"):
        encode_corpus(encoder, corpus, tmp_path / "v", shard_rows=4, shares=OnRay())


@pytest.fixture
def two_machines():
    with two_raylets(Path(ray_run.__file__).parent) as ray:
        yield ray


@on_ray
@pytest.mark.timeout(600)  # workers that start again import torch again
def test_a_killed_worker_changes_nothing(two_machines, tmp_path):
    corpus = Corpus.build(encode_run.texts(90), tmp_path / "corpus.arrow")
    student = encode_run.encoder()
    expected = whole(student, corpus, tmp_path / "whole")
    fragile = ray_run.Fragile(student.model, student.tokenizer, student.settings)
    fragile.fatal, fragile.there = corpus.text(37), tmp_path / "killed"
    made = encode_corpus(fragile, corpus, tmp_path / "ray", shard_rows=4, shares=OnRay(workers=2))
    assert made.fingerprint == expected.fingerprint
    assert made.digest() == expected.digest()
    assert list(made.ids) == corpus.ids
    manifest = json.loads((tmp_path / "ray" / "manifest.json").read_text())
    assert len({shard["name"] for shard in manifest["shards"]}) == len(manifest["shards"]) == 23
    killed = (tmp_path / "killed").read_text()
    called = (tmp_path / "killed.log").read_text().split()
    assert killed in called
    assert len(set(called)) >= 2  # the other one may be done before the killed one is replaced
    assert 24 <= len(called) <= 26  # its shares, at most two, were made again and no other


@on_ray
@pytest.mark.timeout(600)  # workers that start again import torch again
def test_what_an_encoder_refuses_ends_the_run_and_so_does_a_share_that_kills_every_worker(two_machines, tmp_path):
    corpus = Corpus.build(encode_run.texts(12), tmp_path / "corpus.arrow")
    student = encode_run.encoder()
    deadly = ray_run.Fragile(student.model, student.tokenizer, student.settings)
    deadly.fatal, deadly.there, deadly.deadly = corpus.text(5), tmp_path / "never", True
    with pytest.raises(VectorsError, match=r"share [12] was lost 2 times.*shares that are ready stay"):
        encode_corpus(deadly, corpus, tmp_path / "v", shard_rows=4, shares=OnRay(workers=1, retries=1))
    assert SparseVectors.open(tmp_path / "v", partial=True).ids[0] == corpus.doc_id(0)
    deadly.fatal, deadly.refused = "nothing", corpus.text(9)
    with pytest.raises(VectorsError, match=r"a vector is not finite → load it again"):
        encode_corpus(deadly, corpus, tmp_path / "w", shard_rows=4, shares=OnRay(workers=1))
    assert len(SparseVectors.open(tmp_path / "w", partial=True)) == 8


@on_ray
def test_a_worker_that_no_machine_can_hold_is_refused_and_not_waited_for(two_machines, tmp_path):
    corpus = Corpus.build(encode_run.texts(12), tmp_path / "corpus.arrow")
    for shares in (OnRay(cpus=2), OnRay(workers=1, cpus=2), OnRay(workers=1, gpus=1)):
        with pytest.raises(VectorsError, match=r"no room for a worker of .* → .*has 1 processors and 0 accelerators"):
            encode_corpus(encode_run.encoder(), corpus, tmp_path / "v", shard_rows=4, shares=shares)
