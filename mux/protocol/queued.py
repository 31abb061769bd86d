"""What stands in a context's queues, beside speech."""

from __future__ import annotations

import msgspec

__all__ = ["End", "FlushMark", "Segment"]


class Segment(msgspec.Struct):
    """Text to be spoken in one go. In the outbox it stands for its own end."""

    number: int
    text: str
    why: str
    accepted: float
    split: bool
    voice: str | None
    begun: float = 0.0
    """When an engine was asked for it."""
    made_in: float = 0.0
    """Seconds from then until the engine was done."""
    mapped: int = 0
    """Characters that the engine has given times for."""
    samples: int = 0


class FlushMark(msgspec.Struct, frozen=True):
    """Stands among the segments where a flush came."""

    number: int


class End(msgspec.Struct, frozen=True):
    """Stands in the outbox for the closing event, which is made when it is pulled."""
