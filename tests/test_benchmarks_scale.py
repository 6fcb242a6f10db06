"""The benchmark of growth on tiny collections: what it makes, what it measures, and what it concludes from points."""

import itertools
import json
import math
import re
import sys
from collections import Counter

import numpy as np
import pytest
from benchmarks import scale, scale_alone, scale_data, scale_step
from benchmarks.scale_growth import crossings, passes, slope
from benchmarks.scale_passages import documented
from benchmarks.scale_report import crossing, write_report
from benchmarks.scale_tasks import IN_PLACE, perform

from distillir.errors import ConfigError
from distillir.evaluation import flops_per_query
from distillir.quickstart.corpus import standard_library

TINY = scale.Size((200, 400), indexed=200, seismic=0, queries=10, steps=3, rounds=1)


@pytest.fixture(scope="module", autouse=True)
def small_blocks():
    """A block is made whole, whatever is kept of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scale_data, "BLOCK", 2048)
        yield


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collection")
    perform("collection", folder=str(folder), documents=800, queries=10)
    return folder


def here(counted=None):
    """Tasks in this process, as if each had one: memory grows by a megabyte a task."""
    counted = Counter() if counted is None else counted

    def performed(task, **given):
        counted[task] += 1
        return perform(task, **given) | {"rss_mb": 100.0 + counted.total(), "mapped_mb": 1.0}

    return performed


def test_documents_are_as_splade_makes_them():
    rows = scale_data.block(0)
    assert rows.rows == scale_data.BLOCK
    active = np.diff(rows.indptr)
    assert 95 < active.mean() < 115
    assert active.std() > 20
    inside = np.ones(len(rows.indices), bool)
    inside[rows.indptr[:-1]] = False
    assert (np.diff(rows.indices, prepend=0)[inside] > 0).all()
    assert 0 <= rows.indices.min() < rows.indices.max() < scale_data.VOCABULARY
    assert np.log(rows.values).std() == pytest.approx(0.8, abs=0.05)
    share = np.sort(np.bincount(rows.indices, minlength=scale_data.VOCABULARY) / rows.rows)[::-1]
    assert 0.4 < share[0] < 0.6
    assert slope([(r, share[r]) for r in range(100, 2000, 50)]) == pytest.approx(-1, abs=0.1)


def test_popularity_is_one_over_rank_and_offset():
    """The share of draws before rank r is ln((r + c)/c) / ln((V + c)/c)."""
    v, c = scale_data.VOCABULARY, scale_data.FLATTEN
    drawn = (scale_data.words(np.random.default_rng(0).random(200_000)) - scale_data.FIRST_WORD) % v
    for rank in (10, 100, 3000, 20_000):
        expected = math.log((rank + c) / c) / math.log((v + c) / c)
        assert (drawn < rank).mean() == pytest.approx(expected, abs=0.005)


def test_a_larger_collection_begins_with_a_smaller_one(tmp_path, monkeypatch):
    monkeypatch.setattr(scale_data, "BLOCK", 64)
    small, large = (scale_data.write(tmp_path / str(size), size) for size in (100, 130))
    assert (len(small), len(large)) == (100, 130)
    for one, two in zip(small.gather(range(100)), large.gather(range(100)), strict=True):
        assert np.array_equal(one, two)
    assert small.ids[99] == "d99"
    assert not np.array_equal(large.gather([0]).indices, large.gather([64]).indices)


def test_a_query_finds_the_document_it_asks_for(collection):
    found = perform("search", folder=str(collection), engine=IN_PLACE, queries=10)
    assert found["found"] == 1.0
    best = json.loads((collection / "best.json").read_text())
    assert all(f"d{i}" in ids for i, ids in enumerate(best))
    assert found["p50_ms"] <= found["p95_ms"]


def test_flops_are_those_of_the_kept_queries(collection, tmp_path):
    told = perform("collection", folder=str(tmp_path), documents=800, queries=10)
    vectors = scale_data.SparseVectors.open(collection / "vectors")
    asked = scale_data.read_queries(collection / "queries.npz", 10)
    expected = flops_per_query(asked, vectors.document_frequency(), 800).mean()
    assert told["flops"] == pytest.approx(expected)
    assert told["active"] == pytest.approx(vectors.nnz / 800)


def test_every_figure_is_there(tmp_path, monkeypatch):
    for module in (scale, scale_step):
        monkeypatch.setattr(module, "BATCH", 2)
    counted = Counter()
    result = scale.measured(TINY, tmp_path, here(counted))
    json.dumps(result)
    assert counted == {"collection": 2, "build": 4, "search": 4, "rank": 2, "locate": 2, "step": 4}
    assert (result["bench"], result["documents"]) == ("scale", [200, 400])
    named = ("step_time_5m_over_10k", "rss_mb_10k", "rss_mb_5m", "ray_overhead")
    assert [result[name] for name in named] == [None] * 4
    assert 0.2 < result["step_time_largest_over_smallest"] < 5
    rows = result["rows"]
    assert set(rows["200"]["search"]) == {IN_PLACE, "exact", "qdrant_edge"}
    assert all(one["found"] == 1.0 for row in rows.values() for one in row["search"].values())
    assert set(rows["400"]["search"]) == {IN_PLACE}
    assert set(rows["400"]["step"]) == {"sampled"}
    assert result["rss_mb_largest"] == rows["400"]["step"]["sampled"]["rss_mb"]
    assert set(result["slopes"]["step seconds"]) == {"sampled", "collection"}
    for one in (one for row in rows.values() for one in row["step"].values()):
        assert one["step_s"] == pytest.approx(one["loop_s"] + one["batch_s"], rel=1e-3)
        assert 0 < one["loss_s"] < one["step_s"]
    assert rows["400"]["collection"]["disk_mb"] > rows["200"]["collection"]["disk_mb"]
    assert [left.name for left in tmp_path.iterdir()] == ["report.html"]  # collections are removed
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 9
    assert not re.search(r"\bnan\b", page)
    assert page.count("is faster than") == len(result["crossings"])
    assert f"{result['step_time_largest_over_smallest']:g} times as long" in page


def test_figures_of_the_sizes_that_the_result_names():
    row = {"build": {}, "search": {}, "step": {"sampled": {"rss_mb": 7.0, "step_s": 1.0}}}
    rows = {"10000": row, "5000000": {**row, "step": {"sampled": {"rss_mb": 8.0, "step_s": 1.0}}}}
    size = scale.Size((10_000, 5_000_000), 1, 1)
    result = scale.summary(size, rows, [0.5, 0.55], {"ray_overhead": 0.03})
    told = {name: result[name] for name in ("step_time_5m_over_10k", "rss_mb_10k", "rss_mb_5m", "ray_overhead")}
    assert told == {"step_time_5m_over_10k": 1.1, "rss_mb_10k": 7.0, "rss_mb_5m": 8.0, "ray_overhead": 0.03}


def test_collections_are_removed_after_a_failure_too(tmp_path):
    def broken(task, **given):
        if task == "build":
            raise OSError("the engine died")
        return perform(task, **given)

    with pytest.raises(OSError, match="engine died"):
        scale.measured(TINY, tmp_path, broken)
    assert not list(tmp_path.iterdir())


def test_an_engine_that_is_not_installed_is_said_to_be_left_out(collection, monkeypatch):
    monkeypatch.setitem(sys.modules, "seismic", None)
    told = perform("build", folder=str(collection), engine="seismic", line=scale.ENGINES["seismic"])
    assert "pyseismic-lsr" in told["skipped"]


def test_ray_that_is_not_installed_has_a_reason(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.scale_tasks.find_spec", lambda name: None)
    told = scale.on_ray(here(), tmp_path, scale.FULL, None)
    assert "'ray' is not installed" in told["skipped"]
    assert "--full" in scale.on_ray(here(), tmp_path, scale.SHORT, None)["skipped"]


def test_ray_gets_more_passages_where_there_are_data_sets(tmp_path):
    asked = []
    scale.on_ray(lambda task, **given: asked.append((task, given)) or {}, tmp_path, scale.FULL, tmp_path / "data")
    assert asked == [("ray", {"folder": str(tmp_path), "passages": 50_000, "data": str(tmp_path / "data")})]


def test_passages_of_the_documentation_go_on_under_new_ids():
    pages = list(standard_library())
    taken = list(itertools.islice(documented(), len(pages) + 2))
    assert [one.text for one in taken] == [page["text"] for page in (*pages, *pages[:2])]
    assert len({one.id for one in taken}) == len(taken)


def test_a_report_shows_what_was_left_out(tmp_path):
    one = {"p50_ms": 1.0, "p95_ms": 2.0, "found": 1.0}
    row = {
        "collection": {"seconds": 1.0, "disk_mb": 1.0, "active": 100.0, "flops": 2.0},
        "build": {"exact": {"seconds": 1.0, "disk_mb": 1.0}, "seismic": {"skipped": "the package <x> is missing"}},
        "search": {"exact": one},
        "step": {"sampled": {"step_s": 1.0, "batch_s": 0.1, "loss_s": 0.1}},
        "rank": {"seconds_per_context": 0.1},
        "locate": {"table_mb": 1.0},
    }
    result = scale.summary(scale.Size((10,), 1, 1), {"10": row}, [1.0], {"skipped": "no"})
    page = write_report(tmp_path / "report.html", result).read_text()
    assert "the package &lt;x&gt; is missing" in page


def test_too_little_room_is_refused_before_anything_is_made(tmp_path):
    def never(task, **given):
        raise AssertionError(task)

    with pytest.raises(ConfigError, match="GB are free"):
        scale.measured(scale.Size((10**12,), indexed=1, seismic=1), tmp_path, never)


@pytest.mark.skipif(not scale_alone.resident(), reason="only Linux tells pages of files from others")
def test_a_task_alone_is_measured_from_outside(tmp_path):
    made = scale_alone.alone("collection", folder=str(tmp_path), documents=50, queries=2)
    assert made["active"] > 50
    assert 30 < made["rss_mb"] < 400
    assert made["mapped_mb"] > 1


def test_memory_leaves_out_pages_of_files(tmp_path):
    if not (before := scale_alone.resident()):
        pytest.skip("only Linux tells pages of files from others")
    path = tmp_path / "zeros"
    path.write_bytes(bytes(64 << 20))
    mapped = np.memmap(path, np.uint8, "r")
    assert int(mapped.sum()) == 0
    with_file = scale_alone.resident()
    assert with_file["RssFile"] - before["RssFile"] > 60
    assert with_file["RssAnon"] - before["RssAnon"] < 20
    held = np.ones(64 << 20, np.uint8)
    assert scale_alone.resident()["RssAnon"] - with_file["RssAnon"] > 60
    del mapped, held


def test_slopes_of_known_growth():
    sizes = (10, 100, 1000)
    assert slope([(n, 3.0 * n) for n in sizes]) == pytest.approx(1)
    assert slope([(n, 5.0) for n in sizes]) == pytest.approx(0)
    assert slope([(n, n**0.5) for n in sizes]) == pytest.approx(0.5)
    assert slope([(10, 1.0)]) is None


def test_where_lines_cross():
    linear = [(n, n / 100) for n in (10, 100, 1000)]
    root = [(n, n**0.5 / 5) for n in (10, 100, 1000)]  # equal where √n = 20
    shifted = [(n, 2 * y) for n, y in linear]
    for lines in ({"linear": linear, "root": root}, {"root": root, "linear": linear}):
        (found,) = crossings(lines)
        assert (found["lower"], found["than"], found["measured_to"]) == ("linear", "root", 1000)
        assert found["until"] == pytest.approx(400)
    (at_a_point,) = crossings({"linear": linear, "root": [(n, n**0.5 / 10) for n in (10, 100, 1000)]})
    assert at_a_point["until"] == pytest.approx(100)
    (never,) = crossings({"shifted": shifted, "linear": linear})
    assert never == {"lower": "linear", "than": "shifted", "until": None, "measured_to": 1000}
    assert crossing(never) == "linear is faster than shifted at every size up to 1,000 documents (median query)."
    assert crossing(found) == "linear is faster than root up to 400 documents (median query)."
    assert not crossings({"linear": linear, "alone": [(10, 1.0)]})


def test_where_a_line_passes_a_level():
    linear = [(10, 1.0), (100, 10.0)]
    assert passes(linear, 5) == (pytest.approx(50), True)
    assert passes(linear, 40) == (pytest.approx(400), False)
    assert passes(linear, 0.5) == (pytest.approx(5), False)
