"""Voice settings, their ranges, and their inheritance: connection < context < message."""

from __future__ import annotations

from typing import Any

import msgspec

from mux.errors import Problem

__all__ = ["RANGES", "ContextSettings", "VoiceSettings", "clamp_timeout", "inherit", "voice_settings"]

DEFAULT_SCHEDULE = (120, 160, 250, 290)
"""`chunk_length_schedule` where nobody gave one (ElevenLabs' documented default)."""
SCHEDULE_RANGE = (5, 500)
"""ElevenLabs documents 50 to 500, Patter's page 5 to 500; the wider range serves both."""
INACTIVITY_RANGE = (1.0, 180.0)
"""Seconds; outside it the value is clamped and a warning says so (ElevenLabs: "can be up to 180")."""


class VoiceSettings(msgspec.Struct, frozen=True, gc=False):
    """How a voice speaks. Ranges are in `RANGES`; the defaults are ElevenLabs' documented ones."""

    stability: float = 0.5
    similarity_boost: float = 0.75
    style: float = 0.0
    use_speaker_boost: bool = True
    speed: float = 1.0


RANGES: dict[str, tuple[float, float]] = {
    "stability": (0.0, 1.0),
    "similarity_boost": (0.0, 1.0),
    "style": (0.0, 1.0),
    "speed": (0.7, 1.2),
}


class ContextSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a message, a context or a connection asks for; None means "not given, inherit it".

    `voice_settings` holds only the fields that were given, already range-checked by `voice_settings()`.
    `inactivity_timeout` is in seconds.
    """

    voice: str | None = None
    language: str | None = None
    voice_settings: dict[str, float | bool] | None = None
    model: str | None = None
    output_format: str | None = None
    word_timestamps: bool | None = None
    """Times by the word are wanted, where the wire has them."""
    normalize: bool | None = None
    """Write numbers and the like out before they are spoken; None is yes."""
    ssml: bool | None = None
    """Obey tags in the text; None is no."""
    auto_mode: bool | None = None
    chunk_length_schedule: tuple[int, ...] | None = None
    sentences: bool | None = None
    """How segments are cut: the schedule's numbers are the fewest characters of a segment, which ends with a
    sentence (`SentenceSegmenter`), instead of the most (`Segmenter`)."""
    longest_segment: int | None = None
    flush_timeout: float | None = None
    """After so many seconds without further text, what waits is spoken; None: it waits for ever."""
    inactivity_timeout: float | None = None


_INHERITED = tuple(name for name in ContextSettings.__struct_fields__ if name != "voice_settings")


def inherit(base: ContextSettings, own: ContextSettings) -> ContextSettings:
    """Lay `own` over `base`. Single voice settings inherit one by one: a context that only sets `speed`
    keeps the connection's `stability`."""
    given = {name: value for name in _INHERITED if (value := getattr(own, name)) is not None}
    voice = {**(base.voice_settings or {}), **(own.voice_settings or {})}
    return msgspec.structs.replace(base, **given, voice_settings=voice or None)


def clamp_timeout(seconds: float | None) -> float | None:
    """The nearest inactivity timeout that is in range."""
    low, high = INACTIVITY_RANGE
    return None if seconds is None else min(max(seconds, low), high)


def voice_settings(given: Any) -> dict[str, float | bool] | Problem:
    """Check a peer's `voice_settings` object. `{}`, null and null fields count as not given; unknown fields
    are ignored. Numbers and booleans may come as strings (some clients send "0.5" and "False")."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        return _invalid("voice_settings", "an object or null", type(given).__name__)
    checked: dict[str, float | bool] = {}
    for name, value in given.items():
        if value is None:
            continue
        if name in RANGES:
            low, high = RANGES[name]
            number = _number(value)
            if number is None or not low <= number <= high:
                return _invalid(f"voice_settings.{name}", f"a number from {low} to {high}", value)
            checked[name] = number
        elif name == "use_speaker_boost":
            flag = _flag(value)
            if flag is None:
                return _invalid("voice_settings.use_speaker_boost", "true or false", value)
            checked[name] = flag
    return checked


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _flag(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower())
    return None


def _invalid(name: str, allowed: str, observed: Any) -> Problem:
    shown = observed if isinstance(observed, (int, float)) else str(observed)[:40]
    return Problem(
        code="invalid_setting",
        message=f"{name} must be {allowed}, received {shown!r}. Correct it or leave it out.",
        limit=allowed,
        observed=shown,
    )
