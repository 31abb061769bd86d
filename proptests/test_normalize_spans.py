"""Whatever the text: its spans tile both texts, and every character gets exactly one time, in order."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mux.engines.normalize import Normalized, SourceClock, identity, normalize
from mux.engines.ssml import read_ssml

PIECES = [
    "$5", "$1,234.56", "€3.50", "US$", " million", "12/25/2024", "2024-12-25", "1/2", "½", "555-1234",
    "(555) 123-4567", "+49 30 1234567", "No. 5", "#1", "100 km/h", "20°C", "3 ft", "Dr. ", "Ms. ", "Smith",
    " Jr.", "e.g. ", "vs. ", "3:30 pm", "10-20", "a.b@c.org", "https://a.b/c-d/", "www.x.y", "24/7", "$5/mo",
    "**", "*", "`", "~~", "# ", "\n", "[a](b)", "](", "a ", " ", "-", ".", ",", "/", ":", "1", "0", "9",
    "word", "é", "٣", "😀", "\u202f", "\u2011", "\ud800", "\x00", "\u0301",
]  # fmt: skip
texts = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=30).map("".join),
    st.text(st.characters(codec=None), max_size=80),
    st.text("0123456789$€.,/:-–+#*`[]() amkgMKpDr\n@", max_size=60),
)
languages = st.sampled_from([None, "en", "en-GB", "de", "cmn", "EN_us", ""])


def check_spans(text: str, normalized: Normalized) -> None:
    source = spoken = 0
    for span in normalized.spans:
        assert (span.source_start, span.spoken_start) == (source, spoken)
        assert span.source_end > span.source_start
        assert span.spoken_end >= span.spoken_start
        source, spoken = span.source_end, span.spoken_end
    assert (source, spoken) == (len(text), len(normalized.text))


@given(texts, languages)
@example("**$5**", None)
def test_spans_tile_both_texts_and_nothing_falls_silent(text: str, language: str | None) -> None:
    normalized = normalize(text, language)
    check_spans(text, normalized)
    assert bool(normalized.text.strip()) == bool(text.strip())


@given(st.text(st.characters(codec=None), max_size=80))
def test_identity_says_the_text_as_it_stands(text: str) -> None:
    normalized = identity(text)
    check_spans(text, normalized)
    assert normalized.text == text


PLAIN = ["The", "quick", "brown", "fox", "jumps", "over", "12", "dogs,", "2.5", "times.", "Is", "it", "good?"]


@given(st.lists(st.sampled_from(PLAIN)))
def test_where_nothing_applies_nothing_changes(words: list[str]) -> None:
    text = " ".join(words)
    assert normalize(text) == identity(text)


@given(texts, languages, st.lists(st.integers(0, 12), min_size=1, max_size=10))
def test_every_character_of_the_source_is_timed_once_in_its_chunk(
    text: str, language: str | None, sizes: list[int]
) -> None:
    normalized = normalize(text, language)
    clock = SourceClock(normalized)
    length = len(normalized.text)
    place, count = 0, 0
    where: list[int] = []
    """For each source character, the spoken one with which it begins; their number if it ends them all."""
    for size in [*sizes * (length // max(1, sum(sizes))), length]:
        count = min(size, length - place)
        starts = tuple(range(3, 3 + 7 * count, 7))
        samples = 7 * count + 3
        source = clock.feed(starts, samples)
        assert list(source) == sorted(source)
        last = place + count == length
        assert set(source) <= {*starts, *([samples] if last else [])}
        where += [place + (start - 3) // 7 for start in source]
        place += count
    assert clock.feed((), 100) == ()
    assert len(where) == len(text)
    assert where == sorted(where)
    for span in normalized.spans:
        inside = where[span.source_start : span.source_end]
        assert inside[0] == span.spoken_start
        assert inside[-1] <= max(span.spoken_start, span.spoken_end - 1)


HOSTILE = [
    "a", "1", "*", "[a", "[a](b", "1,", "1/", "+1 1", "(555) ", "a@", "a@a.", "www..", "https://.", "$1 ",
    " ", "\n#", "\n   *", "Dr.  ", "Aa ", "1 km", "1,234,567.89", "½", "the quick brown fox ",
]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_it_takes_linear_time(piece: str) -> None:
    """A pattern that begins again inside what it failed on would take minutes."""
    text = (piece * 50_000)[:50_000]
    began = time.process_time()
    normalized = normalize(text)
    assert time.process_time() - began < 2.0
    assert normalized.spans[-1].source_end == len(text)


MARKUP = [
    "<", ">", "</", "/>", '"', "'", "=", "<s>", "</s>", "<p>", "</p>", "<speak>", "<break/>", "<break ",
    'time="1s"', '<break time="500ms"/>', '<sub alias="W 3">', "</sub>", '<sub alias="x"/>', "</say-as>",
    '<say-as interpret-as="characters">', '<say-as interpret-as="digits">', "<say-as ",
    'interpret-as="digits"', '<prosody rate="fast">', "</prosody>", "<audio src=x>", "<b>", "&amp;", "&lt;",
    "&#0;", "&#xD800;", "&", "<!-- x -->", "<?xml?>", "<![CDATA[",
]  # fmt: skip
marked = st.one_of(
    st.lists(st.sampled_from(MARKUP + PIECES), max_size=30).map("".join),
    st.text("<>/=\"' &;#x1-!?abps", max_size=60),
)


@given(marked, languages, st.booleans())
def test_markup_leaves_the_spans_whole_and_nothing_silent(
    text: str, language: str | None, normalized: bool
) -> None:
    result = read_ssml(text, language, normalized=normalized)
    check_spans(text, result)
    assert bool(result.text.strip()) == bool(text.strip())


@given(texts.filter(lambda text: not set(text) & set("<>&")), languages)
def test_without_markup_ssml_changes_nothing(text: str, language: str | None) -> None:
    assert read_ssml(text, language, normalized=True) == normalize(text, language)


HOSTILE_MARKUP = [
    *MARKUP, "<a ", "<a b=", "<a b='c' ", "<!--", "<!-- - ", "<?", "<sub alias='", "<break time=1", "&#1",
    "<sub alias='x'>a", "<say-as interpret-as='characters'>a", "x='y' ", "<break x='y' ",
]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE_MARKUP)
@pytest.mark.parametrize("begin", ["", "<a", "<break "])
def test_markup_takes_linear_time(begin: str, piece: str) -> None:
    text = begin + (piece * 50_000)[:50_000]
    began = time.process_time()
    result = read_ssml(text, "en", normalized=False)
    assert time.process_time() - began < 1.0
    assert result.spans[-1].source_end == len(text)
