"""Segments that end with a sentence. Schedules here hold the *fewest* characters of a segment."""

from __future__ import annotations

import pytest

from mux.protocol.segmenter import MAX_SEGMENT, Cut
from mux.protocol.sentences import SentenceSegmenter


def texts(cuts: list[Cut]) -> list[str]:
    return [cut.text for cut in cuts]


def by_character(segmenter: SentenceSegmenter, text: str) -> list[Cut]:
    return [cut for character in text for cut in segmenter.add(character)]


def finished(*pieces: str, schedule: tuple[int, ...] = (5,)) -> bool:
    segmenter = SentenceSegmenter(schedule)
    for piece in pieces:
        segmenter.add(piece)
    return segmenter.finished


# --- where a segment ends ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "first"),
    [
        pytest.param("Hello there. H", "Hello there. ", id="a sentence, once the next word has begun"),
        pytest.param("Really?! Y", "Really?! ", id="several marks"),
        pytest.param('"Stop!" H', '"Stop!" ', id="a closing quote goes with its sentence"),
        pytest.param("A title\nA", "A title\n", id="the end of a line"),
        pytest.param("Well then...  S", "Well then...  ", id="dots, and all the space behind them"),
        pytest.param("I have 15. Y", "I have 15. ", id="a number ends a sentence"),
        pytest.param("你好,朋友。我", "你好,朋友。", id="no space in Chinese"),
        pytest.param("「はい。」と", "「はい。」", id="a Japanese quote"),
        pytest.param("नमस्ते। आ", "नमस्ते। ", id="danda"),
        pytest.param("One two, three; four: five. S", "One two, three; four: five. ", id="clauses do not"),
    ],
)
def test_a_segment_ends_with_its_sentence_as_soon_as_the_next_one_begins(text: str, first: str) -> None:
    segmenter = SentenceSegmenter((3,))
    *before, last = text
    assert by_character(segmenter, "".join(before)) == []
    assert segmenter.add(last) == [Cut(first, "schedule")]
    assert segmenter.waiting == last


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("It is 3.14 and not more", id="decimal"),
        pytest.param("I met Dr. Smith and Mrs. Miller there", id="titles"),
        pytest.param("Das ist z.B. Brot, und d.h. auch Mehl", id="German abbreviations"),
        pytest.param("Ask J. R. Tolkien about it", id="initials"),
        pytest.param("Well... he went on and on", id="lower case goes on after dots"),
        pytest.param("See example.com/a.b?c!d for more", id="marks inside a word"),
        pytest.param("One, two; three: four - five", id="clauses"),
    ],
)
def test_no_sentence_ends_here(text: str) -> None:
    segmenter = SentenceSegmenter((3,))
    assert by_character(segmenter, text + " x") == []


def test_a_mark_at_the_end_of_what_came_so_far_decides_nothing() -> None:
    segmenter = SentenceSegmenter((3,))
    assert segmenter.add("It costs 3.") == []
    assert segmenter.add("14. ") == []
    assert segmenter.add("Yes.") == [Cut("It costs 3.14. ", "schedule")]


# --- the fewest characters ---------------------------------------------------------------------------


def test_segments_have_the_fewest_characters_that_the_schedule_asks_of_each() -> None:
    segmenter = SentenceSegmenter((2, 10, 25))
    cuts = segmenter.add("Yes. " * 20)
    assert texts(cuts) == ["Yes. ", "Yes. " * 2, "Yes. " * 5, "Yes. " * 5, "Yes. " * 5]
    assert segmenter.waiting == "Yes. Yes. "


def test_a_flush_moves_on_in_the_schedule() -> None:
    segmenter = SentenceSegmenter((2, 50))
    segmenter.add("Yes.")
    segmenter.flush("flush")
    assert segmenter.add(" No. Perhaps. Who knows?") == []


def test_white_space_in_front_does_not_count_towards_the_fewest() -> None:
    segmenter = SentenceSegmenter((2, 10))
    segmenter.add("Yes.")
    segmenter.flush("flush")
    assert segmenter.add("        Well. Who knows? I") == [Cut("        Well. Who knows? ", "schedule")]


# --- the most characters -----------------------------------------------------------------------------


def test_text_without_a_sentences_end_is_cut_at_a_good_place_once_it_is_too_long() -> None:
    segmenter = SentenceSegmenter((5,), longest=20)
    assert segmenter.add("one two, three four ") == []
    assert segmenter.add("f") == [Cut("one two, ", "longest")]
    assert segmenter.add("ive six seven") == [Cut("three four five six ", "longest")]
    assert segmenter.waiting == "seven"


