"""Plays the dialogue: contexts are filled and heard at the same time, and a playhead moves through them.

All speaking time is counted by a clock that may run faster than the world's, so that the demo need not wait.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from enum import Enum

import anyio
import anyio.abc

from mux.audio.mix import Track
from mux.cli.demo.script import CAST, TURNS, WATCH, Turn
from mux.client import Context, Session
from mux.links.router import Ended
from mux.protocol.messages import Reason

__all__ = ["SAMPLE_RATE", "Part", "Stage", "Status"]

SAMPLE_RATE = 24_000
STEP = 0.05
"""Seconds by which the playhead moves."""
PAUSE = 0.3
"""Seconds of silence between two turns."""
LONGEST_GAP = 20.0
"""Seconds (of the world's clock) that the playhead waits for audio before the demo gives up."""


class Status(Enum):
    """Where a part stands, as the table shows it."""

    WRITING = "writing"
    READY = "ready"
    PLAYING = "playing"
    HEARD = "heard"
    INTERRUPTED = "interrupted"
    DROPPED = "dropped unheard"
    IDLE = "idle"
    TIMED_OUT = "timed out"


class Part:
    """One context of the play and what is known of it."""

    def __init__(self, number: int, name: str, turn: Turn | None) -> None:
        self.number = number
        self.name = name
        self.turn = turn
        self.status = Status.IDLE if turn is None else Status.WRITING
        self.characters = 0
        self.pcm = bytearray()
        self.heard_bytes = 0
        self.first_audio_ms: float | None = None
        self.underruns = 0
        self.ended: Ended | None = None
        self.context: Context | None = None
        self.writing = anyio.CancelScope()
        """The imagined model at work."""
        self._changed = anyio.Event()

    @property
    def audio_seconds(self) -> float:
        return len(self.pcm) / 2 / SAMPLE_RATE

    @property
    def lead(self) -> float:
        """Seconds of audio in hand that the playhead has not reached."""
        return (len(self.pcm) - self.heard_bytes) / 2 / SAMPLE_RATE

    @property
    def heard(self) -> bytes:
        return bytes(self.pcm[: self.heard_bytes])

    def change(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def changed(self) -> None:
        await self._changed.wait()


class Stage:
    """The running play.

    Args:
        speed: seconds of speech in a second of the world.
        on_change: called whenever something about a part has changed.
        listen: gets the audio as the playhead passes it.
    """

    def __init__(
        self,
        session: Session,
        *,
        speed: float,
        on_change: Callable[[Part, str], None],
        listen: Callable[[bytes], Awaitable[None]] | None = None,
    ) -> None:
        self.parts: list[Part] = []
        self.track = Track(SAMPLE_RATE)
        self._session = session
        self._speed = speed
        self._on_change = on_change
        self._listen = listen

    async def perform(self) -> None:
        """Play all turns, then close the socket with `close_socket`. Raises MuxError when a context fails."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch)
            prepared = self._prepare(tasks, TURNS[0])
            for index in range(len(TURNS)):
                playing = prepared
                if index + 1 < len(TURNS):
                    # The next turn is written and spoken while this one plays.
                    prepared = self._prepare(tasks, TURNS[index + 1])
                if playing.status is not Status.DROPPED:
                    await self._play(playing, prepared)
        await self._session.close()

    def _prepare(self, tasks: anyio.abc.TaskGroup, turn: Turn) -> Part:
        part = Part(len(self.parts) + 1, turn.actor, turn)
        self.parts.append(part)
        tasks.start_soon(self._fill, part, turn)
        return part

    async def _fill(self, part: Part, turn: Turn) -> None:
        """One context: tokens go in as a model writes them, audio comes out meanwhile."""
        actor = CAST[turn.actor]
        async with self._session.context(
            f"{part.number:02}-{actor.name}",
            voice=actor.voice,
            settings=actor.settings,
            chunk_length_schedule=(30, 80, 150),
        ) as context:
            part.context = context
            self._tell(part, "opened")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._write, part, turn, context)
                began = anyio.current_time()
                async for chunk in context:
                    if part.first_audio_ms is None:
                        part.first_audio_ms = (anyio.current_time() - began) * 1000
                        self._tell(part, f"first audio after {part.first_audio_ms:.0f} ms")
                    part.pcm += chunk.audio
                    part.change()
                tasks.cancel_scope.cancel()
            part.ended = await context.wait_ended()
            part.change()
            written = part.characters / len(turn.text)
            if written < 1:
                self._tell(part, f"was cut off when {written:.0%} of its text was written")
            self._tell(part, f"ended {part.ended.reason.value}, {part.audio_seconds:.1f} s of audio")

    async def _write(self, part: Part, turn: Turn, context: Context) -> None:
        with part.writing:
            for token in re.findall(r"\s*\S{1,4}", turn.text):
                await context.send(token)
                part.characters += len(token)
                await anyio.sleep(1 / turn.pace / self._speed)
            await context.close()
            if part.status is Status.WRITING:
                part.status = Status.READY

    async def _play(self, part: Part, following: Part) -> None:
        """Move the playhead through one turn, to its end or to where it is interrupted."""
        assert part.turn is not None
        part.status = Status.PLAYING
        self._tell(part, "plays")
        start = len(self.track) + int(PAUSE * SAMPLE_RATE) * bool(len(self.track))
        step = int(STEP * SAMPLE_RATE) * 2
        stop = part.turn.interrupted_after
        while True:
            due = part.heard_bytes + step
            with anyio.fail_after(LONGEST_GAP):
                while len(part.pcm) < due and part.ended is None:
                    part.underruns += part.heard_bytes > 0
                    await part.changed()
            piece = bytes(part.pcm[part.heard_bytes : due])
            if not piece:
                break
            if self._listen is not None:
                await self._listen(piece)
            part.heard_bytes += len(piece)
            await anyio.sleep(len(piece) / 2 / SAMPLE_RATE / self._speed)
            if stop is not None and part.heard_bytes >= stop * SAMPLE_RATE * 2:
                await self._interrupt(part, following)
                break
        self.track.add(part.heard, start)
        if part.status is Status.PLAYING:
            part.status = Status.HEARD
        self._tell(part, f"{part.status.value} at {part.heard_bytes / 2 / SAMPLE_RATE:.1f} s")

    async def _interrupt(self, part: Part, following: Part) -> None:
        """Barge-in: this turn stops where it is heard now, and what was prepared after it is dropped."""
        part.status, following.status = Status.INTERRUPTED, Status.DROPPED
        for cut in (part, following):
            cut.writing.cancel()
            if cut.context is not None:
                await cut.context.cancel()

    async def _watch(self) -> None:
        part = Part(0, WATCH, None)
        self.parts.append(part)
        try:
            async with self._session.context(WATCH, keepalive=False, inactivity_timeout=1.0) as context:
                part.context = context
                self._tell(part, "opened, and left alone")
                part.ended = await context.wait_ended()
        finally:
            if part.ended is not None and part.ended.reason is Reason.TIMED_OUT:
                part.status = Status.TIMED_OUT
            self._tell(part, "timed out" if part.ended else "was dropped")

    def failures(self) -> list[str]:
        """What did not go as the script says; empty when all is well."""
        wrong = []
        for part in self.parts:
            expected = Reason.COMPLETED
            if part.turn is None:
                expected = Reason.TIMED_OUT
            elif part.status in (Status.INTERRUPTED, Status.DROPPED):
                expected = Reason.CANCELLED
            if part.ended is None or part.ended.reason is not expected:
                how = part.ended.reason.value if part.ended else "not at all"
                wrong.append(f"{part.name} ended {how}, expected {expected.value}")
        return wrong

    def _tell(self, part: Part, what: str) -> None:
        self._on_change(part, what)
