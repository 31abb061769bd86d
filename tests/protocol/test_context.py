"""One context: its segments, its speech, its clock, its usage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mux.errors import Problem
from mux.protocol.limits import Limits
from mux.protocol.messages import (
    Audio,
    Close,
    ContextClosed,
    ContextOpened,
    Flush,
    FlushDone,
    KeepAlive,
    Open,
    Reason,
    SegmentDone,
    SegmentStarted,
    Spoken,
    Text,
    Usage,
)
from mux.protocol.voice import ContextSettings

AUTO = ContextSettings(auto_mode=True)
BROKEN = Problem(code="engine_failed", message="The engine broke.")


def test_a_life_in_order(bench: Any) -> None:
    bench.send(Open("a", AUTO), Text("a", "Hi."), Flush("a"), Close("a"))
    kinds = [type(event) for event in bench.run()]
    assert kinds == [ContextOpened, SegmentStarted, Audio, SegmentDone, FlushDone, ContextClosed]


def test_one_segment_at_a_time_is_given_to_the_engine(bench: Any) -> None:
    bench.say("a", "One.")
    bench.say("a", "Two.")
    assert bench.spoken == ["One."]
    bench.speak()
    assert bench.spoken == ["One.", "Two."]


def test_voice_language_and_settings_reach_the_engine(bench: Any) -> None:
    settings = ContextSettings(
        voice="v", language="de", voice_settings={"speed": 1.1}, auto_mode=True, inactivity_timeout=5
    )
    bench.send(Open("a", settings), Text("a", "Hallo."))
    (speak,) = bench.owed
    assert (speak.voice, speak.language, speak.settings.speed, speak.settings.stability) == (
        "v",
        "de",
        1.1,
        0.5,
    )


def test_no_further_segment_is_begun_while_enough_speech_waits(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(Limits(ahead_seconds=0.25))
    for word in ("One", "Two", "Three"):
        bench.say("a", word)
    bench.chunk(bench.owed[0], 250)
    bench.end(bench.owed[0])
    assert bench.spoken == ["One"]
    bench.pull(3)  # opened, started, one frame
    assert bench.spoken == ["One", "Two"]


def test_the_engine_is_asked_by_when_the_listener_runs_dry(bench: Any) -> None:
    bench.now = 5.0
    bench.say("a", "One.")
    assert bench.session.due(1) == 5.0
    bench.now = 6.0
    bench.chunk(bench.owed[0], 300)
    bench.pull()
    bench.end(bench.owed[0])
    bench.now = 6.1
    bench.say("a", "Two.")
    assert bench.session.due(1) == pytest.approx(6.3)
    bench.now = 8.0
    bench.chunk(bench.owed[0], 100)
    bench.pull()
    assert bench.session.due(1) == pytest.approx(8.1)


def test_why_a_segment_was_cut_is_told(bench: Any, of: Callable[..., list[Any]]) -> None:
    bench.send(Text("a", "word " * 30), Flush("a"), Text("a", "t" * 20 + " " + "t" * 50, trigger=True))
    bench.send(Text("a", "rest"), Close("a"))
    cuts = [event.cut for event in of(bench.run(), SegmentStarted)]
    assert cuts == ["schedule", "flush", "trigger", "close"]


# --- settings ----------------------------------------------------------------------------------------


def test_settings_may_change_until_something_was_given_to_the_engine(
    bench: Any, of: Callable[..., list[Any]]
) -> None:
    bench.send(Text("a", "Short. "), Open("a", ContextSettings(voice="b")), Text("a", "More."), Close("a"))
    assert [(speak.text, speak.voice) for speak in bench.owed] == [("Short. More.", "b")]
    assert of(bench.run(), ContextClosed)[0].reason is Reason.COMPLETED


def test_waiting_text_follows_a_new_schedule(bench: Any) -> None:
    bench.send(Text("a", "One two three."), Open("a", ContextSettings(chunk_length_schedule=(5,))))
    assert bench.spoken == ["One "]


def test_settings_that_change_later_end_the_context_and_are_named(
    bench: Any, of: Callable[..., list[Any]]
) -> None:
    bench.say("a", "Hi.")
    bench.send(Open("a", ContextSettings(voice="b", language="de")))
    bench.end(bench.owed[0])
    (closed,) = of(bench.pull(), ContextClosed)
    assert (closed.reason, closed.problem.code) == (Reason.FAILED, "settings_changed")
    assert "voice and language" in closed.problem.message


def test_opening_again_with_the_same_settings_is_harmless(bench: Any) -> None:
    bench.say("a", "Hi.")
    bench.send(Open("a", AUTO), Open("a"), Close("a"))
    assert bench.run()[-1].reason is Reason.COMPLETED


# --- speech and characters ---------------------------------------------------------------------------


def test_speech_goes_out_in_frames_and_nothing_of_it_is_lost(
    bench: Any, of: Callable[..., list[Any]]
) -> None:
    bench.say("a", "Hi.")
    pcm = bytes(range(250)) * 2
    bench.session.report(Spoken(1, 1, pcm, 1000), 0)
    frames = of(bench.pull(), Audio)
    assert [len(frame.pcm) // 2 for frame in frames] == [100, 100, 50]
    assert [frame.position for frame in frames] == [0, 100, 200]
    assert b"".join(frame.pcm for frame in frames) == pcm


def test_a_word_that_ends_a_segment_without_white_space_breaks(
    bench: Any, of: Callable[..., list[Any]]
) -> None:
    """Pipecat sends sentences without spaces between them."""
    bench.say("a", "One.")
    bench.say("a", "Two. ")
    alignments = [frame.alignment for frame in of(bench.run(), Audio)]
    assert [(alignment.text, alignment.breaks) for alignment in alignments] == [
        ("One.", True),
        ("Two. ", False),
    ]


def test_a_word_that_was_too_long_does_not_break(bench: Any, of: Callable[..., list[Any]]) -> None:
    bench.say("a", "x" * 450)
    last_of_each = {frame.segment: frame.alignment for frame in of(bench.run(), Audio) if frame.alignment}
    assert {segment: alignment.breaks for segment, alignment in last_of_each.items()} == {1: False, 2: True}


def test_a_segment_without_times_counts_its_characters_when_it_is_done(bench: Any) -> None:
    bench.say("a", "Hello.")
    bench.chunk(bench.owed[0], 100)
    bench.end(bench.owed[0])
    bench.send(Close("a"))
    usage = bench.pull()[-1].usage
    assert (usage.characters_synthesised, usage.characters_sent) == (6, 6)


def test_only_the_last_segment_before_a_pause_is_dry(bench: Any, of: Callable[..., list[Any]]) -> None:
    """Dry means that a converter gives up what it holds back: between two segments that would be a click."""
    bench.say("a", "One.")
    bench.say("a", "Two.")
    bench.speak()
    bench.speak()
    bench.send(Flush("a"))
    assert [event.dry for event in of(bench.pull(), SegmentDone)] == [False, True]


def test_a_segment_is_dry_when_the_next_text_is_not_there_yet(
    bench: Any, of: Callable[..., list[Any]]
) -> None:
    for word in ("One.", "Two."):
        bench.say("a", word)
        bench.speak()
        assert [event.dry for event in of(bench.pull(), SegmentDone)] == [True]


# --- flush -------------------------------------------------------------------------------------------


def test_a_flush_is_done_when_all_that_it_asked_for_was_sent(bench: Any) -> None:
    bench.send(Text("a", "One."), Flush("a"), Text("a", "Two."), Flush("a"))
    events = bench.run()
    shape = [
        (type(event).__name__, getattr(event, "number", getattr(event, "segment", None)))
        for event in events
        if isinstance(event, (SegmentDone, FlushDone, Audio))
    ]
    assert shape == [
        ("Audio", 1),
        ("SegmentDone", 1),
        ("FlushDone", 1),
        ("Audio", 2),
        ("SegmentDone", 2),
        ("FlushDone", 2),
    ]


def test_a_flush_with_nothing_to_say_is_done_at_once(bench: Any, of: Callable[..., list[Any]]) -> None:
    bench.send(Open("a"), Flush("a"), Text("a", "  "), Flush("a"))
    assert [event.number for event in of(bench.pull(), FlushDone)] == [1, 2]
    assert bench.spoken == []


# --- ends --------------------------------------------------------------------------------------------


def test_text_that_was_never_flushed_is_spoken_on_close(bench: Any) -> None:
    bench.send(Text("a", "Never flushed"), Close("a"))
    assert bench.spoken == ["Never flushed"]


def test_or_dropped_where_that_is_asked_for(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(Limits(discard_unflushed=True))
    bench.send(Text("a", "Said."), Flush("a"), Text("a", "Never flushed"), Close("a"))
    closed = bench.run()[-1]
    assert bench.spoken == ["Said."]
    assert (closed.reason, closed.usage.characters_accepted) == (Reason.COMPLETED, 18)


def test_closing_twice_is_a_barge_in(bench: Any, of: Callable[..., list[Any]]) -> None:
    bench.say("a", "Hello.")
    bench.chunk(bench.owed[0], 500)
    bench.send(Close("a"))
    bench.pull(3)
    bench.send(Close("a"))
    assert len(bench.stopped) == 1
    bench.end(bench.owed[0])
    events = bench.pull()
    assert of(events, Audio) == []
    assert of(events, ContextClosed)[0].reason is Reason.CANCELLED


@pytest.mark.parametrize("close", [Close("a"), Close("a", immediate=True)], ids=["again", "immediate"])
def test_a_context_whose_end_already_waits_behind_its_speech_can_still_be_cancelled(
    bench: Any, close: Close
) -> None:
    bench.say("a", "Hello.")
    bench.send(Close("a"))
    bench.speak()
    bench.send(close)
    (closed,) = bench.pull()
    assert (closed.reason, closed.usage.audio_dropped_ms) == (Reason.CANCELLED, 60)


def test_a_failed_segment_ends_the_context_with_its_problem(bench: Any) -> None:
    bench.say("a", "One.")
    bench.say("a", "Two.")
    bench.chunk(bench.owed[0], 500)
    bench.end(bench.owed[0], BROKEN)
    (closed,) = bench.pull()
    assert (closed.reason, closed.problem) == (Reason.FAILED, BROKEN)
    assert bench.spoken == ["One."]
    assert bench.stopped == []


def test_the_end_of_a_cancelled_context_waits_for_its_engine_but_not_for_ever(bench: Any) -> None:
    bench.say("a", "Hello.")
    bench.send(Close("a", immediate=True))
    assert bench.pull() == []
    assert bench.session.next_deadline() == bench.session.limits.stop_seconds
    bench.tick(bench.session.limits.stop_seconds)
    assert isinstance(bench.pull()[-1], ContextClosed)
    bench.chunk(bench.owed[0])
    bench.end(bench.owed[0])
    assert bench.pull() == []


def test_a_cancelled_context_closes_as_soon_as_its_engine_has_stopped(bench: Any) -> None:
    bench.say("a", "Hello.")
    bench.send(Close("a", immediate=True))
    bench.chunk(bench.owed[0], 50)
    bench.end(bench.owed[0])
    (closed,) = bench.pull()
    assert closed.usage.audio_dropped_ms == 50


# --- idling ------------------------------------------------------------------------------------------

IDLE = ContextSettings(inactivity_timeout=10.0, auto_mode=False)


def test_every_sign_of_life_starts_the_timer_anew(bench: Any) -> None:
    bench.send(Open("a", IDLE))
    for now, command in ((1, Text("a", "x")), (2, Flush("a")), (3, KeepAlive("a")), (4, Open("a"))):
        bench.now = float(now)
        bench.send(command)
        if bench.owed:
            bench.speak()
        bench.pull()
        assert bench.session.next_deadline() == now + 10


def test_the_timer_starts_after_the_last_audio_was_sent(bench: Any) -> None:
    bench.send(Open("a", IDLE), Text("a", "Hi"), Flush("a"))
    bench.now = 100.0
    bench.speak()
    bench.now = 200.0
    bench.pull()
    assert bench.session.next_deadline() == 210.0


def test_or_after_the_engine_was_done_if_that_is_later(bench: Any) -> None:
    bench.send(Open("a", IDLE), Text("a", "Hi"), Flush("a"))
    bench.now = 100.0
    bench.chunk(bench.owed[0])
    bench.pull()
    bench.now = 150.0
    bench.end(bench.owed[0])
    assert bench.session.next_deadline() == 160.0


def test_an_idle_context_whose_last_words_fail_has_failed(bench: Any) -> None:
    bench.send(Open("a", IDLE), Text("a", "Hi"))
    bench.tick(10.0)
    bench.end(bench.owed[0], BROKEN)
    closed = bench.pull()[-1]
    assert (closed.reason, closed.problem) == (Reason.FAILED, BROKEN)


def test_a_barge_in_after_a_timeout_still_says_timed_out(bench: Any) -> None:
    bench.send(Open("a", IDLE), Text("a", "Hi"))
    bench.tick(10.0)
    bench.send(Close("a", immediate=True))
    bench.end(bench.owed[0])
    assert bench.pull()[-1].reason is Reason.TIMED_OUT


def test_without_a_timeout_nothing_expires(bench: Any) -> None:
    bench.send(Open("a"))
    assert bench.session.next_deadline() == float("inf")


# --- usage -------------------------------------------------------------------------------------------


def test_usage_of_a_context_that_was_cut_off(bench: Any) -> None:
    bench.say("a", "Hello")
    bench.say("a", "never begun")
    bench.chunk(bench.owed[0], 250, (0, 100, 200))
    bench.pull(4)  # opened, started, two frames
    bench.send(Close("a", immediate=True))
    bench.end(bench.owed[0])
    assert bench.pull()[-1].usage == Usage(
        characters_accepted=16,
        characters_synthesised=3,
        characters_sent=2,
        audio_generated_ms=250,
        audio_sent_ms=200,
        audio_dropped_ms=50,
    )
