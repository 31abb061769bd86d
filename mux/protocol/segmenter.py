"""When buffered text becomes a segment, and where it is cut.

With a schedule, a threshold makes text *eligible*: once that many characters wait, the segment ends at the
last sentence end within them, else the last clause end, else the last space; the rest stays. Every decision
looks only at the first `threshold` characters, so how the text was cut into messages never matters. In auto
mode there is no buffer: each message is a segment of its own ("disables chunk schedule and buffers",
ElevenLabs `auto_mode`), because its clients send whole sentences without spaces between them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

__all__ = [
    "MAX_SEGMENT",
    "MIN_TRIGGER",
    "SENTENCE",
    "Cut",
    "Segmenter",
    "ends_sentence",
    "good_place",
    "hard_place",
    "word_start",
]

MAX_SEGMENT = 400
"""Characters; a longer piece is cut even where its text offers no good place."""
MIN_TRIGGER = 50
"""`try_trigger_generation` "won't run with < 50 chars accumulated" (ElevenLabs, docs PR 24)."""

# A full stop of Chinese, Japanese or an Indic script needs no space after it; a Western one does.
SENTENCE = re.compile(
    r"[.!?…‽؟۔]+[\"'”’»)\]]*\s+"
    r"|[。！？｡।॥]+[\"'”’」』）】]*\s*"
    r"|\n\s*"
)
_CLAUSE = re.compile(r"[,;:،؛–—][\"'”’»)\]]*\s+|[，、；：]\s*")
_SPACE = re.compile(r"\s+")
_LAST_WORD = re.compile(r"[\w.]+$")

# Words whose full stop ends no sentence. Lower case; a single letter is an initial anyway.
_ABBREVIATIONS = frozenset(
    """
    mr mrs ms dr prof st sr jr rev hon gen col capt lt sgt vs e.g i.e cf viz no nos vol fig figs pp ca
    approx dept est mt ft inc ltd co corp bros
    bzw z.b d.h u.a usw nr str hr fr abs bspw ggf evtl vgl geb
    sra srta dra ud uds av pág ee.uu
    mme mlle mm éd env
    sig sig.ra dott prof.ssa pag ecc
    г ул т.е т.д т.п им др
    """.split()  # noqa: SIM905
)
"""English, German, Spanish, French, Italian, Russian."""


class Cut(NamedTuple):
    """A segment's text and why it ends there: schedule, auto, trigger, longest, length, or the caller's
    reason. `split` says that the cut is inside a word: the next segment goes on without a space."""

    text: str
    why: str
    split: bool = False


class Segmenter:
    """The text of one context that is not yet a segment.

    White space before a context's first word is dropped; after that every character is kept, so that the
    segments joined are the text as it was sent.
    """

    def __init__(self, schedule: Sequence[int], auto_mode: bool = False) -> None:
        self.schedule = tuple(schedule)
        self.auto_mode = auto_mode
        self._buffer = ""
        self._cuts = 0
        self._begun = False

    @property
    def waiting(self) -> str:
        """Text that no segment has taken yet."""
        return self._buffer

    @property
    def finished(self) -> bool:
        """Whether what waits may well be all that is coming for now."""
        return False

    def add(self, text: str) -> list[Cut]:
        """Take a message's text; return the segments that are complete now."""
        if not self._begun:
            text = text.lstrip()
            self._begun = bool(text)
        if self.auto_mode:
            return pieces(text, "auto")
        self._buffer += text
        return self._take_scheduled()

    def trigger(self) -> list[Cut]:
        """Speak now up to the last good place, if enough text waits (`try_trigger_generation`)."""
        if len(self._buffer.strip()) < MIN_TRIGGER:
            return []
        end = good_place(self._buffer, word_start(self._buffer, 0), len(self._buffer))
        taken, self._buffer = self._buffer[:end], self._buffer[end:]
        self._cuts += bool(taken)
        return pieces(taken, "trigger")

    def flush(self, why: str) -> list[Cut]:
        """Take everything. Nothing but white space is not taken: there is nothing to say."""
        if not self._buffer or self._buffer.isspace():
            return []
        taken, self._buffer = self._buffer, ""
        self._cuts += 1
        return pieces(taken, why)

    def discard(self) -> str:
        """Drop the waiting text and return it."""
        dropped, self._buffer = self._buffer, ""
        return dropped

    def _take_scheduled(self) -> list[Cut]:
        cuts: list[Cut] = []
        at = 0
        while True:
            threshold = self.schedule[min(self._cuts, len(self.schedule) - 1)]
            end, why = self._end(self._buffer, at, threshold)
            if not end:
                self._buffer = self._buffer[at:]
                return cuts
            cuts.append(Cut(self._buffer[at:end], why, split=why == "length"))
            self._cuts += 1
            at = end

    def _end(self, text: str, at: int, threshold: int) -> tuple[int, str]:
        """Where the segment that begins at `at` ends, or 0 if it is not complete. A decision is made only
        when all text that plays a part in it is there."""
        start = word_start(text, at)
        window = start + min(threshold, MAX_SEGMENT)
        if len(text) < window:
            return 0, ""
        if end := good_place(text, start, window):
            return end, "schedule"
        # One long word so far: the first space after the window, or the greatest length, whichever is first.
        limit = start + MAX_SEGMENT
        if space := _SPACE.search(text, window - 1, limit):
            return space.start() + 1, "schedule"
        return (hard_place(text, start, limit), "length") if len(text) > limit else (0, "")


