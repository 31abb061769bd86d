"""Speaking what a language model writes, turn by turn, on one warm socket."""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import anyio.abc

from mux.client.chunking import chunking_of
from mux.client.connect import connect
from mux.client.context import Context
from mux.client.errors import SpeechError, speech_error
from mux.client.session import Session, checked_voice, told_as_speech_error
from mux.client.turn import StreamingCallbacks, Turn
from mux.errors import Problem
from mux.links.endpoint import DEFAULT_TIMEOUT, Dialect
from mux.links.pool import BUFFER_BYTES
from mux.protocol.messages import Usage
from mux.protocol.voice import VoiceSettings
from mux.tasks import owned_tasks

__all__ = ["StreamingSession", "streaming_over", "streaming_session"]

UNREAD = 8
"""Turns that may wait to be read; each may leave a context's `buffer_bytes` unread."""


class StreamingSession:
    """One turn after the other, each a context of one session; made by `streaming_session`.

    One task feeds what a model writes, another plays what comes, a third may interrupt:

    >>> async with session.turn() as turn:  # is left at once when it is interrupted
    ...     async for token in model:
    ...         await turn.send(token)
    >>> async for turn in session.turns():
    ...     async for chunk in turn:
    ...         await play(chunk.audio)
    >>> await session.cancel_current()
    """

    def __init__(
        self,
        session: Session,
        tasks: anyio.abc.TaskGroup,
        *,
        callbacks: StreamingCallbacks | None = None,
        owns: bool = False,
    ) -> None:
        self.session = session
        self._tasks = tasks
        self._callbacks = callbacks
        self._owns = owns
        """`close` closes the session, too."""
        self._config: dict[str, Any] = {}
        """How the next turn is opened."""
        self._current: Turn | None = None
        """The one that `send` is for."""
        self._count = 0
        self._turns: list[Turn] = []
        """Those that are not over, the oldest first."""
        self._waiting: deque[Turn] = deque()
        """Those that nobody has begun to read."""
        self._unconfirmed: set[Turn] = set()
        """Those whose interruption the service has still to confirm."""
        self._last: Turn | None = None
        """The newest that has ended."""
        self._closed = False
        self._changed = anyio.Event()

    # --- what is known -------------------------------------------------------------------------------

    @property
    def is_connected(self) -> bool:
        """Whether a socket is open that takes turns."""
        return self.session.is_connected

    @property
    def last_usage(self) -> Usage | None:
        """What the newest turn that has ended used; None before the first has."""
        self._sort_out()
        return self._last.usage if self._last is not None else None

    # --- text ----------------------------------------------------------------------------------------

    async def send(self, text: str, *, flush: bool = False) -> None:
        """Send text of the current turn; the first text begins one. Does not wait for the service.

        After `cancel_current` the next text begins another turn, so a task that feeds must know that its turn
        is over: `turn` sees to that. A turn that has failed remains current, and every further `send` raises
        its error, until `end_session` or `cancel_current`: half an answer is not begun.

        Raises:
            SpeechError: the turn failed, could not be opened, or too many wait to be read; or this session
                was closed.
        """
        turn = self._current
        if turn is None:
            if not text:
                return
            turn = self._current = self._new()
        try:
            await turn.send(text, flush=flush)
        except SpeechError:
            if not turn.interrupted:
                raise

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn]:
        """A turn for the length of the block. Leaving the block ends it: the rest is still spoken.

        `cancel_current` cancels the block, with whatever it waits for (a model's answer), and the program
        goes on behind it; `turn.interrupted` tells. An exception in the block interrupts the turn.
        """
        turn = self._new()
        with anyio.CancelScope() as scope:
            turn.break_off(scope)
            try:
                yield turn
                await turn.end()
            except BaseException:
                self._stop(turn)
                raise

    async def end_session(self) -> Usage | None:
        """End the current turn: what was sent is still spoken, the socket is kept, and the next `send` begins
        another turn, also before this has returned. Waits until all audio of the turn has come, and returns
        what it used (None if there was no turn). Cancelling ends the turn, but does not wait.

        Raises:
            SpeechError: the turn failed, or nothing came of it for too long (`TimedOut`).
        """
        turn, self._current = self._current, None
        if turn is None:
            return None
        with anyio.CancelScope(shield=True):  # waits for the turn's opening at most, which has a deadline
            await turn.end()
        return await turn.wait_spoken()

    async def cancel_current(self) -> list[Turn]:
        """Interrupt (barge-in): everything that was begun and is not wholly read. No audio of it is delivered
        from the moment of the call; text that was sent for it is dropped. The next turn may be sent at once.

        Returns when the service has confirmed it (or did not within 5 s): the turns that were broken off, the
        oldest first. What of them was heard, their `split` tells. Cancelling does not take it back.
        """
        self._current = None
        stopped = [turn for turn in list(self._turns) if self._stop(turn) and turn.number]
        if self._callbacks is not None:
            await self._callbacks.call("on_interrupted", stopped)
        while self._unconfirmed.intersection(stopped):
            await self._changed.wait()
        return stopped

    def update_config(
        self,
        *,
        voice: str | None = None,
        language: str | None = None,
        settings: VoiceSettings | Mapping[str, Any] | None = None,
        chunking: str | Sequence[int] | None = None,
    ) -> None:
        """What the next turns are spoken with; what is not given stays. Voice settings are replaced as a
        whole. The turn that has begun stays as it is.

        Raises:
            Refused: a value is out of its range; nothing was changed.
        """
        options = chunking_of(chunking, self.session.endpoint.dialect) if chunking is not None else {}
        with told_as_speech_error():
            checked_voice(settings)
        given = {"voice": voice, "language": language, "settings": settings, **options}
        self._config |= {name: value for name, value in given.items() if value is not None}

    async def close(self) -> None:
        """Have the rest of every turn spoken, and close the socket, if this session has opened it. The audio
        can still be read; then `turns` ends. Cancelling leaves the rest to the end of the block."""
        self._closed, self._current = True, None
        self._wake()
        for turn in list(self._turns):
            await turn.end()
        for turn in list(self._turns):
            with suppress(SpeechError):  # its reader is told
                await turn.wait_spoken()
        if self._owns:
            await self.session.close()

    def drop(self) -> None:
        """The session is over: interrupt what is not wholly read, and let nobody wait for more."""
        self._closed = True
        for turn in self._turns:
            turn.stop()
        self._wake()

    # --- audio ---------------------------------------------------------------------------------------

    def turns(self) -> AsyncIterator[Turn]:
        """All turns in order, each as soon as it has text, interrupted and failed ones included; iterate over
        each for its audio. Ends when the session was closed. Every turn is given to one reader.

        Raises:
            ValueError: there are callbacks, which get the turns.
        """
        if self._callbacks is not None:
            raise ValueError("The turns of this session are told to its callbacks.")
        return _Turns(self)

    async def next_turn(self) -> Turn | None:
        """The next turn that nobody reads; None when no more will come. Cancelling takes none."""
        while not self._waiting:
            if self._closed:
                return None
            await self._changed.wait()
        return self._waiting.popleft()

    async def tell(self) -> None:
        """Tell the callbacks everything, until the session was closed."""
        callbacks = self._callbacks
        while callbacks is not None and (turn := await self.next_turn()) is not None:
            await callbacks.call("on_turn", turn)
            while (chunk := await turn.next_chunk()) is not None:
                await callbacks.call("on_chunk", chunk)
            if turn.interrupted:
                continue
            if turn.error is not None:
                await callbacks.call("on_error", turn.error, turn)
            else:
                await callbacks.call("on_final", turn)
            await callbacks.call("on_session_closed", turn, turn.usage)

    # --- turns ---------------------------------------------------------------------------------------

    def _new(self) -> Turn:
        if self._closed:
            message = "This session was closed; open another one."
            raise speech_error(Problem(code="closed_early", message=message))
        self._sort_out()
        turn = Turn(self._open)
        self._turns.append(turn)
        return turn

    async def _open(self, turn: Turn) -> Context:
        """A turn has its first text."""
        if len(self._waiting) >= UNREAD:
            message = f"{UNREAD} turns wait to be read. Iterate over `turns()`, or give callbacks."
            raise speech_error(Problem(code="slow_consumer", message=message, limit=UNREAD))
        self._count += 1
        turn.number = self._count
        self._waiting.append(turn)
        self._wake()
        return await self.session.create_context(turn.name, **self._config)

    def _stop(self, turn: Turn) -> bool:
        if not turn.stop():
            return False
        self._unconfirmed.add(turn)
        self._tasks.start_soon(self._confirm, turn)
        return True

    async def _confirm(self, turn: Turn) -> None:
        await turn.confirmed()
        if self._callbacks is not None and turn.number:
            await self._callbacks.call("on_session_closed", turn, turn.usage)
        self._unconfirmed.remove(turn)
        self._wake()

    def _sort_out(self) -> None:
        """Forget what is over, but for the newest."""
        for turn in self._turns:
            if turn.ended is not None and (self._last is None or turn.number > self._last.number):
                self._last = turn
        self._turns = [turn for turn in self._turns if not turn.is_over]

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


