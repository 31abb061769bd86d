"""The ASGI application served by uvicorn, inside a running asyncio loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import anyio
import anyio.abc
import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from mux.log import get_logger
from mux.server.head import Head
from mux.server.limits import Limits
from mux.server.tls import reason
from mux.tasks import owned_tasks

__all__ = ["serve"]

_log = get_logger("mux.server")

TLS_BUFFER = 64 * 1024
"""Bytes that a connection's TLS layer may hold before its writer must wait, as much as a plain connection's
transport. The loops' own default is 512 KiB: eight seconds of speech that a barge-in could not call back."""
ACCEPT_PAUSE = 0.1
"""Seconds without accepting anybody, when the system refuses: mostly for want of file descriptors."""


async def serve(
    app: ASGIApp, listener: socket.socket, stop: anyio.Event, limits: Limits, tls: ssl.SSLContext | None
) -> None:
    """Serve `app` on `listener`, which is closed at the end, until `stop` is set; applications then have
    `limits.stop_timeout` seconds to end. Cancelling closes every connection at once. Either way nothing is
    left running when this returns."""
    server = _Server(_Config(app, limits), listener, stop, tls)
    try:
        await server.serve(sockets=[listener])
    finally:
        await server.abandon()
        listener.close()


class _Config(uvicorn.Config):
    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        super().__init__(
            app,
            interface="asgi3",
            # h11, not httptools: it refuses what hypercorn refuses, and we can add rules of our own.
            http=_Http,
            ws=_WebSocket,
            ws_max_size=limits.message_bytes,
            ws_ping_interval=limits.ping_interval,
            ws_ping_timeout=limits.ping_timeout,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            workers=1,
            timeout_graceful_shutdown=max(1, round(limits.stop_timeout)),
        )
        self.timeout_keep_alive = limits.keep_alive  # type: ignore[assignment] # only ever a delay
        self.limits = limits


class _Server(uvicorn.Server):
    config: _Config

    def __init__(
        self, config: _Config, listener: socket.socket, stop: anyio.Event, tls: ssl.SSLContext | None
    ) -> None:
        super().__init__(config)
        self._listener = listener
        self._stop = stop
        self._tls = tls
        self.servers = []

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are ours: uvicorn would close the listener and every socket at once."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept plain connections; TLS begins with `main_loop`."""
        if self._tls is None:
            server = await asyncio.get_running_loop().create_server(
                self._connection, sock=self._listener, backlog=self.config.backlog, start_serving=False
            )
            # Noted before it starts. uvicorn's way, starting while it is made, can be cancelled in between:
            # nobody would stop it, and the loop would watch a file descriptor that is somebody else's next.
            self.servers.append(server)
            await server.start_serving()
        self.started = True

    def _connection(self) -> _Http:
        return _Http(self.config, self.server_state, {})

    async def main_loop(self) -> None:
        async with owned_tasks() as tasks:
            if self._tls is not None:
                tasks.start_soon(self._accept_tls, self._tls, tasks)
            await super().main_loop()

    async def _accept_tls(self, tls: ssl.SSLContext, handshakes: anyio.abc.TaskGroup) -> None:
        """Accept connections and shake hands, each in a task of its own, until cancelled. The loop's own
        servers keep a connection to themselves while it shakes hands: nobody could end it."""
        while True:
            # Not `loop.sock_accept`: cancelled at the wrong moment, it loses a connection.
            await anyio.wait_readable(self._listener)
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                pass  # it was there, and left
            except OSError as error:
                _log.error("accept_failed", reason=error.strerror)
                await asyncio.sleep(ACCEPT_PAUSE)
            else:
                handshakes.start_soon(self._shake_hands, connection, tls)

    async def _shake_hands(self, connection: socket.socket, tls: ssl.SSLContext) -> None:
        limits = self.config.limits
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._connection,
                connection,
                ssl=tls,
                ssl_handshake_timeout=limits.head_timeout,
                ssl_shutdown_timeout=limits.linger,
            )
        except OSError as error:
            _log.info("tls_refused", reason=reason(error))
        except Exception:
            _log.exception("connection_failed")  # and nobody else's

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._stop.is_set()

    async def abandon(self) -> None:
        """End what is left, shielded from cancellation: first by telling applications that their peer is
        gone, and those that do not listen by cancelling them."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        with anyio.CancelScope(shield=True):
            if tasks := set(self.server_state.tasks):
                _, deaf = await asyncio.wait(tasks, timeout=0.5)
                for task in deaf:
                    task.cancel()
                if deaf:
                    await asyncio.wait(deaf, timeout=1)


class _Deadline:
    """A time after which a connection is aborted, if it is not called off."""

    def __init__(self, protocol: H11Protocol | WebSocketsSansIOProtocol) -> None:
        self._protocol = protocol
        self._timer: asyncio.TimerHandle | None = None

    def start(self, seconds: float) -> None:
        self.stop()
        self._timer = self._protocol.loop.call_later(seconds, self._protocol.transport.abort)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def runs(self) -> bool:
        return self._timer is not None


class _Http(H11Protocol):
    """One connection, until it becomes a WebSocket. Its request head has a deadline of its own, because
    uvicorn's keep-alive timer ends with the head's first byte."""

    config: _Config
    conn: Head

    def __init__(self, config: _Config, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self.conn = Head(config.limits)
        self._head_deadline = _Deadline(self)
        self._write_deadline = _Deadline(self)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.scheme == "https":
            transport.set_write_buffer_limits(TLS_BUFFER)
        self._head_deadline.start(self.config.limits.head_timeout)

    def data_received(self, data: bytes) -> None:
        if not self._head_deadline.runs:
            self._head_deadline.start(self.config.limits.head_timeout)
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._head_deadline.stop()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_deadline.start(self.config.limits.write_timeout)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._write_deadline.stop()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_deadline.stop()
        self._write_deadline.stop()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        self.transport.write(self.conn.refusal())
        self.transport.close()


class _WebSocket(WebSocketsSansIOProtocol):
    """A WebSocket whose peer must take its bytes: uvicorn alone ends a connection by `transport.close()`,
    which waits for the peer for ever."""

    config: _Config

    def __init__(self, config: _Config, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self._deadline = _Deadline(self)
        self._done = False

    def pause_writing(self) -> None:
        super().pause_writing()
        if not self._done:
            self._deadline.start(self.config.limits.write_timeout)

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self._done:
            self._deadline.stop()

    async def send(self, message: Any) -> None:
        if self.transport.is_closing():
            # uvicorn's send never yields while there is room: an application that only sends would never
            # let the loop say that the peer is gone.
            await asyncio.sleep(0)
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            # A refusal completes a handshake too; uvicorn would log an error for each.
            self.handshake_complete = True

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self._done = True
        if not self.disconnected:
            self._deadline.start(self.config.limits.linger)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.stop()
        super().connection_lost(exc)

    def handle_cont(self, event: Frame) -> None:
        # Empty fragments count for nothing in the size of a message.
        if len(self.frames) >= self.config.limits.fragments:
            self.conn.fail(1008, "too many fragments")
            self.handle_parser_exception()
        else:
            super().handle_cont(event)

    def handle_parser_exception(self) -> None:
        if self.conn.close_sent is None:  # junk before the handshake was answered
            self.transport.abort()
        else:
            super().handle_parser_exception()
