from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import msgspec
import pytest
from loopback import application, connected, raw, running, still_echoes
from starlette.websockets import WebSocket
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from mux.server.listener import open_listener
from mux.server.run import serve, serve_until_signal

pytestmark = pytest.mark.anyio


async def test_http_and_websocket_share_one_port() -> None:
    async with running() as port:
        assert await still_echoes(port)
        answer = await raw(port, b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'{"status":"ok"}' in answer
    assert b"server:" not in answer.lower()


async def test_a_kept_connection_serves_several_requests() -> None:
    request = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    async with running() as port, await anyio.connect_tcp("127.0.0.1", port) as stream:
        for _ in range(3):
            await stream.send(request)
            answer = b""
            while not answer.endswith(b"}"):
                answer += await stream.receive()
            assert answer.startswith(b"HTTP/1.1 200")


async def test_compression_is_never_negotiated() -> None:
    async with running() as port:
        offer = [ClientPerMessageDeflateFactory()]
        async with connected(port, extensions=offer) as (client, response):
            assert response.status_code == 101
            assert "Sec-WebSocket-Extensions" not in response.headers
            await client.send("plain")
            assert await client.receive() == "plain"


async def test_an_upgrade_to_http2_is_ignored() -> None:
    request = (
        b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n"
    )
    async with running() as port:
        assert (await raw(port, request)).startswith(b"HTTP/1.1 200")


async def test_a_websocket_is_refused_with_a_status_and_json() -> None:
    async with running() as port, connected(port, "/refuse") as (_, response):
        assert response.status_code == 401
        assert response.headers["Content-Type"] == "application/json"
        assert msgspec.json.decode(response.body) == {"detail": "no"}


async def test_stopping_lets_applications_end() -> None:
    ended = []
    stop = anyio.Event()

    async def slow_to_end(ws: WebSocket) -> None:
        await ws.accept()
        stop.set()
        await anyio.sleep(0.2)
        ended.append(True)

    listener = open_listener("127.0.0.1", 0)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve, application(slow=slow_to_end), listener, stop)
            async with connected(listener.getsockname()[1], "/slow") as (client, _):
                while await client.next_event():
                    pass
    assert ended == [True]


async def test_stopping_closes_kept_connections_and_the_listener() -> None:
    listener = open_listener("127.0.0.1", 0)
    port = listener.getsockname()[1]
    stop = anyio.Event()
    with anyio.fail_after(2):  # less than connections are kept
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve, application(), listener, stop)
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b"200" in await stream.receive()
                stop.set()
                with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                    while True:
                        await stream.receive()
    with pytest.raises(OSError, match="attempts failed"):
        await anyio.connect_tcp("127.0.0.1", port)


async def test_cancelling_ends_every_application() -> None:
    ended = []

    async def deaf(ws: WebSocket) -> None:
        await ws.accept()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    async with running(application(deaf=deaf)) as port, connected(port, "/deaf") as (_, response):
        assert response.status_code == 101
    assert ended == [True]


# --- signals -----------------------------------------------------------------------------------------


class Speech:
    """Something in progress that takes as long as the test wants."""

    def __init__(self) -> None:
        self.draining = anyio.Event()
        self.over = anyio.Event()
        self.closed = False

    def start_draining(self) -> None:
        self.draining.set()

    async def wait_drained(self) -> None:
        await self.over.wait()

    async def close_all(self) -> None:
        self.closed = True


@asynccontextmanager
async def until_signal(speech: Speech, drain_timeout: float) -> AsyncIterator[list[bool]]:
    """The server with signals, and what it returned."""
    listener = open_listener("127.0.0.1", 0)
    results = []

    async def run() -> None:
        results.append(await serve_until_signal(application(), listener, speech, drain_timeout=drain_timeout))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            assert await still_echoes(listener.getsockname()[1])
            yield results


async def test_a_second_signal_ends_at_once() -> None:
    speech = Speech()
    async with until_signal(speech, drain_timeout=60) as results:
        os.kill(os.getpid(), signal.SIGTERM)
        await speech.draining.wait()
        await anyio.sleep(0.25)
        os.kill(os.getpid(), signal.SIGINT)
    assert results == [False]
    assert not speech.closed


async def test_a_signal_that_is_delivered_twice_counts_once() -> None:
    speech = Speech()
    async with until_signal(speech, drain_timeout=60) as results:
        os.kill(os.getpid(), signal.SIGTERM)
        await speech.draining.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await anyio.sleep(0.05)
        speech.over.set()
    assert results == [True]


async def test_a_drain_that_takes_too_long_is_cut_off() -> None:
    speech = Speech()
    async with until_signal(speech, drain_timeout=0.05) as results:
        os.kill(os.getpid(), signal.SIGTERM)
    assert results == [False]
    assert speech.closed


async def test_a_drain_ends_when_everything_is_said() -> None:
    speech = Speech()
    async with until_signal(speech, drain_timeout=60) as results:
        os.kill(os.getpid(), signal.SIGTERM)
        await speech.draining.wait()
        assert not speech.closed
        speech.over.set()
    assert results == [True]
    assert speech.closed


PROGRAM = """
import sys
import anyio
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from mux.server.listener import open_listener
from mux.server.logs import configure_logging
from mux.server.run import run_program, serve_until_signal

class Service:
    draining = False
    def start_draining(self): self.draining = True
    async def wait_drained(self): await self.over.wait()
    async def close_all(self): pass

async def main():
    service = Service()
    service.over = anyio.Event()
    async def health(request):
        return JSONResponse({"draining": service.draining}, status_code=503 if service.draining else 200)
    async def finish(request):
        service.over.set()
        return JSONResponse({})
    app = Starlette(routes=[Route("/health", health), Route("/finish", finish)])
    listener = open_listener("127.0.0.1", 0)
    print(listener.getsockname()[1], flush=True)
    return 0 if await serve_until_signal(app, listener, service, drain_timeout=20) else 3

configure_logging("json", "info")
sys.exit(run_program(main, sys.argv[1]))
"""


async def test_sigterm_drains_with_the_listener_open_and_exits_0(anyio_backend_name: str) -> None:
    command = [sys.executable, "-W", "error", "-c", PROGRAM, anyio_backend_name]
    with anyio.fail_after(20):
        async with await anyio.open_process(command, stdin=None) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            port = int(await process.stdout.receive())

            async def get(path: bytes) -> bytes:
                return await raw(port, b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path)

            assert (await get(b"/health")).startswith(b"HTTP/1.1 200")
            process.send_signal(signal.SIGTERM)
            while not (answer := await get(b"/health")).startswith(b"HTTP/1.1 503"):
                assert answer.startswith(b"HTTP/1.1 200")
            await get(b"/finish")
            assert await process.wait() == 0
            log = b"".join([chunk async for chunk in process.stderr])
    assert [msgspec.json.decode(line)["event"] for line in log.splitlines()] == ["draining"]
