"""Promises 6 to 13 of the design, as far as the core keeps them; each test is named after its promise."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from mux.errors import ERRORS, Problem
from mux.protocol.limits import Limits
from mux.protocol.messages import (
    Audio,
    Close,
    Configure,
    ContextClosed,
    Flush,
    Invalid,
    KeepAlive,
    Open,
    Reason,
    SessionClosed,
    Text,
    Warning,
)
from mux.protocol.voice import ContextSettings

BROKEN = Problem(code="engine_failed", message="The engine broke.")
BAD = Problem(code="invalid_setting", message="speed is wrong.")
AUTO = ContextSettings(auto_mode=True)
IDLE = ContextSettings(inactivity_timeout=10.0)
Bench = Any
Of = Callable[..., list[Any]]
Heard = Callable[..., str]


# --- 6: after a cancel is acknowledged, no frame follows ---------------------------------------------


def test_promise_6_after_a_cancel_no_frame_is_sent_and_the_engine_is_stopped(bench: Bench, of: Of) -> None:
    bench.say("a", "Hello.")
    bench.say("a", "Never begun.")
    bench.chunk(bench.owed[0], 2000)
    bench.pull(5)
    bench.send(Close("a", immediate=True))
    assert [(stop.serial, stop.segment) for stop in bench.stopped] == [(1, 1)]
    bench.chunk(bench.owed[0], 1000)
    assert bench.pull() == []
    bench.end(bench.owed[0])
    (closed,) = bench.pull()
    assert closed.usage.audio_dropped_ms == 2700
    assert bench.spoken == ["Hello."]


# --- 7: contexts do not block each other -------------------------------------------------------------


def test_promise_7_contexts_do_not_block_each_other(bench: Bench, of: Of) -> None:
    for id in "abc":
        bench.say(id, "Hello.")
    for speak, samples in zip(bench.owed, (3000, 1000, 200), strict=True):
        bench.chunk(speak, samples)
    order = "".join(event.context for event in of(bench.pull(), Audio))
    assert order.startswith("abcabc")
    assert Counter(order) == {"a": 30, "b": 10, "c": 2}
    assert "aa" not in order[: order.rindex("b")]


def test_promise_7_a_long_answer_delays_anothers_first_audio_by_one_frame(bench: Bench, of: Of) -> None:
    bench.say("long", "Hello.")
    bench.say("new", "Hi.")
    bench.chunk(bench.owed[0], 5000)
    bench.pull(6)
    bench.chunk(bench.owed[1], 100)
    assert "new" in [event.context for event in of(bench.pull(2), Audio)]


def test_promise_7_a_reader_that_does_not_read_slows_its_own_engine_only(
    make_bench: Callable[..., Bench],
) -> None:
    bench = make_bench(Limits(ahead_seconds=1.0))
    for number in range(10):
        bench.say("a", f"Number {number}.")
    while bench.owed:
        bench.speak(samples_each=50)
    assert len(bench.spoken) == 3  # 0.45 s each: no fourth once 1.35 s wait
    bench.say("b", "Another.")
    assert bench.spoken[-1] == "Another."


# --- 8: nothing closes without saying why ------------------------------------------------------------


def test_promise_8_every_end_that_nobody_asked_for_has_a_problem(bench: Bench, of: Of) -> None:
    bench.send(Open("idle", ContextSettings(inactivity_timeout=1)), Invalid(BAD, "bad"))
    for number in range(22):
        bench.say(f"{number}", "Hello.")
    bench.end(bench.owed[0], BROKEN)
    bench.tick(1.0)
    closed = of(bench.pull(), ContextClosed)
    assert {event.problem.code for event in closed} == {
        "input_timeout",
        "invalid_setting",
        "engine_failed",
        "too_many_contexts",
    }
    for event in closed:
        assert event.problem.code in ERRORS
        assert event.problem.message
        if event.problem.code in ("input_timeout", "too_many_contexts"):
            assert event.problem.limit is not None


def test_promise_8_the_close_reason_fits_its_frame_and_its_problem_comes_along(bench: Bench) -> None:
    problem = Problem(code="internal_error", message="Ä" * 200)
    bench.session.fail(problem, 0)
    (end,) = bench.pull()
    assert (end.code, end.problem) == (1011, problem)
    assert 0 < len(end.reason.encode()) <= 123


def test_promise_8_contexts_end_before_their_socket_does(bench: Bench) -> None:
    bench.say("a", "Hello.")
    bench.session.fail(BROKEN, 0)
    assert bench.pull() == []
    bench.end(bench.owed[0])
    assert [type(event) for event in bench.pull()] == [ContextClosed, SessionClosed]


# --- 9: no idle expiry while work is pending ---------------------------------------------------------


def test_promise_9_no_idle_expiry_while_work_is_pending(bench: Bench) -> None:
    bench.send(Open("a", IDLE), Text("a", "Hello."), Flush("a"))
    for now in (10.0, 100.0, 1000.0):  # the engine is slow
        assert bench.session.next_deadline() == math.inf
        bench.tick(now)
    bench.speak()
    bench.tick(2000.0)  # the client reads slowly
    assert bench.session.open_contexts == 1
    bench.pull()
    bench.tick(2009.9)
    assert bench.session.open_contexts == 1
    bench.tick(2010.0)
    assert bench.session.open_contexts == 0


def test_promise_9_text_that_was_not_flushed_is_spoken_on_expiry_and_then_the_context_ends(
    bench: Bench, heard: Heard
) -> None:
    bench.send(Open("a", IDLE), Text("a", "Left behind."))
    bench.tick(10.0)
    events = bench.run()
    assert heard(events, "a") == "Left behind."
    assert (events[-1].reason, events[-1].problem.code) == (Reason.TIMED_OUT, "input_timeout")


def test_promise_9_a_keepalive_keeps_a_context(bench: Bench) -> None:
    bench.send(Open("a", IDLE))
    for now in range(9, 200, 9):
        bench.tick(float(now))
        bench.send(KeepAlive("a"))
    assert bench.session.open_contexts == 1


@pytest.mark.parametrize(("asked", "given"), [(0.0, 1.0), (-5.0, 1.0), (181.0, 180.0), (1e9, 180.0)])
def test_promise_9_a_timeout_out_of_range_is_clamped_and_said_so(
    bench: Bench, of: Of, asked: float, given: float
) -> None:
    bench.send(Configure(ContextSettings(inactivity_timeout=asked)), Open("a"))
    (warning,) = of(bench.pull(), Warning)
    assert (warning.problem.code, warning.problem.observed) == ("setting_clamped", asked)
    assert f"{given:g} s" in warning.problem.message
    assert bench.session.next_deadline() == given


# --- 10: every wait has a deadline, every queue a bound ----------------------------------------------


def test_promise_10_every_wait_has_a_deadline(bench: Bench) -> None:
    """An idle client and an engine that never stops are waited for, and not longer than said."""
    bench.send(Open("idle", IDLE))
    bench.say("stopping", "Hello.")
    bench.send(Close("stopping", immediate=True))
    for _ in range(2):
        bench.tick(bench.session.next_deadline())
    assert bench.session.next_deadline() == math.inf
    bench.pull()
    assert bench.session.live_contexts == 0


def test_promise_10_text_that_waits_has_a_bound(make_bench: Callable[..., Bench], of: Of) -> None:
    bench = make_bench(Limits(unspoken_bytes=1000))
    for number in range(1, 1000):
        bench.send(Text(f"{number % 20}", "twenty characters!!!"))
        if ends := of(bench.pull(), ContextClosed):
            assert number == 51
            assert (ends[0].problem.limit, ends[0].problem.observed) == (1000, 1020)
            return
    pytest.fail("text is taken without end")


def test_promise_10_speech_that_waits_has_a_bound(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(Limits(audio_bytes=2000))
    bench.say("a", "Hello.")
    for chunks in range(1, 100):
        bench.chunk(bench.owed[0], 100)
        if bench.stopped:
            assert chunks == 11
            return
    pytest.fail("speech is taken without end")


def test_promise_10_ends_and_warnings_that_wait_have_a_bound(make_bench: Callable[..., Bench]) -> None:
    """Above it nothing more is read from the client."""
    bench = make_bench(Limits(backlog=3, contexts=1, draining=1))
    for number in range(100):
        bench.send(Open(f"{number}"))
        if bench.session.congested:
            assert number <= 5
            return
    pytest.fail("refusals pile up without end")


# --- 12: usage is exact on every end -----------------------------------------------------------------


@pytest.mark.parametrize("frames_read", [0, 1, 3])
@pytest.mark.parametrize("end", ["completed", "cancelled", "engine failed", "socket failed"])
def test_promise_12_usage_is_exact_on_every_end(bench: Bench, of: Of, frames_read: int, end: str) -> None:
    bench.send(Open("a", AUTO), Text("a", "Hello"), Text("a", "World"))
    bench.chunk(bench.owed[0], 300, (0, 100, 200))
    events = bench.pull(2 + frames_read)
    match end:
        case "completed":
            bench.send(Close("a"))
        case "cancelled":
            bench.send(Close("a", immediate=True))
        case "engine failed":
            bench.end(bench.owed[0], BROKEN)
        case "socket failed":
            bench.session.fail(BROKEN, bench.now)
            bench.look()
    while bench.owed and not bench.stopped:
        speak = bench.owed[0]
        mapped = 3 if speak.text == "Hello" else 0
        rest = len(speak.text) - mapped
        bench.chunk(speak, 100 * rest, range(0, 100 * rest, 100))
        bench.end(speak)
    for speak in list(bench.owed):
        bench.chunk(speak, 50)
        bench.end(speak)
    events += bench.pull()
    usage = of(events, ContextClosed)[0].usage
    sent = sum(len(frame.pcm) // 2 for frame in of(events, Audio))
    characters = sum(len(frame.alignment.text) for frame in of(events, Audio) if frame.alignment)
    generated = {"completed": 1000, "cancelled": 350, "engine failed": 300, "socket failed": 350}[end]
    assert usage.characters_accepted == 10
    assert usage.characters_synthesised == (10 if end == "completed" else 3)
    assert (usage.characters_sent, usage.audio_sent_ms) == (characters, sent)
    assert (usage.audio_generated_ms, usage.audio_dropped_ms) == (generated, generated - sent)


def test_promise_12_a_refused_context_has_used_nothing(bench: Bench) -> None:
    bench.send(Invalid(BAD, "a"))
    usage = bench.pull()[0].usage
    assert (usage.characters_accepted, usage.audio_generated_ms) == (0, 0)


# --- 13: one monotone audio clock per context --------------------------------------------------------


def test_promise_13_one_monotone_clock_each_character_mapped_once(bench: Bench, of: Of, heard: Heard) -> None:
    texts = ["Hello, you.", "I am ", "ältere Leute.", "終わり。"]
    for text in texts:
        bench.say("a", text)
    bench.send(Close("a"))
    events = []
    for samples_each in (37, 250, 3, 90):
        bench.speak(samples_each)
        events += bench.pull(3)
    events += bench.pull()
    assert heard(events, "a") == "".join(texts)
    clock = 0
    last_start = last_end = 0
    for frame in of(events, Audio):
        assert frame.position == clock
        clock += len(frame.pcm) // 2
        if frame.alignment is None:
            continue
        assert frame.alignment.origin == last_end
        for start, end in zip(frame.alignment.starts, frame.alignment.ends, strict=True):
            assert last_start <= start <= end
            assert frame.position <= start < clock
            last_start, last_end = start, end
