"""What a context was asked to say, and how much of that has been heard.

Pure: text and audio go in, and it tells what is still unspoken, and how another socket goes on where one
broke off.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import pairwise

from mux.protocol.messages import Alignment

__all__ = ["Ledger"]

NEAR = 12
"""Characters that a service may leave out of its alignment before it is no longer followed."""
BACK = 30
"""Milliseconds that a time may lie before the one it follows, and still be of the same clock."""
UNSEEN = 256
"""Alignments that may wait until somebody asks what they tell."""
MOST = 65536
"""Characters whose times are remembered; the older half is forgotten above it."""


class Ledger:
    """One context's text and audio. Times are ms from the context's start, as its listener counts them.

    Args:
        bytes_per_ms: of the output format; None if its bytes tell no time (mp3, opus).
        late_times: times come some while after the audio that they are about (KugelAudio). What has none
            yet is then told by the clock: another attempt takes about as long to say the same.
    """

    def __init__(self, bytes_per_ms: float | None, *, late_times: bool = False) -> None:
        self.received_bytes = 0
        self._late_times = late_times
        self._bytes_per_ms = bytes_per_ms
        self._text = ""
        self._forgotten = 0
        """Characters before `_text`, long spoken."""
        self._flushes: list[int] = []
        """Where flushes were asked for."""
        self._new: list[Alignment] = []
        """Arrived, and not looked at yet: nobody may ask."""
        self._index: list[int] = []
        self._starts: list[int] = []
        self._ends: list[int] = []
        """Of every character that was heard: where it stands, and its time."""
        self._next = 0
        """The first character that was not found in an alignment yet."""
        self._reported = 0
        """Before this one, all characters were told to the listener in earlier attempts."""
        self._shift = 0.0
        """Where the times that come now begin on the listener's clock."""
        self._last = 0
        """The last of those times."""
        self._in_word = 0.0
        """How much of this attempt's first word was heard in the last one; in ms."""
        self._skip = 0
        """Bytes of this attempt that were heard already."""

    @property
    def audio_ms(self) -> float | None:
        """Of audio that was heard."""
        return self.ms(self.received_bytes)

    def ms(self, audio_bytes: int) -> float | None:
        """How long that is; None if the output format does not tell."""
        return audio_bytes / self._bytes_per_ms if self._bytes_per_ms else None

    @property
    def characters(self) -> int:
        """Of all text that was sent."""
        return self._forgotten + len(self._text)

    def said(self, text: str) -> None:
        """Text was sent."""
        self._text += text

    def flushed(self) -> None:
        """A flush was sent."""
        self._flushes.append(self.characters)

    def heard(self, audio: bytes, alignment: Alignment | None) -> tuple[bytes, Alignment | None]:
        """A frame arrived. Returns what of it is new to the listener."""
        if alignment is not None and alignment.starts:
            self._follow_clock(alignment)
        if self._in_word:
            lead = alignment.starts[0] if alignment and alignment.starts else 0
            self._leave_out(lead + self._in_word)
        if self._skip:
            dropped = min(self._skip, len(audio))
            audio = audio[dropped:]
            self._skip -= dropped
        self.received_bytes += len(audio)
        if alignment is None:
            return audio, None
        if self._shift:
            alignment = _shifted(alignment, round(self._shift))
        if self._reported:
            self._look()
            alignment = self._find(alignment)
        else:
            self._new.append(alignment)
            if len(self._new) >= UNSEEN:
                self._look()
        return audio, alignment

    def _follow_clock(self, alignment: Alignment) -> None:
        """Some services' times begin anew with every piece that they speak."""
        if alignment.starts[0] < self._last - BACK and (now := self.audio_ms) is not None:
            self._shift = now
        self._last = alignment.ends[-1]

    def _leave_out(self, ms: float) -> None:
        self._in_word = 0.0
        self._shift -= ms
        self._skip = round(ms * (self._bytes_per_ms or 0) / 2) * 2

    @property
    def unspoken(self) -> str | None:
        """The text that is not known to have been spoken, from the start of a word; None if audio came
        without any times."""
        self._look()
        if not self._index:
            return self._text if not self.received_bytes else None
        return self._text[self._goes_on_at()[0] - self._forgotten :]

    @property
    def has_words_left(self) -> bool:
        """Whether words are known not to have been heard."""
        return any(character.isalnum() for character in self.unspoken or "")

    @property
    def is_all_spoken(self) -> bool:
        """Whether every word is known to have been heard."""
        return self.unspoken is not None and not self.has_words_left

    def split(self, played_ms: float) -> tuple[str, str]:
        """What was heard by a listener who has come so far, and what was not: the word that was being said
        counts as not heard. Without any times it is all or nothing."""
        self._look()
        if not self._index:
            everything = self.audio_ms is not None and 0 < self.audio_ms <= played_ms
            return (self._text, "") if everything else ("", self._text)
        heard = bisect_right(self._ends, played_ms)
        at = self._index[heard - 1] + 1 - self._forgotten if heard else 0
        if not self._is_over(at):
            at = self._word_at(at)
        return self._text[:at], self._text[at:]

    def resume(self) -> list[str] | None:
        """Begin another attempt. Returns what it has to say, with a flush after each part but the last; None
        if nobody knows what was heard, or the audio cannot be cut."""
        self._look()
        at, in_word = self._forgotten, 0.0
        if self.received_bytes:
            if not self._bytes_per_ms or not (self._index or self._late_times):
                return None
            at, in_word = self._goes_on_at()
        self._reported, self._next = max(self._reported, self._next), at
        self._shift, self._in_word, self._skip, self._last = self.audio_ms or 0.0, in_word, 0, 0
        bounds = [at, *(cut for cut in self._flushes if cut > at), self.characters]
        return [self._text[i - self._forgotten : j - self._forgotten] for i, j in pairwise(bounds)]

    def _goes_on_at(self) -> tuple[int, float]:
        """The first character to be said again, and how many ms from there on were heard."""
        at, end = (self._index[-1] + 1, self._ends[-1]) if self._index else (self._forgotten, 0)
        heard = self.audio_ms if self.audio_ms is not None else end
        if self._late_times and end < heard:
            return at, heard - end
        if end <= heard + 1 and self._is_over(at - self._forgotten):
            return at, 0.0
        word = self._word_at(at - self._forgotten) + self._forgotten
        first = bisect_left(self._index, word)
        return word, max(0.0, heard - self._starts[first]) if first < len(self._index) else 0.0

    def _is_over(self, at: int) -> bool:
        """Whether nothing of a word is left at `at`, but punctuation at most."""
        while at < len(self._text) and not self._text[at].isspace():
            if self._text[at].isalnum():
                return False
            at += 1
        return True

    def _word_at(self, at: int) -> int:
        """Where the word begins that has `at` in it or ends there."""
        while at and not self._text[at - 1].isspace():
            at -= 1
        return at

    def _look(self) -> None:
        """Find the characters of the alignments that came."""
        for alignment in self._new:
            self._find(alignment)
        self._new.clear()
        if len(self._index) > MOST:
            self._forget(len(self._index) - MOST // 2)

    def _find(self, alignment: Alignment) -> Alignment | None:
        """Find an alignment's characters in the text that was sent. Services add spaces, or leave characters
        out. Returns what of it was not told in earlier attempts, with those that were left out."""
        found: list[tuple[str, int, int]] = []
        for character, start, end in zip(alignment.text, alignment.starts, alignment.ends, strict=True):
            near = self._next - self._forgotten
            at = self._text.find(character, near, near + NEAR)
            if at < 0 or (character.isspace() and at > near):
                continue
            for skipped in range(max(self._next, self._reported), self._forgotten + at):
                found.append((self._text[skipped - self._forgotten], start, start))
            self._next = self._forgotten + at + 1
            if self._next > self._reported:
                self._index.append(self._next - 1)
                self._starts.append(start)
                self._ends.append(end)
                found.append((character, start, end))
        if not found:
            return None
        characters, starts, ends = zip(*found, strict=True)
        return Alignment("".join(characters), starts, ends, alignment.origin, alignment.breaks)

    def _forget(self, count: int) -> None:
        del self._index[:count], self._starts[:count], self._ends[:count]
        word = self._word_at(self._index[0] - self._forgotten)
        self._text = self._text[word:]
        self._forgotten += word
        self._flushes = [cut for cut in self._flushes if cut > self._forgotten]


def _shifted(alignment: Alignment, by: int) -> Alignment:
    spelled = _shifted(alignment.spelled, by) if alignment.spelled is not None else None
    return Alignment(
        alignment.text,
        tuple(start + by for start in alignment.starts),
        tuple(end + by for end in alignment.ends),
        alignment.origin + by,
        alignment.breaks,
        spelled,
    )
