"""The state of one socket: its contexts, its limits, its deadlines, and its end.

Feed it with `receive` (from the client), `report` (from the engine side) and `tick` (from the clock); after
each call take what the engine side must do with `take_effects`, and let the socket's writer pull `next_event`
until it gives None. Pulling is what counts as sent. Nothing that a peer sends makes it raise.
"""

from __future__ import annotations

import math
from collections import deque

from mux.errors import Problem, close_reason
from mux.protocol import problems
from mux.protocol.admission import VoiceCheck, congested, no_room, unspeakable, unwelcome
from mux.protocol.context import Context
from mux.protocol.limits import Limits
from mux.protocol.messages import (
    DEFAULT_CONTEXT,
    Audio,
    Close,
    CloseSocket,
    Command,
    Configure,
    Configured,
    ContextClosed,
    Effect,
    Event,
    Flush,
    Invalid,
    KeepAlive,
    Notice,
    NotThere,
    Open,
    Reason,
    Report,
    SegmentEnded,
    SessionClosed,
    Spoken,
    Text,
    Warning,
)
from mux.protocol.outbox import Outbox
from mux.protocol.roster import Roster
from mux.protocol.table import Input, State
from mux.protocol.voice import ContextSettings, clamp_timeout, inherit

__all__ = ["Session"]


