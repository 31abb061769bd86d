"""Speech at another rate than its engine's, with the times of its characters."""

from __future__ import annotations

from collections import deque

from mux.audio.converter import Converter
from mux.audio.formats import FORMATS
from mux.protocol.messages import SpelledOut, Spoken

__all__ = ["Resampler"]


class Resampler:
    """One segment, from `source` Hz to `target` Hz. The conversion holds a little back, so a character waits
    here for the chunk in which its sound is."""

    def __init__(self, source: int, target: int) -> None:
        self._source = source
        self._target = target
        self._converter = Converter(source, FORMATS[f"pcm_{target}"])
        self._taken = 0
        """Samples of the source so far."""
        self._given = 0
        """Samples of the target so far."""
        self._text: deque[tuple[int, int]] = deque()
        """(start, end) of the characters that wait, in samples of the target since the segment's start."""
        self._spelled: deque[tuple[str, int]] | None = None
        """(character, start), likewise; None where nothing is said otherwise than it stands there."""
        self._last: Spoken | None = None

    def feed(self, spoken: Spoken) -> Spoken | None:
        """The next chunk at the other rate; None if there is nothing of it yet."""
        base, samples = self._taken, len(spoken.pcm) // 2
        self._taken += samples
        self._last = spoken
        ends = (*spoken.starts[1:], samples if spoken.until is None else spoken.until)
        self._text += [
            (self._there(base + start), self._there(base + end))
            for start, end in zip(spoken.starts, ends, strict=False)
        ]
        if spoken.spelled is not None:
            self._spelled = self._spelled if self._spelled is not None else deque()
            positions = [self._there(base + start) for start in spoken.spelled.starts]
            self._spelled += zip(spoken.spelled.text, positions, strict=True)
        return self._give(spoken, self._converter.convert(bytes(spoken.pcm)))

    def finish(self) -> Spoken | None:
        """What was held back, once the segment has ended."""
        if self._last is None:
            return None
        return self._give(self._last, self._converter.convert(b"", last=True), last=True)

    def _there(self, position: int) -> int:
        return position * self._target // self._source

    def _give(self, spoken: Spoken, pcm: bytes, *, last: bool = False) -> Spoken | None:
        base, self._given = self._given, self._given + len(pcm) // 2
        starts: list[int] = []
        until: int | None = None
        while self._text and (last or self._text[0][0] < self._given):
            start, end = self._text.popleft()
            starts.append(start - base)
            until = end - base
        said: list[tuple[str, int]] = []
        while self._spelled and (last or self._spelled[0][1] < self._given):
            character, start = self._spelled.popleft()
            said.append((character, start - base))
        if not pcm and not starts and not said:
            return None
        spelled = None
        if self._spelled is not None:
            spelled = SpelledOut("".join(c for c, _ in said), tuple(start for _, start in said))
        return Spoken(
            spoken.serial, spoken.segment, pcm, self._target, tuple(starts), spelled=spelled, until=until
        )
