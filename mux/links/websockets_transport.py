"""The transport on asyncio: the `websockets` library, without compression and without its own keepalive."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import anyio
from websockets.asyncio import client
from websockets.exceptions import (
    ConcurrencyError,
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidProxy,
    InvalidStatus,
    ProxyError,
)

from mux.links.opening import Opening
from mux.links.transport import CLOSE_TIMEOUT, LOST, BaseTransport, Disconnected, Ending

__all__ = ["WebsocketsTransport", "connect"]

QUEUED_FRAMES = 16
"""Received frames that wait for `receive` before reading from the socket pauses. With the bound on a message
and one read of 256 KiB this bounds the queue in bytes."""

SILENT = logging.Logger("mux.links.websockets", level=logging.CRITICAL + 1)
"""A logger outside of the hierarchy. At DEBUG the library logs URLs, headers and every text message, and no
logging configuration shall be able to turn that on."""


async def connect(opening: Opening, *, max_message: int) -> WebsocketsTransport:
    """Look up, connect, and do both handshakes. The caller bounds the time; cancelling cuts the connection.

    Raises `MuxError`.
    """
    try:
        connection = await _Connect(
            opening.url,
            additional_headers=opening.headers,
            user_agent_header=None,
            compression=None,
            proxy=None if opening.loopback else True,
            open_timeout=None,
            close_timeout=CLOSE_TIMEOUT,
            ping_interval=None,
            max_size=max_message,
            max_queue=QUEUED_FRAMES,
            logger=SILENT,
            create_connection=lambda *args, **kwargs: _Connection(opening, *args, **kwargs),  # type: ignore[arg-type]
            ssl=opening.tls,
        )
    except InvalidStatus as exc:
        response = exc.response
        after = response.headers.get("Retry-After")
        raise opening.refused(response.status_code, bytes(response.body or b""), after) from None
    except (ProxyError, InvalidProxy, ImportError):
        raise opening.unproxied() from None
    except InvalidHandshake as exc:
        raise opening.broken(_handshake_failure(exc)) from None
    except OSError as exc:
        raise opening.failed(exc) from None
    return WebsocketsTransport(connection)


class WebsocketsTransport(BaseTransport):
    def __init__(self, connection: client.ClientConnection) -> None:
        super().__init__()
        self._connection = connection

    async def _send(self, message: str | bytes) -> None:
        try:
            await self._connection.send(message)
        except ConnectionClosed as exc:
            raise Disconnected(_ending(exc)) from None

    async def _receive(self) -> str | bytes:
        try:
            return await self._connection.recv()
        except ConnectionClosed as exc:
            raise Disconnected(_ending(exc)) from None

    async def _ping(self) -> None:
        try:
            await (await self._connection.ping())
        except ConnectionClosed as exc:
            raise Disconnected(_ending(exc)) from None

    async def _close(self, code: int, reason: str) -> Ending:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._discard)
            await self._connection.close(code, reason)
            tasks.cancel_scope.cancel()
        return _ending(self._connection.protocol.close_exc)

    async def _discard(self) -> None:
        """Read on: the peer's close frame stands behind whatever it sent before."""
        try:
            while True:
                await self._connection.recv()
        except (ConnectionClosed, ConcurrencyError):
            return  # the end; or a `receive` is under way, which discards too

    async def _abort(self) -> None:
        self._connection.transport.abort()
        with anyio.CancelScope(shield=True):
            await self._connection.wait_closed()


class _Connect(client.connect):
    def process_redirect(self, exc: Exception) -> Exception | str:
        """Redirects are told, not followed: the keys in URL and headers were meant for one server."""
        return exc


class _Connection(client.ClientConnection):
    """Ends the TCP connection once a handshake is over that should end it: the library leaves that to the
    server, and without any deadline while only a reader waits."""

    def __init__(self, opening: Opening, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._opening = opening
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._opening.step = "handshake"

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.protocol.handshake_exc is not None:
            self.transport.abort()
        if self.response is None or not self.protocol.close_expected():
            return
        if self._deadline is None:
            self._deadline = self.loop.call_later(CLOSE_TIMEOUT, self.transport.abort)
        if self.protocol.close_rcvd is not None:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._deadline is not None:
            self._deadline.cancel()


def _ending(exc: ConnectionClosed) -> Ending:
    if exc.rcvd is not None and (exc.sent is None or exc.rcvd_then_sent):
        return Ending(exc.rcvd.code, exc.rcvd.reason, received=True)
    if exc.sent is not None:
        return Ending(exc.sent.code, exc.sent.reason, received=exc.rcvd is not None, local=True)
    return Ending(LOST, "the connection was lost")


def _handshake_failure(exc: InvalidHandshake) -> str:
    if isinstance(exc.__cause__, EOFError):
        return "closed the connection"
    return "did not answer in proper HTTP" if isinstance(exc, InvalidMessage) else "gave a wrong answer"
