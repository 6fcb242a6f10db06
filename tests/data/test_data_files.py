import gzip
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from distillir.data.files import read_lines, replacing, replacing_lines
from distillir.data.rows import Counts, read_json_rows
from distillir.errors import DataError


def refused(path, reader=read_lines):
    with pytest.raises(DataError) as caught:
        list(reader(path))
    return caught.value


def test_lines_keep_their_numbers_over_blanks_bom_and_windows_ends(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbffirst\r\n\n  \nfourth \xc3\xa9\rstill fourth\n")
    assert list(read_lines(path)) == [(1, "first"), (4, "fourth é\rstill fourth")]


def test_gzip_is_known_by_its_bytes_not_its_name(tmp_path):
    named, unnamed = tmp_path / "plain.gz", tmp_path / "packed.jsonl"
    named.write_text("plain\n")
    unnamed.write_bytes(gzip.compress(b"packed\n"))
    assert list(read_lines(named)) == [(1, "plain")]
    assert list(read_lines(unnamed)) == [(1, "packed")]


def test_truncated_gzip_names_the_line_where_it_ends(tmp_path):
    path = tmp_path / "a.gz"
    packed = gzip.compress("".join(f"line {i} {os.urandom(20).hex()}\n" for i in range(2000)).encode())
    path.write_bytes(packed[: len(packed) // 2])
    error = refused(path)
    assert "truncated" in error.reason
    assert 1 < error.line < 2000


def test_gzip_with_a_flipped_byte_is_damaged(tmp_path):
    packed = bytearray(gzip.compress(b"some line\n" * 500))
    packed[-6] ^= 0xFF  # the checksum
    path = tmp_path / "a.gz"
    path.write_bytes(packed)
    assert "damaged gzip" in refused(path).reason


@pytest.mark.parametrize(
    ("content", "reason", "line"),
    [
        (b"", "empty", None),
        (b"\n \n", "empty", None),
        (b"ok\nb\x00d\n", "binary", 2),
        (b"ok\nok\n\xff\xfe\n", "not UTF-8", 3),
    ],
)
def test_unreadable_content_is_refused_with_its_line(tmp_path, content, reason, line):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    error = refused(path)
    assert reason in error.reason
    assert error.line == line
    assert error.path == path


def test_missing_file_and_folder_are_refused(tmp_path):
    assert "no such file" in refused(tmp_path / "nothing").reason
    assert "cannot be read" in refused(tmp_path).reason


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[1]", "a JSON list"),
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "Infinity"),
        ('{"a": "\\ud83d"}', "half a character"),
        ('{"a": 1', "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "not JSON"),
    ],
)
def test_bad_json_rows_are_refused_with_their_line(tmp_path, line, reason):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"ok": "\\ud83d\\ude00"}}\n{line}\n')
    error = refused(path, read_json_rows)
    assert reason in str(error)
    assert error.line == 2


def test_rows_name_missing_and_wrong_fields(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"n": true, "s": " ", "l": ["x", 1]}\n')
    (row,) = read_json_rows(path)
    for read, said in [
        (lambda: row.text("zz"), "missing field 'zz'"),
        (lambda: row.text("n"), "'n' is bool, not a string"),
        (lambda: row.get("n", int, "an integer"), "'n' is bool, not an integer"),
        (lambda: row.filled("s"), "'s' is empty"),
        (lambda: row.texts("l"), "other than strings"),
        (lambda: row.rows("l"), "other than objects"),
        (lambda: row.conversation(["q"], "now", "c"), "1 utterances"),
    ]:
        with pytest.raises(DataError, match=r"a\.jsonl:1: ") as caught:
            read()
        assert said in str(caught.value)


def test_counts_say_what_became_of_rows():
    counts = Counts(read=5)
    counts.dropped["no rewrite"] += 2
    counts.noted["odd"] += 1
    assert counts.kept == 3
    assert str(counts) == "5 read, 3 kept; 2 dropped: no rewrite; 1 noted: odd"


def test_writing_replaces_at_the_end_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    with replacing_lines(path) as out:
        out.write(b"one\n")
        assert not path.exists()
    with pytest.raises(TypeError), replacing_lines(path) as out:
        out.writelines([b"two\n", "not bytes"])
    assert path.read_bytes() == b"one\n"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_gzipped_writing_gives_the_same_bytes_each_time(tmp_path):
    for name in ("a.gz", "b.gz"):
        with replacing_lines(tmp_path / name) as out:
            out.write(b"row\n" * 10)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert list(read_lines(tmp_path / "a.gz"))[9] == (10, "row")


def test_a_refusing_disk_is_a_data_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="cannot be written"), replacing(tmp_path / "file" / "a.txt"):
        pass
    with pytest.raises(DataError, match="No space left"), replacing_lines(tmp_path / "a.txt"):
        raise OSError(28, "No space left on device")


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old\n")
    code = textwrap.dedent("""
        import sys, time
        from distillir.data.files import replacing_lines
        with replacing_lines(sys.argv[1]) as out:
            out.write(b"new\\n" * 100_000)
            print("writing", flush=True)
            time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"writing\n"
        child.send_signal(signal.SIGKILL)
    assert path.read_text() == "old\n"
