"""The whole application served over the loopback interface, and an engine that a test can watch, hold up and
break."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import httpx
from loopback import running, until
from wire import Frame, Wire

from mux.config import Settings
from mux.engines.base import Chunk, Job, Synthesizer
from mux.engines.tone import ToneEngine
from mux.errors import MuxError
from mux.links.transport import open_transport
from mux.server.app import create_app
from mux.server.service import Service, start_service

__all__ = [
    "ENDPOINTS",
    "SPEECH",
    "Served",
    "WatchedEngine",
    "errors",
    "finals",
    "heard",
    "served",
    "settled",
]

SPEECH = "/v1/text-to-speech/alice"
ENDPOINTS = ("", "/stream", "/with-timestamps", "/stream/with-timestamps")
_UPGRADE = {
    "connection": "upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


class WatchedEngine(ToneEngine):
    """A tone engine of 160 bytes a character and six characters a chunk. `speaks` counts the jobs that are
    being spoken. After `held_after` chunks it waits for `go`, after `fails_after` chunks it fails. It knows
    all voices but "nobody", and no Klingon."""

    def __init__(self, held_after: float = float("inf"), fails_after: float = float("inf")) -> None:
        super().__init__(sample_rate=8000, character_seconds=0.01)
        self.held_after = held_after
        self.fails_after = fails_after
        self.go = anyio.Event()
        self.speaks = 0
        self.jobs: list[Job] = []

    def check(self, voice: str | None, language: str | None) -> str | None:
        if voice == "nobody":
            return "There is no voice 'nobody'. Choose one of: alice."
        return "Alice speaks no Klingon. Choose one of: en." if language == "tlh" else None

    @asynccontextmanager
    async def start(self, workers: int) -> AsyncGenerator[Sequence[Synthesizer], None]:
        async with super().start(workers) as synthesizers:
            yield [_Watched(self, synthesizer) for synthesizer in synthesizers]


class _Watched:
    def __init__(self, engine: WatchedEngine, synthesizer: Synthesizer) -> None:
        self._engine = engine
        self._synthesizer = synthesizer

    @asynccontextmanager
    async def speak(self, job: Job) -> AsyncGenerator[AsyncIterator[Chunk], None]:
        self._engine.jobs.append(job)
        self._engine.speaks += 1
        try:
            async with self._synthesizer.speak(job) as chunks:
                yield self._chunks(chunks)
        finally:
            self._engine.speaks -= 1

    async def _chunks(self, chunks: AsyncIterator[Chunk]) -> AsyncIterator[Chunk]:
        engine = self._engine
        number = 0
        async for chunk in chunks:
            if number >= engine.held_after:
                await engine.go.wait()
            if number >= engine.fails_after:
                raise MuxError.of("engine_failed", "The engine broke.")
            number += 1
            yield chunk


class Served:
    """A running server, and how to talk to it."""

    def __init__(self, port: int, service: Service, engine: WatchedEngine, http: httpx.AsyncClient) -> None:
        self.port = port
        self.service = service
        self.engine = engine
        self.http = http

    async def post(self, path: str = "", json: Any = None, **options: Any) -> httpx.Response:
        """Speak in alice's voice as pcm_8000."""
        params = {"output_format": "pcm_8000", **options.pop("params", {})}
        json = {"text": "Hello there."} if json is None and "content" not in options else json
        return await self.http.post(SPEECH + path, json=json, params=params, **options)

    def stream(self, path: str, text: str) -> AbstractAsyncContextManager[httpx.Response]:
        """The same, and the answer is there as soon as its head is."""
        params = {"output_format": "pcm_8000"}
        return self.http.stream("POST", SPEECH + path, json={"text": text}, params=params)

    async def nobody_speaks(self) -> None:
        """Wait until nothing is left of what was asked for."""
        service = self.service
        await until(lambda: (self.engine.speaks, service.contexts, service.sockets) == (0, 0, 0))

    async def shake_hands(self, endpoint: str, **params: str) -> httpx.Response:
        """The answer to a handshake that is refused."""
        # On trio the server ends the connection of a refused handshake.
        url = f"http://127.0.0.1:{self.port}{SPEECH}/{endpoint}"
        async with _client() as http:
            return await http.get(url, params=params, headers=_UPGRADE)

    @asynccontextmanager
    async def socket(
        self, query: str = "", endpoint: str = "stream-input", **headers: str
    ) -> AsyncIterator[Wire]:
        """A socket of alice's voice, as pcm_8000 if the query does not say otherwise."""
        if "output_format" not in query:
            query = f"output_format=pcm_8000&{query}"
        url = f"ws://127.0.0.1:{self.port}{SPEECH}/{endpoint}?{query}"
        async with open_transport(url, headers=headers) as transport:
            yield Wire(transport)


def _client(**options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(trust_env=False, verify=False, **options)


@asynccontextmanager
async def served(engine: WatchedEngine | None = None, **settings: Any) -> AsyncIterator[Served]:
    engine = engine or WatchedEngine()
    async with (
        start_service(engine, Settings(engine="tone", **settings)) as service,
        running(create_app(service)) as port,
        _client(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        yield Served(port, service, engine, http)


# --- what a client of stream-input got --------------------------------------------------------------


def heard(frames: list[Frame]) -> bytes:
    return b"".join(base64.b64decode(frame["audio"]) for frame in frames if frame.get("audio"))


def finals(frames: list[Frame]) -> list[int]:
    return [number for number, frame in enumerate(frames) if frame.get("isFinal")]


def errors(frames: list[Frame]) -> list[str]:
    return [frame["error"] for frame in frames if "error" in frame]


async def settled(client: Wire) -> None:
    """Read to the final, and see that it is the last frame and the close a clean one."""
    ending = await client.to_the_end(10)
    assert (ending.code, ending.reason) == (1000, "")
    assert finals(client.frames) == [len(client.frames) - 1]
    assert client.frames[-1]["audio"] is None
    assert errors(client.frames) == []
