"""Preparing a release: what is kept, what goes on, which counts are refused, how much memory it takes."""

import json
import subprocess
import sys
import time
import tracemalloc

import pytest

import releases
from distillir.data import read_contexts
from distillir.data.official import data_set, prepare
from distillir.data.official.dataset import Count, DataSet, Source, contexts, documents, held_out
from distillir.data.official.tables import passages
from distillir.errors import ConfigError, DataError, VectorsError
from distillir.vectors.files import FolderLock


@pytest.fixture
def source(tmp_path):
    return releases.topiocqa(tmp_path / "release")


def test_counts_of_the_release_are_checked_and_what_was_written_is_kept(source, tmp_path):
    topiocqa, out = data_set("topiocqa"), tmp_path / "out"
    with pytest.raises(DataError, match=r"corpus\.jsonl: 4 rows where the release has 25,700,592") as caught:
        prepare(topiocqa, source, out)
    assert "train.jsonl and dev.jsonl: 3 rows where the release has 45,450" in str(caught.value)
    assert "2 conversations where the release has 3,509" in str(caught.value)
    assert "--partial" in str(caught.value)
    done = prepare(topiocqa, source, out, partial=True)
    assert len(done.reused) == len(done.rows) == 5
    assert len(done.other) == 5


def test_again_does_nothing_and_a_changed_or_lost_file_is_written_again(source, tmp_path):
    topiocqa, out = data_set("topiocqa"), tmp_path / "out"
    prepare(topiocqa, source, out, partial=True)
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.*")}
    assert len(prepare(topiocqa, source, out, partial=True).reused) == 5
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("*.*")} == before
    (out / "dev.jsonl").unlink()
    (out / "test.jsonl").write_text("", encoding="utf-8")
    with (source / "full_wiki_segments.tsv").open("a", encoding="utf-8") as table:
        table.write("5\tmore\tMore\n")
    done = prepare(topiocqa, source, out, partial=True)
    assert set(done.rows) - set(done.reused) == {"corpus.jsonl", "dev.jsonl", "test.jsonl"}
    assert done.rows["corpus.jsonl"] == 5
    (out / "prepared.json").write_text("{", encoding="utf-8")
    assert prepare(topiocqa, source, out, partial=True).reused == []


def test_a_release_that_breaks_in_the_middle_leaves_what_was_finished(source, tmp_path):
    out, dev = tmp_path / "out", source / "topiocqa_dev.json"
    whole = dev.read_text(encoding="utf-8")
    dev.write_text(whole[:-20], encoding="utf-8")
    with pytest.raises(DataError, match="ends early"):
        prepare(data_set("topiocqa"), source, out, partial=True)
    assert {path.name for path in out.iterdir() if not path.name.startswith(".")} == {
        "corpus.jsonl", "train.jsonl", "dev.jsonl", "prepared.json",
    }  # fmt: skip
    dev.write_text(whole, encoding="utf-8")
    assert prepare(data_set("topiocqa"), source, out, partial=True).reused == [
        "corpus.jsonl",
        "train.jsonl",
        "dev.jsonl",
    ]


def test_a_folder_holds_one_data_set_and_one_writer(source, tmp_path):
    out = tmp_path / "out"
    prepare(data_set("topiocqa"), source, out, partial=True)
    with pytest.raises(ConfigError, match="holds 'topiocqa'"):
        prepare(data_set("canard"), releases.canard(tmp_path / "c"), out, partial=True)
    lock = FolderLock(out / ".lock")
    with pytest.raises(VectorsError, match="another process"):
        prepare(data_set("topiocqa"), source, out, partial=True)
    lock.release()
    with pytest.raises(DataError, match=r"no such folder → fetch topiocqa from https"):
        prepare(data_set("topiocqa"), tmp_path / "nowhere", out)
    with pytest.raises(ConfigError, match="no data set 'msmarc'"):
        data_set("msmarc")


def test_missing_files_are_all_named(source, tmp_path):
    (source / "topiocqa_dev.json").unlink()
    (source / "full_wiki_segments.tsv").unlink()
    with pytest.raises(
        DataError, match=r"lacks topiocqa_dev\.json \(turns\); .*full_wiki_segments\.tsv \(25\.7 million"
    ):
        prepare(data_set("topiocqa"), source, tmp_path / "out")


def test_without_the_passages(source, tmp_path):
    done = prepare(data_set("topiocqa"), source, tmp_path / "out", partial=True, corpus=False)
    assert "corpus.jsonl" not in done.rows
    assert len(read_contexts(tmp_path / "out" / "train.jsonl")) == 2


PASSAGES = {
    "topiocqa": (releases.topiocqa, ["full_wiki_segments.tsv"]),
    "qrecc": (releases.qrecc, ["passages"]),
    "orquac": (releases.orquac, ["all_blocks.txt.gz"]),
    "mtrag": (releases.mtrag, ["corpora"]),
    "msmarco": (releases.msmarco, ["collection.tsv"]),
    "beir": (releases.beir, ["corpus.jsonl"]),
    "nq": (releases.dpr, ["psgs_w100.tsv.gz"]),
    "triviaqa": (lambda folder: releases.dpr(folder, "trivia", "psg_id"), ["psgs_w100.tsv.gz"]),
    "cast2020": (lambda folder: releases.cast(folder, 2020), ["collection.tsv", "car.jsonl"]),
    "ikat2023": (lambda folder: releases.ikat(folder, 2023), ["ikat_passages_00.jsonl.bz2"]),
}