class Session:
    """All contexts of one socket.

    Args:
        settings: what every context inherits (the URL's parameters).
        check_voice: (voice, language) -> why they cannot be spoken, or None; `Engine.check` is one.
        id: the session's id, for logs and error frames.
    """

    def __init__(
        self,
        settings: ContextSettings,
        *,
        limits: Limits | None = None,
        check_voice: VoiceCheck = lambda voice, language: None,
        id: str = "",
    ) -> None:
        self.id = id
        self.limits = limits or Limits()
        self._check_voice = check_voice
        self._effects: list[Effect] = []
        self._outbox: Outbox[Context] = Outbox()
        self._notices: deque[Event] = deque()
        """What is said for the whole socket."""
        self._roster = Roster(self.limits)
        self._serials = 0
        self._invalid_messages = 0
        self._refusal: Problem | None = None
        """Why no context may be opened any more."""
        self._end: SessionClosed | None = None
        """What to close the socket with, once every context has ended."""
        self.closed = False
        """`SessionClosed` was pulled."""
        self._heard = math.inf
        self._deadline: float | None = None  # None: to be found again, for it may have changed
        self._settings = self._clamped(settings)

    # --- the four ways in --------------------------------------------------------------------------

    def receive(self, command: Command, now: float) -> None:
        """Do what the client asks; after the socket's end, nothing."""
        if self.closed:
            return
        self._heard = now
        self._deadline = None
        match command:
            case Text():
                self._text(command, now)
            case Open():
                self._open(command, now)
            case Flush(context):
                if self.limits.slots_until_end and self._roster.accepting(context) is None:
                    self._begin(context, ContextSettings(), now)
                self._give(context, Input.FLUSH, now)
                self._answer(NotThere(context, flush=True))
            case Close():
                self._close(command, now)
            case KeepAlive(context):
                self._give(context or "", Input.KEEP_ALIVE, now)
            case Configure(settings, answer):
                self._settings = inherit(self._settings, self._clamped(settings))
                if answer:
                    self._notices.append(Configured())
            case Invalid():
                self._invalid(command, now)
            case Notice(problem, context):
                self.warn(problem, context)
            case CloseSocket():
                self.finish(SessionClosed(1000, ""), now)

    def report(self, report: Report, now: float) -> None:
        """Take what an engine says. Reports for contexts that have ended change nothing."""
        context = self._roster.live.get(report.serial)
        if context is None:
            return
        if isinstance(report, Spoken):
            context.handle(Input.SPOKEN, now, report)
            if context.part.waiting_bytes > self.limits.audio_bytes:
                self._fail(context, problems.too_much_audio(self.limits), now)
            return
        self._deadline = None
        if report.problem is None and context.spoke_nothing(report.segment):
            report = SegmentEnded(report.serial, report.segment, problems.EMPTY)
        if report.problem is not None and context.state in (State.OPEN, State.DRAINING):
            self._roster.bury(context)
        context.handle(Input.SEGMENT_FAILED if report.problem else Input.SEGMENT_ENDED, now, report)

    def tick(self, now: float) -> None:
        """Do what is due: end idle contexts, stop waiting for engines that were told to stop."""
        self._deadline = None
        if self._idle_deadline() <= now:
            self.fail(problems.idle(self._settings.inactivity_timeout), now)
        for context in self._roster.all():
            if context.deadline > now:
                continue
            if context.overdue is not Input.EXPIRE:
                context.handle(context.overdue, now)
                continue
            problem = problems.idle(context.settings.inactivity_timeout)
            if problem.code in self.limits.fatal:
                self.fail(problem, now)
                return
            if self.limits.expiry_closes:
                self._roster.note_expiry(context)
            else:
                self._roster.bury(context)
            context.problem = problem
            context.handle(Input.EXPIRE, now, Reason.TIMED_OUT)

    def next_event(self, now: float) -> Event | None:
        """The next thing to send, or None if nothing waits."""
        if self.closed:
            return None
        if self._notices:
            return self._notices.popleft()
        if self._end is not None and self.limits.restart_at_rest and not self._outbox:
            for context in self._roster.resting():
                context.handle(Input.CANCEL, now, Reason.SOCKET_CLOSED)
        part = self._outbox.next()
        if part is not None:
            context = part.owner
            event = context.pull(now)
            if not (isinstance(event, Audio) and context.busy):  # who stays busy keeps its deadline
                self._deadline = None
            if isinstance(event, ContextClosed):
                self._roster.remove(context)
            else:
                self._outbox.queue(part)
            return event
        if self._end is not None and not self._roster.live:
            self.closed = True
            return self._end
        return None

    # --- what the owner asks for -------------------------------------------------------------------

    def take_effects(self) -> list[Effect]:
        """What the engine side must do since the last call, in order."""
        effects, self._effects[:] = self._effects[:], []
        return effects

    def next_deadline(self) -> float:
        """When `tick` must be called next; infinity for never."""
        if self._deadline is None:
            deadlines = [context.deadline for context in self._roster.live.values()]
            self._deadline = min(deadlines, default=self._idle_deadline())
        return self._deadline

    def due(self, serial: int) -> float:
        """When this context's listener runs out of audio: the engine side serves the earliest first."""
        return self._roster.live[serial].due if serial in self._roster.live else math.inf

    @property
    def congested(self) -> bool:
        """Whether so many ends are unread that nothing more may be read."""
        return congested(self._roster.live.values(), len(self._notices), self.limits)

    @property
    def open_contexts(self) -> int:
        return sum(c.state is State.OPEN for c in self._roster.live.values())

    @property
    def live_contexts(self) -> int:
        return len(self._roster.live)

    def warn(self, problem: Problem, context: str | None = None) -> None:
        """Tell the client something that ends nobody."""
        self._notices.append(Warning(problem, context))

    def wind_down(self, problem: Problem, end: SessionClosed) -> None:
        """From now on refuse new contexts with `problem`, and after the last one close with `end`."""
        self._deadline = None
        self._refusal = self._refusal or problem
        self._end = self._end or end

    def finish(self, end: SessionClosed, now: float) -> None:
        """Let every context say what it has, then close the socket with `end`."""
        self.wind_down(problems.CLOSING, end)
        for context in self._roster.all():
            context.handle(Input.CLOSE, now, Reason.COMPLETED)

    def fail(self, problem: Problem, now: float) -> None:
        """End every context at once with `problem`, then close the socket with it."""
        self._deadline = None
        self._refusal = problem
        self._end = SessionClosed(problem.row.close, close_reason(problem.message), problem)
        for context in self._roster.all():
            if context.state in (State.OPEN, State.DRAINING):
                self._roster.bury(context)
                context.problem = problem
            context.handle(Input.CANCEL, now, Reason.SOCKET_CLOSED)

    def disconnect(self, now: float) -> None:
        """The client is gone: end every context at once. Pull the events all the same, to settle usage."""
        self._deadline = None
        self._notices.clear()
        self._refusal = problems.CLOSING
        for context in self._roster.all():
            context.handle(Input.CANCEL, now, Reason.SOCKET_CLOSED)
            context.handle(Input.STOP_OVERDUE, now)

    # --- commands ----------------------------------------------------------------------------------

    def _text(self, command: Text, now: float) -> None:
        context = self._roster.accepting(command.context)
        if context is None and (command.context != DEFAULT_CONTEXT or command.text.strip()):
            context = self._begin(command.context, ContextSettings(), now)
        if context is None:
            return
        unspoken = sum(other.unspoken_bytes for other in self._roster.live.values())
        if problem := unwelcome(command, context, unspoken, self.limits, self._check_voice):
            self._fail(context, problem, now)
            return
        context.handle(Input.TEXT, now, command)
        if command.trigger:
            context.trigger(now)

    def _open(self, command: Open, now: float) -> None:
        context = self._roster.accepting(command.context)
        if context is None:
            if command.anew:
                self._roster.forgive(command.context)
            self._begin(command.context, command.settings, now)
            return
        merged = inherit(context.settings, self._clamped(command.settings, command.context))
        if merged != context.settings:
            changed = problems.settings_changed(context.settings, merged)
            speaker = unspeakable(self._check_voice, merged.voice, merged.language)
            problem = changed if context.begun else speaker
            if problem is not None:
                self._fail(context, problem, now)
                return
            context.apply(merged, now)
        context.handle(Input.KEEP_ALIVE, now)

    def _close(self, command: Close, now: float) -> None:
        id = command.context
        self._roster.forgive(id)
        self._answer(NotThere(id, flush=False))
        context = self._roster.latest(id)
        if command.immediate:
            # An earlier context of the same id may still drain: whoever cancels wants silence now.
            for other in self._roster.of(id):
                other.close_requested = True
                other.handle(Input.CANCEL, now, Reason.CANCELLED)
        elif context is not None and not context.close_requested:
            context.close_requested = True
            context.handle(Input.CLOSE, now, Reason.COMPLETED)
            return  # its end is the answer, also if it has failed meanwhile
        elif context is not None and self.limits.second_close_cancels:
            context.handle(Input.CLOSE_AGAIN, now, Reason.CANCELLED)
        if command.answered and command.joins and context is not None and context.may_answer:
            context.joined = True
        elif command.answered and (empty := self._begin(id, ContextSettings(), now, answers=command)):
            empty.close_requested = True
            if command.immediate:
                empty.handle(Input.CANCEL, now, Reason.CANCELLED)
            else:
                empty.handle(Input.CLOSE, now, Reason.COMPLETED)

    def _give(self, id: str, input: Input, now: float) -> None:
        """An input that never opens a context: for an id that is not open it does nothing."""
        if context := self._roster.accepting(id):
            context.handle(input, now)

    def _answer(self, answer: NotThere) -> None:
        if self.limits.answer_all and self._roster.latest(answer.context) is None:
            self._notices.append(answer)

    def _invalid(self, command: Invalid, now: float) -> None:
        if command.context is not None:
            if context := self._roster.accepting(command.context):
                self._fail(context, command.problem, now)
            else:
                self._begin(command.context, ContextSettings(), now, command.problem)
            return
        self._invalid_messages += 1
        if command.problem.code in self.limits.fatal:
            self.fail(command.problem, now)
        elif self._invalid_messages > self.limits.invalid_messages:
            self.fail(problems.too_many_invalid(self.limits), now)
        else:
            self.warn(command.problem)

    # --- contexts ----------------------------------------------------------------------------------

    def _begin(
        self,
        id: str,
        settings: ContextSettings,
        now: float,
        problem: Problem | None = None,
        answers: Close | None = None,
    ) -> Context | None:
        """Open a context, or refuse it with the end that every context gets; None if it was refused. One that
        only `answers` says nothing, whatever its voice.

        An id that the server itself has ended stays silent until its `Close`: half an utterance must not
        start.
        """
        if self._roster.is_dead(id):
            return None
        base = inherit(self._settings, ContextSettings(voice=self._roster.voice(id)))
        settings = inherit(base, self._clamped(settings, id))
        problem = problem or self._refusal or no_room(id, self._roster.live.values(), self.limits)
        if problem is None and answers is None:
            problem = unspeakable(self._check_voice, settings.voice, settings.language)
        self._serials += 1
        context = Context(
            id,
            self._serials,
            settings,
            limits=self.limits,
            effects=self._effects,
            outbox=self._outbox,
            held=self._roster.latest(id) is not None,
            now=now,
        )
        context.answers = answers
        self._roster.add(context)
        if problem is not None:
            self._fail(context, problem, now)
            return None
        context.announce()
        return context

    def _clamped(self, settings: ContextSettings, id: str | None = None) -> ContextSettings:
        """Bring the timeout into its range and say so."""
        given, clamped = settings.inactivity_timeout, clamp_timeout(settings.inactivity_timeout)
        if given is None or clamped is None or given == clamped:
            return settings
        self.warn(problems.timeout_clamped(given, clamped), id)
        return inherit(settings, ContextSettings(inactivity_timeout=clamped))

    def _fail(self, context: Context, problem: Problem, now: float) -> None:
        """End one context with an error; its id stays dead until the client closes it."""
        if problem.code in self.limits.fatal:
            self.fail(problem, now)
            return
        self._deadline = None
        self._roster.bury(context)
        context.problem = problem
        context.handle(Input.FAIL, now, Reason.FAILED)

    def _idle_deadline(self) -> float:
        """When a socket without contexts has been silent for too long, where that ends it."""
        timeout = self._settings.inactivity_timeout
        if not self.limits.idle_socket_ends or self._roster.live or self._end is not None or timeout is None:
            return math.inf
        return self._heard + timeout
