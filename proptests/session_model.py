"""What a session must do, said another way: for each context a script of what its client must get next.

It knows nothing of queues, turns or tables, and takes only the segmenter from the core. Times are passed in.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

from mux.errors import Problem
from mux.protocol.limits import Limits
from mux.protocol.messages import (
    Audio,
    ContextClosed,
    ContextOpened,
    Event,
    FlushDone,
    Reason,
    SegmentDone,
    SegmentStarted,
    SessionClosed,
    Usage,
    Warning,
)
from mux.protocol.segmenter import Segmenter
from mux.protocol.voice import DEFAULT_SCHEDULE, ContextSettings, inherit

RATE = 1000  # a sample is a millisecond
AHEAD = 250.5  # samples; no sum of whole samples equals it
IDLE = 10.0
BROKEN = Problem(code="engine_failed", message="The engine broke.")
BAD = Problem(code="invalid_setting", message="speed is wrong.")
LIVE = ("open", "draining")


def size(text: str) -> int:
    return len(text.encode())


class Context:
    """What the model knows of one context. `script` is what its client must get, in order."""

    def __init__(self, id: str, serial: int, settings: ContextSettings, now: float) -> None:
        self.id, self.serial, self.touched = id, serial, now
        self.state = "open"
        self.closed_by_client = self.ending = False
        self.reason, self.problem = Reason.COMPLETED, ""
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
        self.apply(settings)

    def apply(self, settings: ContextSettings) -> None:
        self.settings = settings
        waiting = self.segmenter.discard()
        self.segmenter = Segmenter(
            settings.chunk_length_schedule or DEFAULT_SCHEDULE, bool(settings.auto_mode)
        )
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
    def deadline(self) -> float:
        if self.state == "open" and not self.busy:
            return self.touched + (self.settings.inactivity_timeout or math.inf)
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
    def __init__(self, number: int, text: str) -> None:
        self.number, self.text, self.mapped, self.samples = number, text, 0, 0


class Model:
    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.settings = ContextSettings(inactivity_timeout=IDLE)
        self.live: dict[int, Context] = {}
        self.dead: set[str] = set()
        self.serials = self.invalid = 0
        self.warnings: deque[tuple[str, str | None]] = deque()
        self.effects: list[tuple[Any, ...]] = []
        self.refusal = ""
        self.end: int | None = None

    def in_state(self, *states: str) -> list[Context]:
        return [context for context in self.live.values() if context.state in states]

    def latest(self, id: str) -> Context | None:
        return next((c for c in reversed(self.live.values()) if c.id == id), None)

    def accepting(self, id: str) -> Context | None:
        context = self.latest(id)
        return context if context and context.state == "open" else None

    def held(self, context: Context) -> bool:
        return any(c.id == context.id and c.serial < context.serial for c in self.live.values())

    def advance(self, c: Context) -> None:
        while c.active is None and c.queue:
            head = c.queue[0]
            if isinstance(head, int):
                c.script.append(["flush", head])
            elif c.waiting < AHEAD:
                c.segments += 1
                c.active = SegmentModel(c.segments, head)
                c.spoken += head
                c.script.append(["started", c.segments, head])
                self.effects.append(("speak", c.serial, c.segments, head, c.settings.voice))
            else:
                return
            c.queue.popleft()
        if c.state in ("draining", "cancelling") and c.active is None and not c.ending:
            c.ending = True
            c.script.append(["end"])

    def stop(self, c: Context, reason: Reason, now: float) -> None:
        if c.state not in LIVE:
            return
        if not (c.reason is Reason.TIMED_OUT and reason is Reason.CANCELLED):
            c.reason = reason
        c.state, c.stopping, c.ending = "cancelling", now, False
        c.segmenter.discard()
        c.queue.clear()
        c.script.clear()
        c.truth.clear()
        if c.active:
            self.effects.append(("stop", c.serial, c.active.number))
        self.advance(c)

    def fail(self, c: Context, code: str, now: float) -> None:
        if not c.closed_by_client:
            self.dead.add(c.id)
        c.problem = code
        self.stop(c, Reason.FAILED, now)

    def finish_text(self, c: Context, reason: Reason) -> None:
        if c.state == "open":
            c.reason, c.state = reason, "draining"
            c.queue += [cut.text for cut in c.segmenter.flush("")]
            c.segmenter.discard()
            self.advance(c)

    def clamp(self, settings: ContextSettings, id: str | None) -> ContextSettings:
        if settings.inactivity_timeout is None or settings.inactivity_timeout <= 180:
            return settings
        self.warnings.append(("setting_clamped", id))
        return inherit(settings, ContextSettings(inactivity_timeout=180.0))

    def begin(self, id: str, settings: ContextSettings, now: float, problem: str = "") -> Context | None:
        if id in self.dead:
            return None
        settings = inherit(self.settings, self.clamp(settings, id))
        problem = problem or self.refusal
        if not problem and size(id) > self.limits.id_bytes:
            problem = "invalid_message"
        if not problem and len(self.in_state("open")) >= self.limits.contexts:
            problem = "too_many_contexts"
        if not problem and len(self.in_state("draining")) >= self.limits.draining:
            problem = "busy"
        if not problem and settings.voice == "nobody":
            problem = "unknown_voice"
        self.serials += 1
        context = self.live[self.serials] = Context(id, self.serials, settings, now)
        if problem:
            self.fail(context, problem, now)
            return None
        context.script.append(["opened"])
        return context

    def text(self, id: str, text: str, trigger: bool, now: float) -> None:
        c = self.accepting(id) or self.begin(id, ContextSettings(), now)
        if c is None:
            return
        if size(text) + sum(other.unspoken for other in self.live.values()) > self.limits.unspoken_bytes:
            self.fail(c, "busy", now)
            return
        c.touched = now
        kept = text if c.accepted else text.lstrip()
        c.accepted += "" if c.settings.auto_mode and not kept.strip() else kept
        c.queue += [cut.text for cut in c.segmenter.add(text)]
        self.advance(c)
        if trigger:
            c.queue += [cut.text for cut in c.segmenter.trigger()]
            self.advance(c)

    def open(self, id: str, settings: ContextSettings, now: float) -> None:
        c = self.accepting(id)
        if c is None:
            self.begin(id, settings, now)
            return
        merged = inherit(c.settings, self.clamp(settings, id))
        if merged != c.settings:
            if c.segments:
                return self.fail(c, "settings_changed", now)
            if merged.voice == "nobody":
                return self.fail(c, "unknown_voice", now)
            c.apply(merged)
            self.advance(c)
        c.touched = now

    def close(self, id: str, immediate: bool, now: float) -> None:
        self.dead.discard(id)
        c = self.latest(id)
        if immediate:
            for other in [other for other in self.live.values() if other.id == id]:
                self.stop(other, Reason.CANCELLED, now)
        elif c is not None and c.closed_by_client:
            if c.state == "draining":
                self.stop(c, Reason.CANCELLED, now)
        elif c is not None:
            c.closed_by_client = True
            self.finish_text(c, Reason.COMPLETED)

    def spoken(self, serial: int, number: int, samples: int, starts: tuple[int, ...], now: float) -> None:
        c = self.live.get(serial)
        if c is None or c.active is None or c.active.number != number:
            return
        characters = c.active.text[c.active.mapped : c.active.mapped + len(starts)]
        ends = (*starts[1:], samples)
        if c.state in LIVE:
            for character, start, end in zip(characters, starts, ends, strict=False):
                c.truth.append((character, c.generated + start, c.generated + end))
            if samples:
                c.script.append(["audio", number, samples])
        c.generated += samples
        c.synthesised += len(starts)
        c.active.mapped += len(starts)
        c.active.samples += samples
        if c.waiting * 2 > self.limits.audio_bytes:
            self.fail(c, "segment_too_long", now)

    def ended(self, serial: int, number: int, problem: str, now: float) -> None:
        c = self.live.get(serial)
        if c is None or c.active is None or c.active.number != number:
            return
        segment, c.active = c.active, None
        problem = problem or ("" if segment.samples else "empty_synthesis")
        if c.state in LIVE and problem:
            self.fail(c, problem, now)
        elif c.state in LIVE:
            c.synthesised += len(segment.text) - segment.mapped
            c.touched = now
            c.script.append(["done", number, len(segment.text) - segment.mapped])
        self.advance(c)

    def tick(self, now: float) -> None:
        for c in list(self.live.values()):
            if c.deadline > now:
                continue
            if c.state == "open":
                self.dead.add(c.id)
                c.problem = "input_timeout"
                self.finish_text(c, Reason.TIMED_OUT)
            else:
                c.active = None
                self.advance(c)

    def pulled(self, event: Event | None, now: float) -> None:
        """Check that `event` is what may come next, and take note of it."""
        if self.warnings:
            assert isinstance(event, Warning)
            assert (event.problem.code, event.context) == self.warnings.popleft()
            return
        ready = [c for c in self.live.values() if c.script and not self.held(c)]
        if not ready:
            ended = self.end is not None and not self.live
            assert isinstance(event, SessionClosed) if ended else event is None
            return
        assert event is not None
        c = self.live[event.serial]  # type: ignore[union-attr]
        assert c in ready, "something of a context whose predecessor has not ended"
        assert event.context == c.id  # type: ignore[union-attr]
        head = c.script[0]
        if isinstance(event, Audio):
            assert all(other.script[0][0] == "audio" for other in ready), "speech before an event"
            self.audio_sent(c, event, now)
            return
        c.script.popleft()
        match event:
            case ContextOpened():
                assert head == ["opened"]
            case SegmentStarted():
                assert head == ["started", event.segment, event.text]
            case SegmentDone():
                assert head[:2] == ["done", event.segment]
                assert event.dry == (not c.busy)
                c.characters_sent += head[2]
            case FlushDone():
                assert head == ["flush", event.number]
            case ContextClosed():
                assert head == ["end"]
                assert (event.reason, event.usage) == (c.reason, c.usage)
                assert (event.problem.code if event.problem else "") == c.problem
                if c.reason in (Reason.COMPLETED, Reason.TIMED_OUT):
                    assert not c.accepted[len(c.spoken) :].strip(), "text was dropped without an error"
                    assert not c.truth
                del self.live[c.serial]
            case _:
                raise AssertionError(event)
        assert c.accepted.startswith(c.spoken)

    def audio_sent(self, c: Context, event: Audio, now: float) -> None:
        samples = len(event.pcm) // 2
        assert event.position == c.sent
        assert 0 < samples <= self.limits.frame_ms
        c.sent += samples
        c.touched = now
        while samples:
            head = c.script[0]
            assert head[:2] == ["audio", event.segment]
            taken = min(samples, head[2])
            samples -= taken
            head[2] -= taken
            if not head[2]:
                c.script.popleft()
        if event.alignment:
            aligned = event.alignment
            assert aligned.text
            assert aligned.origin == c.aligned_to
            for character in zip(aligned.text, aligned.starts, aligned.ends, strict=True):
                assert character == c.truth.popleft()
                assert event.position <= character[1] <= c.sent
            c.aligned_to = aligned.ends[-1]
            c.characters_sent += len(aligned.text)
        assert not c.truth or c.truth[0][1] >= c.sent, "a character is late"
        self.advance(c)
