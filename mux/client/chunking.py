"""How much text a service gathers before it speaks, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import msgspec

from mux.client.errors import speech_error
from mux.errors import Problem
from mux.links.endpoint import Dialect
from mux.protocol.voice import SCHEDULE_RANGE

__all__ = ["CHUNKING", "Chunking", "chunking_of"]


class Chunking(msgspec.Struct, frozen=True):
    """`schedule`: characters that make each next piece of text worth speaking, the last number for all that
    follow. `first_sentence`: the first piece is the first sentence, however short it is."""

    schedule: tuple[int, ...]
    first_sentence: bool = False


CHUNKING: dict[str, Chunking] = {
    "low-latency": Chunking((50, 100, 150, 250), first_sentence=True),
    "balanced": Chunking((80, 150, 250)),
    "high-quality": Chunking((120, 200, 300)),
}
"""For voice agents; for texts of models in general; for narration, where a natural melody matters more than
the first sound."""


class ContextOptions(TypedDict, total=False):
    """What `Session.create_context` is given."""

    chunk_length_schedule: tuple[int, ...]
    auto_mode: bool


def chunking_of(asked: str | Sequence[int], dialect: Dialect) -> ContextOptions:
    """What to ask a service for: a name of `CHUNKING`, or a schedule of one's own.

    Raises:
        Refused: there is no such name, or a number is out of its range.
    """
    if isinstance(asked, str):
        known = CHUNKING.get(asked)
        if known is None:
            names = ", ".join(CHUNKING)
            raise _refused(f"There is no chunking {asked!r}. Name one of {names}, or give a schedule.", names)
    else:
        low, high = SCHEDULE_RANGE
        if not asked or not all(low <= number <= high for number in asked):
            allowed = f"one or more numbers from {low} to {high}"
            raise _refused(f"A schedule must be {allowed}, received {list(asked)!r}.", allowed)
        known = Chunking(tuple(asked))
    options = ContextOptions(chunk_length_schedule=known.schedule)
    if dialect == "kugelaudio":
        # At ElevenLabs the same word has every message spoken by itself, which would be each token.
        options["auto_mode"] = known.first_sentence
    return options


def _refused(message: str, allowed: str) -> Exception:
    return speech_error(Problem(code="invalid_setting", message=message, limit=allowed))
