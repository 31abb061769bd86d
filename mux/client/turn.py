"""One turn of a streaming session: text goes in as it is written, audio comes out, or it is interrupted."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import anyio
import anyio.lowlevel
import msgspec

from mux.client.context import Chunk, Context
from mux.client.errors import SpeechError, speech_error
from mux.client.telling import Called
from mux.errors import Problem
from mux.links.router import Ended
from mux.protocol.messages import Usage

__all__ = ["StreamingCallbacks", "Turn"]


class Turn:
    """What is said between two words of the other side; made by `StreamingSession.send` and `.turn`.

    It is one context, which is opened with the first text. Any task may send; one iterates over the audio.
    """

    def __init__(self, opening: Callable[[Turn], Awaitable[Context]]) -> None:
        self.number = 0
        """The how-many-th turn with text it is, from 1."""
        self.interrupted = False
        """It was broken off by `cancel_current`, or because its block was left with an exception."""
        self.is_read = False
        """Its reader has come to its end."""
        self._opening = opening
        self._context: Context | None = None
        self._ending = False
        """No more text."""
        self._refused: SpeechError | None = None
        """Why no context could be opened for it."""
        self._unsent = ""
        """Text that is for a context which is not open yet."""
        self._lock = anyio.Lock()
        """Until there is a context, those who send or end take turns."""
        self._placed = anyio.Event()
        """It has a context, or will never have one."""
        self._broken_off: list[anyio.CancelScope] = []
        """What an interruption ends besides the context: its opening, its block."""
        self._reading: anyio.CancelScope | None = None

    # --- what is known -------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """What its chunks and its context are called."""
        return f"turn-{self.number}"

    @property
    def ended(self) -> Ended | None:
        """How its context ended; None while it lives, and if it never had one."""
        return self._context.ended if self._context is not None else None

    @property
    def is_over(self) -> bool:
        """Nobody will hear any more of it, and its context, if it had one, has ended."""
        if self._context is not None:
            return self._context.ended is not None and (self.is_read or self.interrupted)
        return self.is_read or self.interrupted or (self._ending and self._refused is None)

    @property
    def error(self) -> SpeechError | None:
        """Why it ended otherwise than wished, as it is raised; None while it lives and if all is well."""
        return self._context.error if self._context is not None else self._refused

    @property
    def usage(self) -> Usage | None:
        """What it used; None while it lives."""
        return self._context.usage if self._context is not None else None

    @property
    def audio_ms(self) -> float | None:
        """How much of its audio was read, in ms; None if the output format does not tell (mp3, opus)."""
        return self._context.audio_ms if self._context is not None else 0.0

    def split(self, played_ms: float) -> tuple[str, str]:
        """(spoken, unspoken): its text as a listener knows it who has heard `played_ms` of its audio. This is
        what a model should be told to have said after an interruption."""
        if self._context is None:
            return "", self._unsent
        return self._context.split(played_ms)

    # --- text ----------------------------------------------------------------------------------------

    async def send(self, text: str, *, flush: bool = False) -> None:
        """Send text, in pieces of any size, which are joined as they are. `flush` has all of it spoken now;
        as a rule the service knows better when.

        Does not wait for the service. Cancelling sends nothing of this piece.

        Raises:
            SpeechError: the turn has ended, was interrupted, or could not be opened.
        """
        if self._context is not None:
            await self._context.send(text, flush=flush)
            return
        await anyio.lowlevel.checkpoint()
        async with self._lock:
            if text or self._context is not None:
                context = self._context or await self._open(text)
                await context.send(text, flush=flush)

    async def flush(self) -> None:
        """Have everything that was sent so far spoken now. Raises as `send` does."""
        await self.send("", flush=True)

    async def end(self) -> None:
        """That was all: the rest is spoken. Does not wait for that."""
        async with self._lock:
            self._ending = True
            if self._context is not None:
                await self._context.close()

    async def _open(self, text: str) -> Context:
        if self._refused is not None:
            raise self._refused
        if self._ending or self.interrupted:
            raise self._over()
        self._unsent = text
        try:
            with anyio.CancelScope() as scope:
                self._broken_off.append(scope)
                self._context = await self._opening(self)
            if self._context is None:
                raise self._over()
        except SpeechError as error:
            self._refused = None if self.interrupted else error
            raise
        except BaseException:
            self.stop()
            raise
        finally:
            self._placed.set()
        return self._context

    def _over(self) -> SpeechError:
        how = "interrupted" if self.interrupted else "ended without any text"
        problem = Problem(code="closed_early", message=f"This turn was {how}; begin another one.")
        return speech_error(problem, unspoken=self._unsent)

    # --- its end -------------------------------------------------------------------------------------

    def break_off(self, scope: anyio.CancelScope) -> None:
        """Have an interruption cancel this scope, too."""
        self._broken_off.append(scope)

    def stop(self) -> bool:
        """Interrupt it, unless all of it was read; no audio is delivered from now on. Does not wait for the
        confirmation. Returns whether there was something to interrupt."""
        if self.interrupted or self.is_read:
            return False
        self.interrupted = True
        if self._context is not None:
            self._context.stop()
        for scope in self._broken_off:
            scope.cancel()
        if self._reading is not None:
            self._reading.cancel()
        return True

    async def confirmed(self) -> None:
        """After `stop`: wait until the service has confirmed it, at most 5 s."""
        if self._context is not None:
            await self._context.cancel()

    async def wait_ended(self) -> None:
        """Wait until its context has ended, if it has one."""
        if self._context is not None:
            await self._context.wait_ended()

    async def wait_spoken(self) -> Usage | None:
        """After `end`: wait until all of it has come, and return what it used.

        Raises:
            SpeechError: it failed; or nothing came of it for too long (`TimedOut`).
        """
        await self.wait_ended()
        if self.error is not None and not self.interrupted:
            raise self.error
        return self.usage

    # --- audio ---------------------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        """The next audio. The iteration ends with the turn, and at once when it is interrupted.

        Raises:
            SpeechError: the turn failed; what came before that was delivered.
        """
        chunk = await self.next_chunk()
        if chunk is not None:
            return chunk
        if self.error is not None and not self.interrupted:
            raise self.error
        raise StopAsyncIteration

    async def next_chunk(self) -> Chunk | None:
        """The next audio, or None when no more comes, whatever the reason."""
        chunk = None
        if not self.interrupted:
            with anyio.CancelScope() as self._reading:
                await self._placed.wait()
                if self._context is not None:
                    chunk = await self._context.next_chunk()
        if self.interrupted:
            return None
        self.is_read = chunk is None
        return chunk


class StreamingCallbacks(msgspec.Struct, frozen=True, kw_only=True):
    """Functions, plain or async, that a streaming session calls; each may be left out.

    Turns are told one after the other, in order; a slow function delays what follows. What a function raises
    ends the session, and comes out of its block.
    """

    on_turn: Callable[[Turn], Called] | None = None
    """The audio of a turn is about to be told."""
    on_chunk: Callable[[Chunk], Called] | None = None
    on_final: Callable[[Turn], Called] | None = None
    """All audio of a turn has been told."""
    on_interrupted: Callable[[Sequence[Turn]], Called] | None = None
    """`cancel_current` was called: stop playing. (The turns it broke off; none if all had been told.)"""
    on_session_closed: Callable[[Turn, Usage | None], Called] | None = None
    """The last word about a turn, however it ended: what it used. (A turn is what KugelAudio calls a
    session.) That of an interrupted turn comes with the service's confirmation."""
    on_error: Callable[[SpeechError, Turn], Called] | None = None
    """A turn failed; the next one goes on."""

    async def call(self, name: str, *arguments: Any) -> None:
        """Call one of them, if it is there."""
        function = getattr(self, name)
        if function is not None:
            result = function(*arguments)
            if inspect.isawaitable(result):
                await result
