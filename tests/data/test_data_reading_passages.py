"""The splitting rule, on hand-made blocks and on any text."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillir.data.reading import WORDS, count_words, split
from distillir.data.reading.blocks import Block, Parsed
from distillir.data.reading.text import parse_text
from distillir.errors import ConfigError


def sentence(words: int, first: str = "Aa") -> str:
    return " ".join([first, *["bb"] * (words - 2), "cc."])  # the full stop is a word: words + 1 in all


def passages(blocks, words=30, title="T"):
    return list(split(Parsed(title, blocks), "name", words))


def test_words_are_counted_as_a_tokenizer_would_cut():
    assert count_words("") == 0
    assert count_words("one two, three.") == 5
    assert count_words("snake_case(x=1)") == 8  # snake _ case ( x = 1 )
    assert count_words("internationalisation") == 3  # 20 letters in eights
    assert count_words("20240131") == 3  # 8 digits in threes
    assert count_words("東京タワー") == 5
    assert count_words("Grüße 안녕") == 3


def test_a_section_that_fits_is_one_passage():
    (only,) = passages([Block("One.", 1, 1, ("H",)), Block("Two.", 3, 4, ("H",))])
    assert (only.title, only.text, only.headings, only.start, only.end) == ("T > H", "One.\nTwo.", ("H",), 1, 4)


def test_a_passage_never_crosses_a_heading():
    found = passages(
        [Block("a", 1, 1), Block("b", 2, 2, ("H",)), Block("c", 3, 3, ("H", "I")), Block("d", 4, 4, ("H",))]
    )
    assert [(p.title, p.text) for p in found] == [("T", "a"), ("T > H", "b"), ("T > H > I", "c"), ("T > H", "d")]


def test_a_heading_that_repeats_the_title_is_said_once():
    assert passages([Block("a", 1, 1, ("T", "U"))])[0].title == "T > U"
    assert passages([Block("a", 1, 1)], title="")[0].title == "name"


def test_paragraphs_stay_whole_and_are_shared_out_evenly():
    found = passages([Block(sentence(9), i, i) for i in range(1, 6)], words=36)  # 5 × 10 words, 35 a passage: 30 + 20
    assert [p.text.count("Aa") for p in found] == [3, 2]
    assert [(p.start, p.end) for p in found] == [(1, 3), (4, 5)]


def test_a_long_paragraph_is_cut_between_sentences_only():
    text = " ".join(sentence(9, f"S{i}") for i in range(7))
    found = passages([Block(text, 1, 9)], words=36)
    assert " ".join(p.text for p in found) == text
    assert all(p.text.endswith("cc.") for p in found)
    assert all(count_words(p.text) <= 35 for p in found)
    assert all((p.start, p.end) == (1, 9) for p in found)


def test_an_abbreviation_before_a_small_letter_ends_no_sentence():
    text = f"{sentence(20)} See e.g. the one of approx. five. {sentence(20)}"
    found = passages([Block(text, 1, 1)], words=36)
    assert [p.text for p in found] == [f"{sentence(20)} See e.g. the one of approx. five.", sentence(20)]


def test_a_sentence_longer_than_a_passage_is_cut_between_words():
    found = passages([Block(" ".join(["word"] * 100), 1, 1)], words=30)
    assert [count_words(p.text) for p in found] == [29, 29, 29, 13]
    assert {word for p in found for word in p.text.split()} == {"word"}


def test_a_word_longer_than_a_passage_is_cut_where_the_size_says():
    blob = "abcdefgh" * 100
    found = passages([Block(blob, 1, 1)], words=30)
    assert "".join(p.text for p in found) == blob
    assert [count_words(p.text) for p in found] == [29, 29, 29, 13]


def test_a_listing_is_cut_between_lines():
    listing = "\n".join(f"call({i}, other_{i})  # e.g. This. That." for i in range(30))
    found = passages([Block(listing, 1, 30, verbatim=True)], words=60)
    assert "\n".join(p.text for p in found) == listing
    assert len(found) > 2


def test_chinese_sentences_are_borders_without_blanks():
    text = "東京は日本の首都です。" * 12
    found = passages([Block(text, 1, 1)], words=30)
    assert "".join(p.text for p in found) == text
    assert all(p.text.endswith("。") for p in found)


def test_a_long_path_loses_its_outer_headings_first():
    deep = tuple(f"heading number {i} of many" for i in range(9))
    (only,) = passages([Block("a", 1, 1, deep)], words=60)
    assert only.title.startswith("T > heading number")
    assert only.title.endswith("heading number 8 of many")
    assert count_words(only.title) <= 20
    assert only.headings == deep
    assert count_words(passages([Block("a", 1, 1, ("x " * 500,))], words=60)[0].title) == 20


def test_too_few_words_are_refused():
    with pytest.raises(ConfigError, match="words is 19"):
        passages([Block("a", 1, 1)], words=19)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=900) | st.text(
    st.sampled_from("ab. \n-=>!1東。_|\t"), max_size=1500
)


def visible(text: str) -> str:
    return re.sub(r"\s", "", text)


@settings(max_examples=50, deadline=None)
@given(st.lists(TEXTS.filter(str.strip), min_size=1, max_size=4), st.booleans(), st.integers(20, 60))
def test_every_word_stands_in_one_passage_and_none_is_too_long(texts, verbatim, words):
    blocks = [Block(text, i, i, verbatim=verbatim) for i, text in enumerate(texts, 1)]
    found = passages(blocks, words)
    assert visible("".join(p.text for p in found)) == visible("".join(texts))
    assert all(p.text.strip() for p in found)
    for p in found:
        assert count_words(p.title) + count_words(p.text) <= words
    assert found == passages(blocks, words)


@settings(max_examples=50, deadline=None)
@given(TEXTS)
def test_any_text_is_read(text):
    parsed = parse_text(text.replace("\r", "\n"))
    lines = text.replace("\r", "\n").split("\n")
    for p in split(parsed, "name", WORDS):
        assert 1 <= p.start <= p.end <= len(lines)
        assert set(visible(p.text)) <= set(visible("\n".join(lines[p.start - 1 : p.end])))
