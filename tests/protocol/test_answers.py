"""Closes that are answered each by an end of their own, and answers for contexts that are not there."""

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
    NotThere,
    Open,
    Reason,
    SessionClosed,
    Text,
    Usage,
)
from mux.protocol.voice import ContextSettings

BAD = Problem(code="invalid_setting", message="speed is wrong.")
FLUSH = Close("a", answered=True)
CLOSE = Close("a", answered=True, joins=True)
CANCEL = Close("a", immediate=True, answered=True)
Bench = Any
Of = Callable[..., list[Any]]


def ends(events: list[Any]) -> list[tuple[Reason, Close | None]]:
    """How each context ended, and what it was there to answer (None: it was a turn)."""
    return [(event.reason, event.answers) for event in events if isinstance(event, ContextClosed)]


TURN = (Reason.COMPLETED, None)
CANCELLED = (Reason.CANCELLED, None)


@pytest.fixture
def bench(make_bench: Any) -> Bench:
    """As the wire with such closes has it."""
    return make_bench(Limits(second_close_cancels=False))


# --- an end for each ---------------------------------------------------------------------------------


def test_the_end_of_what_it_closes_is_the_answer(bench: Bench) -> None:
    for close in (FLUSH, CLOSE):
        bench.say("a", "Hello.")
        bench.send(close)
        assert ends(bench.run()) == [TURN]


@pytest.mark.parametrize("close", [FLUSH, CLOSE])
def test_with_nothing_to_close_an_empty_context_ends(bench: Bench, of: Of, close: Close) -> None:
    for _ in range(2):
        bench.send(close)
        events = bench.pull()
        assert [type(event) for event in events] == [ContextOpened, ContextClosed]
        assert ends(events) == [(Reason.COMPLETED, close)]
        assert of(events, ContextClosed)[0].usage == Usage()


def test_an_unanswered_close_opens_nothing(bench: Bench) -> None:
    bench.send(Close("a"), Close("a", immediate=True), Close("a", joins=True))
    assert bench.pull() == []


def test_each_has_its_own_in_order(bench: Bench) -> None:
    bench.say("a", "One.")
    bench.send(FLUSH, FLUSH, FLUSH)
    bench.say("a", "Two.")
    bench.send(FLUSH, FLUSH)
    empty = (Reason.COMPLETED, FLUSH)
    assert ends(bench.run()) == [TURN, empty, empty, TURN, empty]
    assert bench.spoken == ["One.", "Two."]


def test_one_joins_what_is_being_closed_and_no_second_one_does(bench: Bench) -> None:
    bench.say("a", "One.")
    bench.send(FLUSH, CLOSE, CLOSE)
    bench.say("a", "Two.")
    bench.send(CLOSE, CLOSE)
    assert ends(bench.run()) == [TURN, (Reason.COMPLETED, CLOSE), TURN]


def test_none_joins_what_has_ended(bench: Bench) -> None:
    bench.say("a", "One.")
    bench.send(FLUSH)
    bench.run()
    bench.send(CLOSE)
    assert ends(bench.pull()) == [(Reason.COMPLETED, CLOSE)]


def test_a_turn_that_timed_out_answers_the_close_that_crosses_its_end(make_bench: Any) -> None:
    bench = make_bench(Limits(expiry_closes=True), ContextSettings(inactivity_timeout=5.0))
    bench.send(Text("a", "Hello."))
    bench.tick(5.0)
    bench.send(FLUSH)
    assert ends(bench.run()) == [(Reason.TIMED_OUT, None)]


def test_a_turn_that_failed_does_too_and_only_once(bench: Bench, of: Of) -> None:
    bench.say("a", "Hello.")
    bench.send(Invalid(BAD, "a"), Text("a", "Ignored."), FLUSH)
    bench.end(bench.owed[0])
    (closed,) = of(bench.pull(), ContextClosed)
    assert (closed.reason, closed.problem, closed.asked) == (Reason.FAILED, BAD, True)
    bench.say("a", "Next.")
    bench.send(FLUSH)
    assert ends(bench.run()) == [TURN]


def test_a_failure_that_was_told_leaves_the_close_an_answer_of_its_own(bench: Bench, of: Of) -> None:
    bench.send(Invalid(BAD, "a"))
    assert [event.asked for event in of(bench.pull(), ContextClosed)] == [False]
    bench.send(FLUSH)
    assert ends(bench.pull()) == [(Reason.COMPLETED, FLUSH)]


