"""One context's audio clock, and which characters are heard when.

The clock counts samples since the context's start; it never runs back, and each character is on it exactly
once. Dialects render it in their own way.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import msgspec

from mux.protocol.messages import Alignment, SpelledOut

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
        self._text = _Track()
        self._spelled = _Track()

    def add(
        self,
        segment: int,
        text: str,
        starts: tuple[int, ...],
        samples: int,
        *,
        breaks: bool = False,
        spelled: SpelledOut | None = None,
        until: int | None = None,
    ) -> None:
        """The engine spoke `samples` samples, in which the characters of `text` begin at `starts`. `breaks`
        says that another word follows the last of them, though it is no white space."""
        base = self.generated
        self.generated += samples
        self._text.add(segment, text, starts, base, samples if until is None else until, breaks)
        if spelled is not None:
            self._spelled.add(segment, spelled.text, spelled.starts, base, samples, breaks)

    def take(self, segment: int, samples: int, sample_rate: int) -> Alignment | None:
        """Move the clock past the next `samples` samples, which belong to `segment`, and return the
        characters that begin in them (None if there are none)."""
        self.sent += samples
        spelled = self._spelled.take(segment, self.sent, sample_rate)
        text = self._text.take(segment, self.sent, sample_rate)
        if text is not None:
            self.characters_sent += len(text.text)
        if spelled is None:
            if not self._spelled.holds(segment):
                self._spelled.origin = self._text.origin
            return text
        origin = self._text.origin
        return msgspec.structs.replace(text or Alignment("", (), (), origin), spelled=spelled)

    def drop(self) -> None:
        """Forget everything that was not sent."""
        self._text.clear()
        self._spelled.clear()


class _Track:
    """Characters that wait for their audio to be sent."""

    def __init__(self) -> None:
        self.origin = 0
        """Where the last slice ended, in ms."""
        self._waiting: deque[_Character] = deque()

    def add(
        self, segment: int, text: str, starts: tuple[int, ...], base: int, last_end: int, breaks: bool
    ) -> None:
        last = len(text) - 1
        for index, character in enumerate(text):
            end = starts[index + 1] if index < last else last_end
            self._waiting.append(
                _Character(character, segment, base + starts[index], base + end, breaks and index == last)
            )

    def take(self, segment: int, until: int, sample_rate: int) -> Alignment | None:
        """The characters that begin before `until`. One of no length at the very end belongs to what came
        before it, not to the next frame."""
        waiting = self._waiting
        taken: list[_Character] = []
        while waiting and waiting[0].segment <= segment:
            if not (waiting[0].start < until or waiting[0].end <= until):
                break
            taken.append(waiting.popleft())
        if not taken:
            return None
        origin, self.origin = self.origin, _ms(taken[-1].end, sample_rate)
        return Alignment(
            text="".join([c.text for c in taken]),
            starts=tuple([_ms(c.start, sample_rate) for c in taken]),
            ends=tuple([_ms(c.end, sample_rate) for c in taken]),
            origin=origin,
            breaks=taken[-1].breaks,
        )

    def holds(self, segment: int) -> bool:
        return bool(self._waiting) and self._waiting[0].segment <= segment

    def clear(self) -> None:
        self._waiting.clear()


def _ms(samples: int, sample_rate: int) -> int:
    return (samples * 2000 + sample_rate) // (2 * sample_rate)
