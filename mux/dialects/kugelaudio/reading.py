"""A client's message: what it says, its settings, and whom to blame when it cannot be read."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from mux.dialects.kugelaudio.voices import similarity_of, stability_of
from mux.dialects.kugelaudio.wire import ClientMessage
from mux.errors import Problem
from mux.protocol.messages import Invalid
from mux.protocol.voice import ContextSettings

__all__ = [
    "DEFAULT_SCHEDULE",
    "FORMATS",
    "NOTHING",
    "RATES",
    "UNREADABLE",
    "UPDATABLE",
    "NameVoice",
    "checked_update",
    "decode_message",
    "settings_of",
    "unreadable",
    "voice_settings_of",
]

UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeError)
"""All that msgspec raises for what a peer sends."""

NameVoice: TypeAlias = Callable[[int | str], str]
"""From a voice as clients name it, by number, to a voice id."""

NOTHING = ContextSettings()
RATES = (8000, 16000, 22050, 24000)
FORMATS = {**{f"pcm_{rate}": rate for rate in RATES}, "ulaw_8000": 8000, "alaw_8000": 8000}
"""`output_format` and its rate."""
DEFAULT_RATE = 24000
DEFAULT_SCHEDULE = (5, 80, 150, 250)
"""The Python SDK's and the API's documented one; another page says (80, 150, 250), which speaks later."""
UPDATABLE = ("cfg_scale", "temperature", "speed", "max_new_tokens", "language", "normalize")
"""What `update_settings` may change; "identity / audio-format fields are fixed for the connection"."""
_MOST_SCHEDULE = 50
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0.0, 1.0),
    "speed": (0.8, 1.2),
    "max_new_tokens": (1, 8192),
    "cfg_scale": (0.0, 10.0),
    "flush_timeout_ms": (0, 60_000),
    "max_buffer_length": (1, 10_000),
}
"""Outside them a setting is refused by name; `cfg_scale` is moreover clamped to 1.2 to 2.5."""

# Lax: a number may come as a string.
decode_message = msgspec.json.Decoder(ClientMessage, strict=False).decode
_Six = msgspec.defstruct(
    "_Six",
    [
        ("cfg_scale", float | None, None),
        ("temperature", float | None, None),
        ("speed", float | None, None),
        ("max_new_tokens", int | None, None),
        ("language", str | None, None),
        ("normalize", bool | None, None),
    ],
    forbid_unknown_fields=True,
)


class _Id(msgspec.Struct):
    """The id alone, of a message that is otherwise unreadable."""

    context_id: Any = None


_decode_id = msgspec.json.Decoder(_Id).decode


def unreadable(data: str | bytes, error: Exception) -> Invalid:
    """The smallest thing to blame: the context whose id can be read, else only the message."""
    try:
        id = _decode_id(data).context_id
    except UNREADABLE:
        id = None
    if not isinstance(id, str) or not id:
        id = None
    # msgspec's own sentence names the field and the type, never the value.
    cause = str(error) if isinstance(error, msgspec.DecodeError) else type(error).__name__
    problem = Problem(
        code="invalid_message" if id else "unreadable_message",
        message=f"The message is not JSON of this protocol: {cause[:200]}.",
    )
    return Invalid(problem, id)


def settings_of(message: ClientMessage, name_voice: NameVoice) -> ContextSettings | Problem:
    """The settings that stand at a message's top level, which are the connection's."""
    if problem := _out_of_range(message):
        return problem
    format = _format(message)
    if isinstance(format, Problem):
        return format
    schedule = message.chunk_length_schedule
    if schedule and (len(schedule) > _MOST_SCHEDULE or not all(1 <= number <= 1000 for number in schedule)):
        return _refused(
            "chunk_length_schedule", f"a list of at most {_MOST_SCHEDULE} numbers from 1 to 1000", schedule
        )
    if message.auto_mode:
        # "emit at the very first clean sentence boundary": the first segment may be of any length.
        schedule = schedule or list(DEFAULT_SCHEDULE)
        schedule = [1, *(schedule[1:] or schedule)]
    pause = message.flush_timeout_ms
    return ContextSettings(
        voice=None if message.voice_id in (None, "") else name_voice(message.voice_id),
        language=message.language or None,
        voice_settings=_sound(message.cfg_scale, message.temperature, message.speed) or None,
        model=message.model_id or None,
        output_format=format,
        word_timestamps=message.word_timestamps,
        normalize=message.normalize,
        chunk_length_schedule=tuple(schedule) if schedule else None,
        longest_segment=message.max_buffer_length,
        flush_timeout=None if pause is None else pause / 1000,
        inactivity_timeout=message.inactivity_timeout,
    )


def voice_settings_of(given: dict[str, Any], name_voice: NameVoice) -> ContextSettings | Problem:
    """What `voice_settings` say of one context. "Only voice_id, cfg_scale, max_new_tokens are read"; whatever
    else stands there is ignored."""
    known = {name: given[name] for name in ("voice_id", "cfg_scale", "max_new_tokens") if name in given}
    try:
        message = msgspec.convert(known, ClientMessage, strict=False)
    except msgspec.ValidationError as error:
        return _refused("voice_settings", str(error), None)
    return settings_of(message, name_voice)


def checked_update(given: dict[str, Any]) -> dict[str, Any] | Problem:
    """The fields of an `update_settings`, checked; at least one of the six that may be changed."""
    try:
        six = msgspec.convert(given, _Six, strict=False)
    except msgspec.ValidationError as error:
        return _refused("update_settings", f"an object of {', '.join(UPDATABLE)} ({error})", None)
    fields = {name: value for name in UPDATABLE if (value := getattr(six, name)) is not None}
    if not fields:
        return _refused("update_settings", f"one or more of {', '.join(UPDATABLE)}", None)
    return _out_of_range(ClientMessage(**fields)) or fields


def _sound(cfg_scale: float | None, temperature: float | None, speed: float | None) -> dict[str, Any]:
    given = {
        "similarity_boost": None if cfg_scale is None else similarity_of(cfg_scale),
        "stability": None if temperature is None else stability_of(temperature),
        "speed": speed,
    }
    return {name: value for name, value in given.items() if value is not None}


def _out_of_range(message: ClientMessage) -> Problem | None:
    for name, (low, high) in _RANGES.items():
        value = getattr(message, name)
        if value is not None and not low <= value <= high:
            return _refused(name, f"a number from {low:g} to {high:g}", value)
    timeout = message.inactivity_timeout
    if timeout is not None and math.isnan(timeout):
        return _refused("inactivity_timeout", "a number of seconds", timeout)
    return None


def _format(message: ClientMessage) -> str | Problem | None:
    """The format's token. "Must not contradict sample_rate": but the SDKs always send their default rate."""
    token, rate = message.output_format, message.sample_rate
    if rate is not None and rate not in RATES:
        return _refused("sample_rate", f"one of {', '.join(map(str, RATES))}", rate)
    if token is None:
        return None if rate is None else f"pcm_{rate}"
    if token not in FORMATS:
        return _refused("output_format", f"one of {', '.join(FORMATS)}", token)
    if rate not in (None, DEFAULT_RATE, FORMATS[token]):
        return _refused("sample_rate", f"{FORMATS[token]}, or left out, beside output_format {token!r}", rate)
    return token


def _refused(name: str, allowed: str, observed: Any) -> Problem:
    shown = observed if isinstance(observed, (int, float)) else str(observed)[:40]
    received = "" if observed is None else f", received {shown!r}"
    return Problem(
        code="invalid_setting",
        message=f"{name} must be {allowed}{received}. Correct it or leave it out.",
        limit=allowed,
        observed=None if observed is None else shown,
        param=name,
    )
