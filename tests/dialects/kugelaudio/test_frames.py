"""What a server says where no socket is needed to see it: errors, warnings, the socket's end, usage."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mux.dialects.kugelaudio import KugelAudioRequests, KugelAudioServer, KugelAudioStream
from mux.errors import ERRORS, Problem
from mux.protocol.messages import (
    Configured,
    ContextClosed,
    ContextOpened,
    FlushDone,
    NotThere,
    Reason,
    SegmentDone,
    SegmentStarted,
    SessionClosed,
    Usage,
    Warning,
)
from mux.protocol.voice import ContextSettings
from mux.usage import Price

WIRES = [KugelAudioServer, KugelAudioStream, KugelAudioRequests]
USAGE = Usage(characters_accepted=5, characters_sent=4, audio_generated_ms=10.0, audio_sent_ms=10.0)
OPENED = ContextOpened("c", 1, ContextSettings(model="kugel-3"))


def frames(wire: Any, *events: Any) -> list[dict[str, Any]]:
    """What is said of these events, which follow upon a message."""
    wire.decode(json.dumps({"text": "Hi.", "context_id": "c"}))
    return [json.loads(frame) for event in events for frame in wire.event(event)]


@pytest.mark.parametrize("code", ERRORS)
def test_an_error_names_its_context_and_the_end_follows(code: str) -> None:
    problem = Problem(code=code, message="What happened.", limit=3, observed=4)
    wire = KugelAudioServer(session_id="s1")
    if code == "draining":
        return
    *_, error, closed = frames(wire, OPENED, ContextClosed("c", 1, Reason.FAILED, USAGE, problem))
    assert error["error"] == "What happened."
    assert (error["error_code"], error["code"]) == (ERRORS[code].kugelaudio, ERRORS[code].http)
    assert error["context_id"] == closed["context_id"] == "c"
    assert error["request_id"] == "s1"
    assert error["mux"]["code"] == code
    assert closed["context_closed"] is True
    assert closed["usage"]["model_id"] == "kugel-3"
    assert closed["mux"]["reason"] == "failed"


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(("milliseconds", "seconds"), [(None, None), (0, 0), (1, 1), (1000, 1), (1001, 2)])
def test_when_to_try_again_is_said_in_whole_seconds(
    wire: Any, milliseconds: int | None, seconds: int | None
) -> None:
    problem = Problem(code="busy", message="Too much.", retry_after_ms=milliseconds)
    (error,) = frames(wire(), SessionClosed(1013, "", problem))
    assert error.get("retry_after") == seconds
    assert "context_id" not in error


@pytest.mark.parametrize("wire", WIRES)
def test_a_restart_is_no_error(wire: Any) -> None:
    """After an error, the SDKs would not send their turn again."""
    problem = Problem(code="draining", message="Again.", retry_after_ms=1000)
    closed = ContextClosed("c", 1, Reason.FAILED, USAGE, problem)
    for event in (closed, SessionClosed(1012, "", problem)):
        (warning,) = frames(wire(), event)
        assert warning["warning"] == "Again."
        assert "error" not in warning


@pytest.mark.parametrize("wire", WIRES)
def test_what_has_no_effect_is_a_warning_and_what_is_impossible_an_error(wire: Any) -> None:
    (mild,) = frames(wire(), Warning(Problem(code="setting_clamped", message="Less.")))
    assert mild["warning"] == "Less."
    (grave,) = frames(wire(), Warning(Problem(code="invalid_setting", message="No.")))
    assert grave["error"] == "No."


@pytest.mark.parametrize("wire", WIRES)
def test_settings_are_echoed_all_six(wire: Any) -> None:
    (updated,) = frames(wire(), Configured())
    assert updated["settings_updated"] is True
    assert updated["settings"] == dict.fromkeys(
        ["cfg_scale", "temperature", "speed", "max_new_tokens", "language", "normalize"]
    )


def test_only_contexts_on_the_socket_with_many_have_a_word_for_a_flush() -> None:
    assert frames(KugelAudioServer(), OPENED, FlushDone("c", 1, 1))[-1] == {"final": True, "context_id": "c"}
    for wire in (KugelAudioStream(), KugelAudioRequests()):
        assert frames(wire, OPENED, FlushDone("c", 1, 1)) == []


def test_only_the_socket_with_many_has_a_word_for_a_context_that_is_not_there() -> None:
    """And no usage: there is none."""
    for flush, said in ((True, "final"), (False, "context_closed")):
        assert frames(KugelAudioServer(), NotThere("c", flush)) == [{said: True, "context_id": "c"}]
        for wire in (KugelAudioStream(), KugelAudioRequests()):
            assert frames(wire, NotThere("c", flush)) == []


def test_a_context_that_was_cancelled_before_it_was_announced_is_announced_first() -> None:
    created, closed = frames(KugelAudioServer(), ContextClosed("c", 1, Reason.CANCELLED, Usage()))
    assert created["context_created"] is True
    assert closed["context_closed"] is True


def test_requests_have_no_chunks() -> None:
    wire = KugelAudioRequests()
    events = [OPENED, SegmentStarted("c", 1, 1, "Hi.", "close"), SegmentDone("c", 1, 1, True)]
    assert frames(wire, *events) == []


@pytest.mark.parametrize(
    ("price", "cost"),
    [
        (None, {"cost_cents": None, "cost_unavailable": True}),
        (Price(cents_per_minute=6000), {"cost_cents": 1.0, "currency": "eur"}),
        (Price(cents_per_1000_characters=250, currency="usd"), {"cost_cents": 1.0, "currency": "usd"}),
    ],
)
def test_usage(price: Price | None, cost: dict[str, Any]) -> None:
    wire = KugelAudioServer(price=price)
    closed = frames(wire, OPENED, ContextClosed("c", 1, Reason.COMPLETED, USAGE))[-1]
    assert closed["usage"] == {"audio_seconds": 0.01, "characters": 4, "model_id": "kugel-3", **cost}