@pytest.mark.parametrize("name", PASSAGES)
def test_passages_that_are_not_written_need_not_be_there(tmp_path, name):
    release, passages = PASSAGES[name]
    source = release(tmp_path / "s")
    whole = prepare(data_set(name), source, tmp_path / "whole", partial=True).rows
    for one in passages:
        (source / one).rename(tmp_path / one)
    bare = prepare(data_set(name), source, tmp_path / "bare", partial=True, corpus=False).rows
    assert bare == {file: rows for file, rows in whole.items() if not file.endswith("corpus.jsonl")}
    assert "test.jsonl" in {file.rpartition("/")[2] for file in bare}


def test_without_the_passages_all_else_is_needed(source, tmp_path):
    (source / "topiocqa_dev.json").unlink()
    (source / "full_wiki_segments.tsv").unlink()
    with pytest.raises(DataError, match=r"topiocqa lacks topiocqa_dev\.json \(turns\) → its owners"):
        prepare(data_set("topiocqa"), source, tmp_path / "out", corpus=False)
    with pytest.raises(DataError, match=r"lacks .*full_wiki_segments\.tsv"):
        prepare(data_set("topiocqa"), source, tmp_path / "out", partial=True)


def judge_more(path, rows):
    path.write_text(path.read_text(encoding="utf-8") + rows, encoding="utf-8")


def test_judged_queries_that_are_not_there_are_refused_or_counted(tmp_path):
    source, out = releases.beir(tmp_path / "toy"), tmp_path / "out"
    assert prepare(data_set("beir"), source, out).lacking == {}
    judge_more(source / "qrels" / "test.tsv", "q2\td1\t1\nq7\td1\t1\nq8\td1\t0\nq9\td1\t1\n")
    why = r"test\.jsonl: 3 of 5 judged queries are not there, 'q7' the first \(queries\.jsonl and test\.tsv"
    for _ in range(2):  # the second time nothing is written, and it is refused still
        with pytest.raises(DataError, match=f"{why}.* → fetch the files again"):
            prepare(data_set("beir"), source, out)
    done = prepare(data_set("beir"), source, out, partial=True)
    assert (done.rows["test.jsonl"], done.lacking, len(done.reused)) == (2, {"test.jsonl": 3}, 5)
    assert len(done.other) == 1
    releases.lines(source / "queries.jsonl", *({"_id": f"q{i}", "text": "asked"} for i in range(1, 10)))
    whole = prepare(data_set("beir"), source, out)
    assert (whole.rows["test.jsonl"], whole.lacking) == (5, {})


def test_a_record_that_does_not_say_whether_all_are_there_is_made_anew(tmp_path):
    source, out = releases.beir(tmp_path / "toy"), tmp_path / "out"
    prepare(data_set("beir"), source, out)
    record = json.loads((out / "prepared.json").read_text(encoding="utf-8"))
    del record["parts"]["test.jsonl"]["lacking"]
    (out / "prepared.json").write_text(json.dumps(record), encoding="utf-8")
    assert "test.jsonl" not in prepare(data_set("beir"), source, out).reused


def test_a_judged_query_that_is_blank_is_there_and_dropped(tmp_path):
    source = releases.msmarco(tmp_path / "s")
    (source / "queries.train.tsv").write_text("10\twhat is it\n11\t \n", encoding="utf-8")
    judge_more(source / "qrels.train.tsv", "11\t0\t1\t1\n")
    done = prepare(data_set("msmarco"), source, tmp_path / "out", partial=True)
    assert (done.rows["train.jsonl"], done.dropped["train.jsonl"], done.lacking) == (1, 1, {})


@pytest.mark.parametrize(
    ("name", "make", "qrels", "rows", "why"),
    [
        ("msmarco", releases.msmarco, "qrels.train.tsv", "12\t0\t1\t1\n", r"train\.jsonl: 1 of 2 .*'12'"),
        ("msmarco", releases.msmarco, "qrels.dev.small.tsv", "21\t0\t1\t1\n", r"dev\.jsonl: 1 of 2 .*'21'"),
        ("msmarco", releases.msmarco, "2020qrels-pass.txt", "9 Q0 0 1\n", r"test\.jsonl: 1 of 3 .*'9'"),
        ("ikat2024", lambda folder: releases.ikat(folder, 2024), "2024-qrels.txt", "0_9 0 c 1\n", "1 of 2 .*'0_9'"),
    ],
)
def test_judged_queries_of_other_releases_too(tmp_path, name, make, qrels, rows, why):
    source = make(tmp_path / "s")
    assert prepare(data_set(name), source, tmp_path / "out", partial=True).lacking == {}
    judge_more(source / qrels, rows)
    with pytest.raises(DataError, match=why):
        prepare(data_set(name), source, tmp_path / "out")
    done = prepare(data_set(name), source, tmp_path / "out", partial=True)
    assert list(done.lacking.values()) == [1]


