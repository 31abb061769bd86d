"""One monotone clock; each character on it once, in the frame in which it begins."""

from __future__ import annotations

from mux.protocol.messages import Alignment, SpelledOut
from mux.protocol.timeline import Timeline

RATE = 1000


def test_each_character_goes_out_with_the_frame_in_which_it_begins() -> None:
    timeline = Timeline()
    timeline.add(1, "abc", (0, 90, 150), 200)
    first, second = timeline.take(1, 100, RATE), timeline.take(1, 100, RATE)
    assert first == Alignment("ab", (0, 90), (90, 150), origin=0)
    assert second == Alignment("c", (150,), (200,), origin=150)


def test_times_go_on_over_chunks_and_segments() -> None:
    timeline = Timeline()
    timeline.add(1, "a", (0,), 100)
    timeline.add(1, "b", (20,), 100)
    timeline.add(2, "c", (0,), 50)
    assert timeline.take(1, 200, RATE) == Alignment("ab", (0, 120), (100, 200), origin=0)
    assert timeline.take(2, 50, RATE) == Alignment("c", (200,), (250,), origin=200)


def test_a_frame_in_which_no_character_begins_has_no_alignment() -> None:
    timeline = Timeline()
    timeline.add(1, "a", (0,), 300)
    assert timeline.take(1, 100, RATE) is not None
    assert timeline.take(1, 100, RATE) is None
    assert timeline.sent == 200


def test_a_character_of_no_length_at_a_frame_end_belongs_to_that_frame() -> None:
    timeline = Timeline()
    timeline.add(1, "a .", (0, 100, 100), 100)
    aligned = timeline.take(1, 100, RATE)
    assert aligned is not None
    assert aligned.text == "a ."
    assert aligned.ends == (100, 100, 100)


def test_a_frame_takes_no_character_of_the_next_segment() -> None:
    timeline = Timeline()
    timeline.add(1, "a", (0,), 100)
    timeline.add(2, "b", (0,), 100)
    aligned = timeline.take(1, 100, RATE)
    assert aligned is not None
    assert aligned.text == "a"


def test_a_break_is_told_with_the_last_character_only() -> None:
    timeline = Timeline()
    timeline.add(1, "ab", (0, 100), 200, breaks=True)
    first, second = timeline.take(1, 100, RATE), timeline.take(1, 100, RATE)
    assert first is not None
    assert second is not None
    assert (first.breaks, second.breaks) == (False, True)


def test_times_are_rounded_and_never_drift() -> None:
    timeline = Timeline()
    for _ in range(1000):
        timeline.add(1, "x", (0,), 441)
    last = None
    for _ in range(1000):
        last = timeline.take(1, 441, 22050) or last
    assert last is not None
    assert last.ends == (20_000,)


def test_counts_what_was_generated_and_sent_also_after_a_drop() -> None:
    timeline = Timeline()
    timeline.add(1, "abc", (0, 10, 150), 200)
    timeline.take(1, 100, RATE)
    timeline.drop()
    assert (timeline.generated, timeline.sent, timeline.characters_sent) == (200, 100, 2)
    assert timeline.take(1, 100, RATE) is None


def test_what_was_really_said_has_a_track_of_its_own() -> None:
    timeline = Timeline()
    timeline.add(1, "$5 ", (0, 50, 90), 100, spelled=SpelledOut("five dollars ", tuple(range(0, 91, 7))[:13]))
    first = timeline.take(1, 50, 1000)
    second = timeline.take(1, 50, 1000)
    assert first is not None
    assert second is not None
    assert first.text + second.text == "$5 "
    assert first.spelled is not None
    assert second.spelled is not None
    assert first.spelled.text + second.spelled.text == "five dollars "
    assert second.spelled.origin == first.spelled.ends[-1]
    timeline.add(2, "ok", (0, 5), 10)
    plain = timeline.take(2, 10, 1000)
    assert plain is not None
    assert plain.spelled is None
    assert plain.origin == 100


def test_a_frame_inside_a_spelled_out_word_has_no_text() -> None:
    timeline = Timeline()
    timeline.add(1, "$", (0,), 100, spelled=SpelledOut("dollar", (0, 20, 40, 60, 80, 90)))
    assert timeline.take(1, 50, 1000) is not None
    rest = timeline.take(1, 50, 1000)
    assert rest is not None
    assert rest.text == ""
    assert rest.spelled is not None
    assert rest.spelled.text == "lar"
