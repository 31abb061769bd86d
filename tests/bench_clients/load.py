"""The load that every client gets: what is said, how tokens are fed, and the server that speaks."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager

import anyio

from mux.config import Settings
from mux.engines.base import Chunk, Job
from mux.engines.tone import ToneEngine
from mux.server.app import create_app
from mux.server.listener import open_listener
from mux.server.run import serve
from mux.server.service import start_service

Heard = Callable[[int], None]
"""Called with the bytes of each piece of audio that an app is given."""

PLACES = 16
"""Voices that speak at the same time."""
PACE = 4
"""Times the speed of speech."""
FRAME_BYTES = 4800
"""100 ms at 24 kHz."""
TEXT = "The quick brown fox jumps over the lazy dog and nobody knows why it does so. Yes"
"""A frame for every two characters: 4 s of audio."""
TURN_SECONDS = len(TEXT) / 2 * 0.1 / PACE
SHORT = "Yes."
VOICE = "1071"
TOKENS = 200
TOKEN = "word "
FEED_SECONDS = 1.0
"""Who cannot take all tokens within it is timed by those that it took."""
SETTLE_SECONDS = 0.2
"""For what a client has queued to be written, before the CPU of sending is read."""


class Tokens:
    """Text for one turn, token by token, and when it was taken."""

    def __init__(self) -> None:
        self.given = 0
        self.began = self.ended = 0.0
        self._cpu = 0.0
        self.cpu = 0.0

    def __iter__(self) -> Iterator[str]:
        self._cpu, self.began = time.process_time(), time.perf_counter()
        while self.given < TOKENS and time.perf_counter() - self.began < FEED_SECONDS:
            self.given += 1
            yield TOKEN
        self.ended = time.perf_counter()

    async def settle(self) -> None:
        await anyio.sleep(SETTLE_SECONDS)
        self.cpu = time.process_time() - self._cpu


class Client(ABC):
    """One library, with one session open, or with one for each place."""

    @abstractmethod
    async def say(self, place: int, text: str, heard: Heard) -> None:
        """One turn, to the end of its audio."""

    @abstractmethod
    async def feed(self, tokens: Tokens) -> None:
        """Send tokens as fast as they are taken, wait for `tokens.settle`, and drop the rest of that turn."""


class Paced(ToneEngine):
    """Gives each frame at its time, not before."""

    reads_itself = True

    @asynccontextmanager
    async def start(self, workers: int) -> AsyncIterator[list[Paced]]:
        yield [self] * workers

    @asynccontextmanager
    async def speak(self, job: Job) -> AsyncIterator[AsyncIterator[Chunk]]:
        async with aclosing(self._chunks(job.text)) as chunks:
            yield chunks

    async def _chunks(self, text: str) -> AsyncGenerator[Chunk, None]:
        due = anyio.current_time()
        for first in range(0, len(text), 2):
            starts = (0, 1200) if first + 1 < len(text) else (0,)
            yield Chunk(b"\x11" * FRAME_BYTES, starts)
            due += 0.1 / PACE
            await anyio.sleep_until(due)


async def serve_all() -> None:
    listener = open_listener("127.0.0.1", 0)
    async with start_service(Paced(), Settings(engine="tone", workers=64)) as service:
        print(listener.getsockname()[1], flush=True)
        await serve(create_app(service), listener, anyio.Event())
