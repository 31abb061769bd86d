"""Peers to talk to: the far end of a connection in memory, and a server of ours on loopback that does exactly
what a test says, down to the bytes."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Message,
    Ping,
    Request,
    TextMessage,
)

from mux.links.memory import MemoryTransport, memory_pair
from mux.links.transport import BaseTransport, Disconnected, Ending, Transport, open_transport

sys.path.insert(0, str(Path(__file__).parent))  # for far_end: importlib mode adds no test directory

Handler = Callable[[ByteStream], Awaitable[None]]


class Peer(Protocol):
    async def send(self, message: str) -> None: ...
    async def receive(self) -> str | bytes: ...
    async def close(self, code: int, reason: str) -> None: ...
    async def vanish(self) -> None: ...
    def stop_answering(self) -> None: ...


class MemoryPeer:
    def __init__(self, end: MemoryTransport) -> None:
        self.send, self.receive, self.close, self.stop_answering = end.send, end.receive, end.aclose, end.hang
        self.end = end

    async def vanish(self) -> None:
        self.end.cut()


class SocketPeer:
    """The server's side of one WebSocket: `run` answers pings and closes, until told not to."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self.protocol = WSConnection(ConnectionType.SERVER)
        self.open = anyio.Event()
        self.gone = Ending(1006)
        self.request: Request
        self.first = b""
        self.answers_pings = True
        self._running = anyio.CancelScope()
        self._put, self.inbox = anyio.create_memory_object_stream[str | bytes](10_000)

    async def run(self) -> None:
        with self._running, self._put:
            parts: list[Any] = []
            while self.protocol.state is not ConnectionState.CLOSED:
                try:
                    self.protocol.receive_data(await self.stream.receive())
                except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                    return
                for event in self.protocol.events():
                    match event:
                        case Request():
                            self.request = event
                            await self.raw(self.protocol.send(AcceptConnection()) + self.first)
                            self.open.set()
                        case Message():
                            parts.append(event.data)
                            if event.message_finished:
                                self._put.send_nowait(parts[0][:0].join(parts))
                                parts.clear()
                        case Ping() if self.answers_pings:
                            await self.raw(self.protocol.send(event.response()))
                        case CloseConnection():
                            self.gone = Ending(event.code, event.reason or "", received=True)
                            if self.protocol.state is ConnectionState.REMOTE_CLOSING:
                                await self.raw(self.protocol.send(event.response()))
        if not self._running.cancelled_caught:
            await self.stream.aclose()

    async def raw(self, data: bytes) -> None:
        await self.stream.send(data)

    async def send(self, message: str | bytes) -> None:
        event = TextMessage(message) if isinstance(message, str) else BytesMessage(message)
        await self.raw(self.protocol.send(event))

    async def receive(self) -> str | bytes:
        try:
            return await self.inbox.receive()
        except anyio.EndOfStream:
            raise Disconnected(self.gone) from None

    async def close(self, code: int, reason: str) -> None:
        await self.raw(self.protocol.send(CloseConnection(code, reason)))

    async def vanish(self) -> None:
        raw = self.stream.extra(SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await anyio.aclose_forcefully(self.stream)

    def stop_answering(self) -> None:
        self._running.cancel()


@asynccontextmanager
async def serve(handler: Handler) -> AsyncIterator[str]:
    """Run `handler` for each TCP connection; yields host and port."""
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):

        async def handle(stream: ByteStream) -> None:
            try:
                await handler(stream)
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass  # the client went first
            finally:
                await anyio.aclose_forcefully(stream)

        tasks.start_soon(listener.serve, handle)
        yield f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def over_socket(
    *, first: bytes = b"", **options: Any
) -> AsyncIterator[tuple[BaseTransport, SocketPeer]]:
    peers: list[SocketPeer] = []

    async def handler(stream: ByteStream) -> None:
        peer = SocketPeer(stream)
        peer.first = first
        peers.append(peer)
        await peer.run()
        await anyio.sleep_forever()  # the test says when the TCP connection goes

    async with (
        serve(handler) as where,
        open_transport(f"ws://{where}/a?key=secret", **options) as transport,
    ):
        with peers[0].inbox:
            await peers[0].open.wait()
            assert isinstance(transport, BaseTransport)
            yield transport, peers[0]


@asynccontextmanager
async def in_memory(**options: Any) -> AsyncIterator[tuple[BaseTransport, MemoryPeer]]:
    transport, end = memory_pair(**options)
    yield transport, MemoryPeer(end)
    await transport.aclose()


Connected = Callable[..., AbstractAsyncContextManager[tuple[Transport, Peer]]]


@pytest.fixture(params=["memory", "socket"])
def connected(request: pytest.FixtureRequest) -> Any:
    """`async with connected(max_message=...) as (transport, peer)`, for every kind of transport."""
    return in_memory if request.param == "memory" else over_socket


@pytest.fixture
def socket_connected() -> Any:
    return over_socket


@pytest.fixture
def server() -> Any:
    """`async with server(handler) as where`: plain TCP."""
    return serve


@pytest.fixture
def answer() -> Any:
    """A handler for `server`: a WebSocket server that answers handshakes, pings and closes."""

    async def handler(stream: ByteStream) -> None:
        peer = SocketPeer(stream)
        with peer.inbox:
            await peer.run()

    return handler
