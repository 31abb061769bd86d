"""One outgoing multi-context socket: a reader that is the router, a writer, and a keepalive task per context.

Wire ids are used once: each context gets an id of its own, so that nothing that arrives late can be mistaken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import anyio
import anyio.abc

from mux.dialects.base import ClientDialect, Unreadable
from mux.errors import MuxError, Problem
from mux.links.router import Ended, Inbox, Router
from mux.links.transport import Disconnected, Transport
from mux.protocol.messages import (
    Close,
    CloseSocket,
    Command,
    Flush,
    KeepAlive,
    Open,
    Reason,
    Text,
)
from mux.protocol.voice import ContextSettings
from mux.tasks import owned_tasks

__all__ = ["Link", "LinkContext", "open_link"]

UNSENT_BYTES = 256 * 1024
"""Text that may wait for the socket; `send` waits above it."""
MESSAGE_CHARACTERS = 64 * 1024
"""Longer text goes in several messages: one that is too big for the server would end the whole socket."""
CLOSE_SECONDS = 10.0
"""How long the server may take to close after `close_socket`."""
CANCEL_SECONDS = 5.0
"""How long the server may take to confirm a cancel."""


class LinkContext:
    """One context of a link. One task at a time sends; one reads its inbox."""

    def __init__(self, link: Link, wire_id: str, settings: ContextSettings, inbox: Inbox) -> None:
        self.wire_id = wire_id
        self.settings = settings
        self.inbox = inbox
        self.closing = False
        """No more text: closed or cancelled from this side."""
        self.said_at = anyio.current_time()
        """When something was last sent for it, in loop time."""
        self.link = link

    async def send(self, text: str) -> None:
        """Queue text; waits while much text waits for the socket. Cancelling sends nothing of it.

        Raises:
            MuxError: the context or its socket has ended, the context was closed, or `text` holds half a
                surrogate pair (`invalid_message`).
        """
        self._check()
        await self.link.room()
        self._check()
        pieces = range(0, max(1, len(text)), MESSAGE_CHARACTERS)
        self._say(*(Text(self.wire_id, text[at : at + MESSAGE_CHARACTERS]) for at in pieces))

    def flush(self) -> None:
        """Ask for everything that was sent so far to be spoken now."""
        self._check()
        self._say(Flush(self.wire_id))

    def keep_alive(self) -> None:
        """Restart the server's inactivity timer."""
        self._check()
        self._say(KeepAlive(self.wire_id))

    def close(self) -> None:
        """That was all: what was sent is still spoken, then the context ends. Harmless when repeated."""
        if not self.closing and self.inbox.ended is None:
            self.closing = True
            self._say(Close(self.wire_id))

    def cancel(self) -> None:
        """Stop at once: audio that was not read is dropped, and so is whatever still arrives."""
        self.inbox.mute()
        if self.inbox.ended is None:
            self.closing = True
            self.link.say_first(self.wire_id, Close(self.wire_id, immediate=True))

    async def cancelled(self) -> Ended:
        """`cancel`, and wait until the server has confirmed it (or had its time to)."""
        self.cancel()
        with anyio.move_on_after(CANCEL_SECONDS):
            return await self.inbox.wait_ended()
        problem = Problem(code="timed_out", message=f"No answer to a cancel within {CANCEL_SECONDS:g} s.")
        self.link.give_up(self.wire_id, problem)
        return await self.inbox.wait_ended()

    def _say(self, *commands: Command) -> None:
        self.link.say(*commands)
        self.said_at = anyio.current_time()

    def _check(self) -> None:
        ended = self.inbox.ended
        if ended is not None:
            problem = ended.problem or Problem(
                code="closed_early", message=f"This context has ended ({ended.reason.value}); open a new one."
            )
            raise MuxError(problem)
        if self.closing:
            raise MuxError.of("closed_early", "This context was closed; open a new one for more text.")


class _Message(NamedTuple):
    """A command that waits for the socket, and how it is spelt there."""

    command: Command
    frame: str


