"""The suffix index against brute force over random texts, and what becomes of broken folders."""

import json
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillir.errors import MissingDependencyError, SearchIndexError
from distillir.index.suffix import SuffixIndex


@pytest.fixture(scope="module", autouse=True)
def quick_disk():
    """Hundreds of tiny builds: what waits for the disk is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        yield


TOKENS = st.lists(st.integers(0, 5).map(lambda i: (7, 3, 250, 3000, 11, 90000)[i]), max_size=14)
TEXTS = st.lists(TOKENS, min_size=1, max_size=7).filter(any)


def occurrences(texts, ngram, whole):
    """(text, place) of each occurrence, by looking at every place."""
    size = len(ngram)
    return [
        (t, i)
        for t, text in enumerate(texts)
        for i in range(len(text) - size + 1)
        if text[i : i + size] == list(ngram) and (i == 0 or not whole)
    ]


def following(texts, ngram, whole):
    behind = [(texts[t], i + len(ngram)) for t, i in occurrences(texts, ngram, whole)]
    return dict(Counter(text[i] for text, i in behind if i < len(text))), sum(i == len(text) for text, i in behind)


@settings(max_examples=60, deadline=None)
@given(texts=TEXTS, whole=st.booleans(), extra=TOKENS)
def test_everything_equals_brute_force(tmp_path_factory, texts, whole, extra):
    index = SuffixIndex.build(texts, tmp_path_factory.mktemp("s") / "index")
    assert (index.texts, index.tokens) == (len(texts), sum(map(len, texts)))
    assert [index.text(i).tolist() for i in range(len(texts))] == texts
    ngrams = {tuple(text[i : i + n]) for text in texts for n in (1, 2, 3, 5) for i in range(len(text) - n + 1)}
    ngrams |= {tuple(extra[:3]), (*extra[:2], 12345678), (4,)} - {()}
    for ngram in ngrams:
        spans = index.find(ngram, whole=whole)
        expected = occurrences(texts, ngram, whole)
        assert index.count(ngram, whole=whole) == spans.counts[0] == len(expected)
        told, ends = following(texts, ngram, whole)
        made = index.following(spans)
        assert (made.row(0), made.ends[0], index.ends(spans)[0]) == (told, ends, ends)
        assert made.tokens.tolist() == sorted(told)
        offsets, found = index.texts_with(spans)
        assert found.tolist() == sorted({t for t, _ in expected})
        assert offsets.tolist() == [0, len(found)]
        for token, low, high in zip(made.tokens, made.spans.low, made.spans.high, strict=True):
            longer = index.narrow(spans, [token])
            assert (longer.low[0], longer.high[0]) == (low, high)


@settings(max_examples=30, deadline=None)
@given(texts=TEXTS, data=st.data())
def test_rows_together_are_rows_alone(tmp_path_factory, texts, data):
    index = SuffixIndex.build(texts, tmp_path_factory.mktemp("s") / "index")
    whole = data.draw(st.booleans())
    depth = data.draw(st.integers(0, 3))
    rows = data.draw(st.lists(st.lists(st.sampled_from((7, 3, 250, 8)), min_size=depth, max_size=depth), max_size=5))
    spans = index.start(len(rows), whole=whole)
    for i in range(depth):
        spans = index.narrow(spans, [row[i] for row in rows])
    together = index.following(spans)
    offsets, found = index.texts_with(spans)
    for i, row in enumerate(rows):
        alone = index.find(row, whole=whole)
        assert spans.counts[i] == alone.counts[0]
        assert together.row(i) == index.following(alone).row(0)
        assert together.ends[i] == index.following(alone).ends[0]
        assert found[offsets[i] : offsets[i + 1]].tolist() == index.texts_with(alone)[1].tolist()
    assert together.rows.tolist() == [i for i in range(len(rows)) for _ in together.row(i)]


def test_by_hand(tmp_path):
    index = SuffixIndex.build([[5, 6, 5, 6, 7], [], [5, 6]], tmp_path / "index")
    assert index.count([5, 6]) == 3
    assert index.count([5, 6], whole=True) == 2
    assert index.count([6, 5, 6, 5]) == 0  # it would cross a border
    made = index.following(index.find([5, 6]))
    assert (made.row(0), made.ends.tolist()) == ({5: 1, 7: 1}, [1])
    assert index.following(index.start()).row(0) == {5: 3, 6: 3, 7: 1}
    assert index.following(index.start(whole=True)).row(0) == {5: 2}
    assert index.following(index.start(whole=True)).ends.tolist() == [1]  # the empty text
    assert index.count([]) == 7


def test_more_than_two_bytes_of_vocabulary(tmp_path):
    many = np.random.default_rng(3).permutation(70_000).tolist()
    index = SuffixIndex.build([many, many[100:200]], tmp_path / "index")
    assert index._stream.dtype == np.uint32
    assert index.count(many[120:130]) == 2
    assert index.following(index.find(many[120:123])).row(0) == {many[123]: 2}
    assert index.texts_with(index.find(many[:3]))[1].tolist() == [0]


def test_steps_grow_with_the_logarithm_of_the_span(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    index = SuffixIndex.build([[1, 2, int(t)] for t in rng.integers(3, 8, 20_000)], tmp_path / "index")
    spans = index.find([1, 2])
    read = []
    plain = SuffixIndex._at
    monkeypatch.setattr(
        SuffixIndex, "_at", lambda self, place, depth: (read.append(len(place)), plain(self, place, depth))[1]
    )
    assert len(index.following(spans).tokens) == 5
    assert sum(read) < 5 * 4 * 15  # 20,000 entries, five tokens, 2^15 > 20,000
    assert len(read) < 20
    read.clear()
    index.narrow(spans, [5])
    assert sum(read) <= 2 * 15


def test_a_rebuild_replaces_and_a_broken_build_leaves_the_old_one(tmp_path, monkeypatch):
    folder = tmp_path / "index"
    SuffixIndex.build([[1, 2]], folder)
    monkeypatch.setattr(
        "distillir.index.suffix_build.publish_folder", lambda *_: (_ for _ in ()).throw(OSError("full"))
    )
    with pytest.raises(SearchIndexError, match="cannot write"):
        SuffixIndex.build([[3]], folder)
    assert SuffixIndex.open(folder).count([1, 2]) == 1
    monkeypatch.undo()
    assert SuffixIndex.build([[3]], folder).count([3]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_what_a_killed_build_left_is_in_nobodys_way(tmp_path):
    folder = tmp_path / "index"
    for end in ("partial", "old"):
        (tmp_path / f"index.{end}").mkdir()
        (tmp_path / f"index.{end}" / "stream.npy").write_bytes(b"half")
    with pytest.raises(SearchIndexError, match="no suffix array"):
        SuffixIndex.open(folder)
    assert SuffixIndex.build([[1, 2]], folder).count([1, 2]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_nothing_and_nonsense_are_refused(tmp_path):
    for texts in ([], [[], []]):
        with pytest.raises(SearchIndexError, match="no tokens"):
            SuffixIndex.build(texts, tmp_path / "index")
    for bad in (-1, 1 << 31):
        with pytest.raises(SearchIndexError, match="token ids"):
            SuffixIndex.build([[1, bad]], tmp_path / "index")
    assert not list(tmp_path.iterdir())


def test_without_the_sorter_its_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydivsufsort", None)
    with pytest.raises(MissingDependencyError, match=r"distillir\[generative\]"):
        SuffixIndex.build([[1, 2]], tmp_path / "index")


def test_broken_folders_are_refused(tmp_path):
    with pytest.raises(SearchIndexError, match="no suffix array"):
        SuffixIndex.open(tmp_path)
    folder = tmp_path / "index"
    SuffixIndex.build([[1, 2, 3]], folder, tokenizer="a")
    assert SuffixIndex.open(folder, tokenizer="a", verify=True).tokenizer == "a"
    with pytest.raises(SearchIndexError, match="another tokenizer"):
        SuffixIndex.open(folder, tokenizer="b")
    path = folder / "suffixes.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-2])
    with pytest.raises(SearchIndexError, match="bytes instead of"):
        SuffixIndex.open(folder)
    path.write_bytes(whole[:-1] + b"\1")
    SuffixIndex.open(folder)
    with pytest.raises(SearchIndexError, match="damaged"):
        SuffixIndex.open(folder, verify=True)
    about = json.loads((folder / "suffix.json").read_text())
    (folder / "suffix.json").write_text(json.dumps(about | {"format": 99}))
    with pytest.raises(SearchIndexError, match="format 99"):
        SuffixIndex.open(folder)
    (folder / "suffix.json").write_text(json.dumps(about | {"arrays": {}}))
    with pytest.raises(SearchIndexError, match="unreadable"):
        SuffixIndex.open(folder)
