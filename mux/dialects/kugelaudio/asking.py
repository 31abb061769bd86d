"""What a client asks for, as this wire says it: what `reading` does, the other way round."""

from __future__ import annotations

from typing import Any

from mux.dialects.kugelaudio.reading import DEFAULT_SCHEDULE, FORMATS
from mux.dialects.kugelaudio.voices import cfg_scale_of, temperature_of
from mux.dialects.kugelaudio.wire import ClientMessage
from mux.protocol.voice import ContextSettings, inherit

__all__ = ["Asking"]

SLOWEST, FASTEST = 0.8, 1.2
"""`speed` outside them is refused; ElevenLabs allows 0.7."""
_DEFAULTS: dict[str, Any] = {
    "speed": 1.0,
    "temperature": 0.5,
    "normalize": True,
    "auto_mode": False,
    "chunk_length_schedule": DEFAULT_SCHEDULE,
    "max_buffer_length": 1000,
    "flush_timeout_ms": 500,
    "inactivity_timeout": 20.0,
}
"""Settings that hold for a whole socket, and what they are where nobody gives them."""


class Asking:
    """The settings of one socket. Every context is opened with all of them: "speed/temperature/language are
    session-wide, last writer wins", so what was given once is said each time, lest it hold for a context
    that did not ask for it. Only a language cannot be taken back.

    Args:
        output_format: the token of all audio.
        word_timestamps: whether words' times are wanted.
        settings: what holds for contexts that say nothing else.
    """

    def __init__(self, output_format: str, word_timestamps: bool, settings: ContextSettings) -> None:
        self._always: dict[str, Any] = {
            "output_format": output_format,
            "sample_rate": FORMATS[output_format],  # for servers that do not know the token yet
            "word_timestamps": word_timestamps or None,
        }
        self._settings = settings
        self._once_given: set[str] = set()

    def open(self, context: str, own: ContextSettings) -> ClientMessage:
        settings = inherit(self._settings, own)
        given = {"voice_id": _voice_id(settings.voice), "cfg_scale": _cfg_scale(settings)}
        voice = {name: value for name, value in given.items() if value is not None}
        # "The first non-empty text for an ID creates its context"; a blank is not spoken.
        return ClientMessage(text=" ", context_id=context, voice_settings=voice, **self._socket(settings))

    def configure(self, own: ContextSettings) -> ClientMessage:
        settings = self._settings = inherit(self._settings, own)
        voice, scale = _voice_id(settings.voice), _cfg_scale(settings)
        return ClientMessage(text="", voice_id=voice, cfg_scale=scale, **self._socket(settings))

    def _socket(self, settings: ContextSettings) -> dict[str, Any]:
        sound = settings.voice_settings or {}
        stability, speed, pause = sound.get("stability"), sound.get("speed"), settings.flush_timeout
        given = {
            "speed": None if speed is None else min(max(speed, SLOWEST), FASTEST),
            "temperature": None if stability is None else temperature_of(stability),
            "normalize": settings.normalize,
            "auto_mode": settings.auto_mode,
            "chunk_length_schedule": settings.chunk_length_schedule,
            "max_buffer_length": settings.longest_segment,
            "flush_timeout_ms": None if pause is None else round(pause * 1000),
            "inactivity_timeout": settings.inactivity_timeout,
        }
        self._once_given |= {name for name, value in given.items() if value is not None}
        told = {name: _DEFAULTS[name] if given[name] is None else given[name] for name in self._once_given}
        language = _iso_639(settings.language)
        return {**self._always, **told, "model_id": settings.model, "language": language}


def _voice_id(voice: str | None) -> int | str | None:
    """The vendor's voices have numbers."""
    if voice and voice.isascii() and voice.isdigit() and voice[0] != "0" and len(voice) < 19:
        return int(voice)
    return voice


def _cfg_scale(settings: ContextSettings) -> float | None:
    similarity = (settings.voice_settings or {}).get("similarity_boost")
    return None if similarity is None else cfg_scale_of(similarity)


def _iso_639(language: str | None) -> str | None:
    """The language without its region: "ISO 639-1, not BCP-47"."""
    return language.replace("_", "-").split("-")[0].lower() if language else None
