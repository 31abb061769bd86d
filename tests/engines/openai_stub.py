"""Servers with OpenAI's speech route: one that works and speaks tones, and one that breaks as told."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import anyio
import anyio.abc
import pytest
from anyio.from_thread import start_blocking_portal
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from mux.engines.base import Chunk, Job, Synthesizer
from mux.engines.openai_http import OpenAiEngine
from mux.engines.openai_server import Deadlines
from mux.engines.tone import ToneEngine
from mux.errors import MuxError
from mux.protocol.voice import VoiceSettings
from mux.server.listener import open_listener
from mux.server.run import serve

KEY = "sk-proj-Zq81vXw07mLk29"
Stream = anyio.abc.SocketStream


class ToneServer:
    """Speaks each character as 50 ms of tone at 24000 Hz. It keeps what it was asked."""

    def __init__(self, voices: Any = None, key: str | None = None) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.peers: set[Any] = set()
        self.voices = voices
        self.key = key
        self.app = Starlette(
            routes=[
                Route("/v1/models", self._models),
                Route("/v1/audio/voices", self._voices),
                Route("/v1/audio/speech", self._speech, methods=["POST"]),
            ]
        )

    def _refusal(self, request: Request) -> Response | None:
        self.paths.append(request.url.path)
        self.peers.add(request.client)
        if self.key is None or request.headers.get("authorization") == f"Bearer {self.key}":
            return None
        given = request.headers.get("authorization")
        return JSONResponse({"error": {"message": f"Incorrect API key provided: {given}"}}, 401)

    async def _models(self, request: Request) -> Response:
        return self._refusal(request) or JSONResponse({"object": "list", "data": [{"id": "tts-1"}]})

    async def _voices(self, request: Request) -> Response:
        if self.voices is None:
            return JSONResponse({"detail": "Not Found"}, 404)
        return self._refusal(request) or JSONResponse(self.voices)

    async def _speech(self, request: Request) -> Response:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        try:
            asked = await request.json()
        except ClientDisconnect:
            return Response()
        self.bodies.append(asked)
        return StreamingResponse(_Tones(asked), media_type="audio/pcm")


class _Tones:
    """An iterator, because nobody closes a generator whose listener has left."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self._left = asked["input"]
        self._voice = asked["voice"]
        self._settings = VoiceSettings(speed=asked.get("speed", 1.0))

    def __aiter__(self) -> _Tones:
        return self

    async def __anext__(self) -> bytes:
        piece, self._left = self._left[:40], self._left[40:]
        if not piece:
            raise StopAsyncIteration
        engine = ToneEngine(sample_rate=24000)
        job = Job(piece if piece.strip() else "-" * len(piece), self._voice, settings=self._settings)
        async with engine.start(1) as (tone,), tone.speak(job) as chunks:
            return b"".join([chunk.pcm async for chunk in chunks])


@asynccontextmanager
async def served(app: Any, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve an app by mux's own runner, on a free port if none is given; gives the base URL."""
    listener = open_listener("127.0.0.1", port)
    port = listener.getsockname()[1]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(serve, app, listener, anyio.Event(), tls=tls))
        yield f"http{'s' if tls else ''}://127.0.0.1:{port}/v1"
        tasks.cancel_scope.cancel()


@contextmanager
def served_in_thread(app: Any) -> Iterator[str]:
    """The same for tests of either loop, on asyncio in a thread."""
    with start_blocking_portal("asyncio") as portal, portal.wrap_async_context_manager(served(app)) as url:
        yield url


Speak = Callable[[Stream, dict[str, Any]], Awaitable[None]]


class RawServer:
    """Speaks just enough HTTP to break it anywhere: `speak` answers a POST; there are no other routes."""

    def __init__(self, speak: Speak, get: bytes = b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n") -> None:
        self.posts = 0
        self.connections = 0
        self.open = 0
        self._speak = speak
        self._get = get

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, self._connected)
            yield f"http://127.0.0.1:{port}/v1"
            tasks.cancel_scope.cancel()

    async def _connected(self, stream: Stream) -> None:
        self.connections += 1
        self.open += 1
        try:
            async with stream:
                while True:
                    await self._answer(stream)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        finally:
            self.open -= 1

    async def _answer(self, stream: Stream) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive()
        head, _, body = data.partition(b"\r\n\r\n")
        if head.startswith(b"GET"):
            await stream.send(self._get)
            return
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        while len(body) < length:
            body += await stream.receive()
        self.posts += 1
        await self._speak(stream, json.loads(body))


def head(status: str = "200 OK", **headers: str | int) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode()


def whole(body: bytes, status: str = "200 OK", **headers: str | int) -> bytes:
    return head(status, **{"content_type": "audio/pcm", "content_length": len(body), **headers}) + body


def answering(*answers: bytes) -> RawServer:
    """Gives these answers to the first POSTs, and the last of them to all others."""

    async def speak(stream: Stream, asked: dict[str, Any]) -> None:
        nonlocal answers
        await stream.send(answers[0])
        answers = answers[1:] or answers

    return RawServer(speak)


async def until_left(stream: Stream) -> None:
    """Wait until the other end has closed."""
    while True:
        await stream.receive()


async def spoken(chunks: AsyncIterator[Chunk]) -> bytes:
    return b"".join([chunk.pcm async for chunk in chunks])


# --- listening to them ---

TEXT = "Good morning, everybody."
PCM = bytes(range(256)) * 20
QUICK = Deadlines(connect=1, first_byte=0.05, idle=0.05)


@asynccontextmanager
async def started(url: str, **options: Any) -> AsyncIterator[Synthesizer]:
    async with OpenAiEngine(base_url=url, **options).start(1) as (synthesizer,):
        yield synthesizer


@asynccontextmanager
async def speaking(server: RawServer, **options: Any) -> AsyncIterator[AsyncIterator[Chunk]]:
    async with (
        server.served() as url,
        started(url, **options) as synthesizer,
        synthesizer.speak(Job(TEXT)) as chunks,
    ):
        yield chunks


async def say(
    synthesizer: Synthesizer, text: str = TEXT, voice: str | None = None, speed: float = 1
) -> bytes:
    async with synthesizer.speak(Job(text, voice, settings=VoiceSettings(speed=speed))) as chunks:
        return await spoken(chunks)


async def failure(synthesizer: Synthesizer, text: str = TEXT) -> MuxError:
    with pytest.raises(MuxError) as caught:
        await say(synthesizer, text)
    return caught.value


async def start_failure(url: str, **options: Any) -> MuxError:
    with pytest.raises(MuxError) as caught:
        async with OpenAiEngine(base_url=url, **options).start(2):
            pass
    return caught.value
