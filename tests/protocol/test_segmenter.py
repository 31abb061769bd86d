"""When text becomes a segment, and where it is cut."""

from __future__ import annotations

import pytest

from mux.protocol.segmenter import MAX_SEGMENT, MIN_TRIGGER, Cut, Segmenter


def texts(cuts: list[Cut]) -> list[str]:
    return [cut.text for cut in cuts]


def by_character(segmenter: Segmenter, text: str) -> list[Cut]:
    return [cut for character in text for cut in segmenter.add(character)]


# --- where a schedule cuts ---------------------------------------------------------------------------


def test_text_below_the_threshold_waits() -> None:
    segmenter = Segmenter((20,))
    assert segmenter.add("One. Two. Three. ...") == [Cut("One. Two. Three. ", "schedule")]
    assert segmenter.add("Four. Five. Six.") == []
    assert segmenter.waiting == "...Four. Five. Six."


@pytest.mark.parametrize(
    ("text", "first"),
    [
        pytest.param("One two. Three, four five six", "One two. ", id="sentence before clause and space"),
        pytest.param("One two, three four five six", "One two, ", id="clause before space"),
        pytest.param("One two three four five six", "One two three four ", id="space"),
        pytest.param("One. Two. Three. Four five", "One. Two. Three. ", id="the last sentence end"),
        pytest.param(
            'He said "No!" Then he left', 'He said "No!" ', id="closing quote goes with its sentence"
        ),
        pytest.param("First line\nsecond, line here", "First line\n", id="line end"),
        pytest.param("Well... he went, then left", "Well... he went, ", id="lower case goes on after dots"),
        pytest.param("Really?! Yes, he did so now", "Really?! ", id="several marks"),
        pytest.param(
            "你好。我很好,谢谢你。今天天气很好吗我不知道", "你好。我很好,谢谢你。", id="no space in Chinese"
        ),
        pytest.param("「はい。」と言った、それから家に帰りました", "「はい。」", id="Japanese quote"),
        pytest.param(
            "これは長い文です、そして続きます続きます続き", "これは長い文です、", id="Japanese clause"
        ),
        pytest.param("नमस्ते। आप कैसे हैं मैं ठीक हूँ", "नमस्ते। ", id="danda"),
    ],
)
def test_a_schedule_cuts_at_the_best_place(text: str, first: str) -> None:
    assert texts(Segmenter((20, 500)).add(text))[:1] == [first]


@pytest.mark.parametrize(
    "text",
    [
        "I met Dr. Smith, who is nice",
        "See p. 4, or e.g. the other one",
        "Ask J. R. Tolkien, he knows it",
        "Das ist z.B. Brot, und auch so",
        "El Sr. García, que vive aquí ya",
    ],
)
def test_an_abbreviation_ends_no_sentence(text: str) -> None:
    """So the clause end, or the space, is the place."""
    first = Segmenter((20, 500)).add(text)[0].text
    assert not first.rstrip().endswith("."), first


def test_a_number_ends_a_sentence() -> None:
    assert Segmenter((20, 500)).add("I have 5. You, they, we")[0].text == "I have 5. "


def test_a_decimal_number_is_not_cut() -> None:
    assert Segmenter((20, 500)).add("It is 3.14, or about 3.1") == [Cut("It is 3.14, ", "schedule")]


def test_each_segment_has_its_own_threshold_and_the_last_one_stays() -> None:
    segmenter = Segmenter((5, 10))
    cuts = segmenter.add("a b c d e f g h i j k l m n o p q r s t u v w x y z")
    assert [len(cut.text) for cut in cuts[:3]] == [4, 10, 10]


def test_a_flush_moves_on_in_the_schedule() -> None:
    segmenter = Segmenter((5, 100))
    segmenter.add("abc")
    segmenter.flush("flush")
    assert segmenter.add(" more than five") == []


def test_a_long_word_ends_at_the_next_space() -> None:
    segmenter = Segmenter((5,))
    assert by_character(segmenter, "Donaudampfschifffahrt f") == [Cut("Donaudampfschifffahrt ", "schedule")]


# --- lengths -----------------------------------------------------------------------------------------


def test_no_piece_is_longer_than_the_greatest_length() -> None:
    for segmenter in (Segmenter((500,)), Segmenter((500,), auto_mode=True)):
        cuts = segmenter.add("x" * 1000 + " " + "word " * 300) + segmenter.flush("flush")
        assert max(len(cut.text) for cut in cuts) <= MAX_SEGMENT
        assert "".join(texts(cuts)) == "x" * 1000 + " " + "word " * 300


def test_a_cut_inside_a_word_says_so() -> None:
    first, second, third = Segmenter((5,), auto_mode=True).add("x" * (2 * MAX_SEGMENT) + " end")
    assert (first.split, second.split, third.split) == (True, True, False)


