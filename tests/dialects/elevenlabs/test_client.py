from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from elevenlabs_sound import sound

from mux.dialects.base import AudioFrame, ContextError, Decoded, Received, SocketError, Unreadable
from mux.dialects.elevenlabs import ElevenLabsClient, ElevenLabsServer
from mux.errors import ERRORS, Problem
from mux.protocol.messages import (
    Alignment,
    Close,
    CloseSocket,
    Command,
    Configure,
    ContextClosed,
    Flush,
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

client = ElevenLabsClient()
server = ElevenLabsServer(sync_alignment=True, session_id="s1")
SETTINGS = ContextSettings(
    voice="bob",
    language="de",
    voice_settings={"stability": 0.25, "use_speaker_boost": False, "speed": 0.7},
    chunk_length_schedule=(50, 90),
    inactivity_timeout=7.5,
)
USAGE = Usage(
    characters_accepted=12,
    characters_synthesised=11,
    characters_sent=10,
    audio_generated_ms=100.5,
    audio_sent_ms=75.25,
    audio_dropped_ms=25.25,
)


def opened(*commands: Command) -> list[Decoded]:
    return list(commands)


@pytest.mark.parametrize(
    ("command", "meant"),
    [
        (Open("a"), opened(Text("a", " "))),
        (Open("a", SETTINGS), opened(Open("a", SETTINGS), Text("a", " "))),
        (Configure(SETTINGS), opened(Configure(SETTINGS))),
        (Text("a", "Hello there. "), opened(Text("a", "Hello there. "))),
        (Text("a", 'é 漢字 😀 "\\\n\0'), opened(Text("a", 'é 漢字 😀 "\\\n\0'))),
        (Text("a", "now", trigger=True), opened(Text("a", "now", trigger=True))),
        (Flush("a"), opened(Flush("a"))),
        (Close("a"), opened(Close("a"))),
        (Close("a", immediate=True), opened(Close("a", immediate=True))),
        (KeepAlive("a"), opened(KeepAlive("a"))),
        (KeepAlive(), opened(KeepAlive())),
        (CloseSocket(), opened(CloseSocket())),
    ],
)
def test_a_server_understands_what_a_client_means(command: Command, meant: list[Decoded]) -> None:
    assert server.decode(client.encode(command)) == meant


def test_a_client_sends_only_what_differs_from_the_default() -> None:
    assert json.loads(client.encode(Open("a"))) == {"text": " ", "context_id": "a"}
    assert json.loads(client.encode(Text("a", "x"))) == {"text": "x", "context_id": "a"}
    assert json.loads(client.encode(KeepAlive())) == {"text": ""}
    assert json.loads(client.encode(CloseSocket())) == {"close_socket": True}


def test_a_client_has_no_word_for_invalid() -> None:
    with pytest.raises(ValueError, match="server"):
        client.encode(Invalid(Problem(code="busy", message="")))


def received(frames: list[str]) -> list[Received]:
    return [item for frame in frames for item in client.decode(frame)]


PROBLEM = Problem(
    code="busy", message="Too much.", limit=3.0, observed=4.0, retry_after_ms=500, allowed=("a",)
)


@pytest.mark.parametrize("reason", Reason)
def test_an_end_arrives_with_its_reason_and_usage(reason: Reason) -> None:
    assert received(server.event(ContextClosed("c", 9, reason, USAGE))) == [
        ContextClosed("c", 0, reason, USAGE)
    ]


def test_an_error_arrives_before_the_end_with_all_its_facts() -> None:
    assert received(server.event(ContextClosed("c", 9, Reason.FAILED, USAGE, PROBLEM))) == [
        ContextError("c", PROBLEM),
        ContextClosed("c", 0, Reason.FAILED, USAGE),
    ]


@pytest.mark.parametrize("code", ERRORS)
def test_every_code_survives_the_wire(code: str) -> None:
    problem = Problem(code=code, message="Why.")
    assert received(server.event(SessionClosed(1008, "", problem))) == [SocketError(problem)]


def test_a_warning_arrives_with_its_context_or_without() -> None:
    for context in (None, "c"):
        (warning,) = received(server.event(Warning(PROBLEM, context)))
        assert isinstance(warning, Warning)
        assert (warning.context, warning.problem.code, warning.problem.limit) == (context, "busy", 3.0)


def test_audio_arrives_with_times_from_the_contexts_start() -> None:
    slices = [Alignment("ab", (10, 20), (20, 35), 10), Alignment("😀", (40,), (50,), 35)]
    (frame,) = received(server.audio(sound("c", b"\0\1\2\3", *slices)))
    assert frame == AudioFrame("c", b"\0\1\2\3", Alignment("ab😀", (10, 20, 40), (20, 35, 50), 0))
    assert received(server.audio(sound("c", b"\0\1"))) == [AudioFrame("c", b"\0\1")]


def test_hello_is_nobodys_audio() -> None:
    from mux.protocol.limits import Limits

    assert client.decode(server.hello(Limits(), 20.0)) == []


# --- the vendor's own frames -------------------------------------------------------------------------


def vendor(**fields: Any) -> list[Received]:
    return client.decode(json.dumps(fields))


AUDIO = base64.b64encode(b"\1\2").decode()
TIMES = {"chars": ["H", "i"], "charStartTimesMs": [0, 81], "charDurationsMs": [81, 20]}


def test_a_vendors_audio_frame() -> None:
    assert vendor(audio=AUDIO, isFinal=None, normalizedAlignment=TIMES, alignment=TIMES, contextId="A") == [
        AudioFrame("A", b"\1\2", Alignment("Hi", (0, 81), (81, 101), 0))
    ]


def test_the_id_is_read_in_both_spellings_and_may_be_missing() -> None:
    assert vendor(audio=AUDIO, context_id="A") == [AudioFrame("A", b"\1\2")]
    assert vendor(audio=AUDIO) == [AudioFrame("default", b"\1\2")]


def test_a_vendors_end_is_completion_without_usage() -> None:
    end = [ContextClosed("A", 0, Reason.COMPLETED, Usage())]
    assert vendor(audio=None, isFinal=True, normalizedAlignment=None, alignment=None, contextId="A") == end
    assert vendor(isFinal=True, contextId="A") == end


def test_audio_in_a_final_frame_is_not_lost() -> None:
    assert vendor(audio=AUDIO, isFinal=True, contextId="A") == [
        AudioFrame("A", b"\1\2"),
        ContextClosed("A", 0, Reason.COMPLETED, Usage()),
    ]


@pytest.mark.parametrize(
    "mux",
    [
        {"reason": "evaporated", "usage": {}},
        {"reason": "completed", "usage": 5},
        {"reason": 7},
        {},
        [],
        "x",
        None,
    ],
)
def test_an_end_is_an_end_even_with_additions_that_nobody_knows(mux: Any) -> None:
    assert vendor(isFinal=True, contextId="A", mux=mux) == [ContextClosed("A", 0, Reason.COMPLETED, Usage())]


def test_a_list_of_times_that_does_not_fit_is_ignored() -> None:
    assert vendor(audio=AUDIO, alignment=TIMES | {"charStartTimesMs": [0]}, contextId="A") == [
        AudioFrame("A", b"\1\2")
    ]


def test_a_vendors_word_that_mux_does_not_know_is_told() -> None:
    told = Problem(code="upstream_error", message="quota_exceeded: What it says.")
    assert vendor(message="What it says.", error="quota_exceeded", code=1008) == [SocketError(told)]
    assert vendor(error="quota_exceeded", code=1008) == [
        SocketError(Problem(code="upstream_error", message="quota_exceeded"))
    ]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("invalid_api_key", "invalid_api_key"),
        ("voice_id_does_not_exist", "unknown_voice"),
        ("max_active_conversations", "too_many_contexts"),
        ("input_timeout_exceeded", "input_timeout"),
    ],
)
def test_a_vendors_error_keeps_its_sentence_and_gets_our_code(error: str, code: str) -> None:
    assert vendor(message="What it says.", error=error, code=1008) == [
        SocketError(Problem(code=code, message="What it says."))
    ]
    assert vendor(message="What it says.", error=error, code=1008, contextId="A") == [
        ContextError("A", Problem(code=code, message="What it says."))
    ]


