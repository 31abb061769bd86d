"""Words, made of characters as their audio goes out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mux.dialects.kugelaudio.wire import Word
from mux.dialects.kugelaudio.words import Words
from mux.protocol.messages import Alignment

STEP = 10


def slice_of(text: str, first: int = 0, breaks: bool = False) -> Alignment:
    starts = tuple(first + STEP * index for index in range(len(text)))
    return Alignment(text, starts, tuple(start + STEP for start in starts), first, breaks)


def slices_of(*texts: str, first: int = 0) -> list[Alignment]:
    slices = []
    for text in texts:
        slices.append(slice_of(text, first))
        first += STEP * len(text)
    return slices


def test_a_word_is_told_when_it_is_known_to_be_whole() -> None:
    words = Words(0)
    assert words.feed([slice_of("Hel")]) == []
    assert words.feed([slice_of("lo wor", 30)]) == [Word("Hello", 0, 50, 0, 5)]
    assert words.feed([slice_of("ld", 90)]) == []
    assert words.rest() == [Word("world", 60, 110, 6, 11)]
    assert words.rest() == []


def test_a_slice_that_breaks_ends_its_word() -> None:
    words = Words(0)
    assert words.feed([slice_of("Hi.", breaks=True)]) == [Word("Hi.", 0, 30, 0, 3)]
    assert words.feed([slice_of("Bye", 30)]) == []
    assert words.rest() == [Word("Bye", 30, 60, 3, 6)]


def test_times_count_from_the_chunks_start() -> None:
    words = Words(1000)
    assert words.feed([slice_of("One ", 1000)]) == [Word("One", 0, 30, 0, 3)]


def test_places_count_from_an_offset() -> None:
    assert Words(0, offset=7).feed([slice_of("One ")]) == [Word("One", 0, 30, 7, 10)]


def test_blanks_of_every_kind_are_no_words_but_count() -> None:
    words = Words(0)
    assert words.feed([slice_of(" \n\u00a0\u3000a ")]) == [Word("a", 40, 50, 4, 5)]
    assert words.feed([slice_of("   ", 60)]) == []
    assert words.rest() == []


def test_characters_of_one_sound_keep_the_words_first_start() -> None:
    pieces = [Alignment("ab", (5, 5), (20, 20), 0), Alignment("c ", (20, 25), (25, 30), 20)]
    assert Words(0).feed(pieces) == [Word("abc", 5, 25, 0, 3)]


def test_tags_are_no_words_but_count() -> None:
    text = 'Wait <break time="1s"/><spell>AB</spell>, a < b and c > d.'
    words = Words(0, offset=3)
    words.expect(text)
    found = words.feed(slices_of(text[:8], text[8:])) + words.rest()
    assert [word.word for word in found] == ["Wait", "AB", ",", "a", "<", "b", "and", "c", ">", "d."]
    assert [text[word.char_start - 3 : word.char_end - 3] for word in found] == [word.word for word in found]


def test_each_segments_tags_are_its_own() -> None:
    words = Words(0)
    found = []
    for number, text in enumerate(("<s>One</s> ", "two three. ", "<p>Four")):
        words.expect(text)
        found += words.feed([slice_of(text, 1000 * number)]) + words.rest()
    assert [word.word for word in found] == ["One", "two", "three.", "Four"]


@pytest.mark.parametrize("text", ["a😀b ", "éé ", "日本語 "])
def test_places_are_code_points(text: str) -> None:
    (word,) = Words(0).feed([slice_of(text)])
    assert text[word.char_start : word.char_end] == word.word == text.strip()


@settings(max_examples=100, derandomize=True, database=None, deadline=None)
@given(st.lists(st.text(st.sampled_from("ab \n.é"), max_size=5), max_size=12))
def test_it_does_not_matter_how_the_characters_come(pieces: list[str]) -> None:
    text = "".join(pieces)
    whole = Words(0)
    expected = whole.feed([slice_of(text)]) + whole.rest()
    assert [word.word for word in expected] == text.split()
    assert all(text[word.char_start : word.char_end] == word.word for word in expected)
    cut = Words(0)
    found = [word for piece in slices_of(*pieces) for word in cut.feed([piece])] + cut.rest()
    assert found == expected
