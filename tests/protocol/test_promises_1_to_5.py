"""Promises 1 to 5 of the design, as far as the core keeps them; each test is named after its promise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mux.errors import Problem
from mux.protocol.limits import Limits
from mux.protocol.messages import (
    Audio,
    Close,
    CloseSocket,
    ContextClosed,
    ContextOpened,
    Flush,
    FlushDone,
    Invalid,
    KeepAlive,
    Open,
    Reason,
    SegmentStarted,
    SessionClosed,
    Text,
)
from mux.protocol.voice import ContextSettings

BROKEN = Problem(code="engine_failed", message="The engine broke.")
BAD = Problem(code="invalid_setting", message="speed is wrong.")
AUTO = ContextSettings(auto_mode=True)
IDLE = ContextSettings(inactivity_timeout=10.0)
Bench = Any
Of = Callable[..., list[Any]]
Heard = Callable[..., str]


# --- 1: every context ends exactly once, with a reason, and nothing of it follows --------------------


def _completed(bench: Bench) -> None:
    bench.send(Close("a"))


def _cancelled(bench: Bench) -> None:
    bench.send(Close("a", immediate=True))


def _closed_twice(bench: Bench) -> None:
    bench.send(Close("a"), Close("a"))


def _timed_out(bench: Bench) -> None:
    bench.run()
    bench.tick(bench.now + 10.0)


def _engine_failed(bench: Bench) -> None:
    for speak in list(bench.owed):
        bench.end(speak, BROKEN)
    bench.send(Invalid(BAD, "a"))


def _refused_setting(bench: Bench) -> None:
    bench.send(Invalid(BAD, "a"))


def _socket_failed(bench: Bench) -> None:
    bench.session.fail(BROKEN, bench.now)
    bench.look()


def _disconnected(bench: Bench) -> None:
    bench.session.disconnect(bench.now)
    bench.look()


def _close_socket(bench: Bench) -> None:
    bench.send(CloseSocket())


ENDS = {
    _completed: Reason.COMPLETED,
    _cancelled: Reason.CANCELLED,
    _closed_twice: Reason.CANCELLED,
    _timed_out: Reason.TIMED_OUT,
    _engine_failed: Reason.FAILED,
    _refused_setting: Reason.FAILED,
    _socket_failed: Reason.SOCKET_CLOSED,
    _disconnected: Reason.SOCKET_CLOSED,
    _close_socket: Reason.COMPLETED,
}


def _nothing_said(bench: Bench) -> None:
    bench.send(Open("a", IDLE))


def _text_waits(bench: Bench) -> None:
    bench.send(Open("a", IDLE), Text("a", "Short."))


def _being_spoken(bench: Bench) -> None:
    bench.send(Open("a", IDLE), Text("a", "Hello."), Flush("a"))
    bench.chunk(bench.owed[0], 500)
    bench.pull(3)


def _speech_waits(bench: Bench) -> None:
    bench.send(Open("a", IDLE), Text("a", "Hello."), Flush("a"))
    bench.speak()


@pytest.mark.parametrize("begin", [_nothing_said, _text_waits, _being_spoken, _speech_waits])
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__.strip("_"))
def test_promise_1_every_context_ends_exactly_once(
    bench: Bench, of: Of, begin: Callable[[Bench], None], end: Callable[[Bench], None]
) -> None:
    begin(bench)
    events = bench.pull()
    bench.send(Open("b"))
    end(bench)
    events += bench.run()
    bench.tick(bench.now + 1.0)
    bench.send(Text("a", "Late."), Flush("a"), Close("a"), Close("a"))
    bench.send(Close("b"), CloseSocket())
    events += bench.run()
    mine = [event for event in events if getattr(event, "serial", None) == 1]
    (closed,) = of(mine, ContextClosed)
    assert closed is mine[-1]
    assert closed.reason is ENDS[end]
    assert bench.session.live_contexts == 0


def test_promise_1_the_reason_is_one_of_five_words() -> None:
    assert {reason.value for reason in Reason} == {
        "completed",
        "cancelled",
        "timed_out",
        "failed",
        "socket_closed",
    }


@pytest.mark.parametrize("again", [Close("a"), Close("a", immediate=True)])
def test_promise_1_a_cancel_at_any_moment_of_a_drain_still_gives_one_end(
    make_bench: Callable[..., Bench], of: Of, again: Close
) -> None:
    for step in range(12):
        bench = make_bench()
        bench.send(Open("a", AUTO), Text("a", "Hello."), Text("a", "World."), Close("a"))
        bench.speak()
        bench.speak()
        events = bench.pull(step)
        bench.send(again)
        events += bench.run()
        assert len(of(events, ContextClosed)) == 1, step
        assert bench.session.live_contexts == 0, step


# --- 2: text is never silently dropped ---------------------------------------------------------------


def test_promise_2_text_is_never_silently_dropped(bench: Bench, heard: Heard) -> None:
    text = "One, two. Three!\nFour five  six; " * 20 + "unfinished"
    bench.send(*(Text("a", character) for character in text), Close("a"))
    assert heard(bench.run(), "a") == text
    assert "".join(bench.spoken) == text


def test_promise_2_an_empty_synthesis_is_an_error(bench: Bench) -> None:
    bench.say("a", "???")
    bench.end(bench.owed[0])
    closed = bench.pull()[-1]
    assert (closed.reason, closed.problem.code) == (Reason.FAILED, "empty_synthesis")


def test_promise_2_also_after_other_segments_that_sounded(bench: Bench) -> None:
    bench.say("a", "Fine.")
    bench.say("a", "???")
    bench.send(Close("a"))
    bench.speak()
    bench.end(bench.owed[0])
    assert bench.pull()[-1].problem.code == "empty_synthesis"


@pytest.mark.parametrize("blank", ["", " ", "\n \t", "\u00a0"])
def test_promise_2_blank_text_is_no_synthesis_and_no_error(bench: Bench, blank: str) -> None:
    bench.send(Text("a", blank), Flush("a"), Close("a"))
    closed = bench.run()[-1]
    assert (closed.reason, closed.problem, bench.told) == (Reason.COMPLETED, None, [])


def test_promise_2_text_that_does_not_fit_is_refused_with_an_error(
    make_bench: Callable[..., Bench],
) -> None:
    bench = make_bench(Limits(unspoken_bytes=5))
    bench.send(Text("a", "123456"))
    assert bench.pull()[-1].problem.code == "busy"


# --- 3: order within a context is arrival order ------------------------------------------------------


def test_promise_3_order_within_a_context_is_arrival_order(bench: Bench) -> None:
    bench.send(Text("a", "One."), Flush("a"), Text("a", "Two."), Flush("a"), Text("a", "Three."), Close("a"))
    shape = []
    for event in bench.run():
        match event:
            case SegmentStarted():
                shape.append(event.text)
            case Audio():
                shape.append(f"audio {event.segment}")
            case FlushDone():
                shape.append(f"flush {event.number}")
            case ContextClosed():
                shape.append("end")
    assert shape == [
        *("One.", "audio 1", "flush 1"),
        *("Two.", "audio 2", "flush 2"),
        *("Three.", "audio 3", "end"),
    ]


def test_promise_3_the_end_never_overtakes_audio(bench: Bench, of: Of) -> None:
    bench.send(Text("a", "Hello, this is long."), Close("a"))
    bench.chunk(bench.owed[0], 5000)
    bench.end(bench.owed[0])
    events = bench.pull()
    assert len(of(events, Audio)) == 50
    assert isinstance(events[-1], ContextClosed)


# --- 4: the smallest failure scope -------------------------------------------------------------------


def _one_too_many(bench: Bench) -> None:
    for number in range(30):
        bench.send(Open(f"more {number}"))


def _bad_setting(bench: Bench) -> None:
    bench.send(Open("bad"), Invalid(BAD, "bad"))


def _unknown_voice(bench: Bench) -> None:
    bench.send(Open("bad", ContextSettings(voice="nobody")))


def _idle(bench: Bench) -> None:
    bench.send(Open("bad", ContextSettings(inactivity_timeout=1)))
    bench.tick(bench.now + 1)


def _broken(bench: Bench) -> None:
    bench.say("bad", "Hello.")
    bench.end(bench.owed[-1], BROKEN)


def _unreadable(bench: Bench) -> None:
    bench.send(Invalid(BAD))


def _flood(bench: Bench) -> None:
    bench.send(Text("bad", "x" * 300_000))


@pytest.mark.parametrize(
    "misdeed", [_one_too_many, _bad_setting, _unknown_voice, _idle, _broken, _unreadable, _flood]
)
def test_promise_4_the_smallest_failure_scope(
    make_bench: Callable[..., Bench], of: Of, heard: Heard, misdeed: Callable[[Bench], None]
) -> None:
    bench = make_bench(check_voice=lambda voice, language: "No such voice." if voice == "nobody" else None)
    bench.send(Text("good", "I go "))
    misdeed(bench)
    bench.send(Text("good", "on."), Close("good"))
    events = bench.run()
    assert heard(events, "good") == "I go on."
    assert of(events, ContextClosed, "good")[0].reason is Reason.COMPLETED
    assert of(events, SessionClosed) == []


# --- 5: a slot is free when its context is told to close ---------------------------------------------


@pytest.mark.parametrize("close", [Close("context 3"), Close("context 3", immediate=True)])
def test_promise_5_a_slot_is_free_when_its_context_is_told_to_close(
    bench: Bench, of: Of, close: Close
) -> None:
    for number in range(20):
        bench.say(f"context {number}", "Hello.")
    assert bench.session.open_contexts == 20
    bench.send(Open("one more"))
    assert of(bench.pull(), ContextClosed, "one more")[0].problem.code == "too_many_contexts"
    bench.send(close, Open("another"))
    assert bench.session.open_contexts == 20
    assert len(of(bench.pull(), ContextOpened, "another")) == 1


def test_promise_5_draining_is_bounded(bench: Bench, of: Of) -> None:
    for number in range(21):
        bench.say(f"context {number}", "Hello.")
        bench.send(Close(f"context {number}"))
    (closed,) = of(bench.pull(), ContextClosed)
    assert (closed.context, closed.problem.code, closed.problem.limit) == ("context 20", "busy", 20)


def test_promise_5_unspoken_text_is_bounded(bench: Bench, of: Of) -> None:
    for number in range(10):
        bench.send(Open(f"{number}", AUTO), Text(f"{number}", "x" * 32 * 1024))
    assert {event.problem.code for event in of(bench.pull(), ContextClosed)} == {"busy"}
    assert bench.session.open_contexts in (8, 9)  # the first segment of each is being spoken already


@pytest.mark.parametrize("command", [Flush("?"), Close("?"), Close("?", immediate=True), KeepAlive("?")])
def test_promise_5_control_messages_for_an_unknown_id_are_harmless(bench: Bench, command: Any) -> None:
    bench.send(command, KeepAlive())
    assert bench.pull() == []
    assert bench.session.live_contexts == 0
