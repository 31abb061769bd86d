"""What one socket may ask for. Every number is a bound that a test reaches."""

from __future__ import annotations

import msgspec

__all__ = ["STRICT", "Limits"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one socket; the defaults are the documented ones."""

    contexts: int = 20
    """Open contexts. A context frees its slot at the moment it is told to close."""
    draining: int = 20
    """Contexts that were told to close and still speak."""
    unspoken_bytes: int = 256 * 1024
    """UTF-8 bytes of accepted text that no engine has begun, over all contexts."""
    ahead_seconds: float = 5.0
    """Speech of one context that waits to be sent; above it, no further segment is begun."""
    audio_bytes: int = 32 * 1024 * 1024
    """The same in bytes, as a hard bound: an engine that speaks more in one segment loses its context."""
    id_bytes: int = 256
    remembered_ids: int = 1000
    """Ended ids whose late messages are still known to be late."""
    invalid_messages: int = 100
    """Unreadable messages that a socket survives."""
    frame_ms: int = 100
    """The longest audio frame, and so the longest that a context waits for each other one."""
    stop_seconds: float = 0.5
    """How long the end of a cancelled context waits for its engine, so that its usage is exact."""
    flushes: int = 1000
    """Flushes of one context whose end the client has not read; above it, reading pauses."""
    backlog: int = 64
    """Cancelled and refused contexts whose end the client has not read; above it, reading pauses."""
    discard_unflushed: bool = False
    """On close, drop text that was never flushed instead of speaking it."""
    fatal: frozenset[str] = frozenset()
    """Codes of failures that end the whole socket instead of one context."""
    slots_until_end: bool = False
    """A closed context keeps its slot until it has ended, and a flush opens one."""
    idle_socket_ends: bool = False
    """A socket without contexts ends when its inactivity timeout is over."""
    second_close_cancels: bool = True
    """Closing a context that still drains is a barge-in; otherwise it changes nothing."""
    expiry_closes: bool = False
    """An idle context ends as if its client had closed it: more text for its id opens a new one, which has
    the same voice if it names none."""
    answer_all: bool = False
    """A flush or close is answered also where no context of that id is left (`NotThere`)."""
    voice_required: bool = False
    """Text for a context that has no voice is refused, where otherwise the engine's default voice speaks."""
    restart_at_rest: bool = False
    """A restart ends contexts that have said all they were asked to; otherwise their clients end them."""


STRICT = Limits(
    contexts=5,
    discard_unflushed=True,
    fatal=frozenset(
        {"too_many_contexts", "settings_changed", "input_timeout", "invalid_setting", "invalid_message"}
        | {"unreadable_message", "unknown_voice"}
    ),
    slots_until_end=True,
    idle_socket_ends=True,
)
"""As harsh as ElevenLabs is: for people who test their clients."""