class _Turns(AsyncIterator[Turn]):
    def __init__(self, session: StreamingSession) -> None:
        self._session = session

    async def __anext__(self) -> Turn:
        turn = await self._session.next_turn()
        if turn is None:
            raise StopAsyncIteration
        return turn


@asynccontextmanager
async def streaming_over(
    session: Session,
    *,
    chunking: str | Sequence[int] = "balanced",
    callbacks: StreamingCallbacks | None = None,
    owns: bool = False,
) -> AsyncIterator[StreamingSession]:
    """Speak turn by turn over a session that is open; see `streaming_session`. It must have no callbacks, and
    nobody who reads its `events`. With `owns`, `close` closes the session."""
    async with owned_tasks() as tasks:
        streaming = StreamingSession(session, tasks, callbacks=callbacks, owns=owns)
        streaming.update_config(chunking=chunking)
        told = anyio.Event()

        async def tell() -> None:
            await streaming.tell()
            told.set()

        tasks.start_soon(tell)
        try:
            yield streaming
            await streaming.close()
            await told.wait()
        finally:
            streaming.drop()


@asynccontextmanager
async def streaming_session(
    url: str,
    *,
    dialect: Dialect | None = None,
    api_key: str | None = None,
    voice: str | None = None,
    model: str | None = None,
    language: str | None = None,
    output_format: str = "pcm_24000",
    settings: VoiceSettings | Mapping[str, Any] | None = None,
    chunking: str | Sequence[int] = "balanced",
    inactivity_timeout: float = DEFAULT_TIMEOUT,
    callbacks: StreamingCallbacks | None = None,
    reconnect: bool = False,
    open_timeout: float = 10.0,
    buffer_bytes: int = BUFFER_BYTES,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[StreamingSession]:
    """Open a socket for what a language model writes, turn by turn.

    Args:
        chunking: how much text the service gathers before it speaks: "low-latency", "balanced" or
            "high-quality" (`CHUNKING`), or a schedule: characters that make each next piece worth speaking.
        callbacks: call these with all turns; without them, iterate over `turns`.

    The others are those of `connect`. Leaving the block normally has the rest spoken (`close`), waits until
    the callbacks have been told all of it, and closes the socket. An exception, like cancelling, closes it at
    once.

    Raises:
        SpeechError: as `connect` does. `Refused`: there is no such chunking.
    """
    async with (
        connect(
            url,
            dialect=dialect,
            api_key=api_key,
            voice=voice,
            model=model,
            language=language,
            output_format=output_format,
            settings=settings,
            inactivity_timeout=inactivity_timeout,
            reconnect=reconnect,
            open_timeout=open_timeout,
            buffer_bytes=buffer_bytes,
            ssl_context=ssl_context,
        ) as session,
        streaming_over(session, chunking=chunking, callbacks=callbacks, owns=True) as streaming,
    ):
        yield streaming
