"""From words on a chunk's clock to characters on a context's: what `words` does, the other way round."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec

from mux.protocol.messages import Alignment

__all__ = ["Characters", "TimedWord"]

WAITING_CHUNKS = 32
"""Chunks whose words may still be to come; of older ones nothing is mapped any more."""


class TimedWord(msgspec.Struct, frozen=True):
    """When a word is heard, in ms since its chunk's start, and where it stands in its chunk's text."""

    word: str
    start_ms: float
    end_ms: float
    char_start: int
    char_end: int


class _Chunk:
    def __init__(self, id: int | None, text: str, sample: int) -> None:
        self.id = id
        self.text = text
        self.mapped = 0
        """Characters of the text that have their times."""
        self.start = self.end = sample
        """Where its audio is, in samples of the context."""
        self.silent = True
        """No audio of it has come yet."""
        self.complete = False


class Characters:
    """The characters of one context. Those of a word share its time evenly; what stands between two words
    shares the pause between them. Each is mapped once, in order, and times never run back. A chunk without
    words is not mapped at all: when its text was said, nobody knows."""

    def __init__(self) -> None:
        self._chunks: deque[_Chunk] = deque(maxlen=WAITING_CHUNKS)
        self._samples = 0
        self._rate = 1
        self._now = 0
        """Where the last mapped character ends, in ms."""
        self._origin = 0
        self._text = ""
        self._starts: list[int] = []
        self._ends: list[int] = []

    @property
    def expecting(self) -> bool:
        """Whether more words may come."""
        return bool(self._chunks)

    def begin(self, id: int | None, text: str) -> None:
        """A chunk with this text begins."""
        if text:
            self._chunks.append(_Chunk(id, text, self._samples))

    def audio(self, id: int | None, samples: int, sample_rate: int) -> None:
        """So much audio of a chunk has come."""
        chunk = self._find(id)
        if chunk is not None and chunk.silent:
            chunk.silent = False
            chunk.start = self._samples  # a chunk may be announced while the last one is still speaking
        self._rate = sample_rate
        self._samples += samples
        if chunk is not None:
            chunk.end = self._samples

    def words(self, id: int | None, words: Iterable[TimedWord]) -> None:
        """The times of some words of a chunk, further on than those before."""
        chunk = self._find(id)
        if chunk is None:
            return
        while self._chunks[0] is not chunk:
            self._settle(self._chunks.popleft())
        base = self._ms(chunk.start)
        for word in words:
            first, last = _place(chunk, word)
            if first < last:
                start = base + round(word.start_ms)
                self._spread(chunk.text[chunk.mapped : first], base, start)
                self._spread(chunk.text[first:last], start, base + round(word.end_ms))
                chunk.mapped = last
        self._settle_signs(chunk)

    def complete(self, id: int | None) -> None:
        """All audio of a chunk has come; words may still follow."""
        chunk = self._find(id)
        if chunk is not None:
            chunk.complete = True
            self._settle_signs(chunk)

    def finish(self) -> None:
        """Nothing follows: what completed chunks still had to say, they have said."""
        while self._chunks:
            chunk = self._chunks.popleft()
            if chunk.complete:
                self._settle(chunk)

    def take(self) -> Alignment | None:
        """What has been mapped since the last call."""
        if not self._text:
            return None
        taken = Alignment(self._text, tuple(self._starts), tuple(self._ends), self._origin)
        self._origin = self._now
        self._text = ""
        self._starts.clear()
        self._ends.clear()
        return taken

    def _find(self, id: int | None) -> _Chunk | None:
        """A chunk by its number; without one, the latest."""
        return next((chunk for chunk in reversed(self._chunks) if id in (None, chunk.id)), None)

    def _settle_signs(self, chunk: _Chunk) -> None:
        """Signs and spaces have no words to wait for."""
        rest = chunk.text[chunk.mapped :]
        if chunk.complete and chunk.mapped and not any(map(str.isalnum, rest)):
            self._settle(chunk)
            self._chunks.remove(chunk)

    def _settle(self, chunk: _Chunk) -> None:
        """What is left of a chunk's text lasts as long as its audio, if any of it was mapped."""
        if chunk.mapped:
            self._spread(chunk.text[chunk.mapped :], self._now, self._ms(chunk.end))

    def _spread(self, text: str, start: int, end: int) -> None:
        start = max(start, self._now)
        end = max(end, start)
        bounds = [start + (end - start) * number // len(text) for number in range(len(text))]
        if bounds:
            self._text += text
            self._starts += bounds
            self._ends += [*bounds[1:], end]
            self._now = end

    def _ms(self, samples: int) -> int:
        return round(samples * 1000 / self._rate)


def _place(chunk: _Chunk, word: TimedWord) -> tuple[int, int]:
    """Where a word stands in its chunk's text, after what is mapped already. Offsets that miss it (counted in
    bytes or UTF-16, or in another text) are not trusted if it is the next word anyway."""
    text, at = chunk.text, chunk.mapped
    first, last = max(word.char_start, at), min(word.char_end, len(text))
    if word.word and text[first:last] != word.word:
        found = text.find(word.word, at)
        if found >= 0 and not any(map(str.isalnum, text[at:found])):
            return found, found + len(word.word)
    return first, last
