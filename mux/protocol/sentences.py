"""Segments that end with a sentence: how KugelAudio cuts.

Its schedule holds "minimum buffered characters before auto-emitting": once so many wait, the segment ends
where the sentence does. What ends a sentence is seen only when the next word has begun ("3." may go on with
"14"), so here too it never matters how the text was cut into messages. Text whose end looks like a sentence's
is `finished`: its context gives it up after a short pause.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mux.protocol.segmenter import (
    MAX_SEGMENT,
    SENTENCE,
    Segmenter,
    ends_sentence,
    good_place,
    hard_place,
    word_start,
)

__all__ = ["SentenceSegmenter"]

_ANSWER = re.compile(r"no\.\s*", re.IGNORECASE)
"""A sentence by itself, though elsewhere it is short for number."""


class SentenceSegmenter(Segmenter):
    """The text of one context that is not yet a segment.

    Args:
        schedule: the fewest characters of the first segment, the second and so on; the last number stays.
        longest: characters after which text without a sentence's end is cut anyway, at a good place.
    """

    def __init__(self, schedule: Sequence[int], longest: int = MAX_SEGMENT) -> None:
        super().__init__(schedule)
        self._longest = min(longest, MAX_SEGMENT)

    @property
    def finished(self) -> bool:
        """Whether a whole sentence waits, of enough characters; of the first one any number is enough."""
        text = self._buffer.rstrip() + " "
        start = word_start(text, 0)
        fewest = self.schedule[min(self._cuts, len(self.schedule) - 1)] if self._cuts else 1
        if len(text) - 1 - start < min(fewest, self._longest):
            return False
        if self._buffer.endswith("\n") or _ANSWER.fullmatch(text, start):
            return True
        return any(
            match.end() == len(text) and ends_sentence(text, start, len(text), match)
            for match in SENTENCE.finditer(text, start)
        )

    def _end(self, text: str, at: int, threshold: int) -> tuple[int, str]:
        start = word_start(text, at)
        limit = start + self._longest
        for match in SENTENCE.finditer(text, start, limit):
            if match.end() == len(text):
                break  # what follows decides, and is not there
            enough = match.end() - start >= min(threshold, self._longest)
            if enough and ends_sentence(text, start, len(text), match):
                return match.end(), "schedule"
        if len(text) <= limit:
            return 0, ""
        if end := good_place(text, start, limit):
            return end, "longest"
        return hard_place(text, start, limit), "length"
