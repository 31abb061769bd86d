"""What a server says."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from elevenlabs_sound import sound

from mux.dialects.elevenlabs import ElevenLabsServer
from mux.errors import ERRORS, Problem
from mux.protocol.limits import Limits
from mux.protocol.messages import (
    Alignment,
    Audio,
    ContextClosed,
    ContextOpened,
    FlushDone,
    Reason,
    SegmentDone,
    SegmentStarted,
    SessionClosed,
    Usage,
    Warning,
)
from mux.protocol.voice import ContextSettings

wire = ElevenLabsServer(session_id="s1")
USAGE = Usage(characters_accepted=5, audio_generated_ms=10.0, audio_sent_ms=7.5, audio_dropped_ms=2.5)
AUDIO_KEYS = {"audio", "isFinal", "normalizedAlignment", "alignment", "contextId"}
PROBLEM = Problem(code="busy", message="Too much.", limit=3, observed=4, retry_after_ms=500)


def slice_of(text: str, first: int, origin: int, step: int = 10, breaks: bool = False) -> Alignment:
    starts = tuple(first + step * index for index in range(len(text)))
    return Alignment(text, starts, tuple(start + step for start in starts), origin, breaks)


def audio(*slices: Alignment, payload: bytes = b"\1\2\3\4", sync: bool = False) -> dict[str, Any]:
    said = ElevenLabsServer(sync_alignment=sync).audio(sound("c", payload, *slices))
    (frame,) = map(json.loads, said)
    assert set(frame) == AUDIO_KEYS, "only what is documented"
    assert (frame["isFinal"], frame["contextId"]) == (None, "c")
    assert frame["alignment"] == frame["normalizedAlignment"]
    if frame["alignment"] is not None:
        assert set(frame["alignment"]) == {"chars", "charStartTimesMs", "charDurationsMs"}
        assert len({len(values) for values in frame["alignment"].values()}) == 1
    assert base64.b64decode(frame["audio"]) == payload
    return frame


def test_audio_without_characters_has_no_alignment() -> None:
    assert audio()["alignment"] is None


def test_each_frames_times_count_from_the_end_of_the_previous_slice() -> None:
    first = audio(slice_of("He", 0, 0))["alignment"]
    later = audio(slice_of("llo", 35, 20))["alignment"]
    assert first == {"chars": ["H", "e"], "charStartTimesMs": [0, 10], "charDurationsMs": [10, 10]}
    # A pause of 15 ms before the slice is kept: whoever adds up spans stays in step with the audio.
    assert later == {
        "chars": ["l", "l", "o"],
        "charStartTimesMs": [15, 25, 35],
        "charDurationsMs": [10, 10, 10],
    }


def test_with_sync_alignment_times_count_from_the_contexts_start() -> None:
    assert audio(slice_of("llo", 35, 20), sync=True)["alignment"]["charStartTimesMs"] == [35, 45, 55]


def test_slices_that_had_to_wait_share_the_origin_of_the_first() -> None:
    alignment = audio(slice_of("ab", 20, 20), slice_of("c", 50, 40))["alignment"]
    assert alignment["chars"] == ["a", "b", "c"]
    assert alignment["charStartTimesMs"] == [0, 10, 30]


@pytest.mark.parametrize("sync", [False, True])
def test_a_segment_that_ends_without_a_space_gets_one_of_no_length(sync: bool) -> None:
    alignment = audio(slice_of("Hi.", 40, 40, breaks=True), slice_of("B", 90, 70), sync=sync)["alignment"]
    assert alignment["chars"] == ["H", "i", ".", " ", "B"]
    zero = 0 if sync else 40
    assert alignment["charStartTimesMs"] == [40 - zero, 50 - zero, 60 - zero, 70 - zero, 90 - zero]
    assert alignment["charDurationsMs"] == [10, 10, 10, 0, 10]


def test_characters_beyond_the_basic_plane_are_one_each() -> None:
    assert audio(slice_of("a😀", 0, 0))["alignment"]["chars"] == ["a", "😀"]


def frames(event: Any) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in wire.event(event)]


@pytest.mark.parametrize("reason", Reason)
def test_the_end_is_a_frame_of_its_own_whatever_the_reason(reason: Reason) -> None:
    (final,) = frames(ContextClosed("c", 1, reason, USAGE))
    assert set(final) == AUDIO_KEYS | {"mux"}
    assert final["isFinal"] is True
    assert final["contextId"] == "c"
    assert final["audio"] is final["alignment"] is final["normalizedAlignment"] is None
    assert final["mux"]["reason"] == reason.value
    assert final["mux"]["usage"]["audio_dropped_ms"] == 2.5


@pytest.mark.parametrize("code", ERRORS)
def test_an_error_names_its_context_and_the_end_follows(code: str) -> None:
    problem = Problem(code=code, message="What happened.")
    error, final = frames(ContextClosed("c", 1, Reason.FAILED, USAGE, problem))
    assert set(error) == {"message", "error", "code", "contextId", "mux"}
    assert error["message"] == "What happened."
    assert error["error"] == ERRORS[code].elevenlabs
    assert error["contextId"] == final["contextId"] == "c"
    assert error["mux"]["code"] == code
    assert error["mux"]["session_id"] == "s1"
    assert error["mux"].get("retryable", False) is ERRORS[code].retryable
    assert final["isFinal"] is True


def test_limit_and_observed_value_are_told() -> None:
    error, _ = frames(ContextClosed("c", 1, Reason.FAILED, USAGE, PROBLEM))
    assert error["mux"] == {
        "code": "busy",
        "limit": 3,
        "observed": 4,
        "retryable": True,
        "retry_after_ms": 500,
        "session_id": "s1",
    }


def test_a_sockets_error_names_no_context() -> None:
    (error,) = frames(SessionClosed(1013, "Too much.", PROBLEM))
    assert "contextId" not in error
    assert error["code"] == 1013


def test_a_plain_close_says_nothing() -> None:
    assert wire.event(SessionClosed(1000, "")) == []


@pytest.mark.parametrize("context", [None, "c"])
def test_a_warning_has_no_error_key(context: str | None) -> None:
    (warning,) = frames(Warning(PROBLEM, context))
    assert set(warning) == {"warning"} | ({"contextId"} if context else set())
    assert warning["warning"]["code"] == "busy"


@pytest.mark.parametrize(
    "event",
    [
        ContextOpened("c", 1, ContextSettings()),
        SegmentStarted("c", 1, 1, "text", "flush"),
        SegmentDone("c", 1, 1, True),
        FlushDone("c", 1, 1),
        Audio("c", 1, 1, b"", 24000, 0, None),
    ],
)
def test_the_wire_has_no_word_for_the_rest(event: Any) -> None:
    assert wire.event(event) == []


def test_hello_tells_the_limits_and_nothing_that_a_client_could_take_for_audio() -> None:
    hello = json.loads(wire.hello(Limits(), 20.0))
    assert set(hello) == {"mux_hello"}
    assert hello["mux_hello"] == {
        "session_id": "s1",
        "contexts": 20,
        "draining": 20,
        "unspoken_bytes": 262144,
        "inactivity_timeout": 20.0,
    }
