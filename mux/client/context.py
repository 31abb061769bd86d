"""One context as an app sees it: text in, audio out, whatever becomes of the sockets below."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import anyio.lowlevel

from mux.client.errors import SpeechError, speech_error
from mux.client.holding import Chunk, Flushed, Holding
from mux.client.ledger import Ledger
from mux.errors import MuxError, Problem
from mux.links.link import LinkContext
from mux.links.router import Ended
from mux.protocol.messages import Reason, Usage
from mux.protocol.voice import ContextSettings

__all__ = ["Chunk", "Context", "Flushed"]


class Context:
    """One flow of text that becomes audio; made by `Session.context` and `Session.create_context`.

    Any task may send; one iterates over the audio.
    """

    def __init__(self, name: str, holding: Holding, ledger: Ledger) -> None:
        self.name = name
        self._holding = holding
        self._ledger = ledger

    # --- what is known -------------------------------------------------------------------------------

    @property
    def settings(self) -> ContextSettings:
        """What was asked for it."""
        return self._holding.settings

    @property
    def ended(self) -> Ended | None:
        """How it ended (reason, usage, problem), or None while it lives."""
        return self._holding.ended

    @property
    def error(self) -> SpeechError | None:
        """Why it ended otherwise than wished, as it is raised; None while it lives and if all is well."""
        ended = self.ended
        if ended is None or ended.reason in (Reason.COMPLETED, Reason.CANCELLED):
            return None
        return self._failure(ended.problem or _EARLY)

    @property
    def audio_ms(self) -> float | None:
        """How much audio was read of it, in ms; None if the output format does not tell (mp3, opus)."""
        return self._ledger.ms(self._holding.read_bytes)

    @property
    def usage(self) -> Usage | None:
        """What it used, as the service tells it; None while it lives. As counted here, by what was sent and
        what came, on ElevenLabs, which does not tell, and where a socket was lost, which could not."""
        return self.ended.usage if self.ended is not None else None

    def split(self, played_ms: float) -> tuple[str, str]:
        """(spoken, unspoken): its text as a listener knows it who has heard `played_ms` of its audio. A word
        that was broken off counts as unspoken."""
        return self._ledger.split(played_ms)

    # --- text ----------------------------------------------------------------------------------------

    async def send(self, text: str, *, flush: bool = False) -> None:
        """Send text, in pieces of any size; they are joined as they are, without spaces. `flush` has it, and
        what was sent before, spoken now.

        Waits only while much text waits for the socket, or for another socket. Cancelling sends nothing of
        this piece.

        Raises:
            SpeechError: the context has ended (the problem says why) or was closed; its subclass says what
                can be done about it.
        """
        await anyio.lowlevel.checkpoint()
        while True:
            inner = await self._place()
            try:
                await inner.send(text)
            except MuxError as error:
                if inner.inbox.ended is not None and self.ended is None:
                    continue  # it broke while we waited; `_place` knows how it goes on
                raise self._failure(error.problem) from None
            break
        self._ledger.said(text)
        if flush:
            self._flush(inner)

    async def flush(self) -> None:
        """Have everything that was sent so far spoken now. Raises as `send` does."""
        await anyio.lowlevel.checkpoint()
        self._flush(await self._place())

    async def keep_alive(self) -> None:
        """Restart the server's inactivity timer by hand. Raises as `send` does."""
        await anyio.lowlevel.checkpoint()
        (await self._place()).keep_alive()

    async def close(self) -> None:
        """That was all. What was sent is still spoken; its audio ends the iteration. Does not wait."""
        await anyio.lowlevel.checkpoint()
        self._holding.close()

    async def cancel(self) -> Ended:
        """Stop at once (barge-in): no more audio is delivered from the moment of the call. Waits until the
        server has confirmed, at most 5 s, and returns how the context ended, with its usage."""
        inner = self._holding.usable
        self._holding.stop()
        if inner is not None:
            await inner.cancelled()
        return await self.wait_ended()

    def stop(self) -> None:
        """`cancel` without waiting."""
        self._holding.stop()

    def _flush(self, inner: LinkContext) -> None:
        inner.flush()
        self._ledger.flushed()

    async def _place(self) -> LinkContext:
        """The context's place on a socket; waits while it is on its way to another one."""
        while True:
            if self.ended is not None:
                reason = f"This context has ended ({self.ended.reason.value}); open a new one."
                raise self._failure(self.ended.problem or Problem(code="closed_early", message=reason))
            if self._holding.closing:
                raise self._failure(_CLOSED)
            if inner := self._holding.usable:
                return inner
            await self._holding.change()

    # --- audio ---------------------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        """The next audio. The iteration ends when the context was completed or cancelled.

        Raises:
            SpeechError: the context failed, timed out, or lost its socket; or it was closed and then nothing
                came for `silence_timeout` (`TimedOut`).
        """
        chunk = await self.next_chunk()
        if chunk is not None:
            return chunk
        if error := self.error:
            raise error
        raise StopAsyncIteration

    async def next_chunk(self) -> Chunk | None:
        """The next audio, or None when no more comes, whatever the reason (see `error`). Cancelling loses
        nothing."""
        while isinstance(event := await self.next_event(), Flushed):
            pass
        return event

    async def next_event(self) -> Chunk | Flushed | None:
        """Likewise, with the word that a flush has been answered."""
        holding = self._holding
        if holding.arrived or holding.ended is not None:
            await anyio.lowlevel.checkpoint()  # also who has much to read lets others go on
        while not holding.arrived:
            if holding.ended is not None:
                holding.is_read = True
                return None
            await holding.change()
        return holding.take()

    def put_back(self, chunk: Chunk) -> None:
        """Undo a `next_chunk`: its next reader begins with it."""
        self._holding.put_back(chunk)

    async def wait_ended(self) -> Ended:
        """Wait for the context's end without reading its audio."""
        while self._holding.ended is None:
            await self._holding.change()
        return self._holding.ended

    def _failure(self, problem: Problem) -> SpeechError:
        return speech_error(
            problem,
            context=self.name,
            audio_ms=self._ledger.audio_ms,
            unspoken=self._ledger.unspoken,
        )


_EARLY = Problem(code="closed_early", message="The context ended early.")
_CLOSED = Problem(code="closed_early", message="This context was closed; open a new one for more text.")
