"""The collection built from the interpreter's own documentation strings."""

import os
import re
import subprocess
import sys
from types import ModuleType

import pytest

from distillir.quickstart import corpus
from distillir.quickstart.corpus import MAX_CHARACTERS, MODULES, standard_library

DIGEST = """
import hashlib, json, sys
from distillir.quickstart.corpus import standard_library
passages = list(standard_library())
print(hashlib.sha256(json.dumps(passages).encode()).hexdigest())
unwanted = {"antigravity", "this", "readline", "tkinter", "turtle", "idlelib", "test", "lib2to3"}
print(*sorted(unwanted & set(sys.modules)))
"""


@pytest.fixture(scope="module")
def passages():
    return list(standard_library())


def python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **environment},
    )


def test_some_three_and_a_half_thousand_passages_with_every_field(passages):
    assert 3000 <= len(passages) <= 4000
    for passage in passages:
        assert set(passage) == {"id", "title", "text"}
        assert passage["title"].startswith(passage["id"])
        assert passage["text"] == passage["text"].strip()
        assert 0 < len(passage["text"]) <= MAX_CHARACTERS


def test_ids_and_texts_occur_once(passages):
    assert len({passage["id"] for passage in passages}) == len(passages)
    assert len({passage["text"] for passage in passages}) == len(passages)


def test_every_listed_module_is_public_and_almost_all_are_here(passages):
    assert len(set(MODULES)) == len(MODULES)
    names = [passage["id"] for passage in passages]
    silent = [
        module
        for module in MODULES
        if module != "builtins" and not any(name == module or name.startswith(f"{module}.") for name in names)
    ]
    assert silent == []
    assert not any(part.startswith("_") for name in names for part in name.split("."))


def test_well_known_entries_stand_under_their_usual_names(passages):
    by_id = {passage["id"]: passage for passage in passages}
    assert by_id["csv.reader"]["text"].startswith("csv_reader = reader(iterable")
    assert by_id["pathlib.Path.rename"]["title"] == "pathlib.Path.rename(target)"
    assert by_id["random.choice"]["title"] == "random.choice(seq)"
    assert by_id["shutil.move"]["title"] == "shutil.move(src, dst, copy_function=...)"
    assert "sys.path" not in by_id  # a list only has the documentation of lists
    assert {"str.split", "argparse.ArgumentParser.add_argument", "socket.socket.recv", "itertools"} <= set(by_id)
    assert "random.Random.choice" not in by_id
    assert "builtins.str.split" not in by_id


def test_no_memory_address_reaches_a_title_or_a_text(passages):
    address = re.compile(r"\bat 0x|0x[0-9a-f]{7,}", re.IGNORECASE)
    assert [p["id"] for p in passages if address.search(p["title"]) or address.search(p["text"])] == []


def test_two_processes_with_other_hash_seeds_build_the_same_collection():
    first = python("-W", "error", "-c", DIGEST, PYTHONHASHSEED="1")
    second = python("-W", "error", "-c", DIGEST, PYTHONHASHSEED="4242", COLUMNS="40", LC_ALL="C")
    assert first.returncode == 0, first.stderr
    digest, loaded = first.stdout.split("\n")[:2]
    assert len(digest) == 64
    assert loaded == ""  # nothing was imported that acts on import
    assert first.stderr == ""
    assert second.stdout == first.stdout


def test_an_interpreter_without_docstrings_is_told_so():
    result = python("-OO", "-c", "from distillir.quickstart.corpus import standard_library as s; next(s())")
    assert result.returncode == 1
    assert "ConfigError: Python was started with -OO" in result.stderr


SAMPLE = '''
"""A sample module for the test."""
from enum import Enum
_DEFAULT = object()

class _Base:
    def shared(self):
        """Comes from the private base."""
    def _hidden(self):
        """Never shown to any reader."""

class Main(_Base):
    """The main class of it."""
    def __init__(self, size, *, mark=_DEFAULT, name: str = "x"):
        """Takes a size in bytes."""
    def close(self, now=True):
        """Close the main thing now.

        Twice is fine.
        """
    @classmethod
    def build(cls, path):
        """Build one from a path."""
    @property
    def length(self):
        """How long it is."""
    def bare(self): ...
    def brief(self):
        """Too short."""

class Other(Main):
    """Another class beside it."""
    def extra(self):
        """Only the other has it."""

class Silent:
    def speaks(self):
        """A member of an undocumented class."""

Alias = Main
def twin(a, b=None, *rest):
    """A function with two names."""
def zwin(a):
    """A function with two names."""
LIMIT = 3
def _private():
    """Nobody asks for this one."""
'''


@pytest.fixture
def sample(monkeypatch):
    module = ModuleType("qs_sample")
    monkeypatch.setitem(sys.modules, "qs_sample", module)
    exec(compile(SAMPLE, "qs_sample.py", "exec"), module.__dict__)
    module.__doc__ = "A sample module for the test."
    monkeypatch.setattr(corpus, "MODULES", ("not_built_here", "qs_sample"))
    return module


def test_the_passages_of_a_known_module_exactly(sample):
    assert [(p["id"], p["title"], p["text"]) for p in standard_library()] == [
        ("qs_sample", "qs_sample", "A sample module for the test."),
        ("qs_sample.twin", "qs_sample.twin(a, b=None, *rest)", "A function with two names."),
        (
            "qs_sample.Main",
            "qs_sample.Main(size, *, mark=..., name='x')",
            "The main class of it.\n\nTakes a size in bytes.",
        ),
        ("qs_sample.Main.build", "qs_sample.Main.build(path)", "Build one from a path."),
        ("qs_sample.Main.close", "qs_sample.Main.close(now=True)", "Close the main thing now.\n\nTwice is fine."),
        ("qs_sample.Main.length", "qs_sample.Main.length", "How long it is."),
        ("qs_sample.Main.shared", "qs_sample.Main.shared()", "Comes from the private base."),
        # The inherited constructor documents the other class, too, and members of Main are not repeated.
        ("qs_sample.Other", "qs_sample.Other(size, *, mark=..., name='x')", "Another class beside it."),
        ("qs_sample.Other.extra", "qs_sample.Other.extra()", "Only the other has it."),
        ("qs_sample.Silent.speaks", "qs_sample.Silent.speaks()", "A member of an undocumented class."),
    ]


def test_a_long_docstring_ends_at_the_last_paragraph_line_or_word_that_fits(sample):
    paragraph = "word " * 180 + "end"  # 903 characters
    lines = "\n".join(["nine char"] * 200)  # ten characters a line with its break
    words = "abcdefghi " * 200
    for text, expected in [
        (f"{paragraph}\n\n{paragraph}", paragraph),
        (lines, "\n".join(["nine char"] * 120)),  # 120 x 9 + 119 breaks = 1199
        (words, ("abcdefghi " * 120).strip()),
        ("x " * 4 + "y" * 3000, "x " * 4 + "y" * (MAX_CHARACTERS - 8)),
        ("a b c " + "z" * (MAX_CHARACTERS - 6), "a b c " + "z" * (MAX_CHARACTERS - 6)),
    ]:
        sample.twin.__doc__ = text
        found = {passage["id"]: passage["text"] for passage in standard_library()}
        assert found["qs_sample.twin"] == expected
