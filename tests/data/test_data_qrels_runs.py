import gzip

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distillir.data import ranked, read_qrels, read_run, write_qrels, write_run
from distillir.errors import DataError

ids = st.text(st.characters(codec="ascii", min_codepoint=33, max_codepoint=126), min_size=1, max_size=8)
tables = {
    "qrels": st.dictionaries(
        ids, st.dictionaries(ids, st.integers(-2, 4), min_size=1, max_size=5), min_size=1, max_size=5
    ),
    "run": st.dictionaries(
        ids,
        st.dictionaries(ids, st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5),
        min_size=1,
        max_size=5,
    ),
}
suffixes = st.sampled_from(["a.txt", "a.tsv", "a.txt.gz", "a.tsv.gz"])
quick = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def refused(reader, path, content):
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        reader(path)
    return caught.value


def test_qrels_in_both_formats(tmp_path):
    expected = {"q1": {"d1": 1, "d2": 0}, "q<::>2": {"d1": -1}}
    trec, tsv, packed = tmp_path / "a.txt", tmp_path / "a.tsv", tmp_path / "b"
    trec.write_text("q1 0 d1 1\nq1\tQ0\td2\t0\nq<::>2 0  d1 -1\n")
    tsv.write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\nq<::>2\td1\t-1\n")
    packed.write_bytes(gzip.compress(trec.read_bytes()))
    assert read_qrels(trec) == read_qrels(tsv) == read_qrels(packed) == expected


def test_tab_separated_ids_may_hold_blanks(tmp_path):
    path = tmp_path / "a.tsv"
    write_qrels(path, {"q 1": {"d 1": 2}})
    assert path.read_text() == "query-id\tcorpus-id\tscore\nq 1\td 1\t2\n"
    assert read_qrels(path) == {"q 1": {"d 1": 2}}


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("q 0 d 1\nq 0 d 0\n", 2, "judged before"),
        ("q 0 d 1\nq 0 d\n", 2, "3 columns"),
        ("q\td\t1\nq\td2\n", 2, "2 columns"),
        ("q\td\t1\nq\t\t1\n", 2, "2 columns"),
        ("q 0 d 1.5\n", 1, "not an integer"),
        ("q 0 d nan\n", 1, "not an integer"),
        ("q 0 d 1_0\n", 1, "not an integer"),
        ("query-id\tcorpus-id\tscore\n", None, "no judgements"),
        ("", None, "empty"),
    ],
)
def test_bad_qrels_are_refused_with_their_line(tmp_path, content, line, reason):
    error = refused(read_qrels, tmp_path / "qrels", content)
    assert error.line == line
    assert reason in error.reason


def test_runs_in_both_formats(tmp_path):
    expected = {"q1": {"d1": 2.5, "d2": -1e-3}}
    trec, bare, headed = tmp_path / "a.txt", tmp_path / "a.tsv", tmp_path / "b.tsv"
    trec.write_text("q1 Q0 d1 1 2.5 tag\nq1 Q0 d2 2 -1e-3 tag\n")
    bare.write_text("q1\td1\t1\t2.5\nq1\td2\t2\t-1e-3\n")
    headed.write_text("query-id\tcorpus-id\trank\tscore\n" + bare.read_text())
    assert read_run(trec) == read_run(bare) == read_run(headed) == expected


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("q Q0 d 1 nan t\n", 1, "not a finite number"),
        ("q Q0 d 1 inf t\n", 1, "not a finite number"),
        ("q\td\t1\t2\nq\te\t2\tx\n", 2, "not a finite number"),
        ("q Q0 d 1 3 t\nq Q0 d 2 2 t\n", 2, "twice"),
        ("q Q0 d 1 3\n", 1, "5 columns"),
        ("query-id\tcorpus-id\trank\tscore\n", None, "no results"),
    ],
)
def test_bad_runs_are_refused_with_their_line(tmp_path, content, line, reason):
    error = refused(read_run, tmp_path / "run", content)
    assert error.line == line
    assert reason in error.reason


def test_a_run_is_written_by_score_then_id(tmp_path):
    path = tmp_path / "run.txt"
    write_run(path, {"q": {"b": 1.0, "c": 3, "a": 1.0}, "empty": {}}, tag="me")
    assert path.read_text() == "q Q0 c 1 3.0 me\nq Q0 a 2 1.0 me\nq Q0 b 3 1.0 me\n"
    assert ranked({"b": 0.0, "a": -0.0}) == [("a", -0.0), ("b", 0.0)]


@pytest.mark.parametrize(
    ("run", "name"),
    [
        ({"q": {"d": float("nan")}}, "r.txt"),
        ({"q": {"d": float("-inf")}}, "r.txt"),
        ({"q x": {"d": 1.0}}, "r.txt"),
        ({"q": {"d\t": 1.0}}, "r.tsv"),
        ({"q": {"": 1.0}}, "r.tsv"),
    ],
)
def test_what_cannot_be_read_back_is_not_written(tmp_path, run, name):
    path = tmp_path / name
    path.write_text("kept")
    with pytest.raises(DataError):
        write_run(path, run)
    assert path.read_text() == "kept"


@quick
@given(tables["qrels"], suffixes)
def test_qrels_come_back(tmp_path, qrels, name):
    write_qrels(tmp_path / name, qrels)
    assert read_qrels(tmp_path / name) == qrels


@quick
@given(tables["run"], suffixes)
def test_runs_come_back_to_the_last_bit(tmp_path, run, name):
    write_run(tmp_path / name, run)
    back = read_run(tmp_path / name)
    assert back == run
    assert all(list(back[query]) == [document for document, _ in ranked(scores)] for query, scores in run.items())
