"""A folder of all formats with everything in it that goes wrong: read, left out and named, never a crash."""

import errno
import json
import os
import socket
import subprocess
import sys
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_data_reading_formats import pdf

from distillir.data.reading import ReadingReport, folder_digest, read_file, read_folder
from distillir.data.reading import folder as reading_folder
from distillir.data.reading import walk as walking
from distillir.errors import DataError


def files_of(root, contents):
    for name, content in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


GOOD = {
    "guide/install.md": "# Guide\nIntro.\n## Linux\nUse the package.\n## Mac\nUse the other.\n",
    "guide/faq.html": "<title>FAQ</title><nav>Menu</nav><h1>Questions</h1><p>Why? Because.</p>",
    "notes.txt": "Just a note.",
    "api.rst": "API\n===\n\nCalls.\n",
    "README": "Read me.",
    "manual.pdf": pdf("First page.", "Second page.", title="Manual"),
    "rows.jsonl": '{"_id": "x", "text": "a row", "title": "Row", "lang": "en"}\n{"_id": 7, "text": "another"}\n',
}


def read(folder, **options):
    report = ReadingReport()
    return list(read_folder(folder, report, **options)), report


def test_every_format(tmp_path):
    documents, report = read(files_of(tmp_path, GOOD))
    found = {d.id: (d.title, d.text, d.group, dict(d.metadata)) for d in documents}
    assert list(found) == [
        "README#1",
        "api.rst#1",
        "guide/faq.html#1",
        "guide/install.md#1",
        "guide/install.md#2",
        "guide/install.md#3",
        "manual.pdf#1",
        "notes.txt#1",
        "rows.jsonl#1",
        "rows.jsonl#2",
    ]
    assert found["guide/install.md#2"] == (
        "Guide > Linux",
        "Use the package.",
        "guide/install.md",
        {"source": "guide/install.md", "kind": "markdown", "headings": ["Guide", "Linux"], "lines": [4, 4]},
    )
    assert found["manual.pdf#1"] == (
        "Manual",
        "First page.\nSecond page.",
        "manual.pdf",
        {"source": "manual.pdf", "kind": "pdf", "headings": [], "pages": [1, 2]},
    )
    assert found["guide/faq.html#1"][:2] == ("Questions", "Why? Because.")
    assert found["notes.txt#1"][:2] == ("notes", "Just a note.")
    assert found["rows.jsonl#1"] == (
        "Row",
        "a row",
        "rows.jsonl",
        {"lang": "en", "id": "x", "source": "rows.jsonl", "kind": "rows", "lines": [1, 1]},
    )
    assert report.files == {"markdown": 1, "html": 1, "text": 3, "pdf": 1, "rows": 1}
    assert report.passages == {"markdown": 3, "html": 1, "text": 3, "pdf": 1, "rows": 2}
    assert not report.skipped
    assert not report.named


BAD = {
    ".hidden.md": "hidden",
    ".git/config.md": "hidden folder",
    "picture.md": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "program.txt": b"\x7fELF\2\1\1\0\0\0",
    "latin.txt": b"caf\xe9",
    "empty.md": "",
    "blank.txt": " \n\n",
    "no_text.md": "<!-- nothing -->\n",
    "script.html": "<script>only()</script>",
    "locked.pdf": pdf("secret", encrypted=True),
    "broken.pdf": b"%PDF-1.7 and nothing else",
    "page.pdf": "<html>404</html>",
    "scan.pdf": pdf(""),
    "other.jsonl": '{"question": "no document"}\n',
    "cut.parquet": b"PAR1 cut short",
    "program.py": "print()",
    "data.csv": "a,b\n",
    "sub/archive.tar.gz": b"\x1f\x8b",
}


