"""How long the doctor waits for what."""

from __future__ import annotations

import msgspec

__all__ = ["Patience"]


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """All in seconds."""

    lookup: float = 5.0
    """For each of name lookup, TCP and TLS."""
    handshake: float = 10.0
    slow_handshake: float = 2.0
    """What is worth a warning."""
    audio: float = 10.0
    """For the first audio after a text, between two pieces, and for the end after the last."""
    slow_audio: float = 3.0
    """After so much without audio "Pipecat considers a context finished"."""
    late_end: float = 0.7
    """What may lie between the last audio and the end of a context that was closed long before."""
    settle: float = 0.3
    """How long to listen for what comes after an end."""
    inactivity: float = 3.0
    """The inactivity_timeout that is asked for to see whether and how it strikes."""
    overdue: float = 4.0
    """How much later than that it may strike."""
    close: float = 5.0
    whole: float = 180.0
    """For all of the examination."""
