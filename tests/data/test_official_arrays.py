"""JSON arrays and tables of releases, row by row: every layout of one array, every way it can be broken."""

import bz2
import gzip
import json
import random
import tracemalloc

import pytest

from distillir.data.official.arrays import read_json_array, read_json_object
from distillir.data.official.tables import passages, read_table
from distillir.errors import DataError

ROWS = [{"a": 'x "[{" \\ y', "b": [[1, {"c": "]}"}], []]}, {}, {"d": {"e": None}}]


@pytest.mark.parametrize("indent", [None, 0, 1, 4])
def test_an_array_is_read_whatever_its_layout(tmp_path, indent):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(ROWS, indent=indent), encoding="utf-8")
    assert [row.values for row in read_json_array(path)] == ROWS


def test_arrays_of_random_texts_are_what_json_reads(tmp_path):
    rng = random.Random(5)
    for i in range(60):
        rows = [
            {
                rng.choice("ab"): "".join(rng.choices('[]{}",:\\\n\té ', k=rng.randrange(12))),
                "n": [{"x": [i]}] * rng.randrange(3),
            }
            for _ in range(rng.randrange(1, 5))
        ]
        path = tmp_path / "r.json"
        path.write_text(
            json.dumps(rows, indent=rng.choice([None, 2]), ensure_ascii=rng.random() < 0.5), encoding="utf-8"
        )
        assert [row.values for row in read_json_array(path)] == rows


def test_a_row_complains_with_the_line_it_begins_on(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"x": 1}, {"y": 2}], indent=1), encoding="utf-8")
    first, second = read_json_array(path)
    assert (first.line, second.line) == (2, 5)
    with pytest.raises(DataError, match=r"a\.json:5: missing field 'x'"):
        second.text("x")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[{"a": 1}, {"b": ', "ends early"),
        ('[{"a": 1},\n {"b": 2}', "ends early"),
        ('[{"a": 1}\n{"b": }]', "a.json:2: not JSON"),
        ('[{"a": NaN}]', "NaN"),
        ('{"a": []}', "not a JSON array"),
        ("hello", "not a JSON array"),
        ('[["a"]]', "no object"),
        ('["a", {"b": 1}]', "no object"),
        ("[]", "holds no object"),
        ("[1, 2]", "holds no object"),
        ('[{"a": 1}] [{"b": 2}]', "after the end"),
        ("\n", "empty"),
    ],
)
def test_a_broken_array_is_refused(tmp_path, text, why):
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=why):
        list(read_json_array(path))


def test_an_array_of_many_lines_is_read_in_bounded_memory(tmp_path):
    path = tmp_path / "a.json"
    with path.open("w", encoding="utf-8") as out:
        out.write("[\n")
        for i in range(3000):
            out.write(json.dumps({"i": i, "text": "x" * 2000}, indent=1) + (",\n" if i < 2999 else "\n]"))
    tracemalloc.start()
    count = sum(1 for _ in read_json_array(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 3000
    assert path.stat().st_size > 6e6
    assert peak < 1e6


def test_an_object_is_an_object(tmp_path):
    path = tmp_path / "o.json"
    path.write_text('{"q": {"p": 1}}\n', encoding="utf-8")
    assert read_json_object(path) == {"q": {"p": 1}}
    path.write_text("[1]", encoding="utf-8")
    with pytest.raises(DataError, match="a JSON list, not an object"):
        read_json_object(path)


@pytest.mark.parametrize("pack", [lambda text: text, gzip.compress, bz2.compress])
def test_tables_have_a_header_or_none_and_may_be_packed(tmp_path, pack):
    path = tmp_path / "t.tsv"
    path.write_bytes(pack(b'id\ttext\n1\t"said ""hello"", then\n2\tplain "quoted" text\n'))
    rows = [row for _, row in read_table(path, ("id", "text"))]
    assert rows == [["1", '"said ""hello"", then'], ["2", 'plain "quoted" text']]


def test_quoted_tables_are_read_as_spreadsheets_write_them(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text('id\ttext\ttitle\n1\t"said ""hello""\tthen"\tA\n2\tplain\tB\n', encoding="utf-8")
    assert list(read_table(path, ("id", "text", "title"), quoted=True)) == [
        (2, ["1", 'said "hello"\tthen', "A"]),
        (3, ["2", "plain", "B"]),
    ]


@pytest.mark.parametrize("after", ["3\tthree\tC\n4\tfour\tD\n", ""])
def test_an_open_quotation_mark_takes_no_row_after_it(tmp_path, after):
    path, read = tmp_path / "t.tsv", []
    path.write_text('1\tone\tA\n2\ttwo\t"B\n' + after, encoding="utf-8")
    with pytest.raises(DataError, match=r"t\.tsv:2: a quotation mark is not closed on its line → close it there"):
        read.extend(read_table(path, ("id", "text", "title"), quoted=True))
    assert read == [(1, ["1", "one", "A"])]
    path.write_text('1\tone\tA\n2\t"two\n3\tthree"\tC\n' + after, encoding="utf-8")
    with pytest.raises(DataError, match=r"t\.tsv:2: a quotation mark is not closed"):
        list(read_table(path, ("id", "text", "title"), quoted=True))


def test_marks_that_the_owners_reader_takes_are_taken(tmp_path):
    path = tmp_path / "t.tsv"
    text = '1\t"a"b\n2\ta "b\n3\t""\n4\t"a"\r\n5\t"ends ""so"""'
    path.write_bytes(text.encode())
    assert [row for _, row in read_table(path, ("id", "text"), quoted=True)] == [
        ["1", "ab"], ["2", 'a "b'], ["3", ""], ["4", "a"], ["5", 'ends "so"'],
    ]  # fmt: skip


def test_broken_tables_are_refused_with_their_line(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text("1\ta\n2\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"t\.tsv:2: 1 columns where a row has 2 \(id, text\)"):
        list(read_table(path, ("id", "text")))
    path.write_text('1\t"' + "a" * 200_000 + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="not a table: field larger"):
        list(read_table(path, ("id", "text"), quoted=True))
    (tmp_path / "cut.tsv.bz2").write_bytes(bz2.compress(b"1\ta\n" * 5000)[:-20])
    with pytest.raises(DataError, match="truncated"):
        list(read_table(tmp_path / "cut.tsv.bz2", ("id", "text")))


def test_passages_take_a_prefix_once(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"id": "CAR_1", "contents": "a"}\n{"id": "2", "contents": "b", "url": "u"}\n', encoding="utf-8")
    assert [(d.id, d.text) for d in passages([path], prefix="CAR_")] == [("CAR_1", "a"), ("CAR_2", "b")]
    path.write_text('{"id": "1", "text": "a"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"p\.jsonl:1: missing field 'contents'"):
        list(passages([path]))
