"""Few long-lived sockets to one service, shared by many contexts.

A context takes a slot of the least loaded socket; another socket is opened when all are full. A closed
context counts until the service has confirmed its end: only then its slot is given back. A socket that fails
is replaced, with growing, jittered pauses; one that falls silent is retired: it keeps what it has and gets
nothing new.
"""

from __future__ import annotations

import math
import random
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

import anyio
import anyio.abc
import msgspec

from mux.dialects.base import ClientDialect
from mux.errors import MuxError, Problem
from mux.links.link import CANCEL_SECONDS, Link, LinkContext, open_link
from mux.links.transport import Transport, open_transport
from mux.log import get_logger
from mux.protocol.voice import ContextSettings
from mux.tasks import owned_tasks

__all__ = ["Connect", "Pool", "Target", "connecting", "open_pool"]

log = get_logger("mux.pool")

PLACE_SECONDS = 10.0
"""How long a context may wait for a slot."""
BUFFER_BYTES = 16 * 1024 * 1024
"""What one context may leave unread."""
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 30.0
"""Seconds between attempts to open a socket, doubling from the first to the longest."""
HOPELESS_PAUSE = 60.0
"""The same after a refusal that trying again cannot help, such as a wrong key."""
SHORT_LIFE = 1.0
"""Seconds; a socket that ends sooner, before it has given any audio, counts as a failed attempt."""
PATIENT_FAILURES = 3
"""After so many failures in a row nobody waits for the next attempt any more."""

Connect: TypeAlias = Callable[[], AbstractAsyncContextManager[Transport]]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a pool's sockets go. `name` is what logs and errors call it; `contexts` is how many a socket may
    carry, `sockets` how many there may be; `connect` opens one. A context waits `place_seconds` for a slot;
    nobody waits for the next attempt to open a socket after `patience` failures in a row. Without `reopen` a
    socket that has ended is not replaced."""

    name: str
    connect: Connect
    dialect: Callable[[], ClientDialect]
    contexts: int
    sockets: int
    inactivity_timeout: float = 20.0
    buffer_bytes: int = BUFFER_BYTES
    place_seconds: float = PLACE_SECONDS
    patience: int = PATIENT_FAILURES
    reopen: bool = True


def connecting(
    url: str,
    headers: Mapping[str, str] | None = None,
    open_timeout: float = 10.0,
    ssl_context: ssl.SSLContext | None = None,
) -> Connect:
    """How to open a WebSocket at `url`, whose query and `headers` may carry keys."""
    return lambda: open_transport(
        url, headers=headers or {}, open_timeout=open_timeout, ssl_context=ssl_context
    )


class _Socket:
    """One socket of a pool, from the attempt to open it to its end."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self.used = 0
        self.retired = anyio.Event()

    @property
    def usable(self) -> bool:
        return self.link is not None and self.link.connected and not self.retired.is_set()


