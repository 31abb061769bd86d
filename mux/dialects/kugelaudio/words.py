"""From characters on a context's clock to words on a chunk's."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mux.dialects.kugelaudio.wire import Word
from mux.protocol.messages import Alignment

__all__ = ["Words"]

_TAG = re.compile(r"</?[A-Za-z][^<>]*>")


class Words:
    """The words of one chunk, as their audio goes out.

    Args:
        start: when the chunk begins on the context's clock, in ms: its words count from there.
        offset: where its first character stands in the text that offsets count in.
    """

    def __init__(self, start: int, offset: int = 0) -> None:
        self._start = start
        self._at = offset
        self._word = ""
        self._began = 0
        self._ended = 0
        self._tags: list[range] = []

    def expect(self, text: str) -> None:
        """The text whose characters come next: its tags are no words."""
        self._tags = [range(self._at + tag.start(), self._at + tag.end()) for tag in _TAG.finditer(text)]

    def feed(self, slices: Iterable[Alignment]) -> list[Word]:
        """The words that are known to be whole after these characters."""
        words: list[Word] = []
        for piece in slices:
            for character, start, end in zip(piece.text, piece.starts, piece.ends, strict=True):
                if character.isspace() or any(self._at in tag for tag in self._tags):
                    words += self.rest()
                else:
                    self._began = self._began if self._word else start
                    self._word += character
                    self._ended = end
                self._at += 1
            if piece.breaks:
                words += self.rest()
        return words

    def rest(self) -> list[Word]:
        """The word that nothing follows."""
        word, self._word = self._word, ""
        if not word:
            return []
        return [
            Word(word, self._began - self._start, self._ended - self._start, self._at - len(word), self._at)
        ]
