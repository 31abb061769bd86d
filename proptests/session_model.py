"""What a session must do, said another way: for each context a script of what its client must get next.

It knows nothing of queues, turns or tables. Times are passed in.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from context_model import Context, SegmentModel, size

from mux.errors import Problem
from mux.protocol.limits import Limits
from mux.protocol.messages import (
    Audio,
    Close,
    Configured,
    ContextClosed,
    ContextOpened,
    Event,
    FlushDone,
    NotThere,
    Reason,
    SegmentDone,
    SegmentStarted,
    SessionClosed,
    Warning,
)
from mux.protocol.voice import ContextSettings, inherit

RATE = 1000  # a sample is a millisecond
AHEAD = 250.5  # samples; no sum of whole samples equals it
IDLE = 10.0
BROKEN = Problem(code="engine_failed", message="The engine broke.")
BAD = Problem(code="invalid_setting", message="speed is wrong.")
LIVE = ("open", "draining")
CONFIGURED = Configured()


class Model:
    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.settings = ContextSettings(inactivity_timeout=IDLE)
        self.live: dict[int, Context] = {}
        self.dead: set[str] = set()
        self.expired: dict[str, str | None] = {}  # ids that were idle, and their voices
        self.serials = self.invalid = 0
        self.warnings: deque[tuple[str, str | None] | Configured | NotThere] = deque()
        """What is said for the whole socket: warnings by their code and context, and answers."""
        self.effects: list[tuple[Any, ...]] = []
        self.refusal = ""
        self.end: int | None = None
        self.closed = False

    def tell(self, said: tuple[str, str | None] | Configured | NotThere) -> None:
        if not self.closed:
            self.warnings.append(said)

    def in_state(self, *states: str) -> list[Context]:
        return [context for context in self.live.values() if context.state in states]

    def latest(self, id: str) -> Context | None:
        return next((c for c in reversed(self.live.values()) if c.id == id), None)

    def accepting(self, id: str) -> Context | None:
        context = self.latest(id)
        return context if context and context.state == "open" else None

    def held(self, context: Context) -> bool:
        return any(c.id == context.id and c.serial < context.serial for c in self.live.values())

    def advance(self, c: Context, now: float) -> None:
        while c.active is None and c.queue:
            head = c.queue[0]
            if isinstance(head, int):
                c.script.append(["flush", head])
            elif c.waiting < AHEAD:
                c.segments += 1
                c.active = SegmentModel(c.segments, head, now)
                c.spoken += head
                c.script.append(["started", c.segments, head])
                reading = (c.settings.normalize is not False, c.settings.ssml is True)
                self.effects.append(("speak", c.serial, c.segments, head, c.settings.voice, *reading))
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
        self.advance(c, now)

    def fail(self, c: Context, code: str, now: float) -> None:
        if not c.closed_by_client and self.latest(c.id) is c:
            self.dead.add(c.id)
        c.problem = code
        self.stop(c, Reason.FAILED, now)

    def finish_text(self, c: Context, reason: Reason, now: float) -> None:
        if c.state == "open":
            c.reason, c.state = reason, "draining"
            c.queue += [cut.text for cut in c.segmenter.flush("")]
            c.segmenter.discard()
            self.advance(c, now)

    def clamp(self, settings: ContextSettings, id: str | None) -> ContextSettings:
        if settings.inactivity_timeout is None or settings.inactivity_timeout <= 180:
            return settings
        self.tell(("setting_clamped", id))
        return inherit(settings, ContextSettings(inactivity_timeout=180.0))

    def begin(
        self,
        id: str,
        settings: ContextSettings,
        now: float,
        problem: str = "",
        answers: Close | None = None,
    ) -> Context | None:
        if id in self.dead or self.closed:
            return None
        base = inherit(self.settings, ContextSettings(voice=self.expired.get(id)))
        settings = inherit(base, self.clamp(settings, id))
        problem = problem or self.refusal
        if not problem and size(id) > self.limits.id_bytes:
            problem = "invalid_message"
        if not problem and len(self.in_state("open")) >= self.limits.contexts:
            problem = "too_many_contexts"
        if not problem and len(self.in_state("draining")) >= self.limits.draining:
            problem = "busy"
        if not problem and settings.voice == "nobody" and answers is None:
            problem = "unknown_voice"
        self.serials += 1
        context = self.live[self.serials] = Context(id, self.serials, settings, now)
        context.answers = answers
        if problem:
            self.fail(context, problem, now)
            return None
        context.script.append(["opened", settings])
        return context

    def text(self, id: str, text: str, trigger: bool, now: float) -> None:
        c = self.accepting(id) or self.begin(id, ContextSettings(), now)
        if c is None:
            return
        if self.limits.voice_required and text.strip() and not c.settings.voice:
            self.fail(c, "missing_voice", now)
            return
        if size(text) + sum(other.unspoken for other in self.live.values()) > self.limits.unspoken_bytes:
            self.fail(c, "busy", now)
            return
        c.touched = c.heard = now
        kept = text if c.accepted else text.lstrip()
        buffered = c.settings.sentences or not c.settings.auto_mode
        kept = kept if buffered or kept.strip() else ""
        c.accepted += kept
        c.turn_open = c.turn_open or kept != ""
        c.queue += [cut.text for cut in c.segmenter.add(text)]
        self.advance(c, now)
        if trigger:
            c.queue += [cut.text for cut in c.segmenter.trigger()]
            self.advance(c, now)

    def flush(self, id: str, now: float) -> None:
        if c := self.accepting(id):
            c.touched, c.turn_open = now, False
            c.flushes += 1
            c.queue += [cut.text for cut in c.segmenter.flush("")]
            c.queue.append(c.flushes)
            self.advance(c, now)
        self.answer(NotThere(id, flush=True))

    def answer(self, answer: NotThere) -> None:
        if self.limits.answer_all and self.latest(answer.context) is None:
            self.tell(answer)

    def open(self, id: str, settings: ContextSettings, anew: bool, now: float) -> None:
        c = self.accepting(id)
        if c is None:
            if anew:
                self.forgive(id)
            self.begin(id, settings, now)
            return
        merged = inherit(c.settings, self.clamp(settings, id))
        if merged != c.settings:
            if c.segments:
                return self.fail(c, "settings_changed", now)
            if merged.voice == "nobody":
                return self.fail(c, "unknown_voice", now)
            c.apply(merged, now)
            self.advance(c, now)
        c.touched = now

    def forgive(self, id: str) -> None:
        self.dead.discard(id)
        self.expired.pop(id, None)

    def close(self, command: Close, now: float) -> None:
        id = command.context
        self.forgive(id)
        self.answer(NotThere(id, flush=False))
        c = self.latest(id)
        if command.immediate:
            for other in [other for other in self.live.values() if other.id == id]:
                other.closed_by_client = True
                self.stop(other, Reason.CANCELLED, now)
        elif c is not None and not c.closed_by_client:
            c.closed_by_client = True
            self.finish_text(c, Reason.COMPLETED, now)
            return
        elif c is not None and c.state == "draining" and self.limits.second_close_cancels:
            self.stop(c, Reason.CANCELLED, now)
        if command.answered:
            self.answer_close(command, c, now)

    def answer_close(self, command: Close, c: Context | None, now: float) -> None:
        if command.joins and c and c.state == "draining" and not (c.answers or c.joined):
            c.joined = True
        elif empty := self.begin(command.context, ContextSettings(), now, answers=command):
            empty.closed_by_client = True
            if command.immediate:
                self.stop(empty, Reason.CANCELLED, now)
            else:
                self.finish_text(empty, Reason.COMPLETED, now)

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
            c.script.append(["done", number, len(segment.text) - segment.mapped, now - segment.begun])
        self.advance(c, now)

    def tick(self, now: float) -> None:
        for c in list(self.live.values()):
            if c.deadline > now:
                continue
            if c.state == "open" and c.pause_over <= c.expires:
                c.queue += [cut.text for cut in c.segmenter.flush("")]
                self.advance(c, now)
            elif c.state == "open":
                if self.limits.expiry_closes:
                    self.expired[c.id] = c.settings.voice
                else:
                    self.dead.add(c.id)
                c.problem = "input_timeout"
                self.finish_text(c, Reason.TIMED_OUT, now)
            else:
                c.active = None
                self.advance(c, now)

    def ready(self) -> list[Context]:
        """Those of whom something may go out."""
        return [c for c in self.live.values() if c.script and not self.held(c)]

    def end_resting(self, now: float) -> None:
        """At a restart, end those who have said everything, once nobody has anything left to say."""
        resting = [c for c in self.in_state("open") if not c.busy and not c.turn_open]
        if self.end is not None and self.limits.restart_at_rest and len(resting) == len(self.live):
            for c in resting:
                self.stop(c, Reason.SOCKET_CLOSED, now)

    def pulled(self, event: Event | None, now: float) -> None:
        """Check that `event` is what may come next, and take note of it."""
        if self.warnings:
            said = self.warnings.popleft()
            if isinstance(said, (Configured, NotThere)):
                assert event == said
            else:
                assert isinstance(event, Warning)
                assert (event.problem.code, event.context) == said
            return
        if not self.ready():
            self.end_resting(now)
        if not (ready := self.ready()):
            ended = self.end is not None and not self.live and not self.closed
            assert isinstance(event, SessionClosed) if ended else event is None
            self.closed = self.closed or ended
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
                assert head == ["opened", event.settings]
            case SegmentStarted():
                assert head == ["started", event.segment, event.text]
            case SegmentDone():
                assert head[:2] == ["done", event.segment]
                assert (event.dry, event.made_in) == (not c.busy, head[3])
                c.characters_sent += head[2]
            case FlushDone():
                assert head == ["flush", event.number]
            case ContextClosed():
                assert head == ["end"]
                assert (event.reason, event.usage) == (c.reason, c.usage)
                assert event.asked == c.closed_by_client
                assert event.answers == c.answers
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
        self.advance(c, now)
