"""A session under any history of commands, reports, time and reading, against a model of it.

The model (`Model`) says for each context what has to come next; `SessionMachine` plays the client, the engine
and the clock, and compares every effect, every event, every deadline and every count.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mux.errors import Problem
from mux.protocol.limits import Limits
from mux.protocol.messages import (
    Audio,
    Close,
    CloseSocket,
    Configure,
    ContextClosed,
    ContextOpened,
    Effect,
    Event,
    Flush,
    FlushDone,
    Invalid,
    KeepAlive,
    Open,
    Reason,
    SegmentDone,
    SegmentEnded,
    SegmentStarted,
    SessionClosed,
    Speak,
    Spoken,
    Stop,
    Text,
    Usage,
    Warning,
)
from mux.protocol.segmenter import Segmenter
from mux.protocol.session import Session
from mux.protocol.voice import DEFAULT_SCHEDULE, ContextSettings, VoiceSettings, inherit

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
        self.segmenter = Segmenter(settings.chunk_length_schedule or DEFAULT_SCHEDULE, bool(settings.auto_mode))
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


IDS = st.integers(0, 24).map(lambda number: f"id {number}") | st.sampled_from(["id 0", "id 1", "id 2", "x" * 300])
TEXTS = st.sampled_from(
    ["Hi. ", "word ", "One sentence. And the next", "終わり。", "a, b; c", " ", "", "x" * 30, "y" * 60 + " z", "Ä é"]
)
SETTINGS = st.builds(
    ContextSettings,
    voice=st.sampled_from([None, None, None, "v", "nobody"]),
    auto_mode=st.sampled_from([None, True, False]),
    chunk_length_schedule=st.sampled_from([None, (5,), (20, 500)]),
    inactivity_timeout=st.sampled_from([None, None, 2.0, 1000.0]),
)
LIMITS = st.builds(
    Limits,
    contexts=st.sampled_from([2, 20]),
    draining=st.sampled_from([2, 20]),
    unspoken_bytes=st.sampled_from([60, 100_000]),
    ahead_seconds=st.just(AHEAD / RATE),
    audio_bytes=st.sampled_from([1200, 100_000]),
    invalid_messages=st.just(3),
)
ENDINGS = st.sampled_from(["close_socket", "fail", "disconnect", "wind_down", "close_each"])


class SessionMachine(RuleBasedStateMachine):
    @initialize(limits=LIMITS, ending=ENDINGS, first=st.integers(0, 22))
    def start(self, limits: Limits, ending: str, first: int) -> None:
        self.ending = ending
        self.model = Model(limits)
        self.session = Session(
            self.model.settings,
            limits=limits,
            check_voice=lambda voice, language: "There is no such voice." if voice == "nobody" else None,
        )
        self.now = 0.0
        self.engine: dict[tuple[int, int], SegmentModel] = {}
        self.ended: list[int] = []
        for number in range(first):
            self.text(f"id {number}", "word ", False)

    # --- the client ---

    @rule(id=IDS, text=TEXTS, trigger=st.booleans())
    def text(self, id: str, text: str, trigger: bool) -> None:
        self.session.receive(Text(id, text, trigger), self.now)
        self.model.text(id, text, trigger, self.now)
        self.compare()

    @rule(id=IDS, settings=SETTINGS)
    def open(self, id: str, settings: ContextSettings) -> None:
        self.session.receive(Open(id, settings), self.now)
        self.model.open(id, settings, self.now)
        self.compare()

    @rule(id=IDS)
    def say_sentence(self, id: str) -> None:
        self.text(id, "Say it. ", False)
        self.flush(id)

    @rule(id=IDS)
    def flush(self, id: str) -> None:
        self.session.receive(Flush(id), self.now)
        if c := self.model.accepting(id):
            c.touched = self.now
            c.flushes += 1
            c.queue += [cut.text for cut in c.segmenter.flush("")]
            c.queue.append(c.flushes)
            self.model.advance(c)
        self.compare()

    @rule(id=IDS)
    def keep_alive(self, id: str) -> None:
        self.session.receive(KeepAlive(id), self.now)
        self.session.receive(KeepAlive(), self.now)
        if c := self.model.accepting(id):
            c.touched = self.now
        self.compare()

    @rule(id=IDS, immediate=st.booleans())
    def close(self, id: str, immediate: bool) -> None:
        self.session.receive(Close(id, immediate), self.now)
        self.model.close(id, immediate, self.now)
        self.compare()

    @rule(id=IDS)
    def invalid(self, id: str) -> None:
        self.session.receive(Invalid(BAD, id), self.now)
        if c := self.model.accepting(id):
            self.model.fail(c, BAD.code, self.now)
        else:
            self.model.begin(id, ContextSettings(), self.now, BAD.code)
        self.compare()

    @precondition(lambda self: self.model.invalid < 3)
    @rule()
    def unreadable(self) -> None:
        self.session.receive(Invalid(BAD), self.now)
        self.model.invalid += 1
        self.model.warnings.append((BAD.code, None))
        self.compare()

    @rule(voice=st.sampled_from(["v", "w"]))
    def configure(self, voice: str) -> None:
        self.session.receive(Configure(ContextSettings(voice=voice)), self.now)
        self.model.settings = inherit(self.model.settings, ContextSettings(voice=voice))
        self.compare()

    @rule(count=st.sampled_from([1, 5, 1000]))
    def pull(self, count: int) -> None:
        for _ in range(count):
            event = self.session.next_event(self.now)
            self.model.pulled(event, self.now)
            if isinstance(event, ContextClosed):
                self.ended.append(event.serial)
            self.compare()
            if event is None or isinstance(event, SessionClosed):
                break

    # --- the engine ---

    @precondition(lambda self: self.engine)
    @rule(which=st.integers(0, 50), samples=st.sampled_from([0, 1, 70, 100, 240, 700]), data=st.data())
    def speak(self, which: int, samples: int, data: st.DataObject) -> None:
        serial, number = sorted(self.engine)[which % len(self.engine)]
        segment = self.engine[serial, number]
        left = len(segment.text) - segment.mapped
        places = st.lists(st.integers(0, samples), max_size=min(left, 8)).map(sorted)
        starts = tuple(data.draw(places)) if samples else ()
        segment.mapped += len(starts)
        pcm = b"\1\0" * samples
        self.session.report(Spoken(serial, number, pcm, RATE, starts), self.now)
        self.model.spoken(serial, number, samples, starts, self.now)
        self.compare()

    @precondition(lambda self: self.engine)
    @rule(which=st.integers(0, 50), problem=st.sampled_from([None, None, None, BROKEN]))
    def end_segment(self, which: int, problem: Problem | None) -> None:
        serial, number = sorted(self.engine)[which % len(self.engine)]
        del self.engine[serial, number]
        self.session.report(SegmentEnded(serial, number, problem), self.now)
        self.model.ended(serial, number, problem.code if problem else "", self.now)
        self.compare()

    @precondition(lambda self: self.engine)
    @rule(which=st.integers(0, 50))
    def speak_whole(self, which: int) -> None:
        serial, number = sorted(self.engine)[which % len(self.engine)]
        segment = self.engine[serial, number]
        left = len(segment.text) - segment.mapped
        samples, starts = 20 * left + 1, tuple(range(0, 20 * left, 20))
        self.session.report(Spoken(serial, number, b"\1\0" * samples, RATE, starts), self.now)
        self.model.spoken(serial, number, samples, starts, self.now)
        self.end_segment(which, None)

    # --- time ---

    @rule(seconds=st.sampled_from([0.0, 0.25, 0.5, 1.0, IDLE]), tick=st.booleans())
    def wait(self, seconds: float, tick: bool) -> None:
        self.now += seconds
        if tick:
            self.tick()

    @rule()
    def sleep(self) -> None:
        """What a real host does: wake up when the session says so."""
        if (deadline := self.session.next_deadline()) < math.inf:
            self.now = max(self.now, deadline)
            self.tick()

    def tick(self) -> None:
        self.session.tick(self.now)
        self.model.tick(self.now)
        assert self.session.next_deadline() > self.now
        self.compare()

    # --- what must always hold ---

    def compare(self) -> None:
        effects = self.session.take_effects()
        assert [told(effect) for effect in effects] == self.model.effects
        self.model.effects.clear()
        for effect in effects:
            if isinstance(effect, Speak):
                assert all(serial != effect.serial for serial, _ in self.engine), "segments overlap"
                self.engine[effect.serial, effect.segment] = SegmentModel(effect.segment, effect.text)

    @invariant()
    def counts_agree(self) -> None:
        open, live = len(self.model.in_state("open")), list(self.model.live.values())
        assert self.session.open_contexts == open <= self.model.limits.contexts
        assert self.session.live_contexts == len(live)
        assert self.session.next_deadline() == min((c.deadline for c in live), default=math.inf)
        assert sum(c.unspoken for c in live) <= self.model.limits.unspoken_bytes

    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        self.end_socket()
        for round in range(100):
            self.pull(1000)
            if not self.model.live:
                break
            for _ in range(len(self.engine) if round > 3 else 0):
                self.speak_whole(0)
            self.wait(0.25, tick=True)
        assert not self.model.live
        assert sorted(self.ended) == list(range(1, self.model.serials + 1)), "every context ends exactly once"
        assert self.session.closed == (self.model.end is not None)
        assert self.session.next_event(self.now) is None
        for serial, number in self.engine:  # an engine that answers after everything has ended
            self.session.report(Spoken(serial, number, b"\1\0", RATE), self.now)
            self.session.report(SegmentEnded(serial, number), self.now)
        assert self.session.next_event(self.now) is None

    def end_socket(self) -> None:
        match self.ending:
            case "close_socket":
                self.session.receive(CloseSocket(), self.now)
                self.model.refusal, self.model.end = "socket_closing", 1000
                for c in self.model.in_state("open"):
                    self.model.finish_text(c, Reason.COMPLETED)
            case "fail" | "disconnect" as ending:
                for c in self.model.in_state(*LIVE):
                    c.problem = BROKEN.code if ending == "fail" else c.problem
                    self.model.stop(c, Reason.SOCKET_CLOSED, self.now)
                self.model.refusal = BROKEN.code
                if ending == "fail":
                    self.session.fail(BROKEN, self.now)
                    self.model.end = 1011
                else:
                    self.session.disconnect(self.now)
                    self.model.refusal = "socket_closing"
                    self.model.warnings.clear()
                    for c in self.model.live.values():
                        c.active = None
                        self.model.advance(c)
            case "wind_down":
                self.session.wind_down(BROKEN, SessionClosed(1012, ""))
                self.model.refusal, self.model.end = BROKEN.code, 1012
        self.compare()
        self.text("new", "Too late. ", False)
        for id in {c.id for c in self.model.in_state("open")}:
            self.close(id, False)


def told(effect: Effect) -> tuple[Any, ...]:
    """An effect as the model writes it."""
    if isinstance(effect, Stop):
        return ("stop", effect.serial, effect.segment)
    assert effect.settings == VoiceSettings()
    return ("speak", effect.serial, effect.segment, effect.text, effect.voice)


SessionMachine.TestCase.settings = settings(
    max_examples=5 * settings().max_examples // 2, stateful_step_count=settings().stateful_step_count
)
TestSession = pytest.mark.timeout(600)(SessionMachine.TestCase)
