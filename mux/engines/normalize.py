"""Text normalisation: what is to be said for a text, and which piece of it belongs to which characters.

Clients think in the characters that they sent ("$5"), an engine times the characters that it was given
("5 dollars"). `normalize` keeps both apart and the way back; a `SourceClock` walks it, chunk by chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple

from mux.engines.english import english
from mux.engines.readings import NEUTRAL, Edit, Reading

__all__ = ["Normalized", "SourceClock", "Span", "edited", "identity", "normalize"]

_PAUSE = "\N{EM DASH}"
_TYPED = str.maketrans("\u00a0\u2009\u202f\u2010\u2011\u2212", "   ---")
"""Spaces and hyphens that readings take for those of a typewriter."""


class Span(NamedTuple):
    """The source's code points from `source_start` to `source_end` (at least one) are said as the spoken
    text's from `spoken_start` to `spoken_end` (perhaps none)."""

    source_start: int
    source_end: int
    spoken_start: int
    spoken_end: int


class Normalized(NamedTuple):
    """`text` is what is to be said. `spans`, in order, cover all of the source and all of `text`; a piece
    that is said as it stands is a span too."""

    text: str
    spans: tuple[Span, ...]


def identity(text: str) -> Normalized:
    """Say `text` as it stands (`apply_text_normalization: off`)."""
    return Normalized(text, (Span(0, len(text), 0, len(text)),) if text else ())


def normalize(text: str, language: str | None = None, settled: Sequence[Edit] = ()) -> Normalized:
    """What to say for `text` in `language`, the BCP 47 tag of the voice that speaks (None: American English,
    the default voice's). Languages other than English get only what holds in all of them. `settled` are edits
    that are made in any case: no reading touches their characters.

    Text that is not blank never becomes blank: marks alone ("**") sound as a pause. Takes linear time.
    """
    return edited(text, _edits(text, _readings((language or "en-US").lower().replace("_", "-")), settled))


def edited(text: str, edits: Sequence[Edit]) -> Normalized:
    """Say `text` with `edits`, which are in order and do not overlap. If all is blank then, say a pause."""
    if not edits:
        return identity(text)
    said: list[str] = []
    spans: list[Span] = []
    length = 0

    def say(start: int, end: int, spoken: str) -> None:
        nonlocal length
        if start < end:
            spans.append(Span(start, end, length, length + len(spoken)))
            said.append(spoken)
            length += len(spoken)

    at = 0
    for edit in edits:
        say(at, edit.start, text[at : edit.start])
        say(*edit)
        at = edit.end
    say(at, len(text), text[at:])
    spoken = "".join(said)
    if not spoken.strip():
        return Normalized(_PAUSE, (Span(0, len(text), 0, 1),))
    return Normalized(spoken, tuple(spans))


@lru_cache(maxsize=64)
def _readings(tag: str) -> tuple[Reading, ...]:
    language, _, region = tag.partition("-")
    return (*NEUTRAL, *english(region)) if language == "en" else NEUTRAL


def _edits(text: str, readings: tuple[Reading, ...], settled: Sequence[Edit]) -> list[Edit]:
    """All edits, in the text's order. Where two readings want the same characters, the earlier one wins."""
    typed = text.translate(_TYPED)
    taken = bytearray(len(text))
    for start, end, _ in settled:
        taken[start:end] = b"\1" * (end - start)
    edits = list(settled)
    for reading in readings:
        for match in reading.pattern.finditer(typed):
            wanted = reading.edits(match)
            if any(taken.find(1, start, end) >= 0 for start, end, _ in wanted):
                continue
            for start, end, _ in wanted:
                taken[start:end] = b"\1" * (end - start)
            edits += wanted
    edits.sort(key=itemgetter(0))
    return edits


class SourceClock:
    """Translates an engine's character times back to the characters of the source, chunk by chunk.

    A source character begins where its share of the spoken text begins (the second of "$5" half-way through
    "5 dollars") and belongs to the chunk which speaks that; one that is not said at all begins with what
    follows it, or ends the last chunk. So each is reported once, in order, inside one chunk, as
    `mux.engines.base.Chunk` asks. What a chunk says of a character of an earlier one is nobody's: its first
    start may be later than 0, and it may have none.
    """

    def __init__(self, normalized: Normalized) -> None:
        self._length = len(normalized.text)
        self._positions = [
            span.spoken_start
            + number * (span.spoken_end - span.spoken_start) // (span.source_end - span.source_start)
            for span in normalized.spans
            for number in range(span.source_end - span.source_start)
        ]
        """For each character of the source, where in the spoken text it begins."""
        self._spoken = self._reported = 0

    def feed(self, starts: tuple[int, ...], samples: int) -> tuple[int, ...]:
        """The engine's chunk of `samples` samples spoke the next ``len(starts)`` characters of the spoken
        text; returns the starts of the source characters that it speaks. An engine without times (`starts`
        always empty) gives a source without times."""
        first, self._spoken = self._spoken, self._spoken + len(starts)
        positions, at = self._positions, self._reported
        mapped: list[int] = []
        while at < len(positions) and positions[at] < self._spoken:
            mapped.append(starts[positions[at] - first])
            at += 1
        if self._spoken == self._length:
            mapped += [samples] * (len(positions) - at)
            at = len(positions)
        self._reported = at
        return tuple(mapped)
