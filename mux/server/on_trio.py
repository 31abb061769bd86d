"""The ASGI application served by hypercorn's protocols, inside a running trio loop.

`hypercorn.trio.serve` cannot be used as it is: a non-ASCII header ends the whole server, an application that
stops while messages wait leaks its connection, a send cannot be cancelled, a silent peer is never missed, a
too large message is answered but never ends. So the connections are ours, and the protocols hypercorn's.
"""

from __future__ import annotations

import logging
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr
from starlette.types import ASGIApp
from wsproto.events import Ping

from mux.log import get_logger
from mux.server.head import Head
from mux.server.limits import Limits
from mux.server.tls_stream import TlsStream

__all__ = ["serve"]

_log = get_logger("mux.server")

READ_BYTES = 64 * 1024
RESET = struct.pack("ii", 1, 0)
"""`SO_LINGER` of no time: closing drops what waits in the kernel and resets the connection."""


async def serve(
    app: ASGIApp, listener: socket.socket, stop: anyio.Event, limits: Limits, tls: ssl.SSLContext | None
) -> None:
    """Serve `app` on `listener`, which is closed at the end, until `stop` is set; applications then have
    `limits.stop_timeout` seconds to end. Cancelling closes every connection at once. Either way nothing is
    left running when this returns."""
    config, context = _Config(limits), WorkerContext(None)
    connections: set[_Connection] = set()

    async def handle(stream: trio.SocketStream) -> None:
        connection = _Connection(app, config, context, TlsStream(stream, tls) if tls else stream)
        connections.add(connection)
        try:
            await connection.run()
        except* Exception:
            _log.exception("connection_failed")  # and nobody else's
        finally:
            connections.discard(connection)

    accepting = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
    async with trio.open_nursery() as handlers:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(trio.serve_listeners, handle, [accepting], handler_nursery=handlers))
            await stop.wait()
            nursery.cancel_scope.cancel()
        await context.terminated.set()  # no connection is kept for another request
        for connection in connections:
            connection.stop_if_idle()
        handlers.cancel_scope.deadline = trio.current_time() + limits.stop_timeout


class _Config(Config):
    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.errorlog = logging.getLogger("hypercorn.error")
        self.include_server_header = False
        self.websocket_max_message_size = limits.message_bytes


class _Connection:
    """One TCP connection: what is read from it and written to it, and its deadlines."""

    def __init__(
        self, app: ASGIApp, config: _Config, context: WorkerContext, stream: trio.SocketStream | TlsStream
    ) -> None:
        self._app = app
        self._config = config
        self._limits = config.limits
        self._context = context
        self._stream = stream
        self._sending = trio.Lock()
        self._reading = trio.CancelScope()
        self._idle = True
        self._ending = False

    async def run(self) -> None:
        """Serve the connection to its end; it is closed when this returns, raises or is cancelled."""
        trio_socket = self._stream.socket
        try:
            client = parse_socket_addr(trio_socket.family, trio_socket.getpeername())
            server = parse_socket_addr(trio_socket.family, trio_socket.getsockname())
            async with trio.open_nursery() as applications:
                tls = isinstance(self._stream, TlsStream)
                http = _Http(
                    self._app, self._config, self._context, applications, tls, client, server, self._send
                )
                with self._reading:
                    if await self._secured():
                        self._read_until(min(self._limits.head_timeout, self._limits.keep_alive))
                        await self._read(http)
                trio_socket.close()
                await http.handle(Closed())
        except OSError:
            pass  # the peer was gone before it was served
        finally:
            trio_socket.close()

    def stop_if_idle(self) -> None:
        if self._idle:
            self._reading.cancel()

    async def _secured(self) -> bool:
        """Whether what TLS there shall be is there."""
        if isinstance(self._stream, TlsStream):
            self._read_until(self._limits.head_timeout)
            try:
                await self._stream.do_handshake()
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                _log.info("tls_refused", reason=str(error))
                return False
        return True

    async def _read(self, http: _Http) -> None:
        silent = 0.0
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while silent < self._limits.ping_interval + self._limits.ping_timeout:
                data = None
                with trio.move_on_after(self._limits.ping_interval):
                    data = await self._stream.receive_some(READ_BYTES)
                if data == b"":
                    return
                if data is None:
                    if await http.ping():
                        silent += self._limits.ping_interval
                else:
                    silent = 0.0
                    if not self._ending:
                        await http.handle(RawData(bytes(data)))

    async def _send(self, event: Event) -> None:
        if isinstance(event, RawData):
            await self._write(event.data)
        elif isinstance(event, Closed):
            await self._end()
        elif isinstance(event, Updated) and not self._ending:
            self._idle = event.idle
            self._read_until(self._limits.keep_alive if event.idle else float("inf"))

    async def _write(self, data: bytes) -> None:
        """Cancelling this, or a peer that does not take the bytes in time, resets the connection: half a
        frame may have gone out."""
        async with self._sending:
            sent = False
            try:
                with trio.move_on_after(self._limits.write_timeout):
                    await self._stream.send_all(data)
                    sent = True
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # the reader sees it too, and tells the application
            finally:
                if not sent:
                    self._reset()

    async def _end(self) -> None:
        """Say that nothing more comes, and give the peer time to read what did: closing while it still
        sends would reset the connection, and the peer might never see the reason."""
        self._ending = True
        self._read_until(self._limits.linger)
        async with self._sending:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._stream.send_eof()

    def _read_until(self, seconds: float) -> None:
        self._reading.deadline = trio.current_time() + seconds

    def _reset(self) -> None:
        with suppress(OSError):
            self._stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._stream.socket.close()


