"""What a wire may want otherwise than the first one did: each of these limits, on and off. What a restart
does is in test_restart.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mux.errors import Problem
from mux.protocol.limits import STRICT, Limits
from mux.protocol.messages import (
    Close,
    CloseSocket,
    Configure,
    ContextClosed,
    ContextOpened,
    Flush,
    KeepAlive,
    Open,
    Reason,
    SessionClosed,
    Text,
)
from mux.protocol.voice import ContextSettings

BROKEN = Problem(code="engine_failed", message="The engine broke.")
Bench = Any
Make = Callable[..., Bench]
Of = Callable[..., list[Any]]


def ends(events: list[Any]) -> list[tuple[str, Reason, str | None]]:
    return [
        (event.context, event.reason, event.problem.code if event.problem else None)
        for event in events
        if isinstance(event, ContextClosed)
    ]


# --- second_close_cancels ----------------------------------------------------------------------------


@pytest.mark.parametrize("cancels", [True, False])
def test_a_second_close_is_a_barge_in_or_nothing(make_bench: Make, of: Of, cancels: bool) -> None:
    bench = make_bench(Limits(second_close_cancels=cancels))
    bench.say("a", "Hello.")
    bench.send(Close("a"), Close("a"), Close("a"))
    assert bool(bench.stopped) is cancels
    bench.chunk(bench.owed[0], 100)
    bench.end(bench.owed[0])
    assert ends(bench.pull()) == [("a", Reason.CANCELLED if cancels else Reason.COMPLETED, None)]


def test_where_it_is_nothing_an_immediate_close_still_cancels(make_bench: Make) -> None:
    bench = make_bench(Limits(second_close_cancels=False))
    bench.say("a", "Hello.")
    bench.send(Close("a"), Close("a", immediate=True))
    assert bench.stopped
    bench.end(bench.owed[0])
    assert ends(bench.pull()) == [("a", Reason.CANCELLED, None)]


def test_and_a_close_reaches_the_next_context_of_its_id(make_bench: Make) -> None:
    bench = make_bench(Limits(second_close_cancels=False))
    bench.say("a", "One.")
    bench.send(Close("a"), Close("a"), Text("a", "Two."), Close("a"), Close("a"))
    assert ends(bench.run()) == [("a", Reason.COMPLETED, None)] * 2
    assert bench.spoken == ["One.", "Two."]


# --- expiry_closes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("closes", [True, False])
def test_text_for_an_expired_id_opens_a_new_context_or_is_silent(make_bench: Make, closes: bool) -> None:
    bench = make_bench(Limits(expiry_closes=closes), ContextSettings(inactivity_timeout=1.0))
    bench.send(Text("a", "One."))
    bench.tick(1.0)
    assert ends(bench.run()) == [("a", Reason.TIMED_OUT, "input_timeout")]
    bench.send(Text("a", "Two."), Flush("a"))
    assert bench.spoken == (["One.", "Two."] if closes else ["One."])
    assert bench.session.open_contexts == closes


def test_text_that_comes_while_the_expired_one_still_speaks_waits_for_its_end(make_bench: Make) -> None:
    bench = make_bench(Limits(expiry_closes=True), ContextSettings(inactivity_timeout=1.0))
    bench.send(Text("a", "One."))
    bench.tick(1.0)
    bench.send(Text("a", "Two."), Flush("a"))
    assert bench.spoken == ["One.", "Two."]
    assert {event.serial for event in bench.pull()} == {1}
    serials = [event.serial for event in bench.run()]
    assert serials == sorted(serials)
    assert set(serials) == {1, 2}


def test_an_id_that_failed_stays_silent_all_the_same(make_bench: Make) -> None:
    bench = make_bench(Limits(expiry_closes=True))
    bench.say("a", "One.")
    bench.end(bench.owed[0], BROKEN)
    bench.say("a", "Two.")
    assert bench.spoken == ["One."]


def test_a_new_context_does_not_suffer_for_an_expired_one_that_fails_late(make_bench: Make) -> None:
    """The new one's client never heard of an end of its own, so its id must not be dead after it."""
    bench = make_bench(Limits(expiry_closes=True), ContextSettings(inactivity_timeout=1.0))
    bench.send(Text("a", "One."))
    bench.tick(1.0)
    bench.send(Text("a", "Two."))
    bench.end(bench.owed[0], BROKEN)
    bench.tick(2.0)
    assert [reason for _, reason, _ in ends(bench.run())] == [Reason.FAILED, Reason.TIMED_OUT]
    bench.send(Text("a", "Three."), Flush("a"))
    assert bench.spoken == ["One.", "Two.", "Three."]


