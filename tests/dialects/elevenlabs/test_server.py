"""What the wire's messages mean, and what is said on it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from mux.dialects.base import Credentials, Decoded
from mux.dialects.elevenlabs import ElevenLabsServer
from mux.errors import ERRORS, Problem
from mux.protocol.limits import Limits
from mux.protocol.messages import (
    Alignment,
    Audio,
    Close,
    CloseSocket,
    Configure,
    ContextClosed,
    ContextOpened,
    Flush,
    FlushDone,
    Invalid,
    KeepAlive,
    Open,
    Reason,
    SegmentDone,
    SegmentStarted,
    SessionClosed,
    Text,
    Usage,
    Warning,
)
from mux.protocol.voice import ContextSettings

wire = ElevenLabsServer(session_id="s1")
STABLE = ContextSettings(voice_settings={"stability": 0.5})
FULL = {"stability": 0.5, "similarity_boost": 0.75, "style": 0.0, "use_speaker_boost": True, "speed": 1.0}
FULLY = ContextSettings(voice_settings=dict(FULL))


def decode(message: Any) -> list[Decoded]:
    return wire.decode(json.dumps(message))


def said(id: str | None, **fields: Any) -> dict[str, Any]:
    return {"context_id": id, **fields}


MESSAGES: dict[str, tuple[dict[str, Any], list[Decoded]]] = {
    # what real clients send (elevenlabs.md 2.1)
    "livekit init": ({"text": " ", "voice_settings": {}, "context_id": "a1"}, [Text("a1", " ")]),
    "livekit init with settings": (
        {"text": " ", "voice_settings": FULL, "context_id": "a1"},
        [Open("a1", FULLY), Text("a1", " ")],
    ),
    "livekit init with a schedule": (
        said("a1", text=" ", voice_settings={}, generation_config={"chunk_length_schedule": [80, 120]}),
        [Open("a1", ContextSettings(chunk_length_schedule=(80, 120))), Text("a1", " ")],
    ),
    "livekit init with a dictionary": (
        said("a1", text=" ", pronunciation_dictionary_locators=[{"pronunciation_dictionary_id": "p"}]),
        [Text("a1", " ")],
    ),
    "pipecat init": (
        {"text": " ", "context_id": "c1", "voice_settings": {"stability": 0.5}},
        [Open("c1", STABLE), Text("c1", " ")],
    ),
    "pipecat init, no settings": ({"text": " ", "context_id": "c1"}, [Text("c1", " ")]),
    "bolna BOS": (
        {
            "text": " ",
            "voice_settings": FULL,
            "generation_config": {"chunk_length_schedule": [50, 80, 120, 150]},
            "xi_api_key": "k",
        },
        [
            Credentials("k"),
            Configure(ContextSettings(voice_settings=FULL, chunk_length_schedule=(50, 80, 120, 150))),
        ],
    ),
    "bolna BOS, flat schedule": (
        {"text": " ", "chunk_length_schedule": [50, 80]},
        [Configure(ContextSettings(chunk_length_schedule=(50, 80)))],
    ),
    "livekit sentence": (
        {"text": "Hello there. ", "context_id": "a1", "flush": True},
        [Text("a1", "Hello there. "), Flush("a1")],
    ),
    "pipecat sentence": ({"text": "Hello there.", "context_id": "c1"}, [Text("c1", "Hello there.")]),
    "guide: opened with real text": (
        {"text": "First real text ", "context_id": "x", "voice_settings": {"stability": 0.5}},
        [Open("x", STABLE), Text("x", "First real text ")],
    ),
    "livekit and bolna end of input": ({"text": "", "context_id": "a1", "flush": True}, [Flush("a1")]),
    "pipecat end of turn": ({"context_id": "c1", "flush": True}, [Flush("c1")]),
    "close": ({"context_id": "a1", "close_context": True}, [Close("a1")]),
    "keepalive": ({"text": "", "context_id": "c1"}, [KeepAlive("c1")]),
    "pipecat keepalive without a context": ({"text": ""}, [KeepAlive()]),
    "old pipecat keepalive": ({"text": " "}, [KeepAlive()]),
    "close socket": ({"close_socket": True}, [CloseSocket()]),
    "sdk generic: null text": (
        said("g", text=None, flush=False, close_context=False, close_socket=False, voice_settings=None),
        [KeepAlive("g")],
    ),
    "sdk realtime": (
        {
            "text": " ",
            "try_trigger_generation": True,
            "voice_settings": None,
            "generation_config": {"chunk_length_schedule": [50]},
        },
        [Configure(ContextSettings(chunk_length_schedule=(50,)))],
    ),
    "sdk word": (
        {"text": "word ", "try_trigger_generation": True, "context_id": "s"},
        [Text("s", "word ", trigger=True)],
    ),
    # spellings
    "camel id": ({"text": "hi ", "contextId": "x"}, [Text("x", "hi ")]),
    "both ids": ({"text": "hi ", "contextId": "camel", "context_id": "snake"}, [Text("snake", "hi ")]),
    "null id": ({"text": "hi ", "context_id": None}, [Text("default", "hi ")]),
    "empty id": ({"text": "hi ", "context_id": ""}, [Text("default", "hi ")]),
    "empty camel id": ({"text": "hi ", "contextId": ""}, [Text("default", "hi ")]),
    "dashed key": ({"text": "", "xi-api-key": "k"}, [Credentials("k"), KeepAlive()]),
    "authorization": ({"text": "", "authorization": "Bearer k"}, [Credentials("Bearer k"), KeepAlive()]),
    "key with a context": (said("a", text="hi", xi_api_key="k"), [Credentials("k"), Text("a", "hi")]),
    "generator_config": (
        said("a", text="hi", generator_config={"chunk_length_schedule": [60]}),
        [Open("a", ContextSettings(chunk_length_schedule=(60,))), Text("a", "hi")],
    ),
    "flags as words": (
        said("a", flush="true", close_context="True"),
        [Flush("a"), Close("a")],
    ),
    "numbers as words": (
        said("a", text="hi", voice_settings={"stability": "0.5"}),
        [Open("a", STABLE), Text("a", "hi")],
    ),
    # settings that were not given
    "empty settings": (said("a", text="hi", voice_settings={}), [Text("a", "hi")]),
    "null settings": (said("a", text="hi", voice_settings=None), [Text("a", "hi")]),
    "null fields": (
        said("a", text="hi", voice_settings={"stability": None, "speed": None}),
        [Text("a", "hi")],
    ),
    "null and empty configs": (
        said("a", text="hi", generation_config=None, generator_config={}, chunk_length_schedule=[]),
        [Text("a", "hi")],
    ),
    "empty voice and language": (said("a", text="hi", voice_id="", language_code=""), [Text("a", "hi")]),
    "unknown settings": (said("a", text="hi", voice_settings={"clone_strength": 3}), [Text("a", "hi")]),
    "unknown fields": (said("a", text="hi", model="x", nested={"a": [1, {}]}), [Text("a", "hi")]),
    # one message, many wishes: in order
    "all at once": (
        said("a", text="bye", voice_settings={"stability": 0.5}, flush=True, close_context=True),
        [Open("a", STABLE), Text("a", "bye"), Flush("a"), Close("a")],
    ),
    "close socket wins": (said("a", text="bye", close_socket=True, close_context=True), [CloseSocket()]),
    "flush appends its text first": (said("a", text="end", flush=True), [Text("a", "end"), Flush("a")]),
    "default context": ({"text": "hello ", "flush": True}, [Text("default", "hello "), Flush("default")]),
    "blank flush without an id opens nothing": ({"text": " ", "flush": True}, [Flush("default")]),
    "flush without an id": ({"flush": True}, [Flush("default")]),
    # mux's additions
    "immediate close": (said("a", close_context=True, immediate=True), [Close("a", immediate=True)]),
    "immediate alone is a keepalive": (said("a", immediate=True), [KeepAlive("a")]),
    "a context's own voice": (
        said("a", text="hi", voice_id="bob", language_code="de", inactivity_timeout=7),
        [Open("a", ContextSettings(voice="bob", language="de", inactivity_timeout=7.0)), Text("a", "hi")],
    ),
    # keepalives never open
    "nothing": ({}, [KeepAlive("default")]),
    "id alone": (said("a"), [KeepAlive("a")]),
    "keep_alive": (said("a", keep_alive=True), [KeepAlive("a")]),
    "null text": (said("a", text=None), [KeepAlive("a")]),
    "false flags": (said("a", text="", flush=False, close_context=False), [KeepAlive("a")]),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_messages(name: str) -> None:
    message, commands = MESSAGES[name]
    assert decode(message) == commands
    assert wire.decode(json.dumps(message).encode()) == commands, "bytes are read as text is"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"voice_settings": {"stability": 1.5}}, "voice_settings.stability must be a number from 0.0 to 1.0"),
        ({"voice_settings": {"similarity_boost": -0.1}}, "voice_settings.similarity_boost"),
        ({"voice_settings": {"style": "loud"}}, "voice_settings.style"),
        ({"voice_settings": {"speed": 2}}, "voice_settings.speed must be a number from 0.7 to 1.2"),
        ({"voice_settings": {"speed": "nan"}}, "voice_settings.speed"),
        ({"voice_settings": {"use_speaker_boost": "perhaps"}}, "voice_settings.use_speaker_boost"),
        ({"voice_settings": [1]}, "voice_settings must be an object or null"),
        ({"generation_config": {"chunk_length_schedule": [4]}}, "chunk_length_schedule"),
        ({"generation_config": {"chunk_length_schedule": [501]}}, "chunk_length_schedule"),
        ({"generation_config": {"chunk_length_schedule": [True]}}, "chunk_length_schedule"),
        ({"generation_config": {"chunk_length_schedule": "120"}}, "chunk_length_schedule"),
        ({"generation_config": {"chunk_length_schedule": [50] * 51}}, "at most 50"),
        ({"inactivity_timeout": "nan"}, "inactivity_timeout must be a number"),
    ],
)
def test_a_bad_setting_is_refused_by_name_and_only_in_its_context(fields: dict[str, Any], named: str) -> None:
    (invalid,) = decode({"text": "hello", "context_id": "x", **fields})
    assert isinstance(invalid, Invalid)
    assert invalid.context == "x"
    assert invalid.problem.code == "invalid_setting"
    assert named in invalid.problem.message


@pytest.mark.parametrize(
    "fields",
    [
        '"text": 5',
        '"text": ["a"]',
        '"flush": "maybe"',
        '"flush": {}',
        '"close_context": 7',
        '"voice_id": 1',
        '"inactivity_timeout": "soon"',
        '"inactivity_timeout": 1e999',
        '"text": "x", "contextId": 9',
    ],
)
def test_an_error_is_scoped_to_the_id_that_can_still_be_read(fields: str) -> None:
    (invalid,) = wire.decode('{"context_id": "x", ' + fields + "}")
    assert isinstance(invalid, Invalid)
    assert (invalid.context, invalid.problem.code) == ("x", "invalid_message")


@pytest.mark.parametrize("data", ['{"contextId": "x", "text": 5}', b'{"text": "\xff", "context_id": "x"}'])
def test_the_id_is_looked_for_under_both_names_and_beside_bad_bytes(data: str | bytes) -> None:
    (invalid,) = wire.decode(data)
    assert isinstance(invalid, Invalid)
    assert invalid.context == "x"


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "data",
    [
        "",
        "hello",
        "[]",
        "7",
        "null",
        '"text"',
        '{"text": "a"',
        '{"text": "a"} {}',
        '{"context_id": 5, "text": "a"}',
        '{"context_id": ["x"], "text": "a"}',
        '{"context_id": "", "text": 7}',
        '{"text": "\\ud800", "context_id": "x"}',
        '{"text": "\ud800", "context_id": "x"}',
        b"\xff\xfe",
        b"\x00",
        DEEP,
        '{"context_id": "x", "voice_settings": ' + DEEP,
    ],
)
def test_what_cannot_be_read_at_all_blames_nobody(data: str | bytes) -> None:
    (invalid,) = wire.decode(data)
    assert isinstance(invalid, Invalid)
    assert (invalid.context, invalid.problem.code) == (None, "unreadable_message")
    assert "Could not parse input message" in invalid.problem.message


@pytest.mark.parametrize("field", ["voice_settings", "chunk_length_schedule", "nobody_knows_this"])
def test_no_depth_of_nesting_gets_through_the_reader(field: str) -> None:
    # At the edge of the recursion limit the decoder succeeds and whatever looks at its result fails.
    for depth in [*range(1, 40), *range(880, 1010)]:
        nested = "[" * depth + "]" * depth
        value = '{"stability": ' + nested + "}" if field == "voice_settings" else nested
        assert wire.decode('{"text": "a", "context_id": "x", "' + field + '": ' + value + "}")


def test_no_sentence_repeats_spoken_text() -> None:
    (invalid,) = wire.decode('{"context_id": "x", "text": "my secret words", "flush": "certainly"}')
    assert isinstance(invalid, Invalid)
    assert "secret" not in invalid.problem.message
    assert "$.flush" in invalid.problem.message


# --- what the server says ----------------------------------------------------------------------------

USAGE = Usage(characters_accepted=5, audio_generated_ms=10.0, audio_sent_ms=7.5, audio_dropped_ms=2.5)
AUDIO_KEYS = {"audio", "isFinal", "normalizedAlignment", "alignment", "contextId"}
PROBLEM = Problem(code="busy", message="Too much.", limit=3, observed=4, retry_after_ms=500)


def slice_of(text: str, first: int, origin: int, step: int = 10, breaks: bool = False) -> Alignment:
    starts = tuple(first + step * index for index in range(len(text)))
    return Alignment(text, starts, tuple(start + step for start in starts), origin, breaks)


def audio(*slices: Alignment, payload: bytes = b"\1\2\3\4", sync: bool = False) -> dict[str, Any]:
    frame = json.loads(ElevenLabsServer(sync_alignment=sync).audio("c", payload, slices))
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
