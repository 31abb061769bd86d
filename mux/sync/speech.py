"""One text, spoken as a whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from ssl import SSLContext
from typing import Any

import msgspec

from mux import client
from mux.audio.formats import FORMATS, Codec
from mux.audio.wav import save
from mux.errors import MuxError
from mux.links.endpoint import Dialect
from mux.protocol.messages import Alignment, Usage
from mux.protocol.voice import VoiceSettings
from mux.sync.loop import own_loop

__all__ = ["Speech", "speak"]

SUFFIXES: dict[Codec, tuple[str, ...]] = {
    "mp3": (".mp3",),
    "ulaw": (".ulaw", ".ul"),
    "alaw": (".alaw", ".al"),
    "opus": (".opus", ".ogg"),
}
"""Of the files that speech may be saved to as it is, by codec."""


class Speech(msgspec.Struct, frozen=True):
    """What `speak` gives: all audio in one piece, the times of its characters (None where the service tells
    none), and what it used."""

    audio: bytes
    output_format: str
    alignment: Alignment | None
    usage: Usage | None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file. PCM becomes what the suffix says: .wav, .mp3, .ulaw, .alaw, .pcm or .raw. Other
        formats are written as they are, so their suffix must fit.

        Raises:
            MuxError: `unsupported_format`: the suffix does not fit; nothing is written.
            OSError: the file cannot be written.
        """
        known = FORMATS.get(self.output_format)
        if known is not None and known.codec == "pcm":
            save(path, self.audio, known.sample_rate)
            return
        allowed = SUFFIXES.get(known.codec) if known is not None else None
        suffix = Path(path).suffix
        if allowed is not None and suffix.lower() not in allowed:
            raise MuxError.of(
                "unsupported_format",
                f"Speech in {self.output_format} is saved as it is, to a file that ends in one of"
                f" {', '.join(allowed)}; {os.fspath(path)!r} does not. Ask for output_format='pcm_24000' to"
                " save it as .wav.",
                observed=suffix,
                allowed=allowed,
            )
        Path(path).write_bytes(self.audio)


def speak(
    url: str,
    text: str,
    *,
    voice: str | None = None,
    output_format: str = "pcm_24000",
    settings: VoiceSettings | Mapping[str, Any] | None = None,
    model: str | None = None,
    language: str | None = None,
    dialect: Dialect | None = None,
    api_key: str | None = None,
    reconnect: bool = False,
    open_timeout: float = 10.0,
    ssl_context: SSLContext | None = None,
) -> Speech:
    """Speak one text, and wait for all of it: a session and a context for the occasion. The arguments are
    those of `mux.connect`. KeyboardInterrupt closes the socket at once.

    Raises:
        SpeechError: as `mux.connect` and `mux.Context` do.
    """

    async def spoken() -> Speech:
        async with (
            client.connect(
                url,
                voice=voice,
                output_format=output_format,
                settings=settings,
                model=model,
                language=language,
                dialect=dialect,
                api_key=api_key,
                reconnect=reconnect,
                open_timeout=open_timeout,
                ssl_context=ssl_context,
            ) as session,
            session.context("speech") as context,
        ):
            await context.send(text)
            await context.close()
            chunks = [chunk async for chunk in context]
            return Speech(
                b"".join(chunk.audio for chunk in chunks),
                session.endpoint.output_format,
                _joined([chunk.alignment for chunk in chunks if chunk.alignment is not None]),
                context.usage,
            )

    with own_loop() as loop:
        return loop.run(spoken)


def _joined(parts: list[Alignment]) -> Alignment | None:
    """Slices of one context as a whole."""
    if not parts:
        return None
    spelled = [part.spelled or part for part in parts] if any(part.spelled for part in parts) else []
    return Alignment(
        "".join(part.text for part in parts),
        tuple(start for part in parts for start in part.starts),
        tuple(end for part in parts for end in part.ends),
        parts[0].origin,
        parts[-1].breaks,
        _joined(spelled),
    )
