"""Which job a free synthesizer speaks next: the app is chosen by its share, and of its jobs the one whose
listener runs out of audio first.

One scheduler serves one engine for all sockets of the process. It never waits for a socket: a job's results
are handed to a plain function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import anyio

from mux.engines.base import Chunk, Job, Relay, Speaker
from mux.engines.shares import Shares
from mux.errors import MuxError, Problem
from mux.log import get_logger

__all__ = ["Outcome", "Scheduler", "Ticket"]

log = get_logger("mux.scheduler")

Outcome: TypeAlias = Chunk | Problem | None
"""What a job gives: chunks, then one end: a problem, or None for "done" (also when it was stopped)."""

LONGEST_WAIT = 30.0
"""Seconds that a job waits for a free synthesizer before it fails as `busy`."""
LONGEST_ADVICE = 60.0
"""Seconds; nobody is told to stay away for longer than that."""


class Ticket:
    """One job that was handed in. `stop` is safe at any time and any number of times."""

    def __init__(
        self,
        job: Job,
        due: Callable[[], float],
        deliver: Callable[[Outcome], None],
        deadline: float,
        app: str | None,
    ) -> None:
        self.job = job
        self.due = due
        self.deliver = deliver
        self.deadline = deadline
        self.app = app
        self.scope = anyio.CancelScope()
        self.stopped = False
        self.running = False

    def take(self, chunk: Chunk) -> None:
        """Deliver a chunk, unless nobody wants it any more."""
        if not self.stopped:
            self.deliver(chunk)


class Scheduler:
    """Runs one task per synthesizer for as long as `run` does.

    Args:
        longest_wait: seconds after which a job that nobody has begun fails as `busy`.
        weights: the shares of those apps whose weight is not 1.
        name: whose synthesizers these are, for messages.
    """

    def __init__(
        self,
        synthesizers: Sequence[Speaker],
        longest_wait: float = LONGEST_WAIT,
        weights: Mapping[str, float] | None = None,
        name: str = "this server",
    ) -> None:
        self._synthesizers = synthesizers
        self._longest_wait = longest_wait
        self._name = name
        self._shares = Shares(weights)
        self._waiting: list[Ticket] = []
        self._arrived = anyio.Event()

    @property
    def waiting(self) -> int:
        """How many jobs wait for a synthesizer."""
        return len(self._waiting)

    def submit(
        self,
        job: Job,
        due: Callable[[], float],
        deliver: Callable[[Outcome], None],
        app: str | None = None,
    ) -> Ticket:
        """Hand in a job. `due()` gives the time by which its audio is wanted; it is asked again at every
        choice. `deliver` is called in order from the event loop and must not block. `app` is whose share the
        job takes (None: that of everybody who has none of their own)."""
        now = anyio.current_time()
        if not any(ticket.app == app for ticket in self._waiting):
            self._shares.arrive(app, now)
        ticket = Ticket(job, due, deliver, now + self._longest_wait, app)
        self._waiting.append(ticket)
        self._wake()
        return ticket

    def stop(self, ticket: Ticket) -> None:
        """Abandon a job; its end is still delivered, as soon as its engine has stopped."""
        if ticket.stopped:
            return
        ticket.stopped = True
        if ticket.running:
            ticket.scope.cancel()
        elif ticket in self._waiting:
            self._waiting.remove(ticket)
            _end(ticket, None)

    async def run(self) -> None:
        """Speak until cancelled. Cancelling stops every synthesizer; jobs that were not finished get no end,
        for their sockets are gone too."""
        async with anyio.create_task_group() as tasks:
            for synthesizer in self._synthesizers:
                tasks.start_soon(self._serve, synthesizer)
            tasks.start_soon(self._expire)

    async def _serve(self, synthesizer: Speaker) -> None:
        while True:
            while not self._waiting:
                await self._arrived.wait()
            # In a call of its own, so that who waits here keeps nobody's text, audio and socket.
            await self._speak(synthesizer, self._next())

    def _next(self) -> Ticket:
        """Who is served next; something waits."""
        now = anyio.current_time()
        first: dict[str | None, tuple[float, Ticket]] = {}
        for ticket in self._waiting:
            due = ticket.due()
            if ticket.app not in first or due < first[ticket.app][0]:
                first[ticket.app] = (due, ticket)
        if len(first) == 1:
            return first[self._waiting[0].app][1]
        app = min(first, key=lambda app: (self._shares.clock(app, now), first[app][0]))
        return first[app][1]

    async def _speak(self, synthesizer: Speaker, ticket: Ticket) -> None:
        self._waiting.remove(ticket)
        ticket.running = True
        began = anyio.current_time()
        self._shares.begin(ticket.app, began)
        problem: Problem | None = None
        try:
            with ticket.scope:
                if isinstance(synthesizer, Relay):
                    await synthesizer.relay(ticket.job, ticket.take)
                else:
                    async with synthesizer.speak(ticket.job) as chunks:
                        async for chunk in chunks:
                            if ticket.stopped:
                                break
                            ticket.deliver(chunk)
        except MuxError as error:
            problem = error.problem
        except Exception:
            # A bug in an engine costs one context its segment, not everybody the engine.
            log.exception("engine_bug")
            problem = Problem(code="engine_failed", message="The engine failed unexpectedly; see the log.")
        finally:
            self._shares.end(ticket.app, began, anyio.current_time())
        _end(ticket, None if ticket.stopped else problem)

    async def _expire(self) -> None:
        """Fail what nobody had time for. Jobs arrive in the order of their deadlines."""
        while True:
            if not self._waiting:
                await self._arrived.wait()
                continue
            await anyio.sleep_until(min(ticket.deadline for ticket in self._waiting))
            self._give_up()

    def _give_up(self) -> None:
        now = anyio.current_time()
        for ticket in [ticket for ticket in self._waiting if ticket.deadline <= now]:
            if ticket in self._waiting:  # the end of one may have stopped the next
                problem = self._overdue(ticket)
                self._waiting.remove(ticket)
                _end(ticket, problem)

    def _wake(self) -> None:
        self._arrived.set()
        self._arrived = anyio.Event()

    def _overdue(self, ticket: Ticket) -> Problem:
        due = ticket.due()
        position = 1 + sum(other.due() < due for other in self._waiting if other is not ticket)
        slots = len(self._synthesizers)
        wait = min(LONGEST_ADVICE, max(1.0, position * self._shares.expected / slots))
        return Problem(
            code="busy",
            message=f"All {slots} speech slots of {self._name} were busy for {self._longest_wait:g} s; this "
            f"segment was number {position} of the {len(self._waiting)} that wait. Try again later, or allow "
            "more segments at the same time (workers, or the upstream's contexts and sockets).",
            limit=slots,
            observed=position,
            retry_after_ms=round(wait * 1000),
        )


def _end(ticket: Ticket, outcome: Problem | None) -> None:
    """Tell a job's end. A bug in who takes it costs nobody else the scheduler."""
    try:
        ticket.deliver(outcome)
    except Exception:
        log.exception("delivery_bug")
