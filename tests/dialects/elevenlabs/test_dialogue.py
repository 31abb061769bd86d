from __future__ import annotations

import json
from typing import Any

import pytest
from elevenlabs_sound import sound

from mux.dialects.base import Credentials
from mux.dialects.elevenlabs import ElevenLabsDialogue
from mux.errors import Problem
from mux.protocol.messages import (
    Alignment,
    Close,
    CloseSocket,
    ContextClosed,
    Flush,
    FlushDone,
    Invalid,
    KeepAlive,
    Open,
    Reason,
    SessionClosed,
    Text,
    Usage,
    Warning,
)
from mux.protocol.voice import ContextSettings

PROBLEM = Problem(code="engine_failed", message="It broke.")

MESSAGES: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "livekit's first": ({"context_id": "a", "voices": ["v"]}, [Open("a", ContextSettings(voice="v"))]),
    "with settings": (
        {
            "context_id": "a",
            "voices": ["v", "w"],
            "voice_settings": {"stability": 0.3, "clone_strength": 0.1},
        },
        [Open("a", ContextSettings(voice="v", voice_settings={"stability": 0.3}))],
    ),
    "livekit's text": (
        {"context_id": "a", "inputs": [{"text": "Hello. ", "voice_id": "v"}], "flush": True},
        [Text("a", "Hello. ", voice="v"), Flush("a")],
    ),
    "two voices": (
        {"context_id": "a", "inputs": [{"text": "Hi. ", "voice_id": "v"}, {"text": "Ho. ", "voice_id": "w"}]},
        [Text("a", "Hi. ", voice="v"), Text("a", "Ho. ", voice="w")],
    ),
    "a new turn": (
        {"context_id": "a", "inputs": [{"text": "Hi. ", "voice_id": "v", "new_turn": True}]},
        [Flush("a"), Text("a", "Hi. ", voice="v")],
    ),
    "keepalive": ({"context_id": "a", "keep_alive": True}, [KeepAlive("a")]),
    "close": ({"context_id": "a", "close_context": True}, [Close("a")]),
    "barge-in": ({"context_id": "a", "close_context": True, "immediate": True}, [Close("a", True)]),
    "close all": ({"close_socket": True}, [CloseSocket()]),
    "a key": (
        {"context_id": "a", "voices": ["v"], "xi_api_key": "k"},
        [Credentials("k"), Open("a", ContextSettings(voice="v"))],
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_messages(name: str) -> None:
    message, commands = MESSAGES[name]
    assert ElevenLabsDialogue().decode(json.dumps(message)) == commands


@pytest.mark.parametrize(
    ("message", "context", "code"),
    [
        ({"inputs": [{"text": "Hi."}]}, None, "unreadable_message"),
        ({"context_id": "a", "inputs": [{"voice_id": "v"}]}, "a", "invalid_message"),
        ({"context_id": "a", "voices": ["v"] * 11}, "a", "invalid_setting"),
        ({"context_id": "a", "voices": ["v"], "voice_settings": {"stability": 7}}, "a", "invalid_setting"),
    ],
)
def test_what_cannot_be_done_is_blamed_on_the_smallest_thing(
    message: dict[str, Any], context: str | None, code: str
) -> None:
    (invalid,) = ElevenLabsDialogue().decode(json.dumps(message))
    assert isinstance(invalid, Invalid)
    assert (invalid.context, invalid.problem.code) == (context, code)


def test_the_single_socket_has_no_ids() -> None:
    dialect = ElevenLabsDialogue(single=True)
    opened, text, flush = dialect.decode(
        json.dumps({"voices": ["v"], "inputs": [{"text": "Hi.", "voice_id": "v"}], "flush": True})
    )
    assert isinstance(opened, Open)
    assert text == Text(opened.context, "Hi.", voice="v")
    assert flush == Flush(opened.context)
    frames = [
        *dialect.event(FlushDone(opened.context, 1, 1)),
        *dialect.event(ContextClosed(opened.context, 1, Reason.COMPLETED, Usage())),
        *dialect.audio(sound(opened.context, b"1234")),
    ]
    assert not [frame for frame in frames if "context_id" in frame]
    (only,) = dialect.event(ContextClosed(opened.context, 1, Reason.FAILED, Usage(), PROBLEM))
    assert json.loads(only)["error"] == "engine_failed"
    assert dialect.decode('{"close_socket": true}')[-2:] == [Flush(opened.context), Close(opened.context)]
    # what comes after the last word is nobody's
    assert dialect.decode('{"keep_alive": true}') == []
    assert dialect.decode('{"close_socket": true}') == []
    assert dialect.decode("garbage") == []
    assert dialect.event(FlushDone(opened.context, 1, 1))
    assert dialect.event(FlushDone(opened.context, 1, 2)) == []


def test_frames() -> None:
    dialect = ElevenLabsDialogue(session_id="s")
    slices = [Alignment("Hi", (100, 150), (150, 200), origin=100, breaks=True)]
    (frame,) = map(json.loads, dialect.audio(sound("a", b"1234", *slices)))
    assert frame["context_id"] == "a"
    assert frame["alignment"] == {
        "chars": ["H", "i", " "],
        "char_start_times_ms": [0, 50, 100],
        "char_durations_ms": [50, 50, 0],
    }
    assert "is_final" not in frame
    assert json.loads(dialect.event(FlushDone("a", 1, 1))[0]) == {
        "is_final_audio_for_turn": True,
        "context_id": "a",
    }
    error, final = map(json.loads, dialect.event(ContextClosed("a", 1, Reason.FAILED, Usage(), PROBLEM)))
    assert (error["error"], error["context_id"], error["mux"]["session_id"]) == ("engine_failed", "a", "s")
    assert (final["is_final"], final["context_id"]) == (True, "a")
    assert "error" not in final
    (warning,) = map(json.loads, dialect.event(Warning(PROBLEM, "a")))
    assert "error" not in warning
    (closing,) = map(json.loads, dialect.event(SessionClosed(1011, "", PROBLEM)))
    assert "context_id" not in closing