def test_what_cannot_be_read_is_left_out_and_named(tmp_path, monkeypatch):
    files_of(tmp_path, {"good.md": "Good.", **BAD})
    (tmp_path / "dangling.md").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle.md").symlink_to(tmp_path / "circle.md")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "linked.md").symlink_to(tmp_path / "good.md")
    os.mkfifo(tmp_path / "pipe.md")
    with socket.socket(socket.AF_UNIX) as plug:
        monkeypatch.chdir(tmp_path)
        plug.bind("plug.md")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/n\xe4me.md")).write_text("text")
    documents, report = read(tmp_path)
    assert [d.id for d in documents] == ["good.md#1", "linked.md#1"]
    assert dict(report.named) == {
        "picture.md": "a binary file, not text",
        "program.txt": "a binary file, not text",
        "latin.txt": "not UTF-8 (byte 3)",
        "empty.md": "the file is empty",
        "blank.txt": "the file is empty",
        "no_text.md": "no text in it",
        "script.html": "no text in it",
        "locked.pdf": "an encrypted PDF",
        "broken.pdf": dict(report.named)["broken.pdf"],
        "page.pdf": dict(report.named)["page.pdf"],
        "scan.pdf": "no text in it",
        "other.jsonl": dict(report.named)["other.jsonl"],
        "cut.parquet": dict(report.named)["cut.parquet"],
        "dangling.md": "a link that leads nowhere (No such file or directory)",
        "circle.md": "a link that leads nowhere (Too many levels of symbolic links)",
        "loop": "a link to a folder",
        "pipe.md": "not a regular file",
        "plug.md": "not a regular file",
        "n\\xe4me.md": "its name is not UTF-8",
    }
    assert dict(report.named)["other.jsonl"].startswith("rows that are no documents (line 1: missing field '_id'")
    assert dict(report.named)["broken.pdf"].startswith("not a readable PDF (")
    assert dict(report.named)["cut.parquet"].startswith("rows that are no documents (not a readable Parquet")
    assert report.skipped["hidden"] == 2
    assert report.skipped["unknown kind .py"] == report.skipped["unknown kind .gz"] == 1
    assert report.files == {"markdown": 2}
    assert str(report).startswith("2 passages of 2 files (2 markdown); 24 skipped (3 no text in it, 2 a binary file")
    assert str(report).endswith(", 11 others)")
    assert ReadingReport.from_dict(json.loads(json.dumps(report.as_dict()))) == report


def test_files_without_rights_are_named(tmp_path, monkeypatch):
    files_of(tmp_path, {"good.md": "Good.", "closed.md": "x", "room/inner.md": "x"})

    def guarded(function):  # root may read everything, so the system's answer is played
        def call(path, *more):
            if path.name in ("closed.md", "room"):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return function(path, *more)

        return call

    monkeypatch.setattr(walking, "_listed", guarded(walking._listed))
    monkeypatch.setattr(reading_folder, "_parsed", guarded(reading_folder._parsed))
    _, report = read(tmp_path)
    assert dict(report.named) == {
        "closed.md": "cannot be read (Permission denied)",
        "room": "cannot be listed (Permission denied)",
    }
    assert report.files == {"markdown": 1}


def test_a_file_that_fails_while_it_is_read_is_named(tmp_path, monkeypatch):
    files_of(tmp_path, {"a.md": "One.", "b.md": "Two."})
    real = reading_folder._parsed

    def vanishing(path, kind):
        if path.name == "a.md":
            path.unlink()
        return real(path, kind)

    monkeypatch.setattr(reading_folder, "_parsed", vanishing)
    documents, report = read(tmp_path)
    assert [d.id for d in documents] == ["b.md#1"]
    assert report.named == [("a.md", "cannot be read (No such file or directory)")]


def test_a_file_too_large_is_not_opened(tmp_path, monkeypatch):
    files_of(tmp_path, {"a.md": "One.", "b.md": "x" * ((1 << 20) + 1)})
    monkeypatch.setitem(walking.LARGEST, "markdown", 1 << 20)
    _, report = read(tmp_path)
    assert report.named == [("b.md", "larger than 1 MiB (1 MiB)")]
    with pytest.raises(DataError, match="larger than 1 MiB"):
        list(read_file(tmp_path / "b.md"))


def test_rows_before_a_bad_one_are_kept_and_the_file_is_noted(tmp_path):
    files_of(tmp_path, {"rows.jsonl": '{"_id": "a", "text": "one"}\n{"_id": "b"}\n'})
    documents, report = read(tmp_path)
    assert [d.id for d in documents] == ["rows.jsonl#1"]
    ((name, reason),) = report.named
    assert name == "rows.jsonl"
    assert reason.startswith("read in part: rows that are no documents (line 2: missing field 'text'")
    assert report.files == {"rows": 1}


def test_a_row_longer_than_a_passage_is_noted(tmp_path):
    files_of(tmp_path, {"rows.jsonl": json.dumps({"_id": "a", "text": "word " * 50}) + '\n{"_id": "b", "text": "x"}\n'})
    documents, report = read(tmp_path, words=40)
    assert len(documents) == 2
    assert report.named == [("a", "longer than a passage: only its beginning is encoded")]


