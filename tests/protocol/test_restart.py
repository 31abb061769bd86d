"""A restart (`wind_down`) where it ends contexts that have said all they were asked to (`restart_at_rest`):
clients of that wire keep their contexts open, so they would never end by themselves."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from mux.errors import Problem
from mux.protocol.limits import Limits
from mux.protocol.messages import (
    Close,
    ContextClosed,
    Flush,
    FlushDone,
    Open,
    Reason,
    SegmentDone,
    SessionClosed,
    Text,
)
from mux.protocol.voice import ContextSettings

DRAINING = Problem(code="draining", message="The server restarts.")
END = SessionClosed(1012, "restart", DRAINING)
Bench = Any
Of = Callable[..., list[Any]]


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    return make_bench(Limits(restart_at_rest=True))


def restart(bench: Bench) -> None:
    bench.session.wind_down(DRAINING, END)


def test_a_socket_without_contexts_ends_at_once(bench: Bench) -> None:
    restart(bench)
    assert bench.pull() == [END]


def test_contexts_at_rest_end_at_once_and_then_their_socket(bench: Bench, of: Of) -> None:
    bench.send(Open("fresh"), Text("blank", " \n"), Text("done", "Hello."), Flush("done"))
    bench.run()
    restart(bench)
    events = bench.pull()
    closed = of(events, ContextClosed)
    assert {event.context for event in closed} == {"fresh", "blank", "done"}
    assert {(event.reason, event.problem, event.asked) for event in closed} == {
        (Reason.SOCKET_CLOSED, None, False)
    }
    assert events[3:] == [END]
    assert bench.session.closed
    done = next(event.usage for event in closed if event.context == "done")
    assert done.characters_sent == done.characters_accepted == len("Hello.")
    assert done.audio_dropped_ms == 0


def test_without_it_their_clients_end_them(make_bench: Callable[..., Bench], of: Of) -> None:
    bench = make_bench(Limits())
    bench.send(Open("a"))
    restart(bench)
    assert of(bench.pull(), ContextClosed) == []
    bench.send(Close("a"))
    assert bench.pull()[-1] == END


def test_before_a_restart_nobody_is_ended(bench: Bench, of: Of) -> None:
    bench.send(Open("a"), Text("b", "Hello."), Flush("b"))
    bench.run()
    assert bench.pull() == []
    assert bench.session.open_contexts == 2


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="schedule"),
        pytest.param({"auto_mode": True}, id="spoken at once"),
        pytest.param({"sentences": True, "flush_timeout": 0.5}, id="spoken after a pause"),
    ],
)
def test_text_that_was_not_flushed_is_waited_for(
    make_bench: Callable[..., Bench], of: Of, settings: dict[str, Any]
) -> None:
    """Its client is in the middle of a turn, also where all of it was spoken already."""
    bench = make_bench(Limits(restart_at_rest=True), ContextSettings(**settings))
    bench.send(Text("a", "Hello."))
    bench.tick(1.0)
    bench.run()
    restart(bench)
    assert bench.pull() == []
    bench.send(Text("a", " And more."), Flush("a"))
    events = bench.run()
    assert "".join(bench.spoken) == "Hello. And more."
    assert [type(event) for event in events][-3:] == [FlushDone, ContextClosed, SessionClosed]


def test_one_that_speaks_keeps_its_neighbours(bench: Bench, of: Of) -> None:
    bench.send(Open("resting"), Text("busy", "Hello."), Flush("busy"))
    restart(bench)
    assert of(bench.pull(), ContextClosed) == []
    bench.chunk(bench.owed[0], 250)
    assert of(bench.pull(), ContextClosed) == []
    bench.send(Text("resting", "Me too."), Flush("resting"))
    events = bench.run()
    assert sorted(bench.spoken) == ["Hello.", "Me too."]
    assert len(of(events, FlushDone)) == 2
    assert [type(event) for event in events][-3:] == [ContextClosed, ContextClosed, SessionClosed]


def test_speech_that_waits_is_sent(bench: Bench, of: Of) -> None:
    bench.send(Text("a", "Hello."), Flush("a"))
    bench.speak()
    restart(bench)
    usage = of(bench.pull(), ContextClosed)[0].usage
    assert usage.audio_sent_ms == usage.audio_generated_ms == 60
    assert usage.audio_dropped_ms == 0


def test_the_ends_of_a_segment_and_of_a_flush_are_told_before(bench: Bench) -> None:
    """Whoever reads slowly loses nothing: one event at a time, the restart amid them."""
    bench.send(Text("a", "Hello."), Flush("a"))
    bench.speak()
    events = []
    for _ in range(20):
        events += bench.pull(1)
        restart(bench)
    assert [type(event) for event in events][-4:] == [SegmentDone, FlushDone, ContextClosed, SessionClosed]
    assert len(events) == 7


def test_a_flush_of_nothing_is_answered_before(bench: Bench) -> None:
    bench.send(Open("a"), Flush("a"), Flush("a"))
    restart(bench)
    assert [type(event) for event in bench.pull()][1:] == [FlushDone, FlushDone, ContextClosed, SessionClosed]


def test_a_closed_one_that_drains_is_waited_for(bench: Bench, of: Of) -> None:
    bench.send(Open("resting"), Text("a", "Hello."), Close("a"))
    restart(bench)
    assert of(bench.pull(), ContextClosed) == []
    closed = of(bench.run(), ContextClosed)
    assert [(event.context, event.reason) for event in closed] == [
        ("a", Reason.COMPLETED),
        ("resting", Reason.SOCKET_CLOSED),
    ]
    assert bench.session.closed


def test_one_that_is_being_stopped_is_waited_for(bench: Bench, of: Of) -> None:
    bench.send(Open("resting"), Text("a", "Hello."), Close("a"))
    bench.send(Close("a", immediate=True))
    restart(bench)
    assert of(bench.pull(), ContextClosed) == []
    bench.tick(1.0)
    assert [event.context for event in of(bench.pull(), ContextClosed)] == ["a", "resting"]
    assert bench.session.closed


def test_one_that_waits_for_its_predecessors_end_is_not_forgotten(bench: Bench, of: Of) -> None:
    bench.send(Text("a", "One."), Close("a"), Open("a"))
    restart(bench)
    assert of(bench.pull(), ContextClosed) == []
    assert [(event.serial, event.reason) for event in of(bench.run(), ContextClosed)] == [
        (1, Reason.COMPLETED),
        (2, Reason.SOCKET_CLOSED),
    ]
    assert bench.session.closed


def test_new_contexts_are_refused_meanwhile(bench: Bench, of: Of) -> None:
    bench.send(Text("a", "One."))
    restart(bench)
    bench.send(Open("b"))
    (refused,) = of(bench.pull(), ContextClosed)
    assert (refused.context, refused.problem) == ("b", DRAINING)
    bench.send(Flush("a"))
    assert bench.run()[-1] == END


def test_after_it_no_deadline_is_left(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(Limits(restart_at_rest=True), ContextSettings(inactivity_timeout=5.0))
    bench.send(Open("a"))
    restart(bench)
    bench.pull()
    assert bench.session.next_deadline() == math.inf


def test_an_unflushed_turn_that_expires_ends_the_wait(make_bench: Callable[..., Bench], of: Of) -> None:
    bench = make_bench(Limits(restart_at_rest=True), ContextSettings(inactivity_timeout=5.0))
    bench.send(Open("resting"), Text("a", "Hello."))
    restart(bench)
    bench.pull()
    bench.now = 4.0
    bench.send(Open("resting"))
    bench.tick(5.0)
    closed = of(bench.run(), ContextClosed)
    assert [(event.context, event.reason) for event in closed] == [
        ("a", Reason.TIMED_OUT),
        ("resting", Reason.SOCKET_CLOSED),
    ]
    assert bench.spoken == ["Hello."]
    assert bench.session.closed