def test_a_cancel_ends_everything_before_it_and_is_answered_last(bench: Bench, of: Of) -> None:
    bench.say("a", "One.")
    bench.send(FLUSH, FLUSH)
    bench.say("a", "Two.")
    bench.send(CANCEL)
    for owed in list(bench.owed):
        bench.end(owed)
    events = bench.pull()
    assert of(events, Audio) == []
    assert ends(events) == [CANCELLED, (Reason.CANCELLED, FLUSH), CANCELLED, (Reason.CANCELLED, CANCEL)]


def test_every_cancel_is_answered_and_none_by_another(bench: Bench) -> None:
    bench.send(CANCEL, CANCEL, CLOSE)
    cancelled = (Reason.CANCELLED, CANCEL)
    assert ends(bench.pull()) == [cancelled, cancelled, (Reason.COMPLETED, CLOSE)]


def test_text_after_a_cancel_is_the_next_turn(bench: Bench) -> None:
    bench.say("a", "One.")
    bench.send(CANCEL)
    bench.end(bench.owed[0])
    bench.say("a", "Two.")
    bench.send(FLUSH)
    assert ends(bench.run()) == [CANCELLED, (Reason.CANCELLED, CANCEL), TURN]
    assert bench.spoken == ["One.", "Two."]


@pytest.mark.parametrize("close", [FLUSH, CLOSE, CANCEL])
def test_what_cannot_be_spoken_is_no_reason_not_to_answer(make_bench: Any, close: Close) -> None:
    bench = make_bench(settings=ContextSettings(voice="nobody"), check_voice=lambda voice, _: "No voice.")
    bench.send(close)
    (event,) = [event for event in bench.pull() if isinstance(event, ContextClosed)]
    assert (event.problem, event.answers) == (None, close)


def test_a_socket_that_closes_answers_no_more(bench: Bench, of: Of) -> None:
    bench.say("a", "One.")
    bench.send(FLUSH, CloseSocket(), FLUSH)
    events = bench.run()
    turn, refused = of(events, ContextClosed)
    assert (turn.reason, refused.reason) == (Reason.COMPLETED, Reason.FAILED)
    assert refused.problem.code == "socket_closing"
    assert isinstance(events[-1], SessionClosed)


# --- contexts that are not there ---------------------------------------------------------------------


@pytest.fixture
def all_answered(make_bench: Any) -> Bench:
    limits = Limits(answer_all=True, expiry_closes=True, second_close_cancels=False)
    return make_bench(limits, ContextSettings(inactivity_timeout=5.0))


FLUSHED, CLOSED = NotThere("a", flush=True), NotThere("a", flush=False)


def test_every_flush_and_close_of_one_that_never_was_is_answered(all_answered: Bench) -> None:
    all_answered.send(Flush("a"), Flush("a"), Close("a"), Close("a", immediate=True))
    assert all_answered.pull() == [FLUSHED, FLUSHED, CLOSED, CLOSED]


def test_nothing_else_is(all_answered: Bench) -> None:
    all_answered.send(KeepAlive("a"), KeepAlive(), Text("default", " "))
    assert all_answered.pull() == []


def test_without_the_limit_nobody_is_told(bench: Bench) -> None:
    bench.send(Flush("a"), Close("a"))
    assert bench.pull() == []


def test_one_that_lives_answers_for_itself(all_answered: Bench, of: Of) -> None:
    all_answered.send(Open("a"), Flush("a"), Close("a"), Flush("a"), Close("a"))
    events = all_answered.pull()
    assert of(events, NotThere) == []
    assert [type(event) for event in events] == [ContextOpened, FlushDone, ContextClosed]
    all_answered.send(Flush("a"), Close("a"))
    assert all_answered.pull() == [FLUSHED, CLOSED]


@pytest.mark.parametrize("how", ["closed", "cancelled", "timed out", "failed"])
def test_one_that_has_ended_is_not_there(all_answered: Bench, how: str) -> None:
    bench = all_answered
    bench.send(Open("a"))
    match how:
        case "closed":
            bench.send(Close("a"))
        case "cancelled":
            bench.send(Close("a", immediate=True))
        case "timed out":
            bench.tick(5.0)
        case "failed":
            bench.send(Invalid(BAD, "a"))
    assert any(isinstance(event, ContextClosed) for event in bench.pull())
    bench.send(Flush("a"), Close("a"), Close("b"))
    assert bench.pull() == [FLUSHED, CLOSED, NotThere("b", flush=False)]


def test_answers_that_are_not_read_pause_the_reading(make_bench: Any) -> None:
    bench = make_bench(Limits(answer_all=True, backlog=3))
    for number in range(4):
        assert not bench.session.congested
        bench.send(Flush(f"id {number}"))
    assert bench.session.congested
    bench.pull()
    assert not bench.session.congested