def pieces(text: str, why: str) -> list[Cut]:
    """Cut text that is to be spoken whole into segments of bearable length; nothing is lost, unless there is
    nothing to say. White space is never a segment: it goes with the word that follows, or at the end with the
    piece before it."""
    found: list[Cut] = []
    at = 0
    while len(text) > (limit := (start := word_start(text, at)) + MAX_SEGMENT):
        good = good_place(text, start, limit)
        end = good or hard_place(text, start, limit)
        found.append(Cut(text[at:end], why, split=not good))
        at = end
    if start < len(text):
        found.append(Cut(text[at:], why))
    elif found:
        found[-1] = Cut(found[-1].text + text[at:], why)
    return found


def word_start(text: str, at: int) -> int:
    """Where the first word at or after `at` begins."""
    space = _SPACE.match(text, at)
    return space.end() if space else at


def good_place(text: str, start: int, window: int) -> int:
    """The last sentence end between `start` and `window`, else clause end, else space; 0 for none."""
    ends = [m.end() for m in SENTENCE.finditer(text, start, window) if ends_sentence(text, start, window, m)]
    if not ends:
        ends = [m.end() for m in _CLAUSE.finditer(text, start, window)]
    if not ends:
        ends = [m.end() for m in _SPACE.finditer(text, start, window)]
    return ends[-1] if ends else 0


def ends_sentence(text: str, start: int, window: int, match: re.Match[str]) -> bool:
    mark = match.group()
    if mark[0] in "\n。！？｡।॥":
        return True
    if match.end() < window and text[match.end()].islower():
        return False
    if mark[0] == "." and not mark.startswith(".."):
        word = _LAST_WORD.search(text[max(start, match.start() - 20) : match.start()])
        if word and (len(word.group()) == 1 or word.group().lower() in _ABBREVIATIONS):
            return word.group().isdigit()
    return True


def hard_place(text: str, start: int, limit: int) -> int:
    """A cut inside a word at or before `limit`, but not inside what is one character to a reader."""
    end = limit
    while end > start and _joined(text, end):
        end -= 1
    return end if end > start else limit


def _joined(text: str, at: int) -> bool:
    """Whether the code points on both sides of `at` belong together: a mark, a joiner, a skin tone."""
    after = text[at]
    return (
        unicodedata.category(after)[0] == "M"
        or "\u200d" in text[at - 1 : at + 1]
        or "\U0001f3fb" <= after <= "\U0001f3ff"
    )
