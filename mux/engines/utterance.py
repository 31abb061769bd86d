"""One segment that is spoken far away: what was asked for, what is known to have been said, and how a second
attempt goes on where the first one broke off, so that nothing is lost and nothing is heard twice."""

from __future__ import annotations

import re
from collections import deque
from typing import Literal, TypeAlias

import numpy as np

from mux.engines.base import Chunk
from mux.protocol.messages import Alignment
from mux.protocol.pcm import Pcm, Piece, cut, joined

__all__ = ["Repair", "Utterance"]

Repair: TypeAlias = Literal["exact", "words", "fail"]
"""How a second attempt joins: at the very sample (the service repeats itself exactly), at the nearest word,
or not at all."""

FADE_SECONDS = 0.008
"""Of the fade-in where a second attempt joins."""
_NEAR = 12
"""Characters that a service may leave out of its alignment before it is no longer followed."""
_WORD = re.compile(r"\S+")


class Utterance:
    """The ledger of one segment. All audio is mono s16le at one rate; what needs no trimming is given on as
    it came.

    Call `begin` for each attempt, `hear` for each frame of it, `finish` when the service says that this was
    all.
    """

    def __init__(self, text: str, sample_rate: int, repair: Repair) -> None:
        self.delivered = 0
        """Samples that were given on."""
        self._text = text
        spoken = [index for index, character in enumerate(text) if character.isalnum()]
        self._last = spoken[-1] + 1 if spoken else 0
        """Where the text ends, but for what makes no sound."""
        self._rate = sample_rate
        self._repair = repair
        self._mapped = 0
        """Characters of the text that were given on with their times."""
        self._begun = -1
        """Where the last of them begins in what was delivered."""
        self.begin()

    def begin(self) -> None:
        """A new attempt, which speaks the whole text from its beginning."""
        self._pieces: list[Piece] = []
        """Audio of this attempt that was neither given on nor dropped."""
        self._bytes = 0
        """How much that is."""
        self._at = 0
        """The sample of this attempt at which it begins."""
        self._follow = _Follower(self._text, self._rate)
        self._starts: deque[tuple[int, int, int]] = deque()
        """(character, its start, its end) that are known and were not given on."""
        self._first = self._mapped if self._repair == "exact" else self._resume_at()
        """The character with which this attempt goes on."""
        by_clock = self._repair == "exact" or not self._mapped
        self._cut: int | None = self.delivered if by_clock else None
        """The sample of this attempt at which it goes on; None: not known yet. Where no times came so far,
        the clock has to do: two attempts of a voice take about equally long."""
        if self._cut is None and self._first >= len(self._text):
            self._first = self._mapped
        self._fade = self.delivered > 0 and self._repair != "exact"

    @property
    def heard_ms(self) -> int:
        return round(self.delivered * 1000 / self._rate)

    @property
    def unspoken(self) -> str:
        """The text that is not known to have been spoken; all of it where no times came."""
        return self._text[self._mapped :]

    def hear(self, pcm: Pcm, alignment: Alignment | None) -> Chunk | None:
        """A frame arrived, with the characters whose times came with it (in ms since the attempt's start).
        Returns what is to be given on."""
        self._pieces.append(pcm)
        self._bytes += len(pcm)
        if alignment is not None:
            self._note(self._follow.feed(alignment))
        return self._give(self._at + self._bytes // 2)

    def finish(self) -> Chunk | None:
        """The service has said that this was all; returns what is left to be given on."""
        if self._cut is None:
            # No times came in this attempt: the clock has to do.
            self._cut = min(self.delivered, self._at + self._bytes // 2)
        return self._give(self._at + self._bytes // 2, last=True)

    @property
    def complete(self) -> bool:
        """Whether all of the text was spoken, as far as can be known: a service that gave times for some of
        it gives them for all of it."""
        return self._follow.index == 0 or max(self._mapped, self._follow.index) >= self._last

    @property
    def said_all(self) -> bool:
        """Whether this attempt has given times for all of the text."""
        return self._follow.index > 0 and self._follow.index >= self._last

    # --- how an attempt goes on ----------------------------------------------------------------------

    def _resume_at(self) -> int:
        """The character to go on with: the word that was broken off, unless most of it was heard."""
        if not self._mapped:
            return 0
        for word in _WORD.finditer(self._text):
            if word.end() > self._mapped:
                heard = self._mapped - word.start()
                return word.start() if heard * 2 <= word.end() - word.start() else word.end()
            if word.end() == self._mapped and self._text[word.end() : word.end() + 1]:
                # Its last character began, and nothing of what follows: was there time for it?
                return word.end() if self.delivered > self._begun else word.start()
        return len(self._text)

    def _note(self, characters: list[tuple[int, int, int]]) -> None:
        for character, start, end in characters:
            if self._cut is None and character >= self._first:
                self._cut = start
            if character >= max(self._first, self._mapped) and self._cut is not None:
                self._starts.append((character, start, end))

    def _give(self, end: int, *, last: bool = False) -> Chunk | None:
        if self._cut is None:
            return None
        pcm = joined(self._pieces)
        if self._cut > self._at:
            drop = min(self._cut, end) - self._at
            pcm = joined([cut(pcm, drop * 2)[1]])
            self._at += drop
        self._pieces, self._bytes = [], 0
        shift = self.delivered - self._at
        starts: list[int] = []
        until: int | None = None
        while self._starts and (last or self._starts[0][1] < end):
            character, start, stop = self._starts.popleft()
            # A gap in the alignment is filled, so that every character has its time.
            starts += [start - self._at] * (character + 1 - self._mapped)
            self._mapped = character + 1
            self._begun = start + shift
            until = min(stop, end) - self._at
        size = len(pcm)
        if not size and not starts:
            return None
        if size and self._fade:
            self._fade = False
            pcm = _faded_in(bytes(pcm), round(self._rate * FADE_SECONDS))
        self._at = end
        self.delivered += size // 2
        return Chunk(pcm, tuple(starts), until)


class _Follower:
    """Finds the characters of an alignment in the text that was sent. Services add spaces, or leave some
    characters out."""

    def __init__(self, text: str, sample_rate: int) -> None:
        self.index = 0
        """Characters of the text that have been found."""
        self._text = text
        self._rate = sample_rate

    def feed(self, alignment: Alignment) -> list[tuple[int, int, int]]:
        """(character of the text, start, end) in samples, in order."""
        found: list[tuple[int, int, int]] = []
        for character, start, end in zip(alignment.text, alignment.starts, alignment.ends, strict=True):
            at = self._text.find(character, self.index, self.index + _NEAR)
            if at < 0 or (character.isspace() and at > self.index):
                continue
            first, last = start * self._rate // 1000, end * self._rate // 1000
            found += [(skipped, first, first) for skipped in range(self.index, at)]
            found.append((at, first, last))
            self.index = at + 1
        return found


def _faded_in(pcm: bytes, samples: int) -> bytes:
    """Speech that does not begin with a click."""
    wave = np.frombuffer(pcm, "<i2").astype(np.float32)
    ramp = min(samples, len(wave))
    wave[:ramp] *= np.linspace(0, 1, ramp, endpoint=False, dtype=np.float32)
    return wave.astype("<i2").tobytes()
