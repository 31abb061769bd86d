"""The query of an ElevenLabs socket URL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from mux.errors import MuxError
from mux.protocol.voice import ContextSettings

__all__ = ["Parameters", "parse_parameters"]

DEFAULT_FORMAT = "mp3_44100_128"
DEFAULT_TIMEOUT = 20.0

_KEY_NAMES = ("xi-api-key", "xi_api_key", "api_key", "authorization")
_ACCEPTED = {
    "enable_logging": "flag",
    "apply_language_text_normalization": "flag",
    "seed": "0 to 4294967295",
    "optimize_streaming_latency": "0 to 4",
}
"""Known to the vendor, checked as it does, without effect here."""


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """What the URL of a socket asks for. `unknown` are the names that nobody knows."""

    settings: ContextSettings
    output_format: str = DEFAULT_FORMAT
    sync_alignment: bool = False
    hello: bool = False
    key: str | None = None
    token: str | None = None
    """A single-use token."""
    model: str | None = None
    unknown: tuple[str, ...] = ()


def parse_parameters(voice: str, query: Mapping[str, str]) -> Parameters:
    """Read a socket's query; `voice` is the voice id in its path. An empty value counts as not given.

    Raises:
        MuxError: `invalid_parameter`, naming the parameter, what is allowed and what came.
    """
    given = {name: value for name, value in query.items() if value != ""}

    def take(name: str, read: Callable[[str, str], Any], default: Any) -> Any:
        value = given.pop(name, None)
        return default if value is None else read(name, value)

    settings = ContextSettings(
        # Pipecat writes the word None into the path if its user names no voice.
        voice=None if voice in ("", "None", "null") else voice,
        language=take("language_code", _text, None),
        auto_mode=take("auto_mode", _flag, False),
        inactivity_timeout=take("inactivity_timeout", _seconds, DEFAULT_TIMEOUT),
        normalize=take("apply_text_normalization", _normalization, True),
        ssml=take("enable_ssml_parsing", _flag, False),
    )
    parameters = Parameters(
        settings=settings,
        output_format=take("output_format", _text, DEFAULT_FORMAT),
        sync_alignment=take("sync_alignment", _flag, False),
        hello=take("mux_hello", _flag, False),
        token=take("single_use_token", _text, None),
        model=take("model_id", _text, None),
        key=next((given[name] for name in _KEY_NAMES if name in given), None),
    )
    for name, kind in _ACCEPTED.items():
        take(name, _flag if kind == "flag" else _whole_number(kind), None)
    unknown = given.keys() - set(_KEY_NAMES)
    return msgspec.structs.replace(parameters, unknown=tuple(sorted(unknown)))


def _text(name: str, value: str) -> str:
    return value


def _flag(name: str, value: str) -> bool:
    flag = {"true": True, "1": True, "false": False, "0": False}.get(value.lower())
    if flag is None:
        raise _invalid(name, "true or false", value)
    return flag


def _normalization(name: str, value: str) -> bool:
    if value not in ("auto", "on", "off"):
        raise _invalid(name, "auto, on or off", value)
    return value != "off"


def _whole_number(allowed: str) -> Callable[[str, str], int]:
    low, high = map(int, allowed.split(" to "))

    def read(name: str, value: str) -> int:
        # Of more than 4,300 digits Python makes no number.
        if value.isascii() and value.isdigit() and len(value) < 20 and low <= int(value) <= high:
            return int(value)
        raise _invalid(name, f"a whole number from {allowed}", value)

    return read


def _seconds(name: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = float("nan")
    if not abs(seconds) < 1e9:
        raise _invalid(name, "a number of seconds from 1 to 180", value)
    return seconds


def _invalid(name: str, allowed: str, value: str) -> MuxError:
    return MuxError.of(
        "invalid_parameter",
        f"The parameter {name} must be {allowed}, received {value[:40]!r}. Correct it or leave it out.",
        limit=allowed,
        observed=value[:40],
        param=name,
    )
