"""One outgoing WebSocket, reduced to what a link needs: send text, receive messages, close.

Everything that must be the same on every loop is decided here (what a cancelled send means, who learns of
which ending, the bounds of closing and of a peer's silence); the libraries beneath only move messages.
"""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Protocol

import anyio
import anyio.abc
import msgspec
import sniffio

from mux.errors import close_reason
from mux.links.opening import Opening

__all__ = ["MAX_MESSAGE", "BaseTransport", "Disconnected", "Ending", "Transport", "open_transport"]

MAX_MESSAGE = 4 * 1024 * 1024
"""Bytes in one received message: 60 s of 24 kHz PCM in base64."""

OPEN_TIMEOUT = 10.0
CLOSE_TIMEOUT = 5.0
"""Seconds for the whole closing handshake; then the connection is cut."""

PING_EVERY = 20.0
PONG_WITHIN = 60.0
"""Seconds of silence after a ping after which the peer counts as gone."""

LOST = 1006
"""RFC 6455 §7.4.1: "the connection was closed abnormally, e.g., without sending or receiving a Close control
frame". Never on the wire."""


class Ending(msgspec.Struct, frozen=True):
    """How a connection ended.

    `code` and `reason` are those of the first close frame, or 1006 where there was none. `received` says that
    the peer sent a close frame, so the ending was clean. `local` says that our side ended it.
    """

    code: int
    reason: str = ""
    received: bool = False
    local: bool = False


class Disconnected(Exception):
    """The connection is over. The fields of `ending` are attributes here too."""

    def __init__(self, ending: Ending) -> None:
        by = "this side" if ending.local else "the peer" if ending.received else "the network"
        super().__init__(f"closed by {by}: {ending.code} {ending.reason}".rstrip())
        self.ending = ending
        self.code = ending.code
        self.reason = ending.reason
        self.received = ending.received
        self.local = ending.local


class Transport(Protocol):
    """One open WebSocket. One task receives, one task sends; anybody may close."""

    @property
    def closed(self) -> Ending | None:
        """How the connection ended; None as long as nobody noticed an end."""

    async def send(self, message: str | bytes) -> None:
        """Send one message, text or binary; waits while the peer does not read.

        Raises `Disconnected`. Whether a cancelled send arrives is not known, and half a frame may be on the
        wire: it breaks the transport, which then only receives, until it is closed.
        """

    async def receive(self) -> str | bytes:
        """Return the next message, in order; messages from before the peer's close are delivered first.

        Raises `Disconnected` at the end, be it clean or not. Cancelling loses nothing.
        """

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close: no more messages in either direction, and at most `CLOSE_TIMEOUT` s for the handshake.

        Idempotent, and raises nothing. `reason` is cut to 123 bytes. A code that no close frame can carry
        (1006) cuts the connection at once, and so do cancelling and an earlier cancelled send.
        """


class BaseTransport(ABC):
    """The behaviour that all transports share, over four primitives of a library's connection."""

    def __init__(self) -> None:
        self.closed: Ending | None = None
        self._interrupted = False
        self._closing: anyio.Event | None = None
        """There once `aclose` was called, set when it is done."""

    async def send(self, message: str | bytes) -> None:
        """See `Transport.send`."""
        if self._closing is not None:
            await self._closing.wait()
        if self.closed is not None:
            raise Disconnected(self.closed)
        if self._interrupted:
            raise Disconnected(_broken())
        try:
            await self._send(message)
        except Disconnected as gone:
            raise await self._final(gone) from None
        except anyio.get_cancelled_exc_class():
            self._interrupted = True
            raise

    async def receive(self) -> str | bytes:
        """See `Transport.receive`."""
        try:
            while True:
                if self.closed is not None and self.closed.local:
                    raise Disconnected(self.closed)
                message = await self._receive()
                if self._closing is None:
                    return message
        except Disconnected as gone:
            raise await self._final(gone) from None

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """See `Transport.aclose`."""
        if self._closing is not None:
            await self._closing.wait()
            return
        self._closing = anyio.Event()
        ending = Ending(code, close_reason(reason), local=True)
        try:
            if self._interrupted:
                ending = _broken()
            elif self.closed is None and _can_be_sent(code):
                with anyio.move_on_after(CLOSE_TIMEOUT):
                    ending = await self._close(code, ending.reason)
        finally:
            self.closed = self.closed or ending
            await self._abort()
            self._closing.set()

    async def keep_alive(self) -> None:
        """Ping the peer until the connection ends, and end it when the peer stays silent. Cancel at will."""
        with suppress(Disconnected):
            while True:
                await anyio.sleep(PING_EVERY)
                with anyio.move_on_after(PONG_WITHIN):
                    await self._ping()
                    continue
                # No close frame: who answers no ping reads none either, and half a ping may be on the wire.
                reason = f"no answer to a keepalive ping within {PONG_WITHIN:g} s"
                self.closed = self.closed or Ending(1011, reason, local=True)
                await self._abort()
                return

    async def _final(self, gone: Disconnected) -> Disconnected:
        """Everybody is told the ending that was noticed first; a closing under way has its say before."""
        if self._closing is not None:
            await self._closing.wait()
        self.closed = self.closed or gone.ending
        return Disconnected(self.closed)

    @abstractmethod
    async def _send(self, message: str | bytes) -> None:
        """Raises `Disconnected`."""

    @abstractmethod
    async def _receive(self) -> str | bytes:
        """Raises `Disconnected`. Cancelling must lose nothing."""

    @abstractmethod
    async def _close(self, code: int, reason: str) -> Ending:
        """Do the closing handshake, discarding what still arrives. Cancelled at the deadline."""

    @abstractmethod
    async def _abort(self) -> None:
        """Cut the connection and free it: at once, also inside a cancelled scope, any number of times."""

    @abstractmethod
    async def _ping(self) -> None:
        """Send a ping and wait for its pong. Raises `Disconnected`."""


