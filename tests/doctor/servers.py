"""What a socket can meet on its way: proxies and servers that misbehave, on real connections."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.abc

from mux.doctor.case import read_case
from mux.doctor.examination import examine
from mux.doctor.findings import Finding
from mux.doctor.patience import Patience
from mux.mock import Fault, Mock, serve_mock
from mux.server.listener import open_listener
from mux.server.run import serve
from mux.server.tls import load_certificate, make_certificate
from mux.tasks import owned_tasks

__all__ = [
    "BRISK",
    "answering",
    "at_mock",
    "dead_end",
    "examined",
    "left",
    "only",
    "proxy",
    "scripted",
    "tcp",
    "tls",
]

BRISK = Patience(
    lookup=2.0, handshake=2.0, audio=0.4, settle=0.1, inactivity=1.0, overdue=0.7, close=1.0, whole=20.0
)
Handler = Callable[[anyio.abc.ByteStream], Awaitable[Any]]
GONE = (OSError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


async def examined(url: str, patience: Patience = BRISK, **options: Any) -> list[Finding]:
    """What the doctor finds; by default without the tests that wait or that open many contexts."""
    told: list[Finding] = []
    case = read_case(url, **{"quick": True, "contexts": 0, **options})
    findings = await examine(case, told.append, patience)
    assert told == findings
    return findings


def only(findings: list[Finding], *causes: str) -> Finding:
    """The first of `causes`, which must be all that was found."""
    named = {finding.cause: finding for finding in findings if finding.cause is not None}
    assert set(named) == set(causes), [(finding.cause, finding.evidence) for finding in findings]
    return named[causes[0]]


async def at_mock(dialect: Any, *faults: Fault, patience: Patience = BRISK, **options: Any) -> list[Finding]:
    """What the doctor finds at a mock with these faults."""
    async with serve_mock(dialect, faults) as mock:
        voice = {"voice": "anne"} if dialect == "kugelaudio" else {}
        findings = await examined(mock.url, patience, **{"dialect": dialect, **voice, **options})
        assert all(mock.fired[fault.name] for fault in faults)
        return findings


async def left(mock: Mock) -> None:
    """The server learns a little later that its clients have gone."""
    with anyio.fail_after(2):
        while mock.open_sockets:  # noqa: ASYNC110 - the server tells nobody
            await anyio.sleep(0.01)


@asynccontextmanager
async def tcp(handle: Handler) -> AsyncIterator[int]:
    """A server that does with each connection what it is told. Yields its port."""

    async def guarded(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            with suppress(*GONE):
                await handle(stream)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, owned_tasks() as tasks:
        tasks.start_soon(listener.serve, guarded)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)


async def head_of(stream: anyio.abc.ByteStream) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive()
    return data


@asynccontextmanager
async def answering(answer: bytes, *, then: float = 0.0) -> AsyncIterator[int]:
    """A server that answers each request with these bytes, and holds the connection for `then` s."""

    async def handle(stream: anyio.abc.ByteStream) -> None:
        await head_of(stream)
        await stream.send(answer)
        await anyio.sleep(then)

    async with tcp(handle) as port:
        yield port


@asynccontextmanager
async def proxy(
    url: str,
    rewrite: Callable[[bytes], bytes] = bytes,
    *,
    idle: float | None = None,
    mute: int | None = None,
) -> AsyncIterator[str]:
    """A proxy before `url`, which changes the head of each request, and cuts connections that are `idle`. On
    the connection number `mute` it passes the answer to the handshake back, and nothing after it."""
    target = int(url.rpartition(":")[2])
    count = 0

    async def handle(stream: anyio.abc.ByteStream) -> None:
        nonlocal count
        count += 1
        muted = count == mute
        head = await head_of(stream)
        async with await anyio.connect_tcp("127.0.0.1", target) as upstream:
            await upstream.send(rewrite(head))
            last = anyio.current_time()

            async def pump(source: anyio.abc.ByteStream, sink: anyio.abc.ByteStream, stopped: bool) -> None:
                nonlocal last
                with suppress(*GONE):
                    await sink.send(await source.receive())
                    while True:
                        data = await source.receive()
                        last = anyio.current_time()
                        if not stopped:
                            await sink.send(data)
                if not stopped:
                    tasks.cancel_scope.cancel()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(pump, stream, upstream, False)
                tasks.start_soon(pump, upstream, stream, muted)
                while idle is not None:
                    until = last + idle
                    await anyio.sleep_until(until)
                    if last + idle <= until:
                        tasks.cancel_scope.cancel()
                        break

    async with tcp(handle) as port:
        yield f"ws://127.0.0.1:{port}"


@asynccontextmanager
async def scripted(
    *frames: dict[str, Any], code: int | None = None, reason: str = "", at: str = "speech"
) -> AsyncIterator[str]:
    """A WebSocket server that says these frames, and closes with `code` if there is one: at once, at the
    first speech, or at every message (`at` is open, speech, message). Yields its base URL."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            return
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            if at != "open":
                event = await receive()
                if event["type"] == "websocket.disconnect":
                    return
                if at == "speech" and not json.loads(event["text"]).get("text", "").strip():
                    continue
            for frame in frames:
                await send({"type": "websocket.send", "text": json.dumps(frame)})
            if code is not None:
                await send({"type": "websocket.close", "code": code, "reason": reason})
                return
            if at == "open":
                await receive()

    async with serving(app) as port:
        yield f"ws://127.0.0.1:{port}"


@asynccontextmanager
async def serving(app: Any, **options: Any) -> AsyncIterator[int]:
    listener = open_listener("127.0.0.1", 0)
    async with owned_tasks() as tasks:
        tasks.start_soon(lambda: serve(app, listener, anyio.Event(), **options))
        yield listener.getsockname()[1]
    listener.close()


@asynccontextmanager
async def tls(directory: Path, app: Any) -> AsyncIterator[tuple[int, Path]]:
    """The application behind a certificate that signs itself. Yields its port, and the file to trust."""
    paths = directory / "cert.pem", directory / "key.pem"
    for path, pem in zip(paths, make_certificate("127.0.0.1"), strict=True):
        path.write_bytes(pem)
        path.chmod(0o600)
    async with serving(app, tls=load_certificate(*paths)) as port:
        yield port, paths[0]


@contextmanager
def dead_end() -> Iterator[int]:
    """A port at which connections are neither accepted nor refused: its backlog is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.3", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            with suppress(BlockingIOError):
                one.connect(("127.0.0.3", port))
        try:
            yield port
        finally:
            for one in waiting:
                one.close()
