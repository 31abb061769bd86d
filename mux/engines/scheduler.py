"""Which job a free synthesizer speaks next: the one whose listener runs out of audio first.

One scheduler serves all sockets of the process. It never waits for a socket: a job's results are handed to a
plain function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import anyio

from mux.engines.base import Chunk, Job, Synthesizer
from mux.errors import MuxError, Problem
from mux.log import get_logger

__all__ = ["Scheduler", "Ticket"]

log = get_logger("mux.scheduler")

Outcome: TypeAlias = Chunk | Problem | None
"""What a job gives: chunks, then one end: a problem, or None for "done" (also when it was stopped)."""

LONGEST_WAIT = 30.0
"""Seconds that a job waits for a free synthesizer before it fails as `busy`."""


class Ticket:
    """One job that was handed in. `stop` is safe at any time and any number of times."""

    def __init__(
        self, job: Job, due: Callable[[], float], deliver: Callable[[Outcome], None], deadline: float
    ) -> None:
        self.job = job
        self.due = due
        self.deliver = deliver
        self.deadline = deadline
        self.scope = anyio.CancelScope()
        self.stopped = False
        self.running = False


class Scheduler:
    """Runs one task per synthesizer for as long as `run` does."""

    def __init__(
        self, synthesizers: Sequence[Synthesizer], sample_rate: int, longest_wait: float = LONGEST_WAIT
    ) -> None:
        self.sample_rate = sample_rate
        self._synthesizers = synthesizers
        self._longest_wait = longest_wait
        self._waiting: list[Ticket] = []
        self._arrived = anyio.Event()

    @property
    def waiting(self) -> int:
        """How many jobs wait for a synthesizer."""
        return len(self._waiting)

    def submit(self, job: Job, due: Callable[[], float], deliver: Callable[[Outcome], None]) -> Ticket:
        """Hand in a job. `due()` gives the time by which its audio is wanted; it is asked again at every
        choice. `deliver` is called in order from the event loop and must not block."""
        ticket = Ticket(job, due, deliver, anyio.current_time() + self._longest_wait)
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

    async def _serve(self, synthesizer: Synthesizer) -> None:
        while True:
            while not self._waiting:
                await self._arrived.wait()
            # In a call of its own, so that who waits here keeps nobody's text, audio and socket.
            await self._speak(synthesizer, min(self._waiting, key=lambda waiting: waiting.due()))

    async def _speak(self, synthesizer: Synthesizer, ticket: Ticket) -> None:
        self._waiting.remove(ticket)
        ticket.running = True
        problem: Problem | None = None
        try:
            with ticket.scope:
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
        _end(ticket, None if ticket.stopped else problem)

    async def _expire(self) -> None:
        """Fail what nobody had time for. Jobs arrive in the order of their deadlines."""
        while True:
            if not self._waiting:
                await self._arrived.wait()
                continue
            oldest = min(self._waiting, key=lambda waiting: waiting.deadline)
            await anyio.sleep_until(oldest.deadline)
            if oldest in self._waiting:
                self._waiting.remove(oldest)
                _end(oldest, self._overdue())
            del oldest

    def _wake(self) -> None:
        self._arrived.set()
        self._arrived = anyio.Event()

    def _overdue(self) -> Problem:
        return Problem(
            code="busy",
            message=f"All {len(self._synthesizers)} speech workers were busy for {self._longest_wait:g} s. "
            "Try again later, or start the server with more workers.",
            limit=len(self._synthesizers),
            retry_after_ms=1000,
        )


def _end(ticket: Ticket, outcome: Problem | None) -> None:
    """Tell a job's end. A bug in who takes it costs nobody else the scheduler."""
    try:
        ticket.deliver(outcome)
    except Exception:
        log.exception("delivery_bug")
