"""Settings: ranges, spelling, inheritance."""

from __future__ import annotations

from typing import Any

import pytest

from mux.errors import Problem
from mux.protocol.voice import RANGES, ContextSettings, VoiceSettings, inherit, voice_settings


@pytest.mark.parametrize("given", [None, {}, {"speed": None}, {"unknown": object()}])
def test_nothing_given_is_nothing(given: Any) -> None:
    assert voice_settings(given) == {}


@pytest.mark.parametrize(("name", "low", "high"), [(name, *bounds) for name, bounds in RANGES.items()])
def test_a_range_includes_its_ends_and_nothing_outside(name: str, low: float, high: float) -> None:
    assert voice_settings({name: low}) == {name: low}
    assert voice_settings({name: high}) == {name: high}
    for value in (low - 0.01, high + 0.01, float("nan"), float("inf"), 10**400):
        problem = voice_settings({name: value})
        assert isinstance(problem, Problem)
        assert problem.code == "invalid_setting"


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"speed": "fast"}, id="word"),
        pytest.param({"speed": True}, id="boolean is no number"),
        pytest.param({"speed": [1]}, id="list"),
        pytest.param({"use_speaker_boost": "maybe"}, id="no boolean"),
        pytest.param({"use_speaker_boost": 1}, id="number is no boolean"),
        pytest.param([], id="no object"),
        pytest.param("speed", id="no object either"),
    ],
)
def test_a_bad_setting_is_refused_by_name_with_what_is_allowed(given: Any) -> None:
    problem = voice_settings(given)
    assert isinstance(problem, Problem)
    name = next(iter(given)) if isinstance(given, dict) else "voice_settings"
    assert name in problem.message
    assert str(problem.limit) in problem.message


def test_a_refusal_never_quotes_much_of_what_it_got() -> None:
    problem = voice_settings({"speed": "x" * 10_000})
    assert isinstance(problem, Problem)
    assert len(problem.message) < 300


def test_numbers_and_booleans_may_come_as_strings() -> None:
    assert voice_settings({"speed": "0.9", "use_speaker_boost": "False"}) == {
        "speed": 0.9,
        "use_speaker_boost": False,
    }


def test_single_voice_settings_inherit_one_by_one() -> None:
    connection = ContextSettings(voice_settings={"stability": 0.1, "speed": 0.8})
    context = inherit(connection, ContextSettings(voice_settings={"speed": 1.1}))
    assert context.voice_settings == {"stability": 0.1, "speed": 1.1}
    assert inherit(connection, ContextSettings()).voice_settings == connection.voice_settings


@pytest.mark.parametrize(
    ("name", "base", "own"),
    [
        ("voice", "a", "b"),
        ("language", "de", "en"),
        ("auto_mode", True, False),
        ("chunk_length_schedule", (50,), (60, 70)),
        ("inactivity_timeout", 20.0, 10.0),
        ("output_format", "pcm_24000", "ulaw_8000"),
        ("normalize", True, False),
        ("ssml", True, False),
        ("sentences", True, False),
        ("longest_segment", 400, 100),
        ("flush_timeout", 0.5, 0.0),
    ],
)
def test_what_is_given_wins_and_what_is_not_is_inherited(name: str, base: Any, own: Any) -> None:
    below = ContextSettings(**{name: base})
    assert getattr(inherit(below, ContextSettings(**{name: own})), name) == own
    assert getattr(inherit(below, ContextSettings()), name) == base


def test_every_setting_is_inherited() -> None:
    """None is left out: what a connection was told holds for its contexts."""
    everything: dict[str, Any] = {name: f"some {name}" for name in ContextSettings.__struct_fields__}
    everything["voice_settings"] = {"speed": 1.1}
    connection = ContextSettings(**everything)
    assert inherit(connection, ContextSettings()) == connection
    assert inherit(ContextSettings(), connection) == connection


def test_the_defaults_are_within_their_ranges() -> None:
    defaults = VoiceSettings()
    for name, (low, high) in RANGES.items():
        assert low <= getattr(defaults, name) <= high
