"""What a client's message says: settings, their ranges and contradictions, and whom to blame."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mux.dialects.kugelaudio import DEFAULTS, KugelAudioRequests, KugelAudioServer, KugelAudioStream
from mux.dialects.kugelaudio.reading import (
    FORMATS,
    NOTHING,
    RATES,
    UPDATABLE,
    checked_update,
    decode_message,
    settings_of,
    unreadable,
    voice_settings_of,
)
from mux.dialects.kugelaudio.requests import REQUEST
from mux.dialects.kugelaudio.voices import (
    VoiceNumbers,
    cfg_scale_of,
    number_of,
    similarity_of,
    stability_of,
    temperature_of,
)
from mux.errors import Problem
from mux.protocol.messages import Configure, Invalid
from mux.protocol.voice import ContextSettings, inherit

WIRES = [KugelAudioServer, KugelAudioStream, KugelAudioRequests]


def read(**fields: Any) -> ContextSettings | Problem:
    return settings_of(decode_message(json.dumps(fields)), str)


def refusal(**fields: Any) -> Problem:
    problem = read(**fields)
    assert isinstance(problem, Problem)
    assert problem.code == "invalid_setting"
    return problem


SETTINGS: dict[str, tuple[dict[str, Any], ContextSettings]] = {
    "a voice by number": ({"voice_id": 1071}, ContextSettings(voice="1071")),
    "a voice by number, as a string": ({"voice_id": "1071"}, ContextSettings(voice="1071")),
    "a voice by name": ({"voice_id": "alice"}, ContextSettings(voice="alice")),
    "language": ({"language": "de"}, ContextSettings(language="de")),
    "model": ({"model_id": "kugel-3.5"}, ContextSettings(model="kugel-3.5")),
    "speed": ({"speed": 1.1}, ContextSettings(voice_settings={"speed": 1.1})),
    "temperature": ({"temperature": 0.2}, ContextSettings(voice_settings={"stability": 0.8})),
    "guidance": ({"cfg_scale": 2.0}, ContextSettings(voice_settings={"similarity_boost": 0.75})),
    "normalize": ({"normalize": False}, ContextSettings(normalize=False)),
    "words": ({"word_timestamps": True}, ContextSettings(word_timestamps=True)),
    "schedule": ({"chunk_length_schedule": [1, 1000]}, ContextSettings(chunk_length_schedule=(1, 1000))),
    "auto mode": ({"auto_mode": True}, ContextSettings(chunk_length_schedule=(1, 80, 150, 250))),
    "auto mode beside a schedule": (
        {"auto_mode": True, "chunk_length_schedule": [50, 100]},
        ContextSettings(chunk_length_schedule=(1, 100)),
    ),
    "auto mode beside one number": (
        {"auto_mode": True, "chunk_length_schedule": [50]},
        ContextSettings(chunk_length_schedule=(1, 50)),
    ),
    "auto mode off": ({"auto_mode": False}, NOTHING),
    "pause": ({"flush_timeout_ms": 750}, ContextSettings(flush_timeout=0.75)),
    "no pause": ({"flush_timeout_ms": 0}, ContextSettings(flush_timeout=0.0)),
    "longest": ({"max_buffer_length": 200}, ContextSettings(longest_segment=200)),
    "inactivity": ({"inactivity_timeout": 12.5}, ContextSettings(inactivity_timeout=12.5)),
    "without effect": (
        {"max_new_tokens": 8192, "project_id": 3, "dictionary_ids": [], "speaker_prefix": True},
        NOTHING,
    ),
    "empty names are none": ({"voice_id": "", "language": "", "model_id": ""}, NOTHING),
    "unknown": ({"frobnicate": {"deep": [1]}}, NOTHING),
    "numbers as strings": (
        {"speed": "0.9", "sample_rate": "8000"},
        ContextSettings(voice_settings={"speed": 0.9}, output_format="pcm_8000"),
    ),
    "what the SDK sends": (
        {
            **{
                "text": "tok ",
                "flush": False,
                "cfg_scale": 2.0,
                "max_new_tokens": 2048,
                "sample_rate": 24000,
            },
            **{"flush_timeout_ms": 500, "max_buffer_length": 1000, "normalize": True, "speed": 1.0},
            **{"word_timestamps": False, "voice_id": 1, "language": "en"},
        },
        ContextSettings(
            voice="1",
            language="en",
            voice_settings={"similarity_boost": 0.75, "speed": 1.0},
            output_format="pcm_24000",
            word_timestamps=False,
            normalize=True,
            longest_segment=1000,
            flush_timeout=0.5,
        ),
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_read(name: str) -> None:
    fields, settings = SETTINGS[name]
    assert read(**fields) == settings


def test_null_is_the_same_as_not_given() -> None:
    names = {name for fields, _ in SETTINGS.values() for name in fields}
    assert read(**dict.fromkeys(names)) == read() == NOTHING


@pytest.mark.parametrize(
    ("name", "low", "high", "beyond"),
    [
        ("temperature", 0, 1, [-0.01, 1.01]),
        ("speed", 0.8, 1.2, [0.79, 1.21]),
        ("cfg_scale", 0, 10, [-0.1, 10.1]),
        ("max_new_tokens", 1, 8192, [0, 8193, -1]),
        ("flush_timeout_ms", 0, 60_000, [-1, 60_001]),
        ("max_buffer_length", 1, 10_000, [0, 10_001]),
    ],
)
def test_a_range_holds_to_the_end_and_no_further(
    name: str, low: float, high: float, beyond: list[float]
) -> None:
    for value in (low, high):
        assert isinstance(read(**{name: value}), ContextSettings)
    for value in beyond:
        problem = refusal(**{name: value})
        assert (problem.param, problem.observed) == (name, value)
        assert f"{name} must be a number from {low:g} to {high:g}, received {value!r}" in problem.message


@pytest.mark.parametrize(
    "name", ["temperature", "speed", "cfg_scale", "flush_timeout_ms", "inactivity_timeout"]
)
def test_what_is_no_number_is_refused_by_name(name: str) -> None:
    assert refusal(**{name: "nan"}).param == name


def test_guidance_is_moreover_clamped() -> None:
    assert similarity_of(0) == similarity_of(1.2) == 0
    assert similarity_of(2.0) == 0.75
    assert similarity_of(10) == similarity_of(2.5) == 1
    assert 0.75 < similarity_of(2.25) < 1


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.75, 0.9, 1.0])
def test_both_vendors_knobs_are_turned_back(share: float) -> None:
    assert similarity_of(cfg_scale_of(share)) == pytest.approx(share)
    assert stability_of(temperature_of(share)) == pytest.approx(share)
    assert stability_of(0.5) == 0.5


# --- formats -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", FORMATS)
def test_a_formats_token_alone_with_its_own_rate_or_with_the_sdks_default(token: str) -> None:
    for rate in (None, FORMATS[token], 24000):
        assert read(output_format=token, sample_rate=rate) == ContextSettings(output_format=token)


@pytest.mark.parametrize("rate", RATES)
def test_a_rate_alone_is_pcm(rate: int) -> None:
    assert read(sample_rate=rate) == ContextSettings(output_format=f"pcm_{rate}")


@pytest.mark.parametrize(
    ("token", "rate"),
    [("ulaw_8000", 16000), ("alaw_8000", 22050), ("pcm_16000", 8000), ("pcm_24000", 8000)],
)
def test_a_format_and_another_rate_contradict_each_other(token: str, rate: int) -> None:
    problem = refusal(output_format=token, sample_rate=rate)
    assert problem.param == "sample_rate"
    assert token in problem.message
    assert str(FORMATS[token]) in problem.message


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"sample_rate": 44100}, "sample_rate"),
        ({"sample_rate": 0, "output_format": "pcm_8000"}, "sample_rate"),
        ({"output_format": "mp3_44100_128"}, "output_format"),
        ({"output_format": ""}, "output_format"),
        ({"chunk_length_schedule": [0]}, "chunk_length_schedule"),
        ({"chunk_length_schedule": [1001]}, "chunk_length_schedule"),
        ({"chunk_length_schedule": [10] * 51}, "chunk_length_schedule"),
    ],
)
def test_what_is_not_allowed_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    problem = refusal(**fields)
    assert problem.param == param
    assert problem.message.startswith(f"{param} must be ")
    assert problem.limit


def test_a_value_is_shown_shortened() -> None:
    assert len(refusal(output_format="x" * 10_000).message) < 300


# --- voices ------------------------------------------------------------------------------------------


def test_voices_have_numbers_that_are_always_the_same() -> None:
    assert number_of("alice") == number_of("alice") != number_of("bob")
    assert all(0 < number_of(f"voice {index}") < 10_000_000 for index in range(100))
    numbers = VoiceNumbers(["alice", "bob"])
    assert numbers.name(number_of("alice")) == "alice"
    assert numbers.name(str(number_of("bob"))) == "bob"


@pytest.mark.parametrize("given", [1071, "1071", "alice", "007", -3, 10**18, "٣", ""])
def test_what_has_no_number_here_stands_for_itself(given: int | str) -> None:
    assert VoiceNumbers(["bob"]).name(given) == str(given)


@pytest.mark.parametrize("wire", WIRES)
def test_a_message_names_the_voice_by_its_number(wire: Any) -> None:
    dialect = wire(name_voice=VoiceNumbers(["alice"]).name)
    commands = dialect.decode(json.dumps({"text": "Hi", "context_id": "a", "voice_id": number_of("alice")}))
    assert any(getattr(command, "settings", NOTHING).voice == "alice" for command in commands)


# --- voice_settings ----------------------------------------------------------------------------------


def test_of_voice_settings_only_three_are_read() -> None:
    given = {
        **{"voice_id": "7", "cfg_scale": "2.5", "max_new_tokens": 10, "speed": 9, "temperature": "hot"},
        **{"stability": 3, "similarity_boost": [], "style": None, "use_speaker_boost": "yes"},
    }
    settings = voice_settings_of(given, str)
    assert settings == ContextSettings(voice="7", voice_settings={"similarity_boost": 1.0})
    assert voice_settings_of({}, str) == NOTHING
    assert voice_settings_of({"voice_id": None}, str) == NOTHING


@pytest.mark.parametrize(
    "given", [{"voice_id": [1]}, {"cfg_scale": "loud"}, {"cfg_scale": 11}, {"voice_id": {}}]
)
def test_wrong_voice_settings_are_refused(given: dict[str, Any]) -> None:
    problem = voice_settings_of(given, str)
    assert isinstance(problem, Problem)
    assert problem.code == "invalid_setting"
    assert next(iter(given)) in problem.message


# --- update_settings ---------------------------------------------------------------------------------


def test_an_update_may_have_any_of_six() -> None:
    six = {
        **{"cfg_scale": 1.8, "temperature": 0.3, "speed": 1.1},
        **{"max_new_tokens": 1024, "language": "de", "normalize": True},
    }
    assert set(six) == set(UPDATABLE)
    assert checked_update(six) == six
    for name, value in six.items():
        assert checked_update({name: value, "speed" if name != "speed" else "language": None}) == {
            name: value
        }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "one or more of"),
        ({"speed": None}, "one or more of"),
        ({"voice_id": 5}, "voice_id"),
        ({"model_id": "kugel-3"}, "model_id"),
        ({"sample_rate": 8000}, "sample_rate"),
        ({"output_format": "pcm_8000", "speed": 1.1}, "output_format"),
        ({"project_id": 5}, "project_id"),
        ({"dictionary_ids": []}, "dictionary_ids"),
        ({"speed": 2}, "speed must be a number from 0.8 to 1.2"),
        ({"temperature": 1.5}, "temperature"),
        ({"cfg_scale": 11}, "cfg_scale"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"normalize": "perhaps"}, "normalize"),
    ],
)
def test_any_other_update_is_refused_by_name(given: dict[str, Any], said: str) -> None:
    problem = checked_update(given)
    assert isinstance(problem, Problem)
    assert said in problem.message
    assert problem.row.kugelaudio == "VALIDATION_ERROR"


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    "given",
    [
        *({"speed": 1.1}, {"cfg_scale": 1.8}, {"temperature": 0.1}, {"language": "de"}, {"normalize": False}),
        *({"max_new_tokens": 5}, {"language": "", "max_new_tokens": 5}),
    ],
)
def test_every_update_is_answered(wire: Any, given: dict[str, Any]) -> None:
    (command,) = wire().decode(json.dumps({"update_settings": given}))
    assert isinstance(command, Configure)
    assert command.answer


@pytest.mark.parametrize("wire", WIRES)
def test_a_refused_update_ends_nobody(wire: Any) -> None:
    command, *_ = wire().decode('{"update_settings": {"voice_id": 5}}')
    assert isinstance(command, Invalid)
    # On a socket of requests it has its place among their answers, as a request of its own.
    assert command.context == (REQUEST if wire is KugelAudioRequests else None)


# --- whom to blame -----------------------------------------------------------------------------------

UNREADABLE = [
    "",
    "{",
    "[]",
    "5",
    "null",
    '{"text": 5}',
    '{"text": "\\ud800"}',
    '{"flush": "perhaps"}',
    '{"voice_id": true}',
    '{"voice_id": ' + "1" * 5000 + "}",
    '{"voice_settings": 5}',
    '{"chunk_length_schedule": ["x"]}',
    '{"sample_rate": 1.5}',
    "[" * 100_000,
    b"\xff\xfe",
]


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("data", UNREADABLE, ids=lambda data: repr(data[:30]))
def test_what_cannot_be_read_is_a_message_without_effect(wire: Any, data: str | bytes) -> None:
    first, *rest = wire().decode(data)
    assert isinstance(first, Invalid)
    assert first.problem.row.kugelaudio == "VALIDATION_ERROR"
    assert not any(isinstance(command, Configure) for command in rest)


@pytest.mark.parametrize(
    ("data", "id"),
    [
        ('{"context_id": "a", "text": 5}', "a"),
        ('{"context_id": "a", "flush": "x", "voice_settings": []}', "a"),
        ('{"context_id": 5, "text": "x"}', None),
        ('{"context_id": "", "text": 5}', None),
        ('{"context_id": "a", "text": ', None),
    ],
)
def test_the_context_that_can_be_read_is_to_blame(data: str, id: str | None) -> None:
    try:
        decode_message(data)
    except Exception as error:
        invalid = unreadable(data, error)
    assert invalid.context == id
    assert invalid.problem.code == ("invalid_message" if id else "unreadable_message")


def test_the_reason_names_the_field_and_never_its_value() -> None:
    (invalid,) = KugelAudioServer().decode('{"text": ["my secret"]}')
    assert isinstance(invalid, Invalid)
    assert "$.text" in invalid.problem.message
    assert "secret" not in invalid.problem.message


def test_defaults() -> None:
    settings = inherit(DEFAULTS, NOTHING)
    assert settings.output_format == "pcm_24000"
    assert settings.chunk_length_schedule == (5, 80, 150, 250)
    assert settings.flush_timeout == 0.5
    assert settings.inactivity_timeout == 20
    assert settings.voice is None
    assert settings.normalize is not False
    assert not settings.word_timestamps
