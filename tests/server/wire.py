"""A client of the wire by hand: it says what a test says, and keeps every frame."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import anyio

from mux.engines.base import Job
from mux.engines.tone import ToneEngine
from mux.links.transport import Disconnected, Ending, Transport

__all__ = ["PCM", "Frame", "Wire", "all_in_one", "quick", "say_alone"]

Frame = dict[str, Any]
PCM = {"output_format": "pcm_8000"}


def quick(**options: Any) -> ToneEngine:
    """A tone engine whose audio is small: 160 bytes a character."""
    return ToneEngine(**{"sample_rate": 8000, "character_seconds": 0.01, **options})


async def say_alone(engine: ToneEngine, text: str, voice: str | None = "default") -> bytes:
    """What the engine says to a text, at once and without any server."""
    patient = ToneEngine(engine.sample_rate, engine.character_seconds)
    async with patient.start(1) as (synthesizer,), synthesizer.speak(Job(text, voice)) as chunks:
        return b"".join([chunk.pcm async for chunk in chunks])


def all_in_one(context: str, text: str, **more: Any) -> Frame:
    """One message that opens, speaks and ends a context."""
    return {"text": text, "context_id": context, "flush": True, "close_context": True, **more}


class Wire:
    """The client's end of a socket."""

    def __init__(self, transport: Transport) -> None:
        self.transport: Any = transport
        self.frames: list[Frame] = []
        self.times: list[float] = []

    async def say(self, *messages: Frame | str) -> None:
        for message in messages:
            await self.transport.send(message if isinstance(message, str) else json.dumps(message))

    async def read_until(self, done: Callable[[Frame], bool], seconds: float = 300) -> Frame:
        """Read up to the first frame that is the one, and give it."""
        with anyio.fail_after(seconds):
            while True:
                frame = json.loads(await self.transport.receive())
                self.frames.append(frame)
                self.times.append(anyio.current_time())
                if done(frame):
                    return frame  # type: ignore[no-any-return]

    async def final(self, *contexts: str) -> Frame:
        """Read until all of these have ended; gives the last one's last frame."""
        left = set(contexts) - {frame.get("contextId") for frame in self.frames if frame.get("isFinal")}
        while left:
            frame = await self.read_until(lambda frame: bool(frame.get("isFinal")))
            left.discard(frame["contextId"])
        return next(frame for frame in self.of(contexts[-1]) if frame.get("isFinal"))

    async def to_the_end(self, seconds: float = 300) -> Ending:
        """Read until the socket is closed."""
        try:
            await self.read_until(lambda frame: False, seconds)
        except Disconnected as gone:
            return gone.ending
        raise AssertionError

    async def for_a_while(self, seconds: float) -> list[Frame]:
        """What comes within this time."""
        before = len(self.frames)
        with anyio.move_on_after(seconds):
            await self.read_until(lambda frame: False)
        return self.frames[before:]

    def of(self, context: str) -> list[Frame]:
        return [frame for frame in self.frames if frame.get("contextId") == context]

    def audio(self, context: str) -> bytes:
        return b"".join(base64.b64decode(frame["audio"]) for frame in self.of(context) if frame.get("audio"))

    def errors(self, context: str) -> list[str]:
        return [frame["error"] for frame in self.of(context) if "error" in frame]
