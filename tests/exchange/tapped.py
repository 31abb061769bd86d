"""A service of a test's own, and a tap before it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute

from mux.exchange.recorder import Recorder
from mux.exchange.tap import Service, serve_tap
from mux.server.limits import Limits
from mux.server.listener import open_listener
from mux.server.run import serve
from mux.tasks import owned_tasks

__all__ = ["SWITCHED", "one_head", "raw_service", "serving", "shaken_hands", "tapping", "until"]

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


@asynccontextmanager
async def serving(
    socket: Any = None, http: Any = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """A service whose every path is the WebSocket endpoint `socket` or the HTTP endpoint `http`."""
    routes: list[Any] = []
    if socket is not None:
        routes.append(WebSocketRoute("/{path:path}", socket))
    if http is not None:
        routes.append(Route("/{path:path}", http, methods=["GET", "POST", "HEAD"]))
    listener = open_listener("127.0.0.1", 0)
    url = f"{'wss' if tls else 'ws'}://127.0.0.1:{listener.getsockname()[1]}"
    limits = Limits(message_bytes=64 * 1024 * 1024)
    app = Starlette(routes=routes)
    async with owned_tasks() as tasks:
        tasks.start_soon(lambda: serve(app, listener, anyio.Event(), limits=limits, tls=tls))
        with anyio.fail_after(20):
            yield url


@asynccontextmanager
async def tapping(
    to: str, recorder: Recorder | None = None, trust: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """A tap that leads to `to`; gives its own base URL."""
    listener = open_listener("127.0.0.1", 0)
    async with owned_tasks() as tasks:
        tasks.start_soon(serve_tap, listener, Service(to, trust), recorder or Recorder())
        with anyio.fail_after(20):
            yield f"ws://127.0.0.1:{listener.getsockname()[1]}"


@asynccontextmanager
async def raw_service(speak: Callable[[anyio.abc.SocketStream], Awaitable[None]]) -> AsyncIterator[str]:
    """A service that is whatever `speak` does with a connection."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, speak)
        with anyio.fail_after(20):
            yield f"ws://127.0.0.1:{port}"
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def shaken_hands(url: str) -> AsyncIterator[anyio.abc.SocketStream]:
    """A connection that has become a WebSocket."""
    async with await anyio.connect_tcp("127.0.0.1", int(url.rsplit(":", 1)[1])) as stream:
        await stream.send(HANDSHAKE)
        assert (await one_head(stream)).startswith(b"HTTP/1.1 101 ")
        yield stream


async def one_head(stream: anyio.abc.SocketStream) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await stream.receive(1)
    return head


async def until(condition: Any) -> None:
    """Wait for what the other side of a connection is about to notice."""
    with anyio.fail_after(3):
        while not condition():  # noqa: ASYNC110 - the kernel tells nobody
            await anyio.sleep(0.005)
