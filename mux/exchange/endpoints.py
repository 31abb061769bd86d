"""Which of the known sockets a path is, and how much audio some bytes are there."""

from __future__ import annotations

from typing import Literal

import msgspec

from mux.audio.formats import FORMATS

__all__ = ["Endpoint", "audio_ms", "endpoint_of"]


class Endpoint(msgspec.Struct, frozen=True):
    """A kind of socket. `multi`: messages carry context ids; `turns`: without ids, one turn after another;
    neither: one utterance a socket. `limit` is how many contexts the vendor allows on one."""

    name: str
    dialect: Literal["elevenlabs", "kugelaudio", ""]
    multi: bool = False
    turns: bool = False
    limit: int | None = None
    default_format: str = ""


MP3 = "mp3_44100_128"
ENDPOINTS = (
    Endpoint("text-to-dialogue/multi-stream-input", "elevenlabs", multi=True, limit=5, default_format=MP3),
    Endpoint("text-to-dialogue/stream-input", "elevenlabs", default_format=MP3),
    Endpoint("multi-stream-input", "elevenlabs", multi=True, limit=5, default_format=MP3),
    Endpoint("stream-input", "elevenlabs", default_format=MP3),
    Endpoint("ws/tts/multi", "kugelaudio", multi=True, limit=20, default_format="pcm_24000"),
    Endpoint("ws/tts/stream", "kugelaudio", turns=True, default_format="pcm_24000"),
    Endpoint("ws/tts", "kugelaudio", turns=True, default_format="pcm_24000"),
)
UNKNOWN = Endpoint("unknown", "")


def endpoint_of(path: str) -> Endpoint:
    """The kind of socket at a URL's path, whatever stands before it; `Endpoint("unknown", "")` for others."""
    path = path.rstrip("/")
    return next((endpoint for endpoint in ENDPOINTS if path.endswith("/" + endpoint.name)), UNKNOWN)


def audio_ms(count: int, token: str) -> float | None:
    """How long `count` bytes sound in the format of that name, in ms; None where nobody can know."""
    format = FORMATS.get(token)
    if format is None:
        return None
    if format.bitrate_kbps is not None:
        return count * 8 / format.bitrate_kbps
    return count * 1000 / format.sample_rate / (1 if format.codec in ("ulaw", "alaw") else 2)
