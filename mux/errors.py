"""The one table of everything that can go wrong.

A row says who ends (`scope`), what a plain HTTP answer would be (`http`), which WebSocket close code fits
(`close`), whether trying again can help (`retryable`) and how each wire spells it. Whoever
reports a failure makes a `Problem`: a row's code, a sentence, and the limit and observed value where
there are any. Peers never cause exceptions inside the core; `MuxError` is for callers of our own code.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec

__all__ = ["ERRORS", "ErrorRow", "MuxError", "Problem", "Scope", "close_reason"]

CLOSE_REASON_BYTES = 123
"""RFC 6455 §5.5: a control frame's payload is at most 125 bytes, two of them the close code."""


class Scope(Enum):
    """The smallest thing that a failure ends."""

    MESSAGE = "message"
    """Nothing ends: one message had no effect, and a warning says so."""
    CONTEXT = "context"
    SOCKET = "socket"
    HANDSHAKE = "handshake"
    """The socket is never opened; the answer is plain HTTP."""
    START = "start"
    """The program itself does not start."""


class ErrorRow(msgspec.Struct, frozen=True, gc=False):
    scope: Scope
    http: int
    close: int
    retryable: bool
    elevenlabs: str
    kugelaudio: str


_KUGELAUDIO = {
    401: "UNAUTHORIZED",
    403: "UNAUTHORIZED",
    404: "NOT_FOUND",
    429: "RATE_LIMITED",
    500: "INTERNAL_ERROR",
    502: "INTERNAL_ERROR",
    503: "MODEL_UNAVAILABLE",
    504: "INTERNAL_ERROR",
}
"""That wire has eleven words; but for a few rows the status decides."""


def _row(
    scope: Scope,
    http: int,
    *,
    close: int = 1008,
    retryable: bool = False,
    elevenlabs: str = "",
    kugelaudio: str = "",
) -> ErrorRow:
    word = kugelaudio or _KUGELAUDIO.get(http, "VALIDATION_ERROR")
    return ErrorRow(scope, http, close, retryable, elevenlabs, word)


_MESSAGE, _CONTEXT, _SOCKET, _HANDSHAKE = Scope.MESSAGE, Scope.CONTEXT, Scope.SOCKET, Scope.HANDSHAKE

