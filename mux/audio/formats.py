"""The names of audio formats, as clients ask for them (`output_format`)."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from mux.audio import opus
from mux.errors import MuxError

__all__ = ["FORMATS", "AudioFormat", "Codec", "parse_format"]

Codec: TypeAlias = Literal["pcm", "ulaw", "alaw", "mp3", "opus", "wav"]

CONTENT_TYPES: dict[Codec, str] = {
    "pcm": "audio/pcm",
    "ulaw": "audio/basic",
    "alaw": "audio/x-alaw-basic",
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "wav": "audio/wav",
}

RATES = (8000, 16000, 22050, 24000, 32000, 44100, 48000)
"""What PCM can be had at, with (wav) and without a header; in Hz."""


class AudioFormat(msgspec.Struct, frozen=True, gc=False):
    """One way to write mono speech as bytes.

    `pcm` is s16le without a header, `wav` the same with one; `ulaw` and `alaw` are G.711, one byte a sample;
    `mp3` is a run of whole frames at a constant bit rate, `opus` Ogg Opus in whole pages. `sample_rate` is in
    Hz, `bitrate_kbps` in 1,000 bits per second (None where there is no choice).
    """

    token: str
    codec: Codec
    sample_rate: int
    bitrate_kbps: int | None = None

    @property
    def bytes_per_ms(self) -> float | None:
        """How many bytes a millisecond is; None for formats that cannot be cut anywhere."""
        width = {"pcm": 2, "ulaw": 1, "alaw": 1}.get(self.codec)
        return None if width is None else self.sample_rate * width / 1000

    @property
    def content_type(self) -> str:
        """The MIME type of a plain HTTP answer in this format."""
        return CONTENT_TYPES[self.codec]


FORMATS: dict[str, AudioFormat] = {
    format.token: format
    for format in (
        *(AudioFormat(f"pcm_{rate}", "pcm", rate) for rate in RATES),
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
        *(AudioFormat(f"opus_48000_{kbps}", "opus", 48000, kbps) for kbps in (32, 64, 96, 128, 192)),
        *(AudioFormat(f"wav_{rate}", "wav", rate) for rate in RATES),
    )
}
FORMATS["mp3_44100"] = FORMATS["mp3_44100_128"]  # ElevenLabs' AsyncAPI page names its default this way


def parse_format(token: str, *, streaming: bool = True) -> AudioFormat:
    """Look up the format that a client asked for. Nothing is ever put in its place: a player that was told
    one format and gets another makes noise.

    `streaming` is true for sockets and for HTTP answers that begin before their end is known, false for those
    that are sent whole. The first opus token costs what `mux.audio.opus.warm` says.

    Raises:
        MuxError: `unsupported_format`, naming what was asked and what is allowed.
    """
    asked = token[:40]
    format = FORMATS.get(token)
    if format is None:
        reason = f"The audio format {asked!r} is unknown."
    elif format.codec == "wav" and streaming:
        reason = f"{asked!r} is for whole HTTP answers only: its header tells a length not known in a stream."
    elif format.codec == "opus" and (missing := _missing_opus()):
        reason = f"{asked!r} is not available here: {missing}"
    else:
        return format
    allowed = tuple(token for token, format in FORMATS.items() if _available(format, streaming))
    raise MuxError.of(
        "unsupported_format",
        f"{reason} Ask for one of {', '.join(allowed)}.",
        observed=asked,
        allowed=allowed,
    )


def _available(format: AudioFormat, streaming: bool) -> bool:
    if format.codec == "opus":
        return opus.installed()
    return not (format.codec == "wav" and streaming)


def _missing_opus() -> str | None:
    try:
        opus.warm()
    except MuxError as error:
        return str(error)
    return None
