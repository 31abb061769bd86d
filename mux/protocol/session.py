"""The state of one socket: its contexts, its limits, its deadlines, and its end.

Feed it with `receive` (from the client), `report` (from the engine side) and `tick` (from the clock); after
each call take what the engine side must do with `take_effects`, and let the socket's writer pull `next_event`
until it gives None. Pulling is what counts as sent. Nothing that a peer sends makes it raise.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from mux.errors import Problem, close_reason
from mux.protocol import problems
from mux.protocol.context import Context
from mux.protocol.dead_ids import DeadIds
from mux.protocol.limits import Limits
from mux.protocol.messages import (
    DEFAULT_CONTEXT,
    Close,
    CloseSocket,
    Command,
    Configure,
    ContextClosed,
    Effect,
    Event,
    Flush,
    Invalid,
    KeepAlive,
    Notice,
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
from mux.protocol.table import Input, State
from mux.protocol.voice import ContextSettings, clamp_timeout, inherit

__all__ = ["Session"]

VoiceCheck = Callable[[str | None, str | None], str | None]


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
        self._contexts: dict[int, Context] = {}
        self._latest: dict[str, Context] = {}
        self._dead_ids = DeadIds(self.limits.remembered_ids, self.limits.id_bytes)
        """Ids that the server ended; their late messages are ignored until their `Close`."""
        self._serials = 0
        self._invalid_messages = 0
        self._refusal: Problem | None = None
        """Why no context may be opened any more."""
        self._end: SessionClosed | None = None
        """What to close the socket with, once every context has ended."""
        self.closed = False
        """`SessionClosed` was pulled."""
        self._heard = math.inf
        self._settings = self._clamped(settings)

    # --- the four ways in --------------------------------------------------------------------------

    def receive(self, command: Command, now: float) -> None:
        """Do what the client asks; after the socket's end, nothing."""
        if self.closed:
            return
        self._heard = now
        match command:
            case Text():
                self._text(command, now)
            case Open(context, settings):
                self._open(context, settings, now)
            case Flush(context):
                if self.limits.slots_until_end and self._accepting(context) is None:
                    self._begin(context, ContextSettings(), now)
                self._give(context, Input.FLUSH, now)
            case Close():
                self._close(command, now)
            case KeepAlive(context):
                self._give(context or "", Input.KEEP_ALIVE, now)
            case Configure(settings):
                self._settings = inherit(self._settings, self._clamped(settings))
            case Invalid():
                self._invalid(command, now)
            case Notice(problem, context):
                self.warn(problem, context)
            case CloseSocket():
                self.finish(SessionClosed(1000, ""), now)

    def report(self, report: Report, now: float) -> None:
        """Take what an engine says. Reports for contexts that have ended change nothing."""
        context = self._contexts.get(report.serial)
        if context is None:
            return
        if isinstance(report, Spoken):
            context.handle(Input.SPOKEN, now, report)
            if context.part.waiting_bytes > self.limits.audio_bytes:
                self._fail(context, problems.too_much_audio(self.limits), now)
            return
        if report.problem is None and context.spoke_nothing(report.segment):
            report = SegmentEnded(report.serial, report.segment, problems.EMPTY)
        if report.problem is not None and context.state in (State.OPEN, State.DRAINING):
            self._remember(context)
        context.handle(Input.SEGMENT_FAILED if report.problem else Input.SEGMENT_ENDED, now, report)

    def tick(self, now: float) -> None:
        """Do what is due: end idle contexts, stop waiting for engines that were told to stop."""
        if self._idle_deadline() <= now:
            self.fail(problems.idle(self._settings.inactivity_timeout), now)
        for context in list(self._contexts.values()):
            if context.deadline > now:
                continue
            if context.state is not State.OPEN:
                context.handle(Input.STOP_OVERDUE, now)
                continue
            problem = problems.idle(context.settings.inactivity_timeout)
            if problem.code in self.limits.fatal:
                self.fail(problem, now)
                return
            self._remember(context)
            context.problem = problem
            context.handle(Input.EXPIRE, now, Reason.TIMED_OUT)

    def next_event(self, now: float) -> Event | None:
        """The next thing to send, or None if nothing waits."""
        if self.closed:
            return None
        if self._notices:
            return self._notices.popleft()
        part = self._outbox.next()
        if part is not None:
            context = part.owner
            event = context.pull(now)
            if isinstance(event, ContextClosed):
                self._forget(context)
            else:
                self._outbox.queue(part)
            return event
        if self._end is not None and not self._contexts:
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
        return min([c.deadline for c in self._contexts.values()], default=self._idle_deadline())

    def due(self, serial: int) -> float:
        """When this context's listener runs out of audio: the engine side serves the earliest first."""
        return self._contexts[serial].due if serial in self._contexts else math.inf

    @property
    def congested(self) -> bool:
        """Whether so many ends are unread that nothing more may be read."""
        most = self.limits.contexts + self.limits.draining + self.limits.backlog
        flushes = any(c.unanswered_flushes > self.limits.flushes for c in self._contexts.values())
        return flushes or len(self._contexts) > most or len(self._notices) > self.limits.backlog

    @property
    def open_contexts(self) -> int:
        return sum(c.state is State.OPEN for c in self._contexts.values())

    @property
    def live_contexts(self) -> int:
        return len(self._contexts)

    def warn(self, problem: Problem, context: str | None = None) -> None:
        """Tell the client something that ends nobody."""
        self._notices.append(Warning(problem, context))

    def wind_down(self, problem: Problem, end: SessionClosed) -> None:
        """From now on refuse new contexts with `problem`, and after the last one close with `end`."""
        self._refusal = self._refusal or problem
        self._end = self._end or end

    def finish(self, end: SessionClosed, now: float) -> None:
        """Let every context say what it has, then close the socket with `end`."""
        self.wind_down(problems.CLOSING, end)
        for context in list(self._contexts.values()):
            context.handle(Input.CLOSE, now, Reason.COMPLETED)

    def fail(self, problem: Problem, now: float) -> None:
        """End every context at once with `problem`, then close the socket with it."""
        self._refusal = problem
        self._end = SessionClosed(problem.row.close, close_reason(problem.message), problem)
        for context in list(self._contexts.values()):
            if context.state in (State.OPEN, State.DRAINING):
                self._remember(context)
                context.problem = problem
            context.handle(Input.CANCEL, now, Reason.SOCKET_CLOSED)

    def disconnect(self, now: float) -> None:
        """The client is gone: end every context at once. Pull the events all the same, to settle usage."""
        self._notices.clear()
        self._refusal = problems.CLOSING
        for context in list(self._contexts.values()):
            context.handle(Input.CANCEL, now, Reason.SOCKET_CLOSED)
            context.handle(Input.STOP_OVERDUE, now)

    # --- commands ----------------------------------------------------------------------------------

    def _text(self, command: Text, now: float) -> None:
        context = self._accepting(command.context)
        if context is None and (command.context != DEFAULT_CONTEXT or command.text.strip()):
            context = self._begin(command.context, ContextSettings(), now)
        if context is None:
            return
        size = len(command.text.encode(errors="surrogatepass"))
        unspoken = size + sum(other.unspoken_bytes for other in self._contexts.values())
        problem = self._unspeakable(command.voice, context.settings.language) if command.voice else None
        if unspoken > self.limits.unspoken_bytes:
            problem = problems.too_much_text(unspoken, self.limits)
        if problem is not None:
            self._fail(context, problem, now)
            return
        context.handle(Input.TEXT, now, command)
        if command.trigger:
            context.trigger(now)

    def _open(self, id: str, settings: ContextSettings, now: float) -> None:
        context = self._accepting(id)
        if context is None:
            self._begin(id, settings, now)
            return
        merged = inherit(context.settings, self._clamped(settings, id))
        if merged != context.settings:
            changed = problems.settings_changed(context.settings, merged)
            problem = changed if context.begun else self._unspeakable(merged.voice, merged.language)
            if problem is not None:
                self._fail(context, problem, now)
                return
            context.apply(merged, now)
        context.handle(Input.KEEP_ALIVE, now)

    def _close(self, command: Close, now: float) -> None:
        self._dead_ids.discard(command.context)
        context = self._latest.get(command.context)
        if context is None:
            return
        if command.immediate:
            # An earlier context of the same id may still drain: whoever cancels wants silence now.
            for other in list(self._contexts.values()):
                if other.id == command.context:
                    other.handle(Input.CANCEL, now, Reason.CANCELLED)
        elif context.close_requested:
            context.handle(Input.CLOSE_AGAIN, now, Reason.CANCELLED)
        else:
            context.close_requested = True
            context.handle(Input.CLOSE, now, Reason.COMPLETED)

    def _give(self, id: str, input: Input, now: float) -> None:
        """An input that never opens a context: for an id that is not open it does nothing."""
        if context := self._accepting(id):
            context.handle(input, now)

    def _invalid(self, command: Invalid, now: float) -> None:
        if command.context is not None:
            if context := self._accepting(command.context):
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

    def _accepting(self, id: str) -> Context | None:
        context = self._latest.get(id)
        return context if context is not None and context.state is State.OPEN else None

    def _begin(
        self, id: str, settings: ContextSettings, now: float, problem: Problem | None = None
    ) -> Context | None:
        """Open a context, or refuse it with the end that every context gets; None if it was refused.

        An id that the server itself has ended stays silent until its `Close`: half an utterance must not
        start.
        """
        if id in self._dead_ids:
            return None
        settings = inherit(self._settings, self._clamped(settings, id))
        problem = problem or self._admission(id, settings)
        self._serials += 1
        predecessor = self._latest.get(id)
        context = Context(
            id,
            self._serials,
            settings,
            limits=self.limits,
            effects=self._effects,
            outbox=self._outbox,
            held=predecessor is not None,
            now=now,
        )
        if predecessor is not None:
            predecessor.successor = context
        self._contexts[context.serial] = self._latest[id] = context
        if problem is not None:
            self._fail(context, problem, now)
            return None
        context.announce()
        return context

    def _admission(self, id: str, settings: ContextSettings) -> Problem | None:
        """Why this context may not be opened now."""
        if self._refusal is not None:
            return self._refusal
        size = len(id.encode(errors="surrogatepass"))
        if size > self.limits.id_bytes:
            return problems.id_too_long(size, self.limits)
        counted = (State.OPEN, State.DRAINING) if self.limits.slots_until_end else (State.OPEN,)
        open_ids = tuple(c.id for c in self._contexts.values() if c.state in counted)
        if len(open_ids) >= self.limits.contexts:
            return problems.too_many_contexts(open_ids, self.limits)
        draining = sum(c.state is State.DRAINING for c in self._contexts.values())
        if draining >= self.limits.draining:
            return problems.too_many_draining(draining, self.limits)
        return self._unspeakable(settings.voice, settings.language)

    def _unspeakable(self, voice: str | None, language: str | None) -> Problem | None:
        reason = self._check_voice(voice, language)
        code = "unknown_voice" if self._check_voice(voice, None) else "unsupported_language"
        return Problem(code=code, message=reason) if reason else None

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
        self._remember(context)
        context.problem = problem
        context.handle(Input.FAIL, now, Reason.FAILED)

    def _remember(self, context: Context) -> None:
        """Keep a context's id dead, unless its client has closed it already and will not do so again."""
        if not context.close_requested:
            self._dead_ids.add(context.id)

    def _forget(self, context: Context) -> None:
        del self._contexts[context.serial]
        if context.successor is not None:
            context.successor.part.release()
        else:
            del self._latest[context.id]

    def _idle_deadline(self) -> float:
        """When a socket without contexts has been silent for too long, where that ends it."""
        timeout = self._settings.inactivity_timeout
        if not self.limits.idle_socket_ends or self._contexts or self._end is not None or timeout is None:
            return math.inf
        return self._heard + timeout