def test_an_error_alone_is_its_own_sentence() -> None:
    assert vendor(error="boom") == [SocketError(Problem(code="upstream_error", message="boom"))]


@pytest.mark.parametrize("frame", [{}, {"contextId": "A"}, {"audio": ""}, {"audio": None, "isFinal": False}])
def test_frames_that_say_nothing(frame: dict[str, Any]) -> None:
    assert vendor(**frame) == []


@pytest.mark.parametrize(
    "data",
    [
        "",
        "nonsense",
        b"\xff",
        "\ud800",
        "[]",
        '{"audio": 5}',
        '{"audio": "a"}',
        '{"audio": "é"}',
        '{"isFinal": "yes"}',
        '{"error": {}}',
        '{"alignment": []}',
        '{"warning": "careful"}',
        '{"error": "x", "mux": {"code": 7}}',
        "[" * 100_000,
        '{"mux": ' + "[" * 100_000,
    ],
)
def test_a_frame_of_another_protocol_is_told_and_raises_nothing(data: str | bytes) -> None:
    (error,) = client.decode(data)
    if str(data).startswith('{"') and "[[[" not in str(data):  # it can be read, and names nobody
        assert error == SocketError(error.problem)
        assert error.problem.code == "upstream_error"
    else:
        assert error == Unreadable(error.problem, None)
        assert error.problem.code == "connection_lost"


def test_what_a_client_encodes_is_what_the_documents_name() -> None:
    documented = {"text", "context_id", "flush", "close_context", "close_socket", "voice_settings"}
    documented |= {"generation_config", "try_trigger_generation"}
    ours = {"voice_id", "language_code", "inactivity_timeout", "immediate"}
    commands = [Open("a", SETTINGS), Text("a", "t", True), Flush("a"), Close("a", True), CloseSocket()]
    keys: set[str] = set()
    for command in commands:
        keys |= msgspec.json.decode(client.encode(command)).keys()
    assert keys == documented | ours