class Link:
    """The client's end of one socket; made by `open_link`."""

    def __init__(
        self,
        transport: Transport,
        dialect: ClientDialect,
        tasks: anyio.abc.TaskGroup,
        *,
        inactivity_timeout: float,
        buffer_bytes: int,
    ) -> None:
        self.router = Router()
        self._transport = transport
        self._dialect = dialect
        self._tasks = tasks
        self._inactivity_timeout = inactivity_timeout
        self.buffer_bytes = buffer_bytes
        self._queue: deque[_Message] = deque()
        self._unsent = 0
        self._queued = anyio.Event()
        self._written = anyio.Event()
        self._ids = 0
        self._gone: Problem | None = None
        self._closed = anyio.Event()

    @property
    def connected(self) -> bool:
        return self._gone is None

    @property
    def session_id(self) -> str | None:
        """What the service calls this socket; None where it does not tell."""
        return self._dialect.session_id

    def open(self, name: str, settings: ContextSettings, *, keepalive: bool = True) -> LinkContext:
        """Open a context; the server hears of it with the next write.

        Raises:
            MuxError: the socket has ended, or a name cannot be written (`invalid_message`).
        """
        if self._gone is not None:
            raise MuxError(self._gone)
        self._ids += 1
        wire_id = f"{name}.{self._ids}"
        context = LinkContext(self, wire_id, settings, Inbox(self.buffer_bytes))
        self.say(Open(wire_id, settings))
        self.router.add(wire_id, context.inbox)
        if keepalive:
            self._tasks.start_soon(self._keep_alive, context)
        return context

    async def room(self) -> None:
        """Wait until little enough text waits for the socket."""
        while self._unsent > UNSENT_BYTES and self._gone is None:
            await self._written.wait()

    def say(self, *commands: Command) -> None:
        """Queue messages, all or none. Raises MuxError if text in them cannot be written."""
        messages = [self._message(command) for command in commands]
        self._queue.extend(messages)
        self._unsent += sum(len(message.frame) for message in messages)
        self._queued.set()

    def say_first(self, wire_id: str, command: Command) -> None:
        """Queue a message before everybody's text; what this context had queued is not sent at all, except
        its opening, without which the server would not know whom to end."""
        kept = [m for m in self._queue if getattr(m.command, "context", None) != wire_id]
        opening = [m for m in self._queue if isinstance(m.command, Open) and m.command.context == wire_id]
        self._queue = deque([*opening, self._message(command), *kept])
        self._unsent = sum(len(message.frame) for message in self._queue)
        self._queued.set()

    def give_up(self, wire_id: str, problem: Problem | None, reason: Reason = Reason.FAILED) -> None:
        """End a context from this side."""
        self.router.end_one(wire_id, reason, problem)

    @property
    def problem(self) -> Problem | None:
        """Why the socket has ended; None while it lives."""
        return self._gone

    async def wait_closed(self) -> None:
        """Wait until the socket has ended."""
        await self._closed.wait()

    async def close(self) -> None:
        """Ask the server to end every context and the socket, and wait for it (at most `CLOSE_SECONDS`).

        Cancelling leaves the socket to `open_link`, which closes it.
        """
        if self._gone is None:
            self.say(CloseSocket())
            with anyio.move_on_after(CLOSE_SECONDS):
                await self._closed.wait()

    # --- tasks ---------------------------------------------------------------------------------------

    async def read(self) -> None:
        """Route everything that arrives, until the socket ends."""
        try:
            while self._gone is None:
                for received in self._dialect.decode(await self._transport.receive()):
                    if isinstance(received, Unreadable):
                        self._miss(received)
                    elif (overflowed := self.router.route(received)) is not None:
                        self.cut_off(overflowed)
        except Disconnected as ending:
            said = f"The socket has ended: {ending}"
            self.end(Problem(code="connection_lost", message=said, observed=ending.ending.code))

    async def write(self) -> None:
        """Send what is queued, one message at a time, until the socket ends."""
        # The end itself is the reader's to tell: what arrived before it is still to be read.
        with suppress(Disconnected):
            while self._gone is None:
                if not self._queue:
                    self._queued = anyio.Event()
                    await self._queued.wait()
                    continue
                frame = self._queue.popleft().frame
                self._unsent -= len(frame)
                await self._transport.send(frame)
                self._written.set()
                self._written = anyio.Event()

    async def _keep_alive(self, context: LinkContext) -> None:
        """Speak up when the context was quiet for half its timeout."""
        timeout = context.settings.inactivity_timeout or self._inactivity_timeout
        while not context.closing and context.inbox.ended is None:
            quiet_until = context.said_at + timeout / 2
            if anyio.current_time() >= quiet_until:
                context.keep_alive()
            else:
                with anyio.move_on_at(quiet_until):
                    await context.inbox.wait_ended()

    def _miss(self, frame: Unreadable) -> None:
        """Something is missing: whose it is ends here, before anybody takes what follows for the whole."""
        if frame.context is None:
            self.end(frame.problem)
        else:
            self.say_first(frame.context, Close(frame.context, immediate=True))
            self.give_up(frame.context, frame.problem)

    def cut_off(self, wire_id: str) -> None:
        """End a context whose audio nobody reads."""
        problem = Problem(
            code="slow_consumer",
            message=f"More than {self.buffer_bytes} bytes of this context's audio were not read.",
            limit=self.buffer_bytes,
        )
        self.say_first(wire_id, Close(wire_id, immediate=True))
        self.give_up(wire_id, problem)

    def end(self, problem: Problem) -> None:
        """Nothing comes or goes any more: end every context. Only the first end counts."""
        if self._gone is None:
            self._gone = self.router.problem or problem
            self.router.end_all(self._gone)
            self._closed.set()
            self._queued.set()
            self._written.set()

    def _message(self, command: Command) -> _Message:
        try:
            return _Message(command, self._dialect.encode(command))
        except UnicodeEncodeError as error:
            raise MuxError.of(
                "invalid_message",
                f"Half a surrogate pair ({error.object[error.start]!a}) cannot be written in UTF-8. "
                "Send whole characters.",
            ) from None


_LEFT = Problem(code="closed_early", message="This side has left the socket; open another one.")


@asynccontextmanager
async def open_link(
    transport: Transport,
    dialect: ClientDialect,
    *,
    inactivity_timeout: float = 20.0,
    buffer_bytes: int = 16 * 1024 * 1024,
) -> AsyncIterator[Link]:
    """Run a link over an open transport for the length of the block; its contexts end with it.

    Leaving the block stops all tasks; it does not wait for audio (see `Link.close`). Cancelling is safe.
    """
    async with owned_tasks() as tasks:
        link = Link(
            transport,
            dialect,
            tasks,
            inactivity_timeout=inactivity_timeout,
            buffer_bytes=buffer_bytes,
        )
        tasks.start_soon(link.read)
        tasks.start_soon(link.write)
        try:
            yield link
        finally:
            link.end(_LEFT)