@asynccontextmanager
async def open_transport(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    open_timeout: float = OPEN_TIMEOUT,
    max_message: int = MAX_MESSAGE,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[Transport]:
    """Open the WebSocket at `url` (ws:// or wss://), and close it with 1000 at the end of the block.

    `open_timeout`, in seconds, spans name lookup, TCP, TLS and handshake. A received message of more than
    `max_message` bytes (on trio: characters, if it is text) ends the connection with 1009. Redirects are not
    followed. `ssl_context` replaces the default one for wss:// URLs. On asyncio the proxy settings of the
    environment hold for peers that are not on this machine.

    Raises `MuxError`: `invalid_parameter` for a URL or header that cannot be used, `invalid_api_key` for HTTP
    401, `not_found` for 404, `connection_refused` for every other failure. The sentence names the step that
    failed, and never contains the URL's query or the headers. Cancelling cuts the connection.
    """
    opening = Opening(url, headers or {}, ssl_context)
    failure: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        try:
            try:
                with anyio.fail_after(open_timeout):
                    transport = await _connect(opening, tasks, max_message)
            except TimeoutError:
                raise opening.timed_out(open_timeout) from None
            try:
                tasks.start_soon(transport.keep_alive)
                yield transport
            finally:
                await transport.aclose()
        except BaseException as exc:
            # Kept until the task group is done: it would wrap what the caller's block raised into a group.
            failure = exc
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _connect(opening: Opening, tasks: anyio.abc.TaskGroup, max_message: int) -> BaseTransport:
    # Each library is imported where its loop runs, and only there.
    if sniffio.current_async_library() == "trio":
        from mux.links import trio_transport

        return await trio_transport.connect(opening, tasks, max_message=max_message)
    from mux.links import websockets_transport

    return await websockets_transport.connect(opening, max_message=max_message)


def _can_be_sent(code: int) -> bool:
    """RFC 6455 §7.4: 1004 to 1006 and 1015 are reserved, 3000 to 4999 are for libraries and applications."""
    return code in range(1000, 1004) or code in range(1007, 1015) or code in range(3000, 5000)


def _broken() -> Ending:
    return Ending(LOST, "a send was cancelled", local=True)
