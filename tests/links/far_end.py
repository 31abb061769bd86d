"""A link, and the server at its far end, which does exactly what a test says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel

from mux.dialects.elevenlabs import ElevenLabsClient
from mux.links.link import (
    Link,
    open_link,
)
from mux.links.memory import MemoryTransport, memory_pair
from mux.protocol.voice import ContextSettings

__all__ = ["NOTHING", "Server", "linked", "settle"]
NOTHING = ContextSettings()


class Server:
    """The far end, by hand."""

    def __init__(self, end: MemoryTransport) -> None:
        self.end = end

    async def say(self, **frame: Any) -> None:
        await self.end.send(json.dumps(frame))

    async def audio(self, context: str, base64: str = "AAAA") -> None:
        await self.say(audio=base64, contextId=context)

    async def final(self, context: str, **mux: Any) -> None:
        await self.say(isFinal=True, contextId=context, **({"mux": mux} if mux else {}))

    async def heard(self, number: int = 1) -> list[dict[str, Any]]:
        return [json.loads(await self.end.receive()) for _ in range(number)]

    async def hears_nothing_more(self) -> None:
        with anyio.move_on_after(0):
            message = await self.end.receive()
            raise AssertionError(f"unexpected: {message!r:.200}")


@asynccontextmanager
async def linked(**options: Any) -> AsyncIterator[tuple[Link, Server]]:
    ours, theirs = memory_pair(unread_bytes=options.pop("unread_bytes", 65536))
    async with open_link(ours, ElevenLabsClient(), **options) as link:
        yield link, Server(theirs)


async def settle() -> None:
    """Let everybody do what can be done now. (anyio's own way sleeps 0.1 s at a time on asyncio.)"""
    for _ in range(30):
        await anyio.lowlevel.checkpoint()
