"""One context: what each entry of the table does, and what follows from it."""

from __future__ import annotations

import math
from collections import deque
from typing import cast

from mux.errors import Problem
from mux.protocol.limits import Limits
from mux.protocol.messages import (
    Audio,
    Close,
    ContextClosed,
    ContextOpened,
    Effect,
    Event,
    FlushDone,
    Reason,
    SegmentDone,
    SegmentEnded,
    SegmentStarted,
    Speak,
    Spoken,
    Stop,
    Text,
    Usage,
)
from mux.protocol.outbox import Outbox, Part, Speech
from mux.protocol.pcm import joined
from mux.protocol.queued import End, FlushMark, Segment
from mux.protocol.segmenter import MAX_SEGMENT, Cut, Segmenter
from mux.protocol.sentences import SentenceSegmenter
from mux.protocol.table import TABLE, Input, State
from mux.protocol.timeline import Timeline
from mux.protocol.voice import DEFAULT_SCHEDULE, ContextSettings, VoiceSettings

__all__ = ["FINISHED_SECONDS", "Context"]

FINISHED_SECONDS = 0.08
"""How long a sentence that seems to be over waits for more text ("3." may go on with "14"). Tokens of one
answer come faster than that; the vendor's own test grants 0.15 s."""


class Context:
    """The state of one context. `handle` is the only way in for inputs; what it wants from the engine is
    appended to `effects`, what the client gets waits in `part` until `pull` takes it."""

    def __init__(
        self,
        id: str,
        serial: int,
        settings: ContextSettings,
        *,
        limits: Limits,
        effects: list[Effect],
        outbox: Outbox[Context],
        held: bool,
        now: float,
    ) -> None:
        self.id = id
        self.serial = serial
        self.state = State.OPEN
        self.part: Part[Context] = outbox.part(self, held)
        self.successor: Context | None = None
        """The next context of the same id; it waits for this one's end."""
        self.close_requested = False
        """The client itself has closed this context."""
        self.answers: Close | None = None
        """It is there only to answer this."""
        self.joined = False  # one more close is answered by its end
        self.reason = Reason.COMPLETED
        self.problem: Problem | None = None
        self.unspoken_bytes = 0
        self.timeline = Timeline()
        self._limits = limits
        self._effects = effects
        self._touched = now
        self._speak_at = math.inf
        """When what waits is spoken, if no more text comes."""
        self._turn_open = False
        """Text has come since the last flush."""
        self._dry_at = -math.inf
        """When the listener runs out of audio, if what was sent is played without a pause."""
        self._stopping_since = now
        self._waiting: deque[Segment | FlushMark] = deque()
        self._active: Segment | None = None
        self._ending = False
        self._segments = 0
        self._flushes = 0
        self._flushes_answered = 0
        self._accepted = 0
        self._synthesised = 0
        self._sample_rate = 1
        self._segmenter = Segmenter(DEFAULT_SCHEDULE)
        self._speaker: str | None = None
        """Who says the text that comes now; None: the context's voice."""
        self.apply(settings, now)

    def apply(self, settings: ContextSettings, now: float) -> None:
        """Take (other) settings; only while nothing was said with the old ones (see `begun`)."""
        self.settings = settings
        self._voice = VoiceSettings(**(settings.voice_settings or {}))  # type: ignore[arg-type]
        self._timeout = math.inf if settings.inactivity_timeout is None else settings.inactivity_timeout
        waiting = self._segmenter.discard()
        schedule = settings.chunk_length_schedule or DEFAULT_SCHEDULE
        if settings.sentences:
            self._segmenter = SentenceSegmenter(schedule, settings.longest_segment or MAX_SEGMENT)
        else:
            self._segmenter = Segmenter(schedule, bool(settings.auto_mode))
        self._queue(self._segmenter.add(waiting), now)
        self._await_more(now)
        self._advance(now)

    def announce(self) -> None:
        """Tell the client side that this context has begun."""
        self.part.push(ContextOpened(self.id, self.serial, self.settings))

    @property
    def begun(self) -> bool:
        """Whether an engine was asked for anything; from then on the settings stand."""
        return self._segments > 0

    @property
    def busy(self) -> bool:
        """Whether work is pending: text that an engine owes, or speech that was not sent. Text that was
        never flushed is not pending work."""
        return self._active is not None or bool(self._waiting) or self.part.waiting_bytes > 0

    @property
    def may_answer(self) -> bool:
        """Whether its end may be the answer to one more close."""
        return self.state is State.DRAINING and self.answers is None and not self.joined

    @property
    def at_rest(self) -> bool:
        """Whether it has said all that it was asked to: nothing is pending, and all text was flushed."""
        return not self.busy and not self._turn_open

    @property
    def overdue(self) -> Input:
        """What happens at its deadline."""
        if self.state is not State.OPEN:
            return Input.STOP_OVERDUE
        return Input.PAUSE if self._speak_at <= self._expires_at else Input.EXPIRE

    @property
    def _expires_at(self) -> float:
        return math.inf if self.busy else self._touched + self._timeout

    @property
    def unanswered_flushes(self) -> int:
        """Flushes whose end the client has not been told."""
        return self._flushes - self._flushes_answered

    @property
    def deadline(self) -> float:
        """When `Session.tick` has something to do here."""
        if self.state is State.OPEN:
            return min(self._speak_at, self._expires_at)
        if self.state is State.CANCELLING and self._active is not None:
            return self._stopping_since + self._limits.stop_seconds
        return math.inf

    @property
    def due(self) -> float:
        """The time by which its next audio is wanted: when the listener runs dry, but not before the text
        was there."""
        accepted = self._active.accepted if self._active is not None else -math.inf
        return max(self._dry_at, accepted)

    def spoke_nothing(self, segment: int) -> bool:
        """Whether this segment is being spoken and has given no audio so far."""
        return self._active is not None and self._active.number == segment and not self._active.samples

    def handle(self, input: Input, now: float, value: object = None) -> None:
        """Do what the table says for this input, then whatever has become possible."""
        entry = TABLE[self.state].get(input)
        if entry is None:
            return
        action, state = entry
        getattr(self, action.value)(now, value)
        self.state = state
        self._advance(now)

    # --- actions ---------------------------------------------------------------------------------

    def take_text(self, now: float, command: Text) -> None:
        self._touched = now
        text = command.text
        if command.voice is not None and command.voice != self._speaker:
            # Somebody else speaks: what the one before has left is a segment of its own.
            self._queue(self._segmenter.flush("voice"), now)
            self._speaker = command.voice
        before = len(self._segmenter.waiting)
        cuts = self._segmenter.add(text)
        kept = sum(len(cut.text) for cut in cuts) + len(self._segmenter.waiting) - before
        self._accepted += kept
        self.unspoken_bytes += _size(text[len(text) - kept :])
        self._turn_open = self._turn_open or bool(kept)
        self._queue(cuts, now)
        self._await_more(now)

    def trigger(self, now: float) -> None:
        """Speak now, if enough text waits (`try_trigger_generation`)."""
        if self.state is State.OPEN:
            self._queue(self._segmenter.trigger(), now)
            self._await_more(now)
            self._advance(now)

    def flush(self, now: float, _: None) -> None:
        self._touched = now
        self._queue(self._segmenter.flush("flush"), now)
        self._speak_at = math.inf
        self._turn_open = False
        self._flushes += 1
        self._waiting.append(FlushMark(self._flushes))

    def speak_waiting(self, now: float, _: None) -> None:
        self._queue(self._segmenter.flush("pause"), now)
        self._speak_at = math.inf

    def touch(self, now: float, _: None) -> None:
        self._touched = now

    def finish_text(self, now: float, reason: Reason) -> None:
        self.reason = reason
        why = "timeout" if reason is Reason.TIMED_OUT else "close"
        if not (self._limits.discard_unflushed and reason is Reason.COMPLETED):
            self._queue(self._segmenter.flush(why), now)
        self.unspoken_bytes -= _size(self._segmenter.discard())

    def stop(self, now: float, reason: Reason) -> None:
        if not (self.reason is Reason.TIMED_OUT and reason is Reason.CANCELLED):
            self.reason = reason
        self._stopping_since = now
        self._segmenter.discard()
        self._waiting.clear()
        self.unspoken_bytes = 0
        self.part.purge()
        self._ending = False  # an end that waited behind speech is gone too; `_advance` gives another
        self.timeline.drop()
        if self._active is not None:
            self._effects.append(Stop(self.serial, self._active.number))

    def take_speech(self, now: float, report: Spoken) -> None:
        if segment := self._count(report):
            text = segment.text[segment.mapped - len(report.starts) : segment.mapped]
            ends = segment.mapped == len(segment.text) and not text[-1:].isspace() and not segment.split
            samples, spelled, until = len(report.pcm) // 2, report.spelled, report.until
            self.timeline.add(
                segment.number, text, report.starts, samples, breaks=ends, spelled=spelled, until=until
            )
            if samples:
                self.part.push(Speech(segment.number, report.pcm, report.sample_rate))

    def drop_speech(self, now: float, report: Spoken) -> None:
        if self._count(report):
            self.timeline.generated += len(report.pcm) // 2

    def end_segment(self, now: float, report: SegmentEnded) -> None:
        if segment := self._ended(report):
            self._synthesised += len(segment.text) - segment.mapped
            segment.made_in = now - segment.begun
            self._touched = now
            self.part.push(segment)

    def fail_segment(self, now: float, report: SegmentEnded) -> None:
        self._ended(report)
        self.problem = report.problem
        self.stop(now, Reason.FAILED)

    def give_up_segment(self, now: float, report: SegmentEnded | None) -> None:
        """The engine has stopped, or (None) was given long enough to."""
        if report is None:
            self._active = None
        else:
            self._ended(report)

    def ignore(self, now: float, _: None) -> None:
        """Only the state changes."""

    # --- consequences ----------------------------------------------------------------------------

    def _queue(self, cuts: list[Cut], now: float) -> None:
        for cut in cuts:
            self._segments += 1
            self._waiting.append(Segment(self._segments, cut.text, cut.why, now, cut.split, self._speaker))

    def _await_more(self, now: float) -> None:
        """Set the time at which what waits is spoken though nobody has asked for it."""
        patience = self.settings.flush_timeout
        if patience is None or not self._segmenter.waiting.strip():
            self._speak_at = math.inf
        elif self._segmenter.finished:
            self._speak_at = now + min(patience, FINISHED_SECONDS)
        else:
            self._speak_at = now + patience

    def _count(self, report: Spoken) -> Segment | None:
        """Add a report to the usage; returns its segment, or None if that is not being spoken."""
        segment = self._active
        if segment is None or segment.number != report.segment:
            return None
        self._sample_rate = report.sample_rate
        segment.samples += len(report.pcm) // 2
        segment.mapped += len(report.starts)
        self._synthesised += len(report.starts)
        return segment

    def _ended(self, report: SegmentEnded) -> Segment | None:
        segment = self._active
        if segment is None or segment.number != report.segment:
            return None
        self._active = None
        return segment

    def _advance(self, now: float) -> None:
        """Begin the next segment, pass finished flushes on, and end when nothing is left to do."""
        while self._active is None and self._waiting:
            head = self._waiting[0]
            if isinstance(head, FlushMark):
                self.part.push(FlushDone(self.id, self.serial, head.number))
            elif self.part.waiting_seconds < self._limits.ahead_seconds:
                self._begin(head, now)
            else:
                return
            self._waiting.popleft()
        if self.state in (State.DRAINING, State.CANCELLING) and self._active is None and not self._ending:
            self._ending = True
            self.part.push(End())

    def _begin(self, segment: Segment, now: float) -> None:
        self._active = segment
        segment.begun = now
        self.unspoken_bytes -= _size(segment.text)
        self.part.push(SegmentStarted(self.id, self.serial, segment.number, segment.text, segment.why))
        settings = self.settings
        self._effects.append(
            Speak(
                self.serial,
                segment.number,
                segment.text,
                segment.voice or settings.voice,
                settings.language,
                self._voice,
                normalize=settings.normalize is not False,
                ssml=bool(settings.ssml),
            )
        )

    # --- pulling ---------------------------------------------------------------------------------

    def pull(self, now: float) -> Event:
        """Take the next event, at the moment it is sent. A pulled `ContextClosed` is the end: the usage in
        it is settled."""
        if self.part.speaks():
            return self._pull_speech(now)
        item = self.part.take_event()
        if isinstance(item, End):
            self.handle(Input.END_SENT, now)
            usage, asked = self.usage(), self.close_requested
            return ContextClosed(self.id, self.serial, self.reason, usage, self.problem, asked, self.answers)
        if isinstance(item, FlushDone):
            self._flushes_answered = item.number
        if isinstance(item, Segment):
            self.timeline.characters_sent += len(item.text) - item.mapped
            return SegmentDone(self.id, self.serial, item.number, not self.busy, item.made_in)
        return cast(Event, item)

    def _pull_speech(self, now: float) -> Audio:
        segment, pcm, rate = self.part.take_speech(self._limits.frame_ms)
        position, samples = self.timeline.sent, len(pcm) // 2
        alignment = self.timeline.take(segment, samples, rate)
        self._dry_at = max(now, self._dry_at) + samples / rate
        self._touched = now
        self._advance(now)
        return Audio(self.id, self.serial, segment, joined([pcm]), rate, position, alignment)

    def usage(self) -> Usage:
        """What was used so far. `audio_generated_ms` is the sum of the other two, to the last digit."""
        sent_ms = self.timeline.sent * 1000 / self._sample_rate
        dropped_ms = (self.timeline.generated - self.timeline.sent) * 1000 / self._sample_rate
        return Usage(
            characters_accepted=self._accepted,
            characters_synthesised=self._synthesised,
            characters_sent=self.timeline.characters_sent,
            audio_generated_ms=sent_ms + dropped_ms,
            audio_sent_ms=sent_ms,
            audio_dropped_ms=dropped_ms,
        )


def _size(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))
