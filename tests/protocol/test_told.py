"""What a client is told beside speech, what an engine is told beside text, and contexts that are opened
anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mux.errors import Problem
from mux.protocol.limits import Limits
from mux.protocol.messages import (
    Close,
    CloseSocket,
    Configure,
    Configured,
    ContextClosed,
    ContextOpened,
    Flush,
    Invalid,
    Open,
    Reason,
    SegmentDone,
    Text,
    Warning,
)
from mux.protocol.voice import ContextSettings

BROKEN = Problem(code="engine_failed", message="The engine broke.")
BAD = Problem(code="invalid_setting", message="speed is wrong.")
AUTO = ContextSettings(auto_mode=True)
Bench = Any
Make = Callable[..., Bench]
Of = Callable[..., list[Any]]


# --- Configured --------------------------------------------------------------------------------------


def test_settings_for_the_connection_are_confirmed_where_that_is_asked_for(bench: Bench) -> None:
    bench.send(Configure(ContextSettings(voice="v")))
    assert bench.pull() == []
    bench.send(Configure(ContextSettings(voice="w"), answer=True))
    assert bench.pull() == [Configured()]


def test_each_one_is_and_what_is_opened_after_it_has_them(bench: Bench, of: Of) -> None:
    bench.send(
        *(Configure(ContextSettings(voice=voice), answer=True) for voice in "uvw"), Open("a"), Open("b")
    )
    events = bench.pull()
    assert events[:3] == [Configured()] * 3
    assert [event.settings.voice for event in of(events, ContextOpened)] == ["w", "w"]


def test_it_comes_before_speech_that_waits(bench: Bench) -> None:
    bench.say("a", "Hello.")
    bench.speak()
    bench.send(Configure(ContextSettings(), answer=True))
    assert isinstance(bench.pull(1)[0], Configured)


def test_a_clamped_setting_is_said_first(bench: Bench) -> None:
    bench.send(Configure(ContextSettings(inactivity_timeout=1e6), answer=True))
    assert [type(event) for event in bench.pull()] == [Warning, Configured]


def test_unread_answers_are_bounded(make_bench: Make) -> None:
    bench = make_bench(Limits(backlog=5))
    bench.send(*[Configure(ContextSettings(), answer=True)] * 5)
    assert not bench.session.congested
    bench.send(Configure(ContextSettings(), answer=True))
    assert bench.session.congested
    bench.pull()
    assert not bench.session.congested


# --- made_in -----------------------------------------------------------------------------------------


def test_how_long_the_engine_took_is_told_with_the_segments_end(bench: Bench, of: Of) -> None:
    bench.now = 10.0
    bench.say("a", "One.")
    bench.say("a", "Two.")
    bench.now = 10.25
    bench.chunk(bench.owed[0], 40)
    bench.now = 10.5
    bench.end(bench.owed[0])
    bench.now = 12.5
    bench.chunk(bench.owed[0], 40)
    bench.end(bench.owed[0])
    bench.now = 100.0  # when the client reads does not matter
    assert [event.made_in for event in of(bench.pull(), SegmentDone)] == [0.5, 2.0]


def test_waiting_for_a_client_that_does_not_read_is_not_counted(make_bench: Make, of: Of) -> None:
    bench = make_bench(Limits(ahead_seconds=0.05))
    bench.say("a", "One.")
    bench.say("a", "Two.")
    bench.chunk(bench.owed[0], 100)
    bench.end(bench.owed[0])
    assert bench.spoken == ["One."]
    bench.now = 50.0
    bench.pull(3)
    assert bench.spoken == ["One.", "Two."]
    bench.now = 51.0
    bench.chunk(bench.owed[0], 100)
    bench.end(bench.owed[0])
    assert [event.made_in for event in of(bench.pull(), SegmentDone)] == [0.0, 1.0]


# --- asked -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("commands", "reason"),
    [
        pytest.param([Close("a")], Reason.COMPLETED, id="close"),
        pytest.param([Close("a", immediate=True)], Reason.CANCELLED, id="cancel"),
        pytest.param([Close("a"), Close("a")], Reason.CANCELLED, id="twice"),
        pytest.param([Close("a"), Close("a", immediate=True)], Reason.CANCELLED, id="close and cancel"),
    ],
)
def test_a_context_that_its_client_closed_says_so(
    bench: Bench, of: Of, commands: list[Any], reason: Reason
) -> None:
    bench.say("a", "Hello.")
    bench.send(*commands)
    bench.tick(1.0)
    assert [(event.reason, event.asked) for event in of(bench.run(), ContextClosed)] == [(reason, True)]


def test_a_cancel_is_asked_of_every_context_of_its_id(bench: Bench, of: Of) -> None:
    bench.send(Open("a", AUTO), Text("a", "One."), Close("a"), Open("a", AUTO), Text("a", "Two."))
    bench.send(Close("a", immediate=True))
    bench.tick(1.0)
    assert [event.asked for event in of(bench.pull(), ContextClosed)] == [True, True]


def test_one_that_failed_after_its_close_was_asked_for_too(bench: Bench, of: Of) -> None:
    bench.say("a", "Hello.")
    bench.send(Close("a"))
    bench.end(bench.owed[0], BROKEN)
    assert [(event.reason, event.asked) for event in of(bench.pull(), ContextClosed)] == [
        (Reason.FAILED, True)
    ]


def test_an_end_that_the_server_made_was_not_asked_for(make_bench: Make, of: Of) -> None:
    bench = make_bench(Limits(contexts=3), ContextSettings(inactivity_timeout=5.0, auto_mode=True))
    bench.send(Open("expires"), Text("fails", "Hello."), Open("last"), Open("one too many"))
    bench.end(bench.owed[0], BROKEN)
    bench.tick(5.0)
    bench.send(Invalid(BAD, "unreadable"))
    closed = of(bench.pull(), ContextClosed)
    assert {event.context for event in closed} == {
        "expires",
        "fails",
        "last",
        "one too many",
        "unreadable",
    }
    assert not any(event.asked for event in closed)


def test_a_socket_that_is_gone_asked_for_nothing(bench: Bench, of: Of) -> None:
    bench.send(Open("a"), Text("b", "Hello."))
    bench.session.disconnect(0.0)
    assert [event.asked for event in of(bench.pull(), ContextClosed)] == [False, False]


# --- normalize, ssml ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("connection", "own", "expected"),
    [
        pytest.param({}, {}, (True, False), id="nobody said anything"),
        pytest.param({"normalize": False, "ssml": True}, {}, (False, True), id="the connection"),
        pytest.param({}, {"normalize": False, "ssml": True}, (False, True), id="the context"),
        pytest.param({"normalize": False, "ssml": True}, {"normalize": True, "ssml": False}, (True, False)),
    ],
)
def test_how_a_text_is_to_be_read_is_its_contexts(
    make_bench: Make, connection: dict[str, Any], own: dict[str, Any], expected: tuple[bool, bool]
) -> None:
    bench = make_bench(settings=ContextSettings(auto_mode=True, **connection))
    bench.send(Open("a", ContextSettings(**own)), Text("a", "It costs $5."), Text("a", "And 6."))
    bench.send(Text("other", "Hi."))
    bench.run()
    read = {(speak.serial, speak.segment): (speak.normalize, speak.ssml) for speak in bench.told}
    normalize, ssml = connection.get("normalize", True), connection.get("ssml", False)
    assert read == {(1, 1): expected, (1, 2): expected, (2, 1): (normalize, ssml)}


@pytest.mark.parametrize(
    "settings", [{"normalize": False}, {"ssml": True}, {"output_format": "pcm_8000"}, {"sentences": True}]
)
def test_it_cannot_change_in_the_middle(bench: Bench, of: Of, settings: dict[str, Any]) -> None:
    bench.say("a", "Hello.")
    bench.send(Open("a", ContextSettings(**settings)))
    bench.tick(1.0)
    (closed,) = of(bench.pull(), ContextClosed)
    assert closed.problem.code == "settings_changed"
    assert next(iter(settings)) in closed.problem.message


# --- opened anew -------------------------------------------------------------------------------------


def fail(bench: Bench, of: Of, id: str = "a") -> None:
    bench.say(id, "One.")
    bench.end(bench.owed[0], BROKEN)
    (closed,) = of(bench.pull(), ContextClosed)
    assert closed.reason is Reason.FAILED


def test_who_opens_anew_gets_a_new_context_whatever_became_of_the_last_one(bench: Bench, of: Of) -> None:
    fail(bench, of)
    bench.send(Text("a", "late"), Open("a", AUTO), Text("a", "late"))
    assert bench.pull() == []
    bench.send(Open("a", AUTO, anew=True), Text("a", "Two."))
    assert bench.spoken == ["One.", "Two."]
    assert [event.serial for event in of(bench.run(), ContextOpened)] == [2]


def test_also_where_the_failed_one_has_not_ended_yet(bench: Bench, of: Of) -> None:
    bench.say("a", "One.")
    bench.send(Invalid(BAD, "a"), Open("a", AUTO, anew=True), Text("a", "Two."))
    assert bench.spoken == ["One.", "Two."]
    events = bench.pull()
    assert not of(events, ContextOpened), "the old one's end comes first"
    bench.tick(1.0)
    serials = [event.serial for event in bench.run()]
    assert serials == sorted(serials)
    assert set(serials) == {1, 2}


def test_an_open_one_goes_on(bench: Bench, of: Of) -> None:
    bench.send(Open("a", anew=True), Text("a", "Hello, "), Open("a", anew=True), Text("a", "you."))
    bench.send(Flush("a"))
    assert bench.spoken == ["Hello, you."]
    assert len(of(bench.run(), ContextOpened)) == 1


def test_one_that_is_refused_is_silent_like_any_other(make_bench: Make, of: Of) -> None:
    bench = make_bench(Limits(contexts=1))
    bench.send(Open("other"))
    for _ in range(3):
        bench.send(Open("a", AUTO, anew=True), Text("a", "One."), Text("a", "Two."))
    closed = of(bench.pull(), ContextClosed)
    assert [(event.context, event.problem.code) for event in closed] == [("a", "too_many_contexts")] * 3
    assert bench.spoken == []
    bench.send(Close("other"), Open("a", AUTO, anew=True), Text("a", "Three."))
    assert bench.spoken == ["Three."]


def test_the_old_ones_late_failure_does_not_silence_the_new_one(make_bench: Make, of: Of) -> None:
    bench = make_bench(settings=ContextSettings(inactivity_timeout=1.0))
    bench.send(Text("a", "One."))
    bench.tick(1.0)
    bench.send(Open("a", AUTO, anew=True), Text("a", "Two."))
    bench.end(bench.owed[0], BROKEN)
    bench.send(Text("a", "Three."))
    bench.run()
    assert bench.spoken == ["One.", "Two.", "Three."]


def test_a_socket_that_closes_opens_nothing_anew(bench: Bench, of: Of) -> None:
    fail(bench, of)
    bench.send(CloseSocket(), Open("a", AUTO, anew=True), Text("a", "Two."))
    assert bench.spoken == ["One."]
