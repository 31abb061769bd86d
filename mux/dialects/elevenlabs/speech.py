"""Speech over HTTP: one request, one context, four shapes of answer."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mux.dialects.base import Decoded, Sound
from mux.errors import MuxError, Problem
from mux.protocol.messages import (
    Alignment,
    Close,
    ContextClosed,
    Event,
    Flush,
    Open,
    Reason,
    SessionClosed,
    Text,
)
from mux.protocol.voice import ContextSettings, voice_settings

__all__ = ["SpeechAnswer", "SpeechRequest", "parse_request"]

ONLY = "request"
PIECE = 64 * 1024
"""Bytes of a whole answer that are sent at a time: a reader need not be fast, it must get on."""

_encode = msgspec.json.Encoder().encode


class SpeechRequest(msgspec.Struct, kw_only=True):
    """The body of `POST /v1/text-to-speech/{voice_id}`. Unknown fields are ignored."""

    text: str
    model_id: str | None = None
    language_code: str | None = None
    voice_settings: Any = None
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1)] | None = None
    apply_text_normalization: Literal["auto", "on", "off"] | None = None


_decode = msgspec.json.Decoder(SpeechRequest, strict=False).decode


def parse_request(body: bytes) -> SpeechRequest:
    """Read a request's body; of `voice_settings` it keeps what was given and is known.

    Raises:
        MuxError: `unprocessable` or `invalid_setting`, naming the field.
    """
    try:
        request = _decode(body)
        settings = voice_settings(request.voice_settings)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        cause = str(error)[:200] if isinstance(error, msgspec.DecodeError) else type(error).__name__
        raise MuxError.of("unprocessable", f"The body cannot be read: {cause}.", observed=cause) from None
    if isinstance(settings, Problem):
        raise MuxError(settings)
    if not request.text.strip():
        # On a socket blank text keeps alive; here it would be an answer without speech, taken for success.
        raise MuxError.of("unprocessable", "The text is blank. Send something to speak.", param="text")
    request.voice_settings = settings
    return request


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
    whole_segments = False

    def __init__(self, request: SpeechRequest, *, timed: bool, whole: bool) -> None:
        self.request = request
        self.problem: Problem | None = None
        """Why there is no answer, or only a part of one."""
        self.length: int | None = None
        """The answer's bytes, where they are known before the first one is sent."""
        self._timed = timed
        self._whole = whole
        self._audio = bytearray()
        self._slices: list[Alignment] = []

    def decode(self, data: str | bytes) -> list[Decoded]:
        """The one request, whatever `data` is."""
        request = self.request
        reading = request.apply_text_normalization
        own = ContextSettings(
            language=request.language_code or None,
            voice_settings=request.voice_settings or None,
            normalize=None if reading is None else reading != "off",
        )
        return [Open(ONLY, own), Text(ONLY, request.text), Flush(ONLY), Close(ONLY)]

    def audio(self, sound: Sound) -> list[str | bytes]:
        payload = bytes(sound.payload)
        if self._whole:
            self._audio += payload
            self._slices.extend(sound.slices)
            return []
        return [self._line(payload, sound.slices) if self._timed else payload]

    def event(self, event: Event) -> list[str | bytes]:
        if isinstance(event, (ContextClosed, SessionClosed)):
            self.problem = self.problem or event.problem
        if self._whole and isinstance(event, ContextClosed) and event.reason is Reason.COMPLETED:
            body = self._line(self._audio, self._slices) if self._timed else bytes(self._audio)
            self.length = len(body)
            return [body[start : start + PIECE] for start in range(0, len(body), PIECE)]
        return []

    def _line(self, payload: bytes | bytearray, slices: Sequence[Alignment]) -> bytes:
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