class Pool:
    """The sockets to one service; made by `open_pool`."""

    def __init__(
        self,
        target: Target,
        tasks: anyio.abc.TaskGroup,
        seed: int | None = None,
        on_lost: Callable[[Problem], None] | None = None,
    ) -> None:
        """`on_lost` is called when a socket with contexts on it was lost."""
        self.target = target
        self.opened = 0
        """Sockets opened so far."""
        self._on_lost = on_lost
        self._tasks = tasks
        self._sockets: list[_Socket] = []
        self._waiting = 0
        self._changed = anyio.Event()
        self._failures = 0
        self._trouble: Problem | None = None
        """Why the last attempt to open a socket failed."""
        self._lost: Problem | None = None
        """How a socket was lost last."""
        self._losses = 0
        """Sockets that were lost with contexts on them, and are not to be replaced where `reopen` is off."""
        self._blocked_until = -float("inf")
        self._over = False
        """The sockets are being closed for good."""
        self._dropped = 0
        self._warnings: deque[Problem] = deque(maxlen=100)
        self._random = random.Random(seed)

    @property
    def connected(self) -> int:
        """How many sockets are open and take contexts."""
        return sum(socket.usable for socket in self._sockets)

    @property
    def used(self) -> int:
        """How many slots are taken, closing contexts included."""
        return sum(socket.used for socket in self._sockets)

    @property
    def idle(self) -> bool:
        """Whether nobody has a slot, or waits for one."""
        return not self.used and not self._waiting

    @property
    def links(self) -> list[Link]:
        """The open sockets, also those that take no further contexts."""
        return [socket.link for socket in self._sockets if socket.link is not None]

    @property
    def dropped(self) -> int:
        """Frames that came for contexts that had ended."""
        return self._dropped + sum(link.router.dropped for link in self.links)

    @property
    def warnings(self) -> list[Problem]:
        """What the service warned of, the last 100 of each socket."""
        warned = [warning.problem for link in self.links for warning in link.router.warnings]
        return [*self._warnings, *warned]

    @asynccontextmanager
    async def context(
        self, name: str, settings: ContextSettings, *, keepalive: bool = True
    ) -> AsyncIterator[LinkContext]:
        """A context on the least loaded socket, for the length of the block.

        Leaving the block cancels what has not ended: nothing of it is delivered any more, and its slot is
        free once the service has confirmed that. Cancelling is safe.

        Raises:
            MuxError: `busy` if no slot was free in time, or why no socket can be opened.
        """
        socket = await self._place(self.target.place_seconds)
        link = socket.link
        assert link is not None
        try:
            context = link.open(name, settings, keepalive=keepalive)
        except BaseException:
            self._release(socket)
            raise
        try:
            yield context
        finally:
            if context.inbox.ended is None:
                context.cancel()
            elif context.inbox.ended.problem is None:
                self._failures = 0
                self._trouble = None
            if context.inbox.confirmed:
                self._release(socket)
            else:
                self._tasks.start_soon(self._confirm, socket, context)

    def retire(self, context: LinkContext) -> None:
        """The socket of this context is not to be trusted: it gets no further ones, and is closed when the
        last has ended."""
        for socket in self._sockets:
            if socket.link is context.link and not socket.retired.is_set():
                log.warning("socket_retired", upstream=self.target.name)
                self._retire(socket)

    async def finish(self) -> None:
        """Have every context say what it has, then close the sockets; see `Link.close` for how long it
        waits. Cancelling leaves them to whoever opened the pool."""
        self._over = True
        async with anyio.create_task_group() as tasks:
            for link in self.links:
                tasks.start_soon(link.close)

    def close(self) -> None:
        """Close every socket as soon as its contexts have ended."""
        for socket in self._sockets:
            self._retire(socket)

    async def first(self) -> None:
        """Have a socket open. Takes as long as opening one does. Raises MuxError if that cannot be done."""
        self._release(await self._place(math.inf))

    async def warm(self) -> None:
        """Have a socket open. Raises MuxError if that cannot be done, and trying again would not help."""
        try:
            await self.first()
        except MuxError as error:
            if not error.retryable:
                raise
            log.warning("upstream_unreachable", upstream=self.target.name, code=error.code)

    # --- slots -------------------------------------------------------------------------------------

    async def _place(self, seconds: float) -> _Socket:
        """Take a slot within so many seconds, opening sockets as need be."""
        deadline = anyio.current_time() + seconds
        self._waiting += 1
        try:
            while True:
                free = [s for s in self._sockets if s.usable and s.used < self.target.contexts]
                if free:
                    socket = min(free, key=lambda socket: socket.used)
                    socket.used += 1
                    return socket
                self._refuse_if_hopeless()
                self._open_more()
                with anyio.move_on_at(deadline) as patience:
                    await self._changed.wait()
                if patience.cancelled_caught:
                    raise MuxError(self._trouble if not self.connected and self._trouble else self._full())
        finally:
            self._waiting -= 1

    def _open_more(self) -> None:
        """Open as many sockets as the waiting contexts need."""
        opening = sum(socket.link is None for socket in self._sockets)
        present = sum(not socket.retired.is_set() for socket in self._sockets)
        if not self.target.reopen:
            present += self._losses
        while opening * self.target.contexts < self._waiting and present < self.target.sockets:
            socket = _Socket()
            self._sockets.append(socket)
            self._tasks.start_soon(self._run, socket)
            opening += 1
            present += 1

    def _refuse_if_hopeless(self) -> None:
        """Nobody waits for a service that has failed again and again, or refuses us."""
        if self._over:
            raise MuxError(self._lost or _CLOSED)
        gone = self._losses >= self.target.sockets and not self.target.reopen
        if gone and self._lost is not None and not self.connected:
            raise MuxError(self._lost)
        wait = self._blocked_until - anyio.current_time()
        trouble = self._trouble
        if trouble is None or self.connected or wait <= 0:
            return
        if self._failures >= self.target.patience or not trouble.retryable:
            raise MuxError(msgspec.structs.replace(trouble, retry_after_ms=round(wait * 1000)))

    def _full(self) -> Problem:
        if not self.connected:
            waited = f"{self.target.place_seconds:g} s"
            message = f"No socket to {self.target.name} was open within {waited}. Try again, or wait longer."
            return Problem(code="timed_out", message=message, limit=self.target.place_seconds)
        most = self.target.contexts * self.target.sockets
        waited = f" for {self.target.place_seconds:g} s" if self.target.place_seconds else ""
        return Problem(
            code="busy",
            message=f"All {most} slots of {self.target.name} were taken{waited}. Try again, or allow it more "
            "sockets.",
            limit=most,
            observed=self._waiting,
            retry_after_ms=1000,
        )

    async def _confirm(self, socket: _Socket, context: LinkContext) -> None:
        """Wait until the service has said the end, too; a service that does not loses the socket."""
        with anyio.move_on_after(CANCEL_SECONDS):
            await context.inbox.wait_confirmed()
        if not context.inbox.confirmed:
            self.retire(context)
        self._release(socket)

    def _release(self, socket: _Socket) -> None:
        socket.used -= 1
        if socket.retired.is_set() and not socket.used:
            self._retire(socket)
        self._wake()

    def _retire(self, socket: _Socket) -> None:
        socket.retired.set()
        self._wake()

    # --- sockets -----------------------------------------------------------------------------------

    async def _run(self, socket: _Socket) -> None:
        """Open a socket, and keep it until it ends or is retired and empty."""
        try:
            await anyio.sleep_until(self._blocked_until)
            async with (
                self.target.connect() as transport,
                open_link(
                    transport,
                    self.target.dialect(),
                    inactivity_timeout=self.target.inactivity_timeout,
                    buffer_bytes=self.target.buffer_bytes,
                ) as link,
            ):
                socket.link = link
                self.opened += 1
                since = anyio.current_time()
                self._wake()
                await self._keep(socket, link)
                useless = anyio.current_time() - since < SHORT_LIFE and not link.router.filed
                self._lose(socket, link)
                if link.problem is not None and useless and not socket.retired.is_set() and not self._over:
                    # It takes us in and throws us out: that is a refusal, too.
                    self._failed(link.problem)
        except MuxError as error:
            self._failed(error.problem)
        finally:
            if socket.link is not None:
                self._dropped += socket.link.router.dropped
                self._warnings += [warning.problem for warning in socket.link.router.warnings]
            socket.retired.set()
            self._sockets.remove(socket)
            self._wake()

    async def _keep(self, socket: _Socket, link: Link) -> None:
        async with anyio.create_task_group() as tasks:

            async def closed() -> None:
                await link.wait_closed()
                tasks.cancel_scope.cancel()

            tasks.start_soon(closed)
            await socket.retired.wait()
            while socket.used:
                await self._changed.wait()
            await link.close()
            tasks.cancel_scope.cancel()

    @property
    def lost(self) -> Problem | None:
        """How a socket was lost last; None if none was."""
        return self._lost

    def _lose(self, socket: _Socket, link: Link) -> None:
        """A socket has ended. What was retired here, or had nobody on it, is no loss."""
        if socket.retired.is_set() or link.problem is None:
            return
        self._lost = link.problem
        if link.router.lost:
            self._losses += 1
            if self._on_lost is not None and not self._over:
                self._on_lost(link.problem)

    def _failed(self, problem: Problem) -> None:
        self._failures += 1
        self._trouble = problem
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self._failures - 1)) * self._random.uniform(0.5, 1)
        if not problem.retryable:
            pause = HOPELESS_PAUSE
        pause = max(pause, (problem.retry_after_ms or 0) / 1000)
        self._blocked_until = anyio.current_time() + pause
        log.warning("upstream_failed", upstream=self.target.name, code=problem.code, again_in=round(pause, 2))

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


_CLOSED = Problem(code="closed_early", message="The sockets are being closed; open others.")


@asynccontextmanager
async def open_pool(target: Target, seed: int | None = None) -> AsyncIterator[Pool]:
    """A pool for the length of the block; its sockets are closed with it. Cancelling is safe."""
    async with owned_tasks() as tasks:
        yield Pool(target, tasks, seed)