# --- voice_required ----------------------------------------------------------------------------------


@pytest.mark.parametrize("required", [True, False])
def test_text_without_a_voice_is_refused_or_spoken_by_the_default_one(
    make_bench: Make, required: bool
) -> None:
    bench = make_bench(Limits(voice_required=required))
    bench.send(Text("a", "Hello."), Flush("a"))
    assert bench.spoken == ([] if required else ["Hello."])
    expected = [("a", Reason.FAILED, "missing_voice")] if required else []
    assert ends(bench.run()) == expected


@pytest.mark.parametrize(
    "commands",
    [
        pytest.param((Configure(ContextSettings(voice="v")), Text("a", "Hello.")), id="connection"),
        pytest.param((Open("a", ContextSettings(voice="v")), Text("a", "Hello.")), id="context"),
        pytest.param((Open("a"), Open("a", ContextSettings(voice="v")), Text("a", "Hello.")), id="later"),
        pytest.param((Text("a", "Hello.", voice="v"),), id="text"),
    ],
)
def test_wherever_the_voice_was_named_will_do(make_bench: Make, commands: tuple[Any, ...]) -> None:
    bench = make_bench(Limits(voice_required=True))
    bench.send(*commands, Flush("a"))
    assert [(speak.text, speak.voice) for speak in bench.owed] == [("Hello.", "v")]


def test_only_text_needs_a_voice(make_bench: Make) -> None:
    bench = make_bench(Limits(voice_required=True))
    bench.send(Open("a"), Text("b", ""), Text("b", " \n"), Flush("b"), KeepAlive("b"), Close("b"))
    assert ends(bench.run()) == [("b", Reason.COMPLETED, None)]
    assert bench.session.open_contexts == 1


def test_its_refusal_says_what_to_do_and_ends_nobody_else(make_bench: Make, of: Of) -> None:
    bench = make_bench(Limits(voice_required=True))
    bench.send(Open("good", ContextSettings(voice="v")), Text("bad", "Hello."), Text("good", "Hello."))
    (closed,) = of(bench.pull(), ContextClosed)
    assert closed.context == "bad"
    assert closed.problem.param == "voice_id"
    assert "Hello" not in closed.problem.message
    assert bench.session.open_contexts == 1


# --- all together ------------------------------------------------------------------------------------


def test_the_defaults_and_the_strict_profile_are_the_first_wires() -> None:
    for limits in (Limits(), STRICT):
        assert limits.second_close_cancels
        milder = (limits.expiry_closes, limits.voice_required, limits.restart_at_rest)
        assert milder == (False, False, False)


def test_a_socket_with_all_of_them_ends_in_order(make_bench: Make, of: Of) -> None:
    limits = Limits(second_close_cancels=False, expiry_closes=True, voice_required=True, restart_at_rest=True)
    bench = make_bench(limits, ContextSettings(voice="v", inactivity_timeout=5.0))
    bench.send(Text("a", "One."), Text("b", "Two."), Close("a"), Close("a"), CloseSocket())
    events = bench.run()
    assert {event.reason for event in of(events, ContextClosed)} == {Reason.COMPLETED}
    assert len(of(events, ContextOpened)) == len(of(events, ContextClosed)) == 2
    assert events[-1] == SessionClosed(1000, "")