class _Http(H11Protocol):
    """HTTP/1.1 and WebSocket on one connection; made directly, so that nothing ever turns to HTTP/2."""

    def __init__(
        self,
        app: Any,
        config: _Config,
        context: WorkerContext,
        nursery: trio.Nursery,
        tls: bool,
        client: tuple[str, int] | None,
        server: tuple[str, int] | None,
        send: Callable[[Event], Awaitable[None]],
    ) -> None:
        tasks: Any = _Applications(nursery)
        super().__init__(app, config, context, tasks, ConnectionState({}), tls, client, server, send)
        self._head = self.connection = Head(config.limits)
        self._message_bytes = config.limits.message_bytes

    async def handle(self, event: Event) -> None:
        stream = self.stream
        early = isinstance(event, RawData) and isinstance(stream, WSStream) and not stream.handshake.accepted
        if not early:
            await super().handle(event)
        if early or (isinstance(stream, WSStream) and stream.buffer.length > self._message_bytes):
            # In both cases hypercorn answers (400, 1009), and would leave it to the peer to close and the
            # application in the dark.
            await self._close_stream()
            await self.send(Closed())

    async def ping(self) -> bool:
        """Ping the peer if it has a WebSocket, and say so."""
        if isinstance(self.stream, WSStream) and self.stream.state is ASGIWebsocketState.CONNECTED:
            await self.stream._send_wsproto_event(Ping())
            return True
        return False

    async def _send_error_response(self, status_code: int) -> None:
        await self.send(RawData(self._head.refusal()))


class _PeerGone(OSError):
    """What a WebSocket's `send` raises once its peer has gone, as ASGI 2.4 asks for."""


class _Applications:
    """Where a connection's applications run (hypercorn's task group). One that has ended takes no more
    messages; hypercorn would wait for ever for it to take them."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    async def spawn_app(
        self, app: ASGIApp, config: Config, scope: Any, send: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Any], Awaitable[None]]:
        put, get = trio.open_memory_channel[Any](config.max_app_queue_size)
        gone = False

        async def send_to_peer(message: Any) -> None:
            if not gone:
                await send(message)
                return
            # hypercorn would return at once, and an application that only sends would never yield again
            await trio.lowlevel.checkpoint()
            if scope["type"] == "websocket":
                raise _PeerGone

        async def run() -> None:
            try:
                await app(scope, get.receive, send_to_peer)
            except _PeerGone:
                pass
            except Exception:
                _log.exception("application_failed")
            finally:
                get.close()
                await send(None)

        async def offer(message: Any) -> None:
            nonlocal gone
            gone = gone or message["type"].endswith(".disconnect")
            with suppress(trio.BrokenResourceError):
                await put.send(message)

        self._nursery.start_soon(run)
        return offer