@pytest.mark.parametrize(
    ("contents", "match"),
    [
        ({}, "nothing in this folder can be read: it is empty → give files of these kinds: .md"),
        ({"a.py": "x", ".b.md": "x"}, r"nothing in this folder can be read \(1 hidden, 1 unknown kind .py\)"),
        ({"a.md": b"\0"}, r"\(1 a binary file, not text\)"),
    ],
)
def test_a_folder_with_nothing_to_read_is_refused(tmp_path, contents, match):
    with pytest.raises(DataError, match=match):
        list(read_folder(files_of(tmp_path, contents)))


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        list(read_folder(tmp_path / "none"))
    with pytest.raises(DataError, match="a file, not a folder"):
        list(read_folder(files_of(tmp_path, {"a.md": "x"}) / "a.md"))


def test_one_file(tmp_path):
    files_of(tmp_path, {**GOOD, "bad.md": b"\0", "program.py": "x", "archive": "x"})
    pq.write_table(pa.table({"id": ["p"], "text": ["a row"]}), tmp_path / "rows.parquet")
    assert [d.id for d in read_file(tmp_path / "guide/install.md")] == [f"install.md#{i}" for i in (1, 2, 3)]
    assert [d.id for d in read_file(tmp_path / "rows.jsonl")] == ["x", "7"]
    assert [d.id for d in read_file(tmp_path / "rows.parquet")] == ["p"]
    for name, match in {
        "bad.md": "a binary file, not text",
        "program.py": "a file of unknown kind '.py' → give a folder, or a file of these kinds",
        "none.md": "no such file",
        "guide": "not a regular file",
    }.items():
        with pytest.raises(DataError, match=match):
            list(read_file(tmp_path / name))


def test_the_digest_follows_every_byte_that_is_read_and_nothing_else(tmp_path):
    root = files_of(tmp_path, {"a.md": "one", "sub/b.txt": "two", "c.py": "x"})
    first = folder_digest(root)
    status = (root / "a.md").stat()
    (root / "a.md").write_text("eno")
    os.utime(root / "a.md", ns=(status.st_atime_ns, status.st_mtime_ns))  # same size, same time
    second = folder_digest(root)
    assert second != first
    (root / "c.py").write_text("y")
    files_of(root, {"kept/x.md": "index"})
    assert folder_digest(root, leave_out=root / "kept") == second
    assert folder_digest(root) != second
    (root / "sub/b.txt").rename(root / "sub/c.txt")
    assert folder_digest(root, leave_out=root / "kept") != second


def test_a_folder_left_out_is_not_read(tmp_path):
    files_of(tmp_path, {"a.md": "one", "kept/b.md": "two"})
    assert [d.id for d in read(tmp_path, leave_out=tmp_path / "kept")[0]] == ["a.md#1"]


def test_memory_does_not_grow_with_the_number_of_files(tmp_path):
    text = "A sentence of some words. " * 200

    def peak(count):
        root = tmp_path / str(count)
        files_of(root, {f"{i // 20:03d}/{i:05d}.txt": text for i in range(count)})
        tracemalloc.start()
        for _ in read_folder(root):
            pass
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(5)  # imports and compiled patterns
    assert peak(160) < 1.5 * peak(20)


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..")
)


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.tuples(NAMES, st.sampled_from([".md", ".txt", ".html", ".pdf", ".jsonl", ".rst", ".exe"])),
        st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")),
        max_size=5,
    )
)
def test_any_folder_is_read_or_refused(tmp_path_factory, files):
    root = tmp_path_factory.mktemp("any")
    for (name, suffix), content in files.items():
        (root / f"{name}{suffix}").write_bytes(content)
    report = ReadingReport()
    documents = []
    with suppress(DataError):  # where nothing in it can be read
        documents = list(read_folder(root, report))
    assert len({d.id for d in documents}) == len(documents) == report.passages.total()
    assert report.files.total() + report.skipped.total() == len(files)
    assert all(d.text.strip() or d.metadata["kind"] == "rows" for d in documents)


def test_reading_loads_no_model_library(tmp_path):
    files_of(tmp_path, GOOD)
    program = (
        "import sys; from distillir.data.reading import read_folder\n"
        f"assert len(list(read_folder({str(tmp_path)!r}))) == 10\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
