"""A client of KugelAudio's sockets by hand: it says what a test says, keeps every frame, and sees that each
of them is documented."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import sniffio
import trio
import trio.testing
from kugelaudio_frames import check_frame, kind_of
from speaking import WatchedEngine
from wire import Frame, Wire, quick, say_alone

from mux.config import Settings
from mux.engines.tone import ToneEngine
from mux.links.transport import Ending
from mux.testing import MemoryServer, memory_server

__all__ = [
    "MULTI",
    "REQUESTS",
    "STREAM",
    "VOICE",
    "Frame",
    "Talk",
    "audio_of",
    "breaking",
    "kinds",
    "opened",
    "quick",
    "say_alone",
    "talking",
    "usage_of",
]

MULTI, STREAM, REQUESTS = "/ws/tts/multi", "/ws/tts/stream", "/ws/tts"
VOICE = {"voice_id": 1071}


def kinds(frames: list[Frame], *without: str) -> list[str]:
    return [kind for kind in map(kind_of, frames) if kind not in without]


def audio_of(frames: list[Frame]) -> bytes:
    return b"".join(base64.b64decode(frame["audio"]) for frame in frames if "audio" in frame)


def usage_of(seconds: float, characters: int, **more: Any) -> Frame:
    """Usage without a price."""
    usage = {"audio_seconds": seconds, "characters": characters}
    return {**usage, "cost_cents": None, "cost_unavailable": True, **more}


def breaking(fails_after: float = float("inf"), held_after: float = float("inf")) -> WatchedEngine:
    """An engine that a test can break or hold up, at the rate of this wire: what it said is what was sent."""
    engine = WatchedEngine(held_after, fails_after)
    engine.sample_rate = 24000
    return engine


def opened(context: str, **voice: Any) -> Frame:
    """The message with which the SDKs create a context."""
    return {"text": " ", "context_id": context, "voice_settings": {**VOICE, **voice}}


class Talk(Wire):
    """The client's end of a socket."""

    async def read_until(self, done: Callable[[Frame], bool], seconds: float | None = None) -> Frame:
        def checked(frame: Frame) -> bool:
            check_frame(frame)
            return done(frame)

        return await super().read_until(checked, seconds or _patience())

    async def until(self, kind: str, context: str | None = None, seconds: float | None = None) -> Frame:
        """Read up to the next frame of this kind (of this context)."""

        def found(frame: Frame) -> bool:
            return kind in frame and (context is None or frame.get("context_id") == context)

        return await self.read_until(found, seconds)

    async def finals(self, *contexts: str) -> None:
        """Read until each of these has had a `final`."""
        while not {*contexts} <= {frame["context_id"] for frame in self.told("final")}:
            await self.until("final")

    async def to_the_end(self, seconds: float | None = None) -> Ending:
        return await super().to_the_end(seconds or _patience())

    async def answers(self, message: Frame, kind: str, context: str | None = None) -> list[Frame]:
        """Say something; give all that comes up to a frame of this kind."""
        before = len(self.frames)
        await self.say(message)
        await self.until(kind, context)
        return self.frames[before:]

    def of(self, context: str) -> list[Frame]:
        return [frame for frame in self.frames if frame.get("context_id") == context]

    def audio(self, context: str | None = None) -> bytes:
        return audio_of(self.frames if context is None else self.of(context))

    def told(self, kind: str, context: str | None = None) -> list[Frame]:
        return [frame for frame in (self.of(context) if context else self.frames) if kind in frame]


def _patience() -> float:
    """How long an answer may take, in s: in virtual time that costs nothing."""
    virtual = sniffio.current_async_library() == "trio" and isinstance(
        trio.lowlevel.current_clock(), trio.testing.MockClock
    )
    return 600 if virtual else 5


@asynccontextmanager
async def talking(
    path: Any = MULTI, engine: ToneEngine | None = None, settings: Settings | None = None
) -> AsyncIterator[tuple[Talk, MemoryServer]]:
    """A socket of a server in memory."""
    async with memory_server(engine or quick(sample_rate=24000), settings) as server:
        yield Talk(server.open_kugelaudio(path)), server
