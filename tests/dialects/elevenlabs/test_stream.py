"""`stream-input`: what its messages mean, and what is said on it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from elevenlabs_sound import sound

from mux.dialects.base import Credentials, Decoded
from mux.dialects.elevenlabs import ElevenLabsStream
from mux.errors import ERRORS, Problem
from mux.protocol.messages import (
    Alignment,
    Close,
    ContextClosed,
    Flush,
    FlushDone,
    Invalid,
    Notice,
    Open,
    Reason,
    SessionClosed,
    Text,
    Usage,
    Warning,
)
from mux.protocol.voice import ContextSettings

ID = "stream"
NOTHING = ContextSettings()
STABLE = ContextSettings(voice_settings={"stability": 0.5})
PROBLEM = Problem(code="engine_failed", message="What happened.")


def decode(message: Any, wire: ElevenLabsStream | None = None) -> list[Decoded]:
    return (wire or ElevenLabsStream()).decode(message if isinstance(message, str) else json.dumps(message))


MESSAGES: dict[str, tuple[dict[str, Any], list[Decoded]]] = {
    "sdk realtime": (
        {
            "text": " ",
            "try_trigger_generation": True,
            "voice_settings": None,
            "generation_config": {"chunk_length_schedule": [50]},
        },
        [Open(ID, ContextSettings(chunk_length_schedule=(50,))), Text(ID, " ", trigger=True)],
    ),
    "sdk word": (
        {"text": "word ", "try_trigger_generation": True},
        [Open(ID, NOTHING), Text(ID, "word ", trigger=True)],
    ),
    "sdk end": ({"text": ""}, [Open(ID, NOTHING), Flush(ID), Close(ID)]),
    "SendText spells the same object generator_config": (
        {"text": "a", "generator_config": {"chunk_length_schedule": [60]}},
        [Open(ID, ContextSettings(chunk_length_schedule=(60,))), Text(ID, "a")],
    ),
    "patter init": (
        {"text": " ", "voice_settings": {"stability": 0.5}},
        [Open(ID, STABLE), Text(ID, " ")],
    ),
    "patter": (
        {"text": "Whole text. ", "flush": True},
        [Open(ID, NOTHING), Text(ID, "Whole text. "), Flush(ID)],
    ),
    "old pipecat key and flush": (
        {"text": " ", "flush": True, "xi_api_key": "k"},
        [Credentials("k"), Open(ID, NOTHING), Text(ID, " "), Flush(ID)],
    ),
    "empty text with a flush is a flush": ({"text": "", "flush": True}, [Open(ID, NOTHING), Flush(ID)]),
    "a flush without text": ({"flush": True}, [Open(ID, NOTHING), Flush(ID)]),
    "nothing at all keeps alive": ({}, [Open(ID, NOTHING)]),
    "null text keeps alive": ({"text": None, "voice_settings": {}}, [Open(ID, NOTHING)]),
    "ids are of no interest": ({"text": "a", "context_id": "x"}, [Open(ID, NOTHING), Text(ID, "a")]),
    "last words": (
        {"text": "Bye.", "close_context": True},
        [Open(ID, NOTHING), Text(ID, "Bye."), Flush(ID), Close(ID)],
    ),
    "close socket": ({"close_socket": True}, [Open(ID, NOTHING), Flush(ID), Close(ID)]),
}


@pytest.mark.parametrize(("message", "commands"), MESSAGES.values(), ids=MESSAGES.keys())
def test_what_a_message_means(message: dict[str, Any], commands: list[Decoded]) -> None:
    assert decode(message) == commands
    assert ElevenLabsStream().decode(json.dumps(message).encode()) == commands, "bytes are read as text is"


@pytest.mark.parametrize("data", ["", "hello", "[]", '{"text": 5}', '{"text": "a"', "[" * 100_000])
def test_what_cannot_be_read_ends_the_socket_as_the_vendor_does(data: str) -> None:
    (invalid,) = decode(data)
    assert isinstance(invalid, Invalid)
    assert (invalid.context, invalid.problem.code) == (ID, "invalid_message")
    assert "Could not parse input message" in invalid.problem.message


def test_a_bad_setting_is_named() -> None:
    (key, invalid) = decode({"text": " ", "xi_api_key": "k", "voice_settings": {"speed": 9}})
    assert key == Credentials("k")
    assert isinstance(invalid, Invalid)
    assert (invalid.context, invalid.problem.code) == (ID, "invalid_setting")
    assert "voice_settings.speed" in invalid.problem.message


@pytest.mark.parametrize("late", [{"text": ""}, {"text": " "}, {}, {"text": "", "flush": True}, "garbage"])
def test_after_the_end_only_text_that_is_lost_is_answered(late: Any) -> None:
    wire = ElevenLabsStream()
    decode({"text": ""}, wire)
    assert decode(late, wire) == []
    (notice,) = decode({"text": "One more thing."}, wire)
    assert isinstance(notice, Notice)
    assert (notice.context, notice.problem.code) == (None, "socket_closing")


# --- what the server says ----------------------------------------------------------------------------


def frames(event: Any, wire: ElevenLabsStream | None = None) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in (wire or ElevenLabsStream(session_id="s1")).event(event)]


def test_no_frame_names_a_context() -> None:
    wire = ElevenLabsStream(session_id="s1")
    piece = Alignment("Hi", (0, 10), (10, 20), 0)
    (audio,) = map(json.loads, wire.audio(sound(ID, b"\1\2", piece)))
    assert set(audio) == {"audio", "isFinal", "normalizedAlignment", "alignment"}
    said = [
        *frames(ContextClosed(ID, 1, Reason.COMPLETED, Usage())),
        *frames(ContextClosed(ID, 1, Reason.FAILED, Usage(), PROBLEM)),
        *frames(Warning(PROBLEM, ID)),
        *frames(SessionClosed(1012, "", PROBLEM)),
    ]
    assert len(said) == 4
    assert not any("contextId" in frame for frame in said)


def test_the_final_is_what_the_vendor_sends() -> None:
    (final,) = frames(ContextClosed(ID, 1, Reason.COMPLETED, Usage()))
    assert final.pop("mux")["reason"] == "completed"
    assert final == {"audio": None, "isFinal": True, "normalizedAlignment": None, "alignment": None}


@pytest.mark.parametrize("code", ERRORS)
def test_no_final_follows_an_error(code: str) -> None:
    # The SDK takes the last frame for the cause of the close.
    (error,) = frames(ContextClosed(ID, 1, Reason.FAILED, Usage(), Problem(code=code, message="What.")))
    assert (error["message"], error["error"]) == ("What.", ERRORS[code].elevenlabs)
    assert "isFinal" not in error


SPOKEN: dict[str, tuple[list[dict[str, Any]], dict[int, bool]]] = {
    "patter": ([{"text": " "}, {"text": "Hi. ", "flush": True}], {1: True}),
    "only the last of several flushes": (
        [{"text": "A. ", "flush": True}, {"text": "B. ", "flush": True}],
        {1: False, 2: True},
    ),
    "not while later text is to come": ([{"text": "A. ", "flush": True}, {"text": "B. "}], {1: False}),
    "a keepalive is no text": ([{"text": "A. ", "flush": True}, {"text": " "}, {}], {1: True}),
    "not when the end was said, which has a final": (
        [{"text": "A. ", "flush": True}, {"text": ""}],
        {1: False},
    ),
}


@pytest.mark.parametrize(("messages", "finals"), SPOKEN.values(), ids=SPOKEN.keys())
def test_a_final_after_a_flush(messages: list[dict[str, Any]], finals: dict[int, bool]) -> None:
    wanting, plain = ElevenLabsStream(final_after_flush=True), ElevenLabsStream()
    for message in messages:
        decode(message, wanting)
        decode(message, plain)
    for number, final in finals.items():
        said = frames(FlushDone(ID, 1, number), wanting)
        assert [frame["isFinal"] for frame in said] == [True] * final
        assert frames(FlushDone(ID, 1, number), plain) == []
