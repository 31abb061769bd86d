"""One context's audio clock, and which characters are heard when.

The clock counts samples since the context's start; it never runs back, and each character is on it exactly
once. Dialects render it in their own way.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from mux.protocol.messages import Alignment

__all__ = ["Timeline"]


class _Character(NamedTuple):
    text: str
    segment: int
    start: int
    end: int
    breaks: bool


class Timeline:
    """Filled as the engine speaks, emptied as frames are sent. Positions are samples at `sample_rate`."""

    def __init__(self) -> None:
        self.generated = 0
        """Samples that the engine has made so far."""
        self.sent = 0
        """Samples that have been taken for sending."""
        self.characters_sent = 0
        self._waiting: deque[_Character] = deque()
        self._origin_ms = 0

    def add(
        self, segment: int, text: str, starts: tuple[int, ...], samples: int, breaks: bool = False
    ) -> None:
        """The engine spoke `samples` samples, in which the characters of `text` begin at `starts`. `breaks`
        says that another word follows the last of them, though it is no white space."""
        base = self.generated
        self.generated += samples
        last = len(text) - 1
        for index, character in enumerate(text):
            end = starts[index + 1] if index < last else samples
            self._waiting.append(
                _Character(character, segment, base + starts[index], base + end, breaks and index == last)
            )

    def take(self, segment: int, samples: int, sample_rate: int) -> Alignment | None:
        """Move the clock past the next `samples` samples, which belong to `segment`, and return the
        characters that begin in them (None if there are none).

        A character of no length at the very end belongs to what came before it, not to the next frame.
        """
        self.sent += samples
        waiting = self._waiting
        taken: list[_Character] = []
        while waiting and waiting[0].segment <= segment:
            if not (waiting[0].start < self.sent or waiting[0].end <= self.sent):
                break
            taken.append(waiting.popleft())
        if not taken:
            return None
        self.characters_sent += len(taken)
        origin = self._origin_ms
        self._origin_ms = _ms(taken[-1].end, sample_rate)
        return Alignment(
            text="".join([c.text for c in taken]),
            starts=tuple([_ms(c.start, sample_rate) for c in taken]),
            ends=tuple([_ms(c.end, sample_rate) for c in taken]),
            origin=origin,
            breaks=taken[-1].breaks,
        )

    def drop(self) -> None:
        """Forget everything that was not sent."""
        self._waiting.clear()


def _ms(samples: int, sample_rate: int) -> int:
    return (samples * 2000 + sample_rate) // (2 * sample_rate)
