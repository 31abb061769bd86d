"""What a session's model (session_model.py) knows of one context. Of the core it takes the segmenters."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

from mux.protocol.context import FINISHED_SECONDS
from mux.protocol.messages import Close, Reason, Usage
from mux.protocol.segmenter import MAX_SEGMENT, Segmenter
from mux.protocol.sentences import SentenceSegmenter
from mux.protocol.voice import DEFAULT_SCHEDULE, ContextSettings


def size(text: str) -> int:
    return len(text.encode())


class Context:
    """`script` is what its client must get, in order."""

    def __init__(self, id: str, serial: int, settings: ContextSettings, now: float) -> None:
        self.id, self.serial, self.touched = id, serial, now
        self.state = "open"
        self.closed_by_client = self.ending = self.turn_open = False
        self.reason, self.problem = Reason.COMPLETED, ""
        self.answers: Close | None = None
        self.joined = False  # a second close has its end for an answer
        self.stopping = 0.0
        self.accepted = self.spoken = ""
        self.queue: deque[str | int] = deque()  # segments, and the numbers of flushes
        self.script: deque[list[Any]] = deque()
        self.active: SegmentModel | None = None
        self.segments = self.flushes = 0
        self.generated = self.sent = self.synthesised = self.characters_sent = 0
        self.truth: deque[tuple[str, int, int]] = deque()  # characters that wait: (text, start, end)
        self.aligned_to = 0
        self.segmenter = Segmenter(DEFAULT_SCHEDULE)
        self.apply(settings, now)

    def apply(self, settings: ContextSettings, now: float) -> None:
        self.settings, self.heard = settings, now
        waiting = self.segmenter.discard()
        schedule = settings.chunk_length_schedule or DEFAULT_SCHEDULE
        if settings.sentences:
            self.segmenter = SentenceSegmenter(schedule, settings.longest_segment or MAX_SEGMENT)
        else:
            self.segmenter = Segmenter(schedule, bool(settings.auto_mode))
        self.queue += [cut.text for cut in self.segmenter.add(waiting)]

    @property
    def waiting(self) -> int:
        return sum(item[2] for item in self.script if item[0] == "audio")

    @property
    def unspoken(self) -> int:
        queued = sum(size(item) for item in self.queue if isinstance(item, str))
        return queued + size(self.segmenter.waiting)

    @property
    def busy(self) -> bool:
        return self.active is not None or bool(self.queue) or self.waiting > 0

    @property
    def pause_over(self) -> float:
        """When what waits has waited long enough for more text."""
        patience = self.settings.flush_timeout
        if self.state != "open" or patience is None or not self.segmenter.waiting.strip():
            return math.inf
        return self.heard + (min(patience, FINISHED_SECONDS) if self.segmenter.finished else patience)

    @property
    def expires(self) -> float:
        """When its client has been silent for too long."""
        if self.state != "open" or self.busy:
            return math.inf
        return self.touched + (self.settings.inactivity_timeout or math.inf)

    @property
    def deadline(self) -> float:
        if self.state == "open":
            return min(self.pause_over, self.expires)
        if self.state == "cancelling" and self.active is not None:
            return self.stopping + 0.5
        return math.inf

    @property
    def usage(self) -> Usage:
        return Usage(
            characters_accepted=len(self.accepted),
            characters_synthesised=self.synthesised,
            characters_sent=self.characters_sent,
            audio_generated_ms=self.generated,
            audio_sent_ms=self.sent,
            audio_dropped_ms=self.generated - self.sent,
        )


class SegmentModel:
    def __init__(self, number: int, text: str, begun: float = 0.0) -> None:
        self.number, self.text, self.begun, self.mapped, self.samples = number, text, begun, 0, 0
