"""What the core has to say when something goes wrong: each sentence names the limit and the remedy."""

from __future__ import annotations

from mux.errors import Problem
from mux.protocol.limits import Limits
from mux.protocol.voice import INACTIVITY_RANGE, ContextSettings

__all__ = [
    "CLOSING",
    "EMPTY",
    "NO_VOICE",
    "id_too_long",
    "idle",
    "settings_changed",
    "timeout_clamped",
    "too_many_contexts",
    "too_many_draining",
    "too_many_invalid",
    "too_much_audio",
    "too_much_text",
]

CLOSING = Problem(code="socket_closing", message="This socket is closing; open a new one for a new context.")
EMPTY = Problem(
    code="empty_synthesis",
    message="The engine gave no audio for this text. Send text that can be spoken in this voice.",
)
NO_VOICE = Problem(
    code="missing_voice",
    message="This text has no voice. Name one when the context is created, or for the whole connection.",
    param="voice_id",
)


def too_many_contexts(open_ids: tuple[str, ...], limits: Limits) -> Problem:
    return Problem(
        code="too_many_contexts",
        message=f"All {limits.contexts} contexts of this socket are open. Close one "
        "(its slot is free at once) or open another socket.",
        limit=limits.contexts,
        observed=len(open_ids) + 1,
        allowed=open_ids,
    )


def too_many_draining(draining: int, limits: Limits) -> Problem:
    return Problem(
        code="busy",
        message=f"{draining} closed contexts of this socket still speak. Wait until one has ended, "
        "or cancel one.",
        limit=limits.draining,
        observed=draining,
        retry_after_ms=500,
    )


def too_much_text(unspoken: int, limits: Limits) -> Problem:
    return Problem(
        code="busy",
        message=f"{unspoken} bytes of text wait to be spoken on this socket, at most "
        f"{limits.unspoken_bytes} may. Send text as it is spoken, or use another socket.",
        limit=limits.unspoken_bytes,
        observed=unspoken,
        retry_after_ms=1000,
    )


def too_much_audio(limits: Limits) -> Problem:
    return Problem(
        code="segment_too_long",
        message="One segment gave more audio than may wait for a client. Send shorter pieces of text.",
        limit=limits.audio_bytes,
    )


def too_many_invalid(limits: Limits) -> Problem:
    return Problem(
        code="too_many_invalid_messages",
        message=f"More than {limits.invalid_messages} messages on this socket could not be read.",
        limit=limits.invalid_messages,
        observed=limits.invalid_messages + 1,
    )


def id_too_long(size: int, limits: Limits) -> Problem:
    return Problem(
        code="invalid_message",
        message=f"A context id has at most {limits.id_bytes} bytes; use a shorter one.",
        limit=limits.id_bytes,
        observed=size,
    )


def timeout_clamped(given: float, clamped: float) -> Problem:
    low, high = INACTIVITY_RANGE
    return Problem(
        code="setting_clamped",
        message=f"inactivity_timeout is {clamped:g} s: {given:g} is not from {low:g} to {high:g}.",
        limit=f"{low:g} to {high:g}",
        observed=given,
    )


def idle(timeout: float | None) -> Problem:
    # The vendor's sentence begins with these words, and clients look for them.
    return Problem(
        code="input_timeout",
        message=f"Have not received a new text input within the timeout of {timeout or 0:.1f} seconds. "
        "Send text or a keepalive in time, or close the context when it is done.",
        limit=timeout,
    )


def settings_changed(old: ContextSettings, new: ContextSettings) -> Problem:
    changed = [name for name in old.__struct_fields__ if getattr(old, name) != getattr(new, name)]
    return Problem(
        code="settings_changed",
        message=f"{' and '.join(changed)} cannot change once a context has begun to speak. "
        "Give settings in the context's first message, or use a new context.",
    )
