"""The two exceptions that Patter's page names."""

from __future__ import annotations

from mux.client.errors import SpeechError

__all__ = ["ElevenLabsPlanError", "ElevenLabsTTSError", "tts_error"]

PAYMENT_REQUIRED = 402


class ElevenLabsTTSError(SpeechError):
    """A text could not be spoken to its end, for whatever reason: see `code`, `reason` and `retryable`. Its
    `__cause__` is the `SpeechError` of that kind (`TimedOut`, `Refused`, ...)."""


class ElevenLabsPlanError(ElevenLabsTTSError):
    """The account's plan does not include this, or is used up: the service asks for payment."""


def tts_error(error: SpeechError) -> ElevenLabsTTSError:
    """What a caller of Patter's class expects instead of `error`."""
    asks_for_payment = error.problem.observed == PAYMENT_REQUIRED or "payment" in error.reason.lower()
    kind = ElevenLabsPlanError if asks_for_payment else ElevenLabsTTSError
    return kind(error.problem, context=error.context, audio_ms=error.audio_ms, unspoken=error.unspoken)