@pytest.mark.parametrize(
    "joined",
    ["e\u0301", "क\u093e", "👍\U0001f3fd", "👩\u200d🚀", "❤\ufe0f", "e\u0301\u0302\u0303"],
    ids=[
        "combining accent",
        "spacing vowel sign",
        "skin tone",
        "joiner",
        "variation selector",
        "several marks",
    ],
)
@pytest.mark.parametrize("auto_mode", [True, False])
def test_a_hard_cut_is_never_inside_a_combining_sequence(joined: str, auto_mode: bool) -> None:
    for shift in range(len(joined)):
        text = "x" * (MAX_SEGMENT - shift) + joined + "y" * 10
        segmenter = Segmenter((5,), auto_mode)
        cuts = segmenter.add(text) + segmenter.flush("flush")
        assert "".join(texts(cuts)) == text
        assert any(joined in cut.text for cut in cuts)


def test_marks_without_end_are_cut_all_the_same() -> None:
    segmenter = Segmenter((5,))
    segmenter.add("a")
    segmenter.flush("flush")
    cuts = segmenter.add("   " + "\u0301" * 1000)
    assert cuts
    assert all(not cut.text.isspace() for cut in cuts)


# --- how the text came must not matter ---------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "Hello there. How are you, my friend? I am fine! " * 5,
        "x" * MAX_SEGMENT + "\u0301 and more text after it",
        "x" * (MAX_SEGMENT + 1),
        "one  two   three\n\n four.  " * 20,
        "Mr. A. Smith met Mrs. B. " * 10,
        "Donaudampfschifffahrtsgesellschaft   und   so   weiter",
        "(" * (MAX_SEGMENT - 1) + "a. And then, so it goes on and on and on",
    ],
)
def test_segments_do_not_depend_on_how_tokens_were_cut(text: str) -> None:
    whole, cut = Segmenter((20, 40)), Segmenter((20, 40))
    assert whole.add(text) == by_character(cut, text)
    assert whole.flush("flush") == cut.flush("flush")


def test_in_auto_mode_each_message_is_its_own_segment() -> None:
    segmenter = Segmenter((120,), auto_mode=True)
    assert segmenter.add("Hello.") == [Cut("Hello.", "auto")]
    assert segmenter.add("How are you?") == [Cut("How are you?", "auto")]
    assert segmenter.waiting == ""


# --- white space -------------------------------------------------------------------------------------


@pytest.mark.parametrize("auto_mode", [True, False])
def test_white_space_before_the_first_word_is_dropped_and_no_other(auto_mode: bool) -> None:
    segmenter = Segmenter((5,), auto_mode)
    cuts = (
        segmenter.add(" \n") + segmenter.add("  Hi  you  ") + segmenter.add("  all  ") + segmenter.flush("")
    )
    assert "".join(texts(cuts)) == "Hi  you    all  "


@pytest.mark.parametrize("auto_mode", [True, False])
def test_blank_text_is_never_a_segment(auto_mode: bool) -> None:
    segmenter = Segmenter((5,), auto_mode)
    assert segmenter.add("     " * 200) == []
    assert segmenter.flush("flush") == []
    segmenter.add("word")
    segmenter.flush("flush")
    assert segmenter.add(" \n" * 500) == []
    assert segmenter.flush("flush") == []


def test_white_space_in_front_does_not_count_towards_the_threshold() -> None:
    segmenter = Segmenter((5,))
    segmenter.add("word")
    segmenter.flush("flush")
    assert segmenter.add("       ab") == []


def test_white_space_longer_than_a_segment_does_not_split_the_word_after_it() -> None:
    segmenter = Segmenter((5,), auto_mode=True)
    segmenter.add("word")
    assert texts(segmenter.add(" " * (MAX_SEGMENT - 1) + "another")) == [" " * (MAX_SEGMENT - 1) + "another"]


# --- trigger, flush, discard -------------------------------------------------------------------------


def test_a_trigger_speaks_up_to_the_last_good_place_once_enough_waits() -> None:
    segmenter = Segmenter((500,))
    segmenter.add("A sentence here. ")
    assert segmenter.trigger() == []
    segmenter.add("And " + "another part of it " * 3)
    assert len(segmenter.waiting) >= MIN_TRIGGER
    assert segmenter.trigger() == [Cut("A sentence here. ", "trigger")]
    assert segmenter.waiting.startswith("And another")


def test_a_trigger_loses_no_white_space() -> None:
    segmenter = Segmenter((500,))
    segmenter.add("Hello.")
    segmenter.flush("flush")
    segmenter.add("\n" + "w" * 60)
    assert segmenter.trigger() == []
    assert segmenter.waiting == "\n" + "w" * 60


def test_a_flush_takes_everything_and_names_its_reason() -> None:
    segmenter = Segmenter((500,))
    segmenter.add("No end")
    assert segmenter.flush("close") == [Cut("No end", "close")]
    assert segmenter.flush("close") == []


def test_discard_drops_what_waits_and_returns_it() -> None:
    segmenter = Segmenter((500,))
    segmenter.add("No end")
    assert segmenter.discard() == "No end"
    assert segmenter.flush("flush") == []
