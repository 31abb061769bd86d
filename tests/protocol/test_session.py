"""All contexts of one socket: admission, ids, limits, deadlines, the end."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from mux.errors import Problem
from mux.protocol.limits import Limits
from mux.protocol.messages import (
    DEFAULT_CONTEXT,
    Audio,
    Close,
    CloseSocket,
    Configure,
    ContextClosed,
    ContextOpened,
    Flush,
    Invalid,
    KeepAlive,
    Open,
    Reason,
    SegmentEnded,
    SessionClosed,
    Speak,
    Spoken,
    Text,
    Warning,
)
from mux.protocol.session import Session
from mux.protocol.voice import ContextSettings

BROKEN = Problem(code="engine_failed", message="The engine broke.")
BAD = Problem(code="invalid_setting", message="speed is wrong.")
Bench = Any
Of = Callable[..., list[Any]]


def codes(events: list[Any]) -> list[tuple[str, str | None]]:
    """(context, problem code) of every end."""
    return [
        (event.context, event.problem.code if event.problem else None)
        for event in events
        if isinstance(event, ContextClosed)
    ]


# --- opening -----------------------------------------------------------------------------------------


def test_text_opens_its_context_with_the_connections_settings(bench: Bench, of: Of) -> None:
    bench.send(Configure(ContextSettings(voice="v")), Text("a", "Hi"), Configure(ContextSettings(voice="w")))
    bench.send(Text("b", "Hi"), Flush("a"), Flush("b"))
    assert [(event.context, event.settings.voice) for event in of(bench.pull(), ContextOpened)] == [
        ("a", "v"),
        ("b", "w"),
    ]
    assert [speak.voice for speak in bench.owed] == ["v", "w"]


def test_a_voice_that_cannot_be_spoken_refuses_its_context_alone(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(check_voice=lambda voice, language: "No voice x." if voice == "x" else None)
    bench.send(Open("good"), Open("bad", ContextSettings(voice="x")), Text("bad", "Hi"))
    assert codes(bench.pull()) == [("bad", "unknown_voice")]
    assert bench.session.open_contexts == 1


def test_also_when_it_is_asked_for_after_opening(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(check_voice=lambda voice, language: "No voice x." if voice == "x" else None)
    bench.send(Open("a"), Open("a", ContextSettings(voice="x")), Text("a", "Hi"), Flush("a"))
    assert codes(bench.pull()) == [("a", "unknown_voice")]
    assert bench.spoken == []


def test_an_id_that_is_too_long_is_refused_and_not_kept(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(Limits(id_bytes=4))
    bench.send(Open("äää"), Open("abcd"), Text("x" * 100_000, "Hi"))
    closed = [event for event in bench.pull() if isinstance(event, ContextClosed)]
    assert [(event.context, event.problem.observed) for event in closed] == [
        ("äää", 6),
        ("x" * 100_000, 100_000),
    ]
    assert bench.session.open_contexts == 1
    assert all(len(id) <= 5 for id in bench.session._roster._dead._ids)


def test_a_timeout_out_of_range_is_clamped_and_said_so(bench: Bench, of: Of) -> None:
    bench.send(
        Configure(ContextSettings(inactivity_timeout=1e6)), Open("a", ContextSettings(inactivity_timeout=0))
    )
    warnings = of(bench.pull(), Warning)
    assert [(event.context, event.problem.code, event.problem.observed) for event in warnings] == [
        (None, "setting_clamped", 1e6),
        ("a", "setting_clamped", 0),
    ]
    assert bench.session.next_deadline() == 1.0


# --- ids that are used again, and ids that are dead --------------------------------------------------


def test_a_new_context_of_a_draining_id_waits_for_the_old_end(bench: Bench) -> None:
    bench.say("a", "Old.")
    bench.send(Close("a"))
    bench.say("a", "New.")
    assert bench.spoken == ["Old.", "New."]
    bench.owed.reverse()
    bench.speak()
    events = bench.pull()
    assert {event.serial for event in events} == {1}
    bench.speak()
    assert [event.serial for event in bench.pull()] == [1] * 3 + [2] * 4


def test_a_chain_of_one_id_ends_in_order(bench: Bench) -> None:
    for number in range(5):
        bench.say("a", f"Number {number}.")
        bench.send(Close("a"))
    serials = [event.serial for event in bench.run()]
    assert serials == sorted(serials)
    assert bench.session.live_contexts == 0


def test_an_immediate_close_silences_every_context_of_its_id(bench: Bench) -> None:
    bench.say("a", "Old.")
    bench.send(Close("a"))
    bench.say("a", "New.")
    bench.send(Close("a", immediate=True))
    assert [(stop.serial, stop.segment) for stop in bench.stopped] == [(1, 1), (2, 1)]


def test_an_id_that_the_server_ended_is_silent_until_its_close(bench: Bench) -> None:
    bench.say("a", "One.")
    bench.end(bench.owed[0], BROKEN)
    assert codes(bench.pull()) == [("a", "engine_failed")]
    bench.send(Text("a", "Two."), Flush("a"), Open("a"), KeepAlive("a"), Invalid(BAD, "a"))
    assert bench.pull() == []
    bench.send(Close("a"))
    bench.say("a", "Three.")
    assert bench.spoken == ["One.", "Three."]


def test_an_id_that_failed_after_its_close_can_be_used_at_once(bench: Bench) -> None:
    """Its client has closed it and will not do so again: else the id were dead for ever."""
    bench.say("a", "One.")
    bench.send(Close("a"))
    bench.end(bench.owed[0], BROKEN)
    bench.say("a", "Two.")
    assert bench.spoken == ["One.", "Two."]


def test_the_memory_of_dead_ids_is_bounded_and_forgets_the_oldest(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(Limits(remembered_ids=2))
    bench.send(*(Invalid(BAD, id) for id in "abc"))
    assert len(codes(bench.pull())) == 3
    bench.send(*(Text(id, "late") for id in "abc"))
    assert {event.context for event in bench.pull()} == {"a"}


# --- limits ------------------------------------------------------------------------------------------


def test_too_many_contexts_names_those_that_are_open(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(Limits(contexts=2))
    bench.send(Open("a"), Open("b"), Open("c"))
    (closed,) = [event for event in bench.pull() if isinstance(event, ContextClosed)]
    problem = closed.problem
    assert (closed.context, problem.code, problem.limit, problem.observed, problem.allowed) == (
        "c",
        "too_many_contexts",
        2,
        3,
        ("a", "b"),
    )
    assert problem.retryable


def test_too_many_draining_contexts_are_busy(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(Limits(draining=2))
    for id in "abc":
        bench.say(id, "Speak.")
        bench.send(Close(id))
    assert bench.spoken == ["Speak.", "Speak."]
    bench.speak()
    assert codes(bench.pull()) == [("c", "busy"), ("a", None)]
    bench.say("d", "Free again.")
    assert bench.spoken[-1] == "Free again."


def test_too_much_unspoken_text_ends_the_context_that_sent_it(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(Limits(unspoken_bytes=10))
    bench.send(Text("a", "12345"), Text("b", "äö"), Text("b", "12"))
    assert codes(bench.pull()) == [("b", "busy")]
    bench.send(Text("a", "67890"), Close("a"))
    assert bench.spoken == ["1234567890"]
    bench.send(Text("c", "1234567890"))
    assert codes(bench.pull()) == []


@pytest.mark.parametrize("end", [Close("a"), Close("a", immediate=True), Invalid(BAD, "a")])
def test_an_ended_context_gives_its_text_allowance_back(make_bench: Callable[..., Bench], end: Any) -> None:
    bench = make_bench(Limits(unspoken_bytes=10))
    for _ in range(3):
        bench.send(Text("a", "x" * 8 + "  "), end, Close("a"))
        bench.run()
        assert bench.session.live_contexts == 0


def test_white_space_that_is_never_spoken_takes_no_allowance(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(Limits(unspoken_bytes=10))
    bench.say("a", "Hi.")
    bench.send(Text("b", "Hi."), Flush("b"), Text("b", " " * 10), Close("b"))
    bench.send(Text("c", "x" * 10))
    assert codes(bench.pull()) == []


def test_an_engine_that_speaks_without_end_loses_its_context(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(Limits(audio_bytes=1000))
    bench.say("a", "Hello.")
    bench.say("b", "Hello.")
    for _ in range(6):
        bench.chunk(bench.owed[0], 100)
    assert [stop.serial for stop in bench.stopped] == [1]
    bench.end(bench.owed[0])
    assert codes(bench.pull()) == [("a", "segment_too_long")]


def test_reading_pauses_while_ends_are_not_read(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(Limits(contexts=2, draining=2, backlog=5))
    count = 0
    while not bench.session.congested:
        count += 1
        bench.send(Invalid(BAD, f"id {count}"))
    assert count == 10
    bench.pull()
    assert not bench.session.congested


def test_reading_pauses_while_warnings_are_not_read(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(Limits(backlog=5))
    bench.send(*[Invalid(BAD)] * 6)
    assert bench.session.congested


def test_a_socket_survives_some_unreadable_messages_and_no_more(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(Limits(invalid_messages=2))
    bench.say("a", "Hello.")
    bench.send(Invalid(BAD), Invalid(BAD))
    assert [type(event) for event in bench.pull()][:2] == [Warning, Warning]
    bench.send(Invalid(BAD))
    bench.end(bench.owed[0])
    closed, end = bench.pull()
    assert (closed.reason, closed.problem.code) == (Reason.SOCKET_CLOSED, "too_many_invalid_messages")
    assert (end.code, end.problem.code, end.problem.limit) == (1008, "too_many_invalid_messages", 2)


# --- deadlines ---------------------------------------------------------------------------------------


def test_the_next_deadline_is_the_earliest(bench: Bench) -> None:
    bench.send(
        Open("a", ContextSettings(inactivity_timeout=20)), Open("b", ContextSettings(inactivity_timeout=5))
    )
    assert bench.session.next_deadline() == 5
    bench.tick(4.9)
    assert bench.session.open_contexts == 2
    bench.tick(5.0)
    assert bench.session.open_contexts == 1
    assert bench.session.next_deadline() == 20


def test_a_keepalive_of_the_socket_touches_no_context(bench: Bench) -> None:
    bench.send(Open("a", ContextSettings(inactivity_timeout=5)))
    bench.now = 3.0
    bench.send(KeepAlive())
    assert bench.session.next_deadline() == 5


def test_a_late_tick_is_as_good_as_a_punctual_one(bench: Bench) -> None:
    bench.send(Open("a", ContextSettings(inactivity_timeout=5)), Text("a", "Hi"))
    bench.tick(1000.0)
    assert bench.spoken == ["Hi"]
    assert bench.session.next_deadline() == math.inf


# --- the end of the socket ---------------------------------------------------------------------------


def test_close_socket_drains_every_context_and_then_closes(bench: Bench, of: Of) -> None:
    bench.send(Text("a", "One."), Text("b", "Two."), CloseSocket())
    events = bench.run()
    assert sorted(bench.spoken) == ["One.", "Two."]
    assert {event.reason for event in of(events, ContextClosed)} == {Reason.COMPLETED}
    assert events[-1] == SessionClosed(1000, "")
    assert bench.session.closed


def test_a_context_of_a_closing_socket_is_refused(bench: Bench) -> None:
    bench.say("a", "One.")
    bench.send(CloseSocket(), Text("b", "Two."))
    assert codes(bench.pull()) == [("b", "socket_closing")]
    bench.speak()
    assert isinstance(bench.pull()[-1], SessionClosed)


def test_nothing_follows_the_end_of_the_session(bench: Bench) -> None:
    bench.send(CloseSocket())
    assert bench.pull() == [SessionClosed(1000, "")]
    bench.send(Text("a", "Hi"), Open("b"), Invalid(BAD), CloseSocket())
    bench.session.warn(BAD)
    bench.session.finish(SessionClosed(1001, ""), 0)
    bench.tick(1.0)
    assert bench.pull() == []
    assert bench.session.live_contexts == 0


def test_winding_down_lets_running_contexts_go_on(bench: Bench) -> None:
    draining = Problem(code="draining", message="The server restarts.")
    bench.say("a", "One.")
    bench.session.wind_down(draining, SessionClosed(1012, "restart", draining))
    bench.say("a", "Two.")
    bench.send(Open("b"))
    assert codes(bench.run()) == [("b", "draining")]
    assert bench.spoken == ["One.", "Two."]
    bench.send(Close("a"))
    assert bench.pull()[-1] == SessionClosed(1012, "restart", draining)


def test_late_text_for_a_context_of_a_failed_socket_gets_no_second_error(bench: Bench) -> None:
    bench.send(Text("a", "Hi. "), Flush("a"), Text("b", "Ho. "))
    bench.session.fail(BROKEN, bench.now)
    ends = codes(bench.pull())  # "a" still waits for its engine
    bench.send(Text("b", "more. "))
    ends += codes(bench.pull())
    bench.end(bench.owed[0])
    assert ends + codes(bench.pull()) == [("b", BROKEN.code), ("a", BROKEN.code)]


def test_a_failed_socket_ends_every_context_with_its_problem(bench: Bench) -> None:
    bench.say("a", "One.")
    bench.say("b", "Two.")
    bench.send(Close("b"))
    bench.session.fail(BROKEN, 0)
    bench.send(Text("c", "Three."))
    bench.tick(1.0)
    *closed, end = bench.pull()
    assert sorted(codes(closed)) == [(id, "engine_failed") for id in "abc"]
    assert (end.code, end.reason, end.problem) == (1011, BROKEN.message, BROKEN)


def test_the_usage_of_a_socket_that_is_gone_is_settled_at_once(bench: Bench, of: Of) -> None:
    bench.say("a", "One.")
    bench.chunk(bench.owed[0], 100)
    bench.say("b", "Two.")
    bench.send(Close("b", immediate=True), Open("c"), Text("b", "held"), Close("b"))
    bench.session.disconnect(0)
    closed = bench.pull()
    assert of(closed, ContextClosed) == closed
    assert sorted(event.serial for event in closed) == [1, 2, 3, 4]
    assert closed[0].usage.audio_dropped_ms == 100
    assert bench.session.live_contexts == 0
    assert bench.session.next_deadline() == math.inf


# --- late and unknown reports ------------------------------------------------------------------------


def test_a_late_report_never_reaches_the_next_context_of_its_id(bench: Bench, of: Of) -> None:
    bench.say("a", "One.")
    (old,) = bench.owed
    bench.send(Close("a", immediate=True))
    bench.tick(1.0)
    bench.say("a", "Two.")
    bench.chunk(old, 500)
    bench.end(old, BROKEN)
    events = bench.run()
    assert sum(len(event.pcm) // 2 for event in of(events, Audio)) == 40
    bench.send(Close("a"))
    assert codes(bench.pull()) == [("a", None)]
    assert bench.session.due(old.serial) == math.inf


def test_several_voices_may_talk_in_one_context() -> None:
    session = Session(ContextSettings(voice="narrator"))
    session.receive(Text("a", "Once upon a time. "), 0)
    session.receive(Text("a", "I am hungry. ", voice="wolf"), 0)
    session.receive(Text("a", "Very hungry. ", voice="wolf"), 0)
    session.receive(Text("a", "Oh. ", voice="girl"), 0)
    session.receive(Close("a"), 0)
    said = []
    while effects := session.take_effects():
        (speak,) = effects
        assert isinstance(speak, Speak)
        said.append((speak.voice, speak.text))
        session.report(Spoken(speak.serial, speak.segment, bytes(200), 1000), 0)
        session.report(SegmentEnded(speak.serial, speak.segment), 0)
        while session.next_event(0):
            pass
    assert said == [
        ("narrator", "Once upon a time. "),
        ("wolf", "I am hungry. Very hungry. "),
        ("girl", "Oh. "),
    ]


def test_a_flood_of_flushes_pauses_the_reading_until_their_ends_are_read() -> None:
    session = Session(ContextSettings(), limits=Limits(flushes=3))
    session.receive(Text("a", "Hello. "), 0)
    for _ in range(3):
        session.receive(Flush("a"), 0)
    assert not session.congested
    session.receive(Flush("a"), 0)
    assert session.congested
    (speak,) = session.take_effects()
    assert isinstance(speak, Speak)
    session.report(Spoken(speak.serial, 1, bytes(200), 1000), 0)
    session.report(SegmentEnded(speak.serial, 1), 0)
    assert session.congested
    while session.next_event(0):
        pass
    assert not session.congested


def test_a_space_without_an_id_parts_two_words_but_opens_nothing() -> None:
    session = Session(ContextSettings())
    session.receive(Text(DEFAULT_CONTEXT, " "), 0)
    assert session.live_contexts == 0
    for word in ("Hello", " ", "world."):
        session.receive(Text(DEFAULT_CONTEXT, word), 0)
    session.receive(Flush(DEFAULT_CONTEXT), 0)
    (speak,) = session.take_effects()
    assert isinstance(speak, Speak)
    assert speak.text == "Hello world."


@pytest.mark.parametrize(
    ("voice", "language", "code"),
    [("nobody", None, "unknown_voice"), ("anne", "tlh", "unsupported_language"), ("anne", "de", None)],
)
def test_what_cannot_be_spoken_is_told_apart(voice: str, language: str | None, code: str | None) -> None:
    def check(voice: str | None, language: str | None) -> str | None:
        return "Not here." if voice == "nobody" or language == "tlh" else None

    session = Session(ContextSettings(), check_voice=check)
    session.receive(Open("a", ContextSettings(voice=voice, language=language)), 0)
    closed = [
        event for event in iter(lambda: session.next_event(0), None) if isinstance(event, ContextClosed)
    ]
    assert [event.problem.code for event in closed if event.problem] == ([code] if code else [])