def test_all_queries_of_ms_marco_hold_the_few_of_its_small_judgements(tmp_path):
    source = releases.msmarco(tmp_path / "s")
    (source / "queries.dev.small.tsv").unlink()
    (source / "queries.dev.tsv").write_text("19\twhy\n20\twhere\n21\twho\n", encoding="utf-8")
    done = prepare(data_set("msmarco"), source, tmp_path / "out", partial=True)
    assert (done.rows["dev.jsonl"], done.lacking) == (1, {})


def test_blank_questions_are_left_out_and_counted_and_doubles_refused(tmp_path):
    folder = releases.canard(tmp_path / "c")
    rows = json.loads((folder / "train.json").read_text(encoding="utf-8"))
    more = {**rows[1], "Question": " ", "Question_no": 3}, {**rows[1], "Rewrite": "", "Question_no": 4}
    releases.array(folder / "train.json", *rows, *more)
    done = prepare(data_set("canard"), folder, tmp_path / "out", partial=True)
    assert (done.rows["train.jsonl"], done.dropped["train.jsonl"]) == (3, 1)
    assert "train.jsonl: 4 rows where" in done.other[0]
    assert read_contexts(tmp_path / "out" / "train.jsonl")[2].rewrites == {}
    releases.array(folder / "train.json", *rows, rows[1])
    with pytest.raises(DataError, match=r"train\.json:\d+: id 'C_train#2' was given before"):
        prepare(data_set("canard"), folder, tmp_path / "out", partial=True)


def made(**parts):
    return DataSet("toy", "w", ("m",), "l", "https://x", (Source("p", ("p*.jsonl",), "texts"),), **parts)


def test_a_release_with_nothing_in_it_is_refused(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"id": "1", "contents": "a"}\n', encoding="utf-8")
    nothing = made(parts=lambda found, folder: [contexts("train.jsonl", found["p"], lambda: [])])
    with pytest.raises(DataError, match=r"p\.jsonl: nothing for train\.jsonl in it"):
        prepare(nothing, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out" / "train.jsonl").exists()


def test_passages_go_through_in_bounded_memory(tmp_path):
    with (tmp_path / "p.jsonl").open("w", encoding="utf-8") as out:
        for i in range(20_000):
            out.write(json.dumps({"id": str(i), "contents": "word " * 60}) + "\n")
    toy = made(
        parts=lambda found, folder: [documents("corpus.jsonl", found["p"], lambda: passages(found["p"]))],
        counts=(Count(("corpus.jsonl",), 20_000),),
    )
    tracemalloc.start()
    done = prepare(toy, tmp_path, tmp_path / "out")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert done.rows == {"corpus.jsonl": 20_000}
    assert (tmp_path / "out" / "corpus.jsonl").stat().st_size > 6e6
    assert peak < 1e6


def test_one_conversation_of_fifty_is_held_out():
    assert sum(map(held_out, range(1, 3_510))) == 70


SLOW = """
import sys, time
from distillir.data import Document
from distillir.data.official import prepare
from distillir.data.official.dataset import DataSet, Source, documents

def slowly(found, folder):
    def rows(n, wait):
        for i in range(n):
            time.sleep(wait)
            yield Document(str(i), "text " * 2000)
    first = documents("a/corpus.jsonl", found["p"], lambda: rows(30, 0))
    return [first, documents("corpus.jsonl", found["p"], lambda: rows(400, float(sys.argv[2])))]

toy = DataSet("toy", "w", ("m",), "l", "https://x", (Source("p", ("p.jsonl",), "texts"),), slowly)
done = prepare(toy, sys.argv[1], sys.argv[1] + "/out")
print(done.rows, done.reused)
"""


def test_a_killed_preparation_goes_on_and_leaves_no_rest(tmp_path):
    (tmp_path / "p.jsonl").write_text("{}\n", encoding="utf-8")
    program = [sys.executable, "-c", SLOW, str(tmp_path)]
    child = subprocess.Popen([*program, "0.05"])
    out = tmp_path / "out"
    for _ in range(400):
        if (out / "a" / "corpus.jsonl").exists() and list(out.glob(".corpus.jsonl.*.tmp")):
            break
        time.sleep(0.05)
    child.kill()
    child.wait(10)
    assert list(out.glob(".corpus.jsonl.*.tmp"))
    assert not (out / "corpus.jsonl").exists()
    again = subprocess.run([*program, "0"], capture_output=True, text=True, check=True)
    assert again.stdout.strip() == "{'a/corpus.jsonl': 30, 'corpus.jsonl': 400} ['a/corpus.jsonl']"
    assert not list(out.rglob("*.tmp"))
    assert len((out / "corpus.jsonl").read_text(encoding="utf-8").splitlines()) == 400
