"""The process behind the gateway is killed again and again, while 20 contexts speak: nobody hears it."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import anyio
import pytest

from mux.client import Session
from mux.engines.remote import RemoteEngine, Upstream
from mux.testing import MemoryServer, memory_server

DEEP = os.environ.get("MUX_PROFILE") == "deep"
KILLS = 200 if DEEP else 4
CONTEXTS = 20


class UpstreamProcess:
    """`mux serve --engine tone` on a port of its own, which stays the same over its lives."""

    def __init__(self) -> None:
        self.port = _free_port()
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mux", "serve", "--engine", "tone", "--port", str(self.port)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MUX_")}
        process = subprocess.Popen(
            [*command, "--log-level", "error"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        assert process.stdout is not None
        assert "ready" in process.stdout.readline()
        self._process = process

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.communicate()
            self._process = None


def _free_port() -> int:
    """Not one that the system gives to clients: who connects to such a port while nobody listens there can be
    connected to himself."""
    for port in random.Random().sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")


@contextmanager
def upstream_process() -> Iterator[UpstreamProcess]:
    process = UpstreamProcess()
    process.start()
    try:
        yield process
    finally:
        process.kill()


@pytest.mark.timeout(1500 if DEEP else 60)
@pytest.mark.parametrize("backend", ["asyncio", "trio"] if DEEP else ["asyncio"])
@pytest.mark.parametrize("dialect", ["mux", "kugelaudio"])
def test_promise_11_kills_of_the_upstream_process_change_no_sample(backend: str, dialect: str) -> None:
    anyio.run(_kills, dialect, backend=backend)


async def _kills(dialect: str) -> None:
    chance = random.Random(11)
    with upstream_process() as process:
        upstream = Upstream(
            name="tone",
            dialect=dialect,  # type: ignore[arg-type]
            url=f"ws://127.0.0.1:{process.port}",
            sockets=2,
            repair="exact",
            patience=30.0,
        )
        killing = done = False
        heard = 0

        async def say(session: Session, text: str, voice: str) -> bytes:
            async with session.context("a", voice=voice, silence_timeout=300) as context:
                await context.send(text)
                await context.close()
                return b"".join([chunk.audio async for chunk in context])

        async def app(server: MemoryServer, number: int) -> None:
            nonlocal heard
            text = f"App {number} has a lot to say, and goes on for a while, so that it can break. "
            async with server.connect() as session:
                undisturbed = await say(session, text, f"voice {number}")
                assert len(undisturbed) == len(text) * 2400
                while not done:
                    audio = await say(session, text, f"voice {number}")
                    assert audio == undisturbed
                    heard += killing

        async with memory_server(RemoteEngine(upstream)) as server, anyio.create_task_group() as tasks:
            for number in range(CONTEXTS):
                tasks.start_soon(app, server, number)
            await anyio.sleep(3)
            killing = True
            for _ in range(KILLS):
                await anyio.sleep(chance.uniform(0.05, 1.0))
                await anyio.to_thread.run_sync(process.kill)
                await anyio.sleep(chance.uniform(0, 0.2))
                await anyio.to_thread.run_sync(process.start)
            done = True
        assert heard >= CONTEXTS
