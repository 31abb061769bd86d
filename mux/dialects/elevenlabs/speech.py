"""Speech over HTTP: one request, one context, four shapes of answer."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec

from mux.dialects.base import Decoded
from mux.errors import MuxError, Problem
from mux.protocol.messages import (
    Alignment,
    Close,
    CloseSocket,
    ContextClosed,
    Event,
    Invalid,
    Open,
    Reason,
    Text,
)
from mux.protocol.voice import ContextSettings, voice_settings

__all__ = ["SpeechAnswer", "SpeechRequest", "parse_request"]

ONLY = "request"
_encode = msgspec.json.Encoder().encode


class SpeechRequest(msgspec.Struct, kw_only=True):
    """The body of `POST /v1/text-to-speech/{voice_id}`. Unknown fields are ignored."""

    text: str
    model_id: str | None = None
    language_code: str | None = None
    voice_settings: Any = None
    seed: int | None = None
    apply_text_normalization: str | None = None


_decode = msgspec.json.Decoder(SpeechRequest, strict=False).decode


def parse_request(body: bytes) -> SpeechRequest:
    """Read a request's body.

    Raises:
        MuxError: `unprocessable`, naming the field.
    """
    try:
        return _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        cause = str(error)[:200] if isinstance(error, msgspec.DecodeError) else type(error).__name__
        raise MuxError.of("unprocessable", f"The body cannot be read: {cause}.", observed=cause) from None


class _Times(msgspec.Struct, frozen=True):
    """HTTP's alignment is not the socket's: whole lists, in seconds, running on from line to line."""

    characters: list[str]
    character_start_times_seconds: list[float]
    character_end_times_seconds: list[float]


class _Timed(msgspec.Struct, frozen=True):
    audio_base64: str
    alignment: _Times | None
    normalized_alignment: _Times | None


class SpeechAnswer:
    """The answer to one request, as a dialect of a socket that carries one context.

    Args:
        timed: JSON with characters and times instead of bare audio.
        whole: one body at the end, instead of pieces as they come.
    """

    single = True

    def __init__(self, request: SpeechRequest, *, timed: bool, whole: bool) -> None:
        self.request = request
        self._timed = timed
        self._whole = whole
        self._audio = bytearray()
        self._slices: list[Alignment] = []

    def decode(self, data: str | bytes) -> list[Decoded]:
        """The one request, whatever `data` is."""
        settings = voice_settings(self.request.voice_settings)
        if isinstance(settings, Problem):
            return [Invalid(settings, ONLY), CloseSocket()]
        own = ContextSettings(language=self.request.language_code or None, voice_settings=settings or None)
        return [Open(ONLY, own), Text(ONLY, self.request.text), Close(ONLY), CloseSocket()]

    def audio(self, context: str, payload: bytes, slices: Sequence[Alignment]) -> str | bytes:
        if self._whole:
            self._audio += payload
            self._slices.extend(slices)
            return b""
        return self._line(payload, slices) if self._timed else payload

    def event(self, event: Event) -> list[str | bytes]:
        if self._whole and isinstance(event, ContextClosed) and event.reason is Reason.COMPLETED:
            audio = bytes(self._audio)
            return [self._line(audio, self._slices) if self._timed else audio]
        return []

    def _line(self, payload: bytes, slices: Sequence[Alignment]) -> bytes:
        timed = _Timed(
            base64.b64encode(payload).decode(),
            _times(slices),
            _times([piece.spelled or piece for piece in slices]),
        )
        return _encode(timed) + b"\n"


def _times(slices: Sequence[Alignment]) -> _Times | None:
    slices = [piece for piece in slices if piece.text]
    if not slices:
        return None
    times = _Times([], [], [])
    for piece in slices:
        times.characters.extend(piece.text)
        times.character_start_times_seconds.extend([start / 1000 for start in piece.starts])
        times.character_end_times_seconds.extend([end / 1000 for end in piece.ends])
    return times