ERRORS: dict[str, ErrorRow] = {
    # admission
    "too_many_contexts": _row(
        _CONTEXT,
        429,
        retryable=True,
        elevenlabs="max_active_conversations",
        kugelaudio="TOO_MANY_CONTEXTS",
    ),
    "busy": _row(_CONTEXT, 429, close=1013, retryable=True, elevenlabs="system_busy"),
    "draining": _row(_CONTEXT, 503, close=1012, retryable=True, elevenlabs="system_busy"),
    "socket_closing": _row(_CONTEXT, 409, elevenlabs="socket_closing"),
    "too_many_sockets": _row(_HANDSHAKE, 503, close=1013, retryable=True, elevenlabs="system_busy"),
    # messages and settings
    "invalid_message": _row(_CONTEXT, 400, elevenlabs="invalid_input_message"),
    "unreadable_message": _row(_MESSAGE, 400, elevenlabs="invalid_input_message"),
    "too_many_invalid_messages": _row(_SOCKET, 400, elevenlabs="invalid_input_message"),
    "message_too_big": _row(_SOCKET, 413, close=1009, elevenlabs="message_too_big"),
    "invalid_setting": _row(_CONTEXT, 400, elevenlabs="invalid_voice_settings"),
    "settings_changed": _row(_CONTEXT, 400, elevenlabs="voice_settings_changed"),
    "setting_clamped": _row(_MESSAGE, 200, elevenlabs="setting_clamped"),
    "setting_ignored": _row(_MESSAGE, 200, elevenlabs="setting_ignored"),
    "missing_voice": _row(_CONTEXT, 400, elevenlabs="missing_voice", kugelaudio="MISSING_VOICE_ID"),
    "unknown_voice": _row(_CONTEXT, 404, elevenlabs="voice_id_does_not_exist"),
    "unsupported_language": _row(_CONTEXT, 400, elevenlabs="language_not_supported"),
    "unsupported_format": _row(_HANDSHAKE, 400, elevenlabs="output_format_not_allowed"),
    "invalid_parameter": _row(_HANDSHAKE, 400, elevenlabs="invalid_parameters"),
    "unprocessable": _row(_HANDSHAKE, 422, elevenlabs="unprocessable_entity"),
    "model_not_found": _row(_HANDSHAKE, 400, elevenlabs="model_not_found"),
    "unsupported_model": _row(_HANDSHAKE, 400, elevenlabs="unsupported_model"),
    "text_too_long": _row(_HANDSHAKE, 400, elevenlabs="max_character_limit_exceeded"),
    "voice_not_found": _row(_HANDSHAKE, 404, elevenlabs="voice_not_found"),
    # time
    "input_timeout": _row(_CONTEXT, 408, retryable=True, elevenlabs="input_timeout_exceeded"),
    "authentication_timeout": _row(_SOCKET, 401, elevenlabs="authentication_required"),
    "slow_consumer": _row(_CONTEXT, 408, close=1013, retryable=True, elevenlabs="slow_consumer"),
    # engines
    "empty_synthesis": _row(_CONTEXT, 502, elevenlabs="empty_synthesis", kugelaudio="EMPTY_AUDIO"),
    "engine_failed": _row(_CONTEXT, 502, close=1011, retryable=True, elevenlabs="engine_failed"),
    "engine_stalled": _row(_CONTEXT, 504, close=1011, retryable=True, elevenlabs="engine_stalled"),
    "segment_too_long": _row(_CONTEXT, 413, elevenlabs="segment_too_long"),
    # the door
    "invalid_api_key": _row(_HANDSHAKE, 401, elevenlabs="invalid_api_key"),
    "authentication_required": _row(_HANDSHAKE, 401, elevenlabs="authentication_required"),
    "origin_refused": _row(_HANDSHAKE, 403, elevenlabs="origin_refused"),
    "not_found": _row(_HANDSHAKE, 404, elevenlabs="not_found"),
    "method_not_allowed": _row(_HANDSHAKE, 405, elevenlabs="method_not_allowed"),
    # the other end, seen by a client
    "connection_lost": _row(_SOCKET, 502, close=1006, retryable=True, elevenlabs="connection_lost"),
    "connection_refused": _row(_HANDSHAKE, 502, retryable=True, elevenlabs="connection_refused"),
    "closed_early": _row(_CONTEXT, 502, retryable=True, elevenlabs="closed_early"),
    "timed_out": _row(_CONTEXT, 504, retryable=True, elevenlabs="timed_out"),
    "upstream_error": _row(_CONTEXT, 502, elevenlabs="upstream_error"),
    # us
    "internal_error": _row(_SOCKET, 500, close=1011, retryable=True, elevenlabs="internal_error"),
    "invalid_config": _row(Scope.START, 500, elevenlabs="invalid_config"),
    "missing_dependency": _row(Scope.START, 500, elevenlabs="missing_dependency"),
    "playback_failed": _row(Scope.START, 500, elevenlabs="playback_failed"),
}


class Problem(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One thing that went wrong: `code` is a key of `ERRORS`, `message` a sentence for a person that names
    what was wrong, what is allowed and what to do."""

    code: str
    message: str
    limit: float | str | None = None
    observed: float | str | None = None
    retry_after_ms: int | None = None
    allowed: tuple[str, ...] | None = None
    param: str | None = None
    """The request's parameter that is to blame."""

    @property
    def row(self) -> ErrorRow:
        return ERRORS[self.code]

    @property
    def retryable(self) -> bool:
        return self.row.retryable


class MuxError(Exception):
    """A failure told to a caller of mux's own Python interface.

    `problem` carries the machine-readable part; `str()` is its sentence.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem

    @classmethod
    def of(cls, code: str, message: str, **facts: Any) -> MuxError:
        """Make the error and its `Problem` in one go."""
        return cls(Problem(code=code, message=message, **facts))

    @property
    def code(self) -> str:
        return self.problem.code

    @property
    def retryable(self) -> bool:
        return self.problem.retryable


def close_reason(text: str) -> str:
    """Cut a close reason to the 123 bytes that a close frame can carry, never inside a character."""
    data = text.encode()
    if len(data) <= CLOSE_REASON_BYTES:
        return text
    return data[: CLOSE_REASON_BYTES - 3].decode(errors="ignore") + "..."
