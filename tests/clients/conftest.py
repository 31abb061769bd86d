"""A real `mux serve`, as a user starts it, on each backend; and how long a text is to mux's own client.

Everything here is checked from both sides: by what the client heard, and by what the server's log says of it.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import anyio
import pytest

import mux

Lines = list[dict[str, Any]]


class Server:
    """A running `mux serve`. `http` and `ws` are its base URLs, `ready` is what it said at its start."""

    def __init__(self, ready: list[str], log: Path) -> None:
        self.ready = ready
        self.http = ready[-1].split()[-1].removesuffix("/healthz")
        self.ws = self.http.replace("http", "ws", 1)
        self._log = log
        self._seen = 0

    def log(self) -> Lines:
        """What the server has logged since the test began."""
        return [json.loads(line) for line in self._log.read_text().splitlines()[self._seen :]]

    def forget(self) -> None:
        self._seen = len(self._log.read_text().splitlines())

    def logged(self, event: str, count: int) -> Lines:
        """Wait until these lines are there; gives all of them (there may be more)."""
        for _ in range(200):
            if len(lines := [line for line in self.log() if line["event"] == event]) >= count:
                return lines
            time.sleep(0.02)
        raise AssertionError(f"not {count} times {event}: {self.log()}")


@contextmanager
def _running(log: Path, *arguments: str) -> Iterator[Server]:
    command = [sys.executable, "-W", "error", "-m", "mux", "serve", "--port", "0", "--log-format", "json"]
    with (
        log.open("w") as errors,
        subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            ready = list(islice(process.stdout, 7 + ("--tls-self-signed" in arguments)))
            assert ready, log.read_text()
            yield Server(ready, log)
        finally:
            process.terminate()
    assert process.returncode == 0


@pytest.fixture(scope="session", params=["asyncio", "trio"])
def _serving(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("server") / "log"
    with _running(log, "--backend", request.param) as server:
        yield server
    levels = {json.loads(line)["level"] for line in log.read_text().splitlines()}
    assert levels <= {"info"}, log.read_text()


@pytest.fixture
def server(_serving: Server) -> Server:
    """A server that speaks with espeak and asks for no key."""
    _serving.forget()
    return _serving


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Server]:
    """A server that asks for the key `sesame`."""
    with _running(tmp_path / "log", "--engine", "tone", "--api-keys", "sesame") as server:
        yield server


@pytest.fixture
def encrypted(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[str, Path]]:
    """The https base URL of a server with a certificate of its own, and the file that clients must trust."""
    with _running(tmp_path / "log", "--tls-self-signed", "--backend", request.param) as server:
        (trust,) = (line.partition("SSL_CERT_FILE=")[2].strip() for line in server.ready if "trust" in line)
        yield server.http, Path(trust)


@pytest.fixture
def seconds_of(server: Server) -> Callable[[str, str], float]:
    """How long a voice speaks a text, heard with mux's own client."""

    def seconds_of(text: str, voice: str) -> float:
        async def listen() -> int:
            async with mux.connect(server.ws) as session, session.context(voice=voice) as context:
                await context.send(text)
                await context.close()
                return sum([len(chunk.audio) async for chunk in context])

        seconds = anyio.run(listen) / 2 / 24000
        server.logged("socket_closed", 1)
        server.forget()
        return seconds

    return seconds_of


@pytest.fixture(autouse=True)
def _nothing_left_open() -> Iterator[None]:
    """Whatever a test forgot to close complains while it is still that test's turn."""
    yield
    gc.collect()
