"""The names of audio formats, as clients ask for them (`output_format`)."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from mux.errors import MuxError

__all__ = ["FORMATS", "AudioFormat", "Codec", "parse_format"]

Codec: TypeAlias = Literal["pcm", "ulaw", "alaw", "mp3"]

CONTENT_TYPES: dict[Codec, str] = {
    "pcm": "audio/pcm",
    "ulaw": "audio/basic",
    "alaw": "audio/x-alaw-basic",
    "mp3": "audio/mpeg",
}


class AudioFormat(msgspec.Struct, frozen=True, gc=False):
    """One way to write mono speech as bytes, without any file header.

    `pcm` is s16le; `ulaw` and `alaw` are G.711, one byte a sample; `mp3` is a run of whole frames at the
    constant bit rate `bitrate_kbps` (1,000 bits per second; None for the others). `sample_rate` is in Hz.
    """

    token: str
    codec: Codec
    sample_rate: int
    bitrate_kbps: int | None = None

    @property
    def content_type(self) -> str:
        """The MIME type of a plain HTTP answer in this format."""
        return CONTENT_TYPES[self.codec]


FORMATS: dict[str, AudioFormat] = {
    format.token: format
    for format in (
        *(
            AudioFormat(f"pcm_{rate}", "pcm", rate)
            for rate in (8000, 16000, 22050, 24000, 32000, 44100, 48000)
        ),
        AudioFormat("ulaw_8000", "ulaw", 8000),
        AudioFormat("alaw_8000", "alaw", 8000),
        *(
            AudioFormat(f"mp3_{rate}_{kbps}", "mp3", rate, kbps)
            for rate, kbps in (
                (22050, 32),
                (24000, 48),
                (44100, 32),
                (44100, 64),
                (44100, 96),
                (44100, 128),
                (44100, 192),
            )
        ),
    )
}
FORMATS["mp3_44100"] = FORMATS["mp3_44100_128"]  # ElevenLabs' AsyncAPI page names its default this way

_ELSEWHERE = ("opus_48000_", "wav_")
"""Beginnings of tokens that ElevenLabs knows. Its wav_* is for whole HTTP answers, where the length is known
before the first byte; opus needs an encoder that mux does not carry."""


def parse_format(token: str) -> AudioFormat:
    """Look up the format that a client asked for. Nothing is ever put in its place: a player that was told
    one format and gets another makes noise.

    Raises:
        MuxError: `unsupported_format`, naming what was asked and what is allowed.
    """
    if format := FORMATS.get(token):
        return format
    asked = token[:40]
    what = "is not available on a socket here" if token.startswith(_ELSEWHERE) else "is unknown"
    raise MuxError.of(
        "unsupported_format",
        f"The audio format {asked!r} {what}. Ask for one of {', '.join(FORMATS)}.",
        observed=asked,
        allowed=tuple(FORMATS),
    )
