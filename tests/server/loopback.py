"""A small ASGI application served over the loopback interface, and clients of it that run on either loop."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.client import ClientProtocol
from websockets.frames import Opcode
from websockets.uri import parse_uri

from mux.server.limits import Limits
from mux.server.listener import open_listener
from mux.server.run import serve

HANDSHAKE = (
    b"GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
TEXT_FRAME = b"\x81\x84\x00\x00\x00\x00text"
FRAME = bytes(6500)


# --- the application ---------------------------------------------------------------------------------


class Silence:
    def __aiter__(self) -> Silence:
        return self

    async def __anext__(self) -> bytes:
        await anyio.lowlevel.checkpoint()
        return FRAME


async def endless(request: Request) -> Response:
    return StreamingResponse(Silence())


async def health(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def echo(ws: WebSocket) -> None:
    await ws.accept()
    with suppress(WebSocketDisconnect):
        while True:
            await ws.send_text(await ws.receive_text())


async def refuse(ws: WebSocket) -> None:
    await ws.send_denial_response(JSONResponse({"detail": "no"}, status_code=401))


async def say_why_and_close(ws: WebSocket) -> None:
    await ws.accept()
    await ws.send_text("because")
    await ws.close(1013, "slow")


async def end_with_messages_waiting(ws: WebSocket) -> None:
    await ws.accept()
    await anyio.sleep(0.05)


class Flood:
    """Sends as fast as it can, to nobody in particular; `patience` is how long one send may take."""

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.accepted = 0
        self.ended = anyio.Event()

    async def send(self, ws: WebSocket) -> None:
        await ws.accept()
        try:
            while True:
                with anyio.fail_after(self.patience):
                    await ws.send_bytes(FRAME)
                self.accepted += len(FRAME)
        except (TimeoutError, WebSocketDisconnect):
            pass
        finally:
            self.ended.set()


def application(**sockets: Any) -> Starlette:
    sockets = {
        "echo": echo,
        "refuse": refuse,
        "why": say_why_and_close,
        "ends": end_with_messages_waiting,
    } | sockets
    routes = [WebSocketRoute(f"/{name}", endpoint) for name, endpoint in sockets.items()]
    return Starlette(routes=[Route("/health", health), Route("/endless", endless), *routes])


# --- server and client -------------------------------------------------------------------------------


@asynccontextmanager
async def running(app: Any = None, **limits: Any) -> AsyncIterator[int]:
    """The server on a free port of the loopback interface, cut off at the end of the block."""
    listener = open_listener("127.0.0.1", 0)
    port = listener.getsockname()[1]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(
            partial(serve, app or application(), listener, anyio.Event(), limits=Limits(**limits))
        )
        with anyio.fail_after(20):
            yield port
        tasks.cancel_scope.cancel()


class Client:
    """A WebSocket client that runs on either loop."""

    def __init__(self, stream: anyio.abc.SocketStream, protocol: ClientProtocol) -> None:
        self.stream = stream
        self.protocol = protocol
        self.events: list[Any] = []

    async def next_event(self) -> Any:
        while not self.events:
            try:
                self.protocol.receive_data(await self.stream.receive())
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                self.protocol.receive_eof()
                self.events = [*self.protocol.events_received(), None]
            else:
                self.events = self.protocol.events_received()
            await self.flush()
        return self.events.pop(0)

    async def flush(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                await self.stream.send(data)

    async def send(self, text: str) -> None:
        self.protocol.send_text(text.encode())
        await self.flush()

    async def receive(self) -> str:
        frame = await self.next_event()
        assert frame.opcode is Opcode.TEXT
        return bytes(frame.data).decode()


@asynccontextmanager
async def connected(
    port: int, path: str = "/echo", headers: dict[str, str] | None = None, **options: Any
) -> AsyncIterator[tuple[Client, Any]]:
    """A client after its handshake, and the server's response."""
    protocol = ClientProtocol(parse_uri(f"ws://127.0.0.1:{port}{path}"), **options)
    request = protocol.connect()
    request.headers.update(headers or {})
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        client = Client(stream, protocol)
        protocol.send_request(request)
        await client.flush()
        yield client, await client.next_event()


async def raw(port: int, data: bytes) -> bytes:
    """Send `data`, and return everything that comes until the server closes."""
    answer = b""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        try:
            await stream.send(data)
            while True:
                answer += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return answer


@asynccontextmanager
async def shaken_hands(port: int, path: str) -> AsyncIterator[anyio.abc.SocketStream]:
    """A connection that became a WebSocket."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(HANDSHAKE.replace(b"/echo", path.encode()) + b"\r\n")
        assert (await one_head(stream)).startswith(b"HTTP/1.1 101 ")
        yield stream


async def one_head(stream: anyio.abc.SocketStream) -> bytes:
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += await stream.receive(1)
    return answer


async def still_echoes(port: int) -> bool:
    async with connected(port) as (client, response):
        assert response.status_code == 101
        await client.send("still there?")
        return await client.receive() == "still there?"


def open_sockets() -> int:
    names = []
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the listing's own is gone
            names.append(os.readlink(f"/proc/self/fd/{fd}"))
    return sum(name.startswith("socket:") for name in names)


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(3):
        while not condition():  # noqa: ASYNC110 - the kernel and the server tell nobody
            await anyio.sleep(0.01)


async def until_open_sockets(count: int) -> None:
    await until(lambda: open_sockets() <= count)


@contextmanager
def deaf_client(port: int, path: str) -> Iterator[socket.socket]:
    """A client that opens a WebSocket and never reads."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(HANDSHAKE.replace(b"/echo", path.encode()) + b"\r\n")
        yield client
