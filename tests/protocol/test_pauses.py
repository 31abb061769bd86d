"""What waits is spoken when no more text comes: at once where a sentence seems to be over, else after
`flush_timeout`. Time is `bench.now`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from mux.protocol.context import FINISHED_SECONDS
from mux.protocol.messages import (
    Close,
    ContextClosed,
    Flush,
    FlushDone,
    KeepAlive,
    Open,
    Reason,
    SegmentDone,
    SegmentStarted,
    Text,
)
from mux.protocol.voice import ContextSettings

Bench = Any
Of = Callable[..., list[Any]]
PATIENT = ContextSettings(sentences=True, chunk_length_schedule=(5,), flush_timeout=0.5)


def patient(make_bench: Callable[..., Bench], **settings: Any) -> Bench:
    """A session whose contexts wait for half a second, if nothing else is said."""
    base = {name: getattr(PATIENT, name) for name in PATIENT.__struct_fields__}
    return make_bench(settings=ContextSettings(**{**base, **settings}))


@pytest.fixture
def waiting(make_bench: Callable[..., Bench]) -> Bench:
    return patient(make_bench)


# --- when --------------------------------------------------------------------------------------------


def test_a_sentence_that_seems_to_be_over_is_spoken_at_once_if_nothing_follows(
    waiting: Bench, of: Of
) -> None:
    waiting.send(Text("a", "Hello there."))
    assert waiting.spoken == []
    assert waiting.session.next_deadline() == FINISHED_SECONDS
    waiting.tick(FINISHED_SECONDS - 0.001)
    assert waiting.spoken == []
    waiting.tick(FINISHED_SECONDS)
    assert waiting.spoken == ["Hello there."]
    assert [event.cut for event in of(waiting.run(), SegmentStarted)] == ["pause"]


def test_at_once_is_sooner_than_the_vendors_own_test_asks_for() -> None:
    assert 0.02 <= FINISHED_SECONDS < 0.15


def test_other_text_is_spoken_after_the_flush_timeout(waiting: Bench, of: Of) -> None:
    waiting.send(Text("a", "Hello there, and"))
    assert waiting.session.next_deadline() == 0.5
    waiting.tick(0.499)
    assert waiting.spoken == []
    waiting.tick(0.5)
    assert waiting.spoken == ["Hello there, and"]
    assert [event.cut for event in of(waiting.run(), SegmentStarted)] == ["pause"]


def test_a_flush_timeout_that_is_shorter_holds_for_finished_sentences_too(
    make_bench: Callable[..., Bench],
) -> None:
    waiting = patient(make_bench, flush_timeout=0.01)
    waiting.send(Text("a", "Hello there."))
    assert waiting.session.next_deadline() == 0.01


def test_nobody_waits_at_all_where_the_timeout_is_zero(make_bench: Callable[..., Bench]) -> None:
    waiting = patient(make_bench, flush_timeout=0.0)
    waiting.now = 3.0
    waiting.send(Text("a", "Hello"))
    assert waiting.session.next_deadline() == 3.0
    waiting.tick(3.0)
    assert waiting.spoken == ["Hello"]


@pytest.mark.parametrize("sentences", [None, True])
def test_without_a_flush_timeout_text_waits_for_ever(
    make_bench: Callable[..., Bench], sentences: bool | None
) -> None:
    bench = patient(make_bench, flush_timeout=None, sentences=sentences, chunk_length_schedule=(100,))
    bench.send(Text("a", "Hello there."))
    assert bench.session.next_deadline() == math.inf
    bench.tick(1e6)
    assert bench.spoken == []


def test_a_flush_timeout_is_kept_by_other_schedules_too(make_bench: Callable[..., Bench]) -> None:
    """A schedule of most characters knows no finished sentences: only the longer time holds."""
    bench = patient(make_bench, sentences=None, chunk_length_schedule=(100,))
    bench.send(Text("a", "Hello there."))
    bench.tick(0.499)
    assert bench.spoken == []
    bench.tick(0.5)
    assert bench.spoken == ["Hello there."]


# --- more text ---------------------------------------------------------------------------------------


def test_tokens_that_come_faster_keep_it_waiting_however_many(waiting: Bench) -> None:
    for step in range(200):
        waiting.tick(step * 0.3)
        waiting.send(Text("a", "x"))
        assert waiting.spoken == []
    assert waiting.session.next_deadline() == waiting.now + 0.5
    waiting.tick(waiting.now + 0.5)
    assert waiting.spoken == ["x" * 200]


def test_a_decimal_number_that_comes_in_two_tokens_is_spoken_in_one_piece(waiting: Bench) -> None:
    waiting.send(Text("a", "It is 3."))
    assert waiting.session.next_deadline() == FINISHED_SECONDS
    waiting.tick(0.05)
    waiting.send(Text("a", "14"))
    assert waiting.session.next_deadline() == 0.05 + 0.5, "it is not over any more"
    waiting.tick(0.55)
    assert waiting.spoken == ["It is 3.14"]


def test_what_the_next_word_decides_is_not_spoken_twice(waiting: Bench) -> None:
    waiting.send(Text("a", "Hello there."))
    waiting.tick(0.05)
    waiting.send(Text("a", " How are"))
    assert waiting.spoken == ["Hello there. "]
    assert waiting.session.next_deadline() == 0.05 + 0.5
    waiting.tick(0.55)
    waiting.speak()
    assert waiting.spoken == ["Hello there. ", "How are"]


def test_a_pause_in_a_word_goes_on_as_a_segment_of_its_own(waiting: Bench) -> None:
    waiting.send(Text("a", "Hel"))
    waiting.tick(0.5)
    waiting.send(Text("a", "lo. "), Close("a"))
    waiting.run()
    assert waiting.spoken == ["Hel", "lo. "]


def test_text_that_is_still_being_spoken_does_not_keep_the_next_waiting(waiting: Bench) -> None:
    waiting.send(Text("a", "One sentence. Two"))
    assert waiting.spoken == ["One sentence. "]
    waiting.tick(0.5)
    waiting.speak()
    assert waiting.spoken == ["One sentence. ", "Two"]


def test_a_keepalive_is_no_text(waiting: Bench) -> None:
    waiting.send(Text("a", "Hello, and"))
    waiting.now = 0.4
    waiting.send(KeepAlive("a"), KeepAlive())
    assert waiting.session.next_deadline() == 0.5


def test_each_context_waits_for_itself(make_bench: Callable[..., Bench]) -> None:
    waiting = patient(make_bench)
    waiting.send(Text("a", "One, and"), Open("b", ContextSettings(flush_timeout=0.2)), Text("b", "Two, and"))
    assert waiting.session.next_deadline() == 0.2
    waiting.tick(0.2)
    assert waiting.spoken == ["Two, and"]
    assert waiting.session.next_deadline() == 0.5
    waiting.tick(0.5)
    assert waiting.spoken == ["Two, and", "One, and"]


def test_text_that_waits_follows_new_settings(waiting: Bench) -> None:
    waiting.send(Text("a", "Hello, and"))
    waiting.now = 0.2
    waiting.send(Open("a", ContextSettings(flush_timeout=0.1)))
    assert waiting.session.next_deadline() == pytest.approx(0.3)


def test_a_trigger_leaves_nothing_to_wait_for(make_bench: Callable[..., Bench]) -> None:
    bench = patient(make_bench, sentences=None, chunk_length_schedule=(500,), inactivity_timeout=20.0)
    bench.send(Text("a", "word " * 12, trigger=True))
    assert bench.spoken == ["word " * 12]
    bench.run()
    assert bench.session.next_deadline() == 20.0


def test_how_sentences_are_cut_is_their_contexts(bench: Bench) -> None:
    words = "one two three four five six seven"
    for id, settings in {
        "fewest": {"chunk_length_schedule": (20,)},
        "longest": {"chunk_length_schedule": (5,), "longest_segment": 20},
        "most": {"chunk_length_schedule": (20,), "sentences": False},
    }.items():
        bench.send(Open(id, ContextSettings(**{"sentences": True, **settings})), Text(id, words))
    assert bench.spoken == ["one two three four ", "one two three four "]
    assert [speak.serial for speak in bench.owed] == [2, 3]


# --- white space never wakes the clock ---------------------------------------------------------------


def test_white_space_is_nothing_to_say_and_never_wakes_the_clock(waiting: Bench) -> None:
    waiting.send(Text("a", "Hello there."), Flush("a"))
    waiting.run()
    for _ in range(3):
        waiting.send(Text("a", " \n"))
        assert waiting.session.next_deadline() == math.inf
        waiting.tick(waiting.now + 10)
    assert waiting.spoken == ["Hello there."]


def test_nor_does_text_that_was_never_begun(waiting: Bench) -> None:
    waiting.send(Text("a", "  \n "))
    assert waiting.session.next_deadline() == math.inf


@pytest.mark.parametrize("text", ["Hello there.", "Hello, and", "Hello there. And so", "Hello there. \n\n"])
def test_after_its_tick_a_deadline_has_moved_on(waiting: Bench, text: str) -> None:
    """Otherwise the host would turn in circles."""
    waiting.send(Text("a", text))
    while (deadline := waiting.session.next_deadline()) < math.inf:
        waiting.tick(deadline)
        assert waiting.session.next_deadline() > deadline
    waiting.run()
    assert "".join(waiting.spoken).strip() == text.strip()


def test_a_late_tick_is_as_good_as_a_punctual_one(waiting: Bench) -> None:
    waiting.send(Text("a", "Hello, and"))
    waiting.tick(1000.0)
    assert waiting.spoken == ["Hello, and"]
    assert waiting.session.next_deadline() == math.inf


# --- flushes, ends, inactivity -----------------------------------------------------------------------


def test_a_flush_takes_the_pauses_place(waiting: Bench, of: Of) -> None:
    waiting.send(Text("a", "Hello, and"), Flush("a"))
    assert waiting.session.next_deadline() == math.inf
    waiting.tick(10.0)
    assert [event.cut for event in of(waiting.run(), SegmentStarted)] == ["flush"]


def test_a_flush_after_a_pause_is_answered_when_all_was_spoken(waiting: Bench, of: Of) -> None:
    waiting.send(Text("a", "Hello, and"))
    waiting.tick(0.5)
    waiting.send(Flush("a"))
    assert of(waiting.pull(), FlushDone) == []
    events = waiting.run()
    assert [type(event) for event in events][-2:] == [SegmentDone, FlushDone]


def test_a_pause_is_no_flush_and_is_not_answered(waiting: Bench, of: Of) -> None:
    waiting.send(Text("a", "Hello there."))
    waiting.tick(1.0)
    assert of(waiting.run(), FlushDone) == []


@pytest.mark.parametrize("immediate", [False, True])
def test_a_closed_context_pauses_no_more(waiting: Bench, of: Of, immediate: bool) -> None:
    waiting.send(Text("a", "Hello, and"), Close("a", immediate))
    assert waiting.session.next_deadline() == math.inf
    waiting.tick(0.5)
    events = waiting.run()
    assert [event.cut for event in of(events, SegmentStarted)] == ([] if immediate else ["close"])
    assert of(events, ContextClosed)


def test_a_pause_longer_than_the_patience_does_not_keep_a_context(
    make_bench: Callable[..., Bench], of: Of
) -> None:
    bench = patient(make_bench, inactivity_timeout=1.0, flush_timeout=3.0)
    bench.send(Text("a", "Hello, and"))
    assert bench.session.next_deadline() == 1.0
    bench.tick(1.0)
    assert bench.session.open_contexts == 0
    assert bench.spoken == ["Hello, and"]
    events = bench.run()
    assert [event.cut for event in of(events, SegmentStarted)] == ["timeout"]
    (closed,) = of(events, ContextClosed)
    assert (closed.reason, closed.usage.characters_sent) == (Reason.TIMED_OUT, len("Hello, and"))


def test_a_tick_that_is_late_for_both_speaks_first(make_bench: Callable[..., Bench], of: Of) -> None:
    bench = patient(make_bench, inactivity_timeout=1.0)
    bench.send(Text("a", "Hello, and"))
    bench.tick(100.0)
    assert bench.session.open_contexts == 1
    assert [event.cut for event in of(bench.run(), SegmentStarted)] == ["pause"]


def test_quiet_contexts_expire_as_ever(make_bench: Callable[..., Bench]) -> None:
    bench = patient(make_bench, inactivity_timeout=1.0)
    bench.send(Open("a"))
    assert bench.session.next_deadline() == 1.0
    bench.tick(1.0)
    assert bench.session.open_contexts == 0


def test_a_pause_gives_the_text_allowance_back_and_counts_no_character_twice(waiting: Bench, of: Of) -> None:
    waiting.send(Text("a", "Hello, "))
    waiting.tick(0.5)
    waiting.send(Text("a", "and so"))
    waiting.tick(1.0)
    waiting.run()
    waiting.send(Close("a"))
    (closed,) = of(waiting.run(), ContextClosed)
    usage = closed.usage
    assert (usage.characters_accepted, usage.characters_synthesised, usage.characters_sent) == (13, 13, 13)