def test_a_word_that_is_too_long_is_cut_and_says_so() -> None:
    segmenter = SentenceSegmenter((5,), longest=20)
    assert segmenter.add("x" * 25) == [Cut("x" * 20, "length", split=True)]


@pytest.mark.parametrize("joined", ["e\u0301", "👍\U0001f3fd", "👩\u200d🚀"])
def test_but_never_inside_what_is_one_character_to_a_reader(joined: str) -> None:
    for shift in range(len(joined)):
        segmenter = SentenceSegmenter((5,), longest=20)
        cuts = segmenter.add("x" * (20 - shift) + joined + "y" * 10) + segmenter.flush("flush")
        assert any(joined in cut.text for cut in cuts)


def test_more_than_the_longest_is_not_asked_of_a_segment() -> None:
    """A schedule may ask for more than `longest` allows: then a sentence of that length is enough."""
    segmenter = SentenceSegmenter((1000,), longest=20)
    assert segmenter.add("Twenty characters!!\nAnd more") == [Cut("Twenty characters!!\n", "schedule")]
    assert segmenter.add(" of the same. And so") == [Cut("And more of the ", "longest")]


def test_no_segment_is_longer_than_an_engine_bears_whatever_was_asked() -> None:
    cuts = SentenceSegmenter((5,), longest=10_000).add("word " * 300)
    assert cuts
    assert max(len(cut.text) for cut in cuts) <= MAX_SEGMENT


# --- how the text came must not matter ---------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "Hello there. How are you, my friend? I am fine! " * 5,
        "It is 3.14. Dr. Smith said so... twice! And\nthen? " * 5,
        "你好。我很好,谢谢你!今天天气很好吗?「はい。」と言った。" * 5,
        "x" * 45 + ". And then  \n\n  " + "y" * 90,
        "." * 45 + " \n A word? " + "!" * 45,
    ],
)
@pytest.mark.parametrize("longest", [40, MAX_SEGMENT])
def test_segments_do_not_depend_on_how_tokens_were_cut(text: str, longest: int) -> None:
    whole, cut = SentenceSegmenter((5, 30), longest), SentenceSegmenter((5, 30), longest)
    cuts = whole.add(text)
    assert by_character(cut, text) == cuts
    assert whole.finished == cut.finished
    cuts += whole.flush("flush")
    assert cuts[-1:] == cut.flush("flush")
    assert "".join(texts(cuts)) == text


# --- what may well be all for now --------------------------------------------------------------------


@pytest.mark.parametrize(
    "pieces",
    [
        ("Ja.",),
        ("Hello there", "!"),
        ("Really?", " "),
        ("Yes.", "\n\n"),
        ('He said "never."',),
        ("Well...",),
        ("It costs 3.",),
        ("你好。",),
        ("नमस्ते।",),
        ("Hello. ", "There."),
    ],
)
def test_a_sentence_that_seems_to_be_over_is_finished(pieces: tuple[str, ...]) -> None:
    assert finished(*pieces)


@pytest.mark.parametrize(
    "text", ["", " \n", "Hello", "Hello, ", "One. Two", "I met Dr.", "z.B.", "It is 3.1", 'He said "no." and']
)
def test_half_a_sentence_is_not(text: str) -> None:
    assert not finished(text)


def test_of_a_first_sentence_any_length_will_do_and_later_ones_need_the_schedules() -> None:
    assert finished("Ja.", schedule=(50, 50))
    assert not finished("A first one. Ja.", schedule=(5, 50)), "it was cut, and the second is short"
    assert finished("A first one. " + "Ja, " * 12 + "ja.", schedule=(5, 50))


def test_nothing_is_finished_once_it_was_taken() -> None:
    segmenter = SentenceSegmenter((5,))
    segmenter.add("Ja.")
    segmenter.flush("pause")
    assert not segmenter.finished


# --- white space -------------------------------------------------------------------------------------


def test_blank_text_is_never_a_segment() -> None:
    segmenter = SentenceSegmenter((1,), longest=20)
    assert segmenter.add(" \n" * 50) == []
    segmenter.add("Yes.")
    segmenter.flush("flush")
    assert segmenter.add("\n \n" * 50) == []
    assert segmenter.flush("flush") == []
    assert texts(segmenter.add("Well.\n\n\nYes")) == ["\n \n" * 50 + "Well.\n\n\n"]
