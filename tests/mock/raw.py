"""A raw client of a mock, in either dialect: it says what a test says, and keeps every frame."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio

from mux.links.transport import Disconnected, Ending, Transport, open_transport
from mux.mock import Mock

__all__ = ["DIALECTS", "SECONDS", "Raw", "raw"]

DIALECTS = ("elevenlabs", "kugelaudio")
SECONDS = 10.0
"""How long a test waits for what must come."""
PATHS = {
    "elevenlabs": "/v1/text-to-speech/anne/multi-stream-input?output_format=pcm_24000&auto_mode=true",
    "kugelaudio": "/ws/tts/multi?api_key=k",
}


class Raw:
    def __init__(self, transport: Transport, kugelaudio: bool) -> None:
        self.transport = transport
        self.kugelaudio = kugelaudio
        self.frames: list[dict[str, Any]] = []
        self.unreadable: list[str] = []

    async def say(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            await self.transport.send(json.dumps(message))

    async def speak(self, context: str, text: str = "Hello there. ", *, close: bool = True) -> None:
        """One turn, as apps send it."""
        voice = {"voice_id": "anne"} if self.kugelaudio else {}
        await self.say(
            {"text": " ", "context_id": context, "voice_settings": voice},
            {"text": text, "context_id": context},
            {"context_id": context, "flush": True},
        )
        if close:
            await self.close(context)

    async def close(self, context: str) -> None:
        await self.say({"context_id": context, "close_context": True})

    async def read(self) -> dict[str, Any] | None:
        """The next frame; None at what cannot be read."""
        text = await self.transport.receive()
        try:
            frame: dict[str, Any] = json.loads(text)
        except ValueError:
            assert isinstance(text, str)
            self.unreadable.append(text)
            return None
        self.frames.append(frame)
        return frame

    async def ended(self, *contexts: str, seconds: float = SECONDS) -> None:
        """Read until all of these have ended."""
        with anyio.fail_after(seconds):
            while any(not self.ends(context) for context in contexts):
                await self.read()

    async def gone(self, seconds: float = SECONDS) -> Ending:
        """Read until the socket has ended."""
        with anyio.fail_after(seconds):
            try:
                while True:
                    await self.read()
            except Disconnected as gone:
                return gone.ending

    async def for_a_while(self, seconds: float) -> None:
        with anyio.move_on_after(seconds), suppress(Disconnected):
            while True:
                await self.read()

    def id_of(self, frame: dict[str, Any]) -> str | None:
        return frame.get("contextId") or frame.get("context_id")

    def of(self, context: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if self.id_of(frame) == context]

    def ends(self, context: str) -> int:
        """How often it ended."""
        key = "context_closed" if self.kugelaudio else "isFinal"
        return sum(bool(frame.get(key)) for frame in self.of(context))

    def errors(self) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if "error" in frame]

    def audio(self, context: str) -> bytes:
        return b"".join(base64.b64decode(frame["audio"]) for frame in self.of(context) if frame.get("audio"))

    def ms(self, context: str) -> float:
        return len(self.audio(context)) / 48


@asynccontextmanager
async def raw(mock: Mock) -> AsyncIterator[Raw]:
    dialect = mock.scenario.dialect
    async with open_transport(mock.url + PATHS[dialect], max_message=20_000_000) as transport:
        yield Raw(transport, dialect == "kugelaudio")
