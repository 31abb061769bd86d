"""A server's frame as a client reads it, mux's or the vendor's."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from mux.dialects.kugelaudio.characters import TimedWord
from mux.dialects.kugelaudio.wire import Extras
from mux.errors import ERRORS, Problem
from mux.protocol.messages import ContextClosed, Reason, Usage

__all__ = ["HeardFrame", "closed", "decode_frame", "problem_of", "sample_bytes", "warning_of"]

_CODES = {
    "VALIDATION_ERROR": "invalid_message",
    "MISSING_VOICE_ID": "missing_voice",
    "UNAUTHORIZED": "invalid_api_key",
    "NOT_FOUND": "unknown_voice",
    "TOO_MANY_CONTEXTS": "too_many_contexts",
    "RATE_LIMITED": "busy",
    "EMPTY_AUDIO": "empty_synthesis",
    "INTERNAL_ERROR": "engine_failed",
    "MODEL_UNAVAILABLE": "engine_failed",
}
"""What the vendor's `error_code` means. INSUFFICIENT_CREDITS is nothing that we have a word for."""
_WORDS = {
    400: "VALIDATION_ERROR",
    401: "UNAUTHORIZED",
    403: "UNAUTHORIZED",
    404: "NOT_FOUND",
    422: "VALIDATION_ERROR",
    429: "RATE_LIMITED",
    500: "INTERNAL_ERROR",
    503: "MODEL_UNAVAILABLE",
}
"""The `error_code` that a status stands for, where it came alone."""
_SAMPLE_BYTES = {"mulaw": 1, "alaw": 1}


class HeardFrame(msgspec.Struct, kw_only=True):
    """Whatever a server of this wire may send, in one flat object."""

    session_id: str | None = None
    context_id: str | None = None
    chunk_id: int | None = None
    context_created: bool | None = None
    generation_started: bool | None = None
    text: str | None = None
    audio: msgspec.Raw = msgspec.Raw()
    enc: str | None = None
    sr: int | None = None
    word_timestamps: list[TimedWord] | None = None
    chunk_complete: bool | None = None
    final: bool | None = None
    context_timeout: bool | None = None
    context_closed: bool | None = None
    warning: Any = None
    error: str | None = None
    error_code: str | None = None
    code: int | None = None
    retry_after: float | None = None
    usage: msgspec.Raw = msgspec.Raw()
    mux: msgspec.Raw = msgspec.Raw()


class _Used(msgspec.Struct):
    audio_seconds: float = 0.0
    characters: int | None = None


decode_frame = msgspec.json.Decoder(HeardFrame).decode
_decode_extras = msgspec.json.Decoder(Extras).decode
_decode_problem = msgspec.json.Decoder(Problem).decode
_decode_used = msgspec.json.Decoder(_Used).decode


def sample_bytes(frame: HeardFrame) -> int:
    """The size of a sample of its audio."""
    return _SAMPLE_BYTES.get(frame.enc or "", 2)


def closed(context: str, frame: HeardFrame, reason: Reason) -> ContextClosed:
    """The end of a context, with `reason` if the frame has no better one. An end is an end, even when what
    another version adds to it cannot be understood."""
    try:
        extras = _decode_extras(frame.mux)
        return ContextClosed(context, 0, Reason(extras.reason), extras.usage)
    except (msgspec.DecodeError, ValueError):
        return ContextClosed(context, 0, reason, _usage(frame.usage))


def problem_of(frame: HeardFrame) -> Problem:
    """Why, for a frame with an `error`."""
    word = frame.error_code or _WORDS.get(frame.code or 0, "")
    wait = frame.retry_after
    told = Problem(
        code=_CODES.get(word, "upstream_error"),
        message=frame.error or "The server reported an error without a text.",
        retry_after_ms=None if wait is None else math.ceil(wait) * 1000,
    )
    try:
        exact = _decode_problem(frame.mux)
    except msgspec.DecodeError:
        return told
    return exact if exact.code in ERRORS else told


def warning_of(frame: HeardFrame) -> Problem:
    """What a `warning` says. The vendor's shape is not documented; mux's is a sentence, and its facts."""
    try:
        exact = _decode_problem(frame.mux)
        if exact.code in ERRORS:
            return exact
    except msgspec.DecodeError:
        pass  # somebody else's
    said = frame.warning
    if isinstance(said, dict):
        said = said.get("message")
    message = said if isinstance(said, str) and said else "The server warned without a text."
    code = "draining" if frame.code == ERRORS["draining"].http else "setting_ignored"
    return Problem(code=code, message=message)


def _usage(raw: msgspec.Raw) -> Usage:
    try:
        used = _decode_used(raw)
    except msgspec.DecodeError:
        return Usage()
    characters, heard = used.characters or 0, used.audio_seconds * 1000
    return Usage(
        characters_accepted=characters,
        characters_synthesised=characters,
        characters_sent=characters,
        audio_generated_ms=heard,
        audio_sent_ms=heard,
    )
