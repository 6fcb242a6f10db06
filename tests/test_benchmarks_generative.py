"""The generative benchmark on the animals: every table has its rows, and the suffix array its costs."""

import gzip
import json
from dataclasses import replace

import pytest
from benchmarks import generative, generative_data, generative_student
from benchmarks.generative_data import SHORT
from benchmarks.generative_index import texts

from distillir.data import read_contexts
from distillir.errors import ConfigError

MEASURES = {"r1", "r5", "r10", "r100", "mrr"}


@pytest.fixture
def data(animals, tmp_path):
    """Animals as XQuAD is laid out."""
    folder = animals(tmp_path / "animals")
    place = tmp_path / "data" / "genret_xquad_en"
    place.mkdir(parents=True)
    contexts = [c for name in ("train", "dev", "test") for c in read_contexts(folder / f"{name}.jsonl")]
    rows = [{"_id": c.id, "text": c.conversation.question} for c in contexts]
    queries = "".join(json.dumps(row) + "\n" for row in rows)
    for name, content in (("corpus", (folder / "corpus.jsonl").read_text()), ("queries", queries)):
        (place / f"{name}.jsonl.gz").write_bytes(gzip.compress(content.encode()))
    told = "".join(f"{c.id}\t{name}\t1\n" for c in contexts for name in c.relevant)
    (place / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + told)
    return tmp_path / "data"


@pytest.mark.slow
def test_every_row_is_there_and_everything_written_exists(data, tiny_writer, tmp_path, monkeypatch):
    for module in (generative_data, generative_student):
        monkeypatch.setattr(module, "FOLDER", tmp_path / "build")
    size = replace(
        SHORT,
        train=None,
        test=None,
        objectives=("ranknet", "kld", "margin_mse"),
        learn_steps=60,
        rank_steps=2,
        lists=14,
        speed=2,
        tokens=(20_000,),
        model=str(tiny_writer),
        smoothing=0.2,
        lr=1e-2,
        seeds=(13, 14),
    )
    result = generative.measured(data, size)
    json.dumps(result)
    rows = result["rows"]["xquad"]
    assert {"bm25", "untrained", "stage_one", "hard", "dgr", "dgr_fused", "ranknet", "kld", "margin_mse"} == set(rows)
    assert all(set(row) == MEASURES for row in rows.values())
    assert rows["stage_one"]["r10"] > 0
    assert result["valid"] == 1.0
    assert 0 < result["constraint_share"] < 1
    details = result["details"]["xquad"]
    assert {"dgr - stage_one", "dgr - hard", "stage_one - bm25"} <= set(details["differences"])
    assert set(details["search"]) == {"stage_one", "dgr"}
    assert details["valid"]["identifiers"] > 10
    assert 0 < details["lists"]["dense"][0] <= details["lists"]["own"][0]["gold_in_list"]
    build = result["index"]["build"]["0.02M"]
    assert build["disk_bytes_per_token"] > 4
    assert list(result["index"]["next_us_by_length"]) == [str(length) for length in range(11)]


def test_synthetic_text_has_phrases_that_return():
    made = texts(20_000)
    assert made.shape == (200, 100)
    flat = made.ravel().tolist()
    seen = [tuple(flat[i : i + 12]) for i in range(0, len(flat) - 12, 20)]
    assert len(set(seen)) < 0.8 * len(seen)


def test_it_needs_data():
    with pytest.raises(ConfigError, match="data sets"):
        generative.run(None, False)


def test_a_teachers_scores_get_the_range_of_the_list_and_keep_their_order():
    lists = {"a": {"x": 10.0, "y": 40.0, "z": 20.0}, "b": {"x": 3.0}}
    said = {"a": {"x": 0.9, "y": 0.5, "z": 0.7}, "b": {"x": 0.2}}
    assert generative_data.scaled(said, lists) == {"a": pytest.approx({"x": 40, "y": 10, "z": 25}), "b": {"x": 3.0}}
