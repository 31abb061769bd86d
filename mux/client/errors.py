"""What can go wrong for an app, one exception for each thing that it would do about it."""

from __future__ import annotations

from mux.errors import MuxError, Problem, Scope

__all__ = ["ClosedEarly", "OverLimit", "Refused", "SpeechError", "TimedOut", "speech_error"]


class SpeechError(MuxError):
    """A context, or its whole socket, failed. `code` is a key of mux's table of errors, `reason` its
    sentence, `retryable` whether trying again can help.

    Attributes:
        context: the context's name; None if it was about a socket.
        audio_ms: how much of its audio had come, in ms; None if the output format does not tell.
        unspoken: the text that is not known to have been spoken; None if that is not known. Never in `str()`.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        context: str | None = None,
        audio_ms: float | None = None,
        unspoken: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.context = context
        self.audio_ms = audio_ms
        self.unspoken = unspoken

    @property
    def reason(self) -> str:
        return self.problem.message


class ClosedEarly(SpeechError):
    """The socket, or the context, ended before all was said: what is `unspoken` can be said again."""


class TimedOut(SpeechError):
    """Nothing came in time, or nothing was sent in time."""


class Refused(SpeechError):
    """The service does not want this: a wrong key, an unknown voice, a setting out of its range. Trying again
    does not help, changing the request does."""


class OverLimit(SpeechError):
    """Too much at once: contexts, sockets, text, or audio that nobody reads."""


_KINDS: dict[str, type[SpeechError]] = {
    **dict.fromkeys(
        ("connection_lost", "connection_refused", "closed_early", "draining", "socket_closing"), ClosedEarly
    ),
    **dict.fromkeys(("timed_out", "input_timeout", "engine_stalled", "authentication_timeout"), TimedOut),
    **dict.fromkeys(
        (
            "too_many_contexts",
            "too_many_sockets",
            "too_many_invalid_messages",
            "busy",
            "slow_consumer",
            "message_too_big",
            "segment_too_long",
            "text_too_long",
        ),
        OverLimit,
    ),
    **dict.fromkeys(
        (
            "invalid_message",
            "invalid_setting",
            "settings_changed",
            "missing_voice",
            "unknown_voice",
            "unsupported_language",
        ),
        Refused,
    ),
}


def speech_error(
    problem: Problem,
    *,
    context: str | None = None,
    audio_ms: float | None = None,
    unspoken: str | None = None,
) -> SpeechError:
    """The exception for a problem."""
    fallback = Refused if problem.row.scope is Scope.HANDSHAKE else SpeechError
    kind = _KINDS.get(problem.code, fallback)
    return kind(problem, context=context, audio_ms=audio_ms, unspoken=unspoken)
