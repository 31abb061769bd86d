"""What a client's messages mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mux.dialects.base import Credentials, Decoded
from mux.dialects.elevenlabs import ElevenLabsServer
from mux.dialects.elevenlabs.reading import DICTIONARIES_IGNORED
from mux.protocol.messages import (
    Close,
    CloseSocket,
    Configure,
    Flush,
    Invalid,
    KeepAlive,
    Notice,
    Open,
    Text,
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
        [Notice(DICTIONARIES_IGNORED, "a1"), Text("a1", " ")],
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
    "close of the default context": ({"text": "", "close_context": True}, [Close("default")]),
    "the same with a space": ({"text": " ", "close_context": True}, [Close("default")]),
    "keepalive": ({"text": "", "context_id": "c1"}, [KeepAlive("c1")]),
    "pipecat keepalive without a context": ({"text": ""}, [KeepAlive()]),
    "old pipecat keepalive": ({"text": " "}, [Text("default", " ")]),
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
    assert ElevenLabsServer().decode(json.dumps(message).encode()) == commands, "bytes are read as text is"


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


def test_that_dictionaries_are_not_applied_is_said_once() -> None:
    server = ElevenLabsServer()
    asked = json.dumps(said("a1", text="Hi. ", pronunciation_dictionary_locators=[{"version_id": "v"}]))
    assert Notice(DICTIONARIES_IGNORED, "a1") in server.decode(asked)
    assert server.decode(asked) == [Text("a1", "Hi. ")]
