"""A context's place on a socket, and on the next one when that breaks."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TypeAlias

import anyio
import anyio.abc
import msgspec

from mux.client.ledger import Ledger
from mux.dialects.base import AudioFrame
from mux.errors import MuxError, Problem
from mux.links.endpoint import Pools
from mux.links.link import CANCEL_SECONDS, LinkContext
from mux.links.router import Ended
from mux.protocol.messages import Alignment, Reason, Usage
from mux.protocol.voice import ContextSettings
from mux.tasks import owned_tasks

__all__ = ["Arrival", "Chunk", "Flushed", "Holding"]

FRAME_SECONDS = 30.0
"""How long a closed context may stay silent before it is given up, where nobody says otherwise."""
LOOK_SECONDS = 10.0
"""How often a closed context is looked at, whether it is still heard of."""
QUIET, LONG_QUIET = 1.5, 5.0
"""Seconds after its last audio at which a context of ElevenLabs has said all: where nothing tells of words
that are left, and where its times do."""
FRUITLESS = 4
"""Attempts in a row that may bring no new audio, before what is unspoken is given up."""
BREAKS = frozenset(
    {
        "connection_lost",
        "draining",
        "empty_synthesis",
        "engine_failed",
        "engine_stalled",
        "socket_closing",
        "timed_out",
    }
)
"""What another socket can help against."""


class Chunk(msgspec.Struct, frozen=True):
    """A piece of a context's audio, in the session's output format; `alignment` has times in ms from the
    context's start (None: unknown)."""

    context: str
    audio: bytes
    alignment: Alignment | None


class Flushed(msgspec.Struct, frozen=True):
    """All audio has come that a flush of this context asked for. Only KugelAudio's wire tells it."""

    context: str


Arrival: TypeAlias = Chunk | Flushed


class Holding:
    """The task of one context (`live`), and what has come for it.

    Args:
        replay: whether another socket is to be found when one is lost.
        silence_timeout: seconds for which a closed context may be silent.
    """

    def __init__(
        self,
        name: str,
        pools: Pools,
        settings: ContextSettings,
        ledger: Ledger,
        *,
        keepalive: bool,
        replay: bool,
        silence_timeout: float,
    ) -> None:
        self.inner: LinkContext | None = None
        """Its newest place."""
        self.ended: Ended | None = None
        self.closing = False
        """No more text is to come."""
        self.is_read = False
        """Its reader has come to its end, or will not come."""
        self.arrived: deque[Arrival] = deque()
        """What came and was not read, in order."""
        self.unread_bytes = 0
        self.read_bytes = 0
        self.settings = settings
        self._name = name
        self._pools = pools
        self._ledger = ledger
        self._keepalive = keepalive
        self._replay = replay
        self._silence_timeout = silence_timeout
        self._places = 0
        self._heard_at = anyio.current_time()
        self._stopped_at: float | None = None
        """When it was cancelled."""
        self._changed: anyio.Event | None = None
        """There while somebody waits; it costs as much as filing a frame."""
        self._tasks: anyio.abc.TaskGroup | None = None
        self._placing = anyio.CancelScope()
        self._sleep = anyio.CancelScope()
        """Of the task, until something may be due."""

    @property
    def usable(self) -> LinkContext | None:
        """Its place, if there is one now."""
        return self.inner if self.inner is not None and self.inner.inbox.ended is None else None

    async def change(self) -> None:
        """Wait until something has come, or it has another place, or has ended."""
        self._changed = self._changed or anyio.Event()
        await self._changed.wait()

    async def wait_placed(self) -> None:
        """Wait until it has its first place, or has ended without any."""
        while self.inner is None and self.ended is None:
            await self.change()

    def take(self) -> Arrival:
        """The oldest thing that arrived; there has to be one."""
        arrival = self.arrived.popleft()
        if isinstance(arrival, Chunk):
            self.unread_bytes -= len(arrival.audio)
            self.read_bytes += len(arrival.audio)
        return arrival

    def put_back(self, chunk: Chunk) -> None:
        """Undo a `take`."""
        if self._stopped_at is None:
            self.arrived.appendleft(chunk)
            self.unread_bytes += len(chunk.audio)
            self.read_bytes -= len(chunk.audio)
            self._wake()

    def close(self) -> None:
        """That was all."""
        self.closing = True
        if inner := self.usable:
            self._close(inner)

    def stop(self) -> None:
        """Cancel, and forget what was not read."""
        self.closing = True
        if self._stopped_at is None:
            self._stopped_at = anyio.current_time()
        self.arrived.clear()
        self.unread_bytes = 0
        if inner := self.usable:
            inner.cancel()
            self._sleep.cancel()
        elif self.ended is None:
            self._placing.cancel()  # it is on its way to another socket

    def stay(self) -> None:
        """Find it no other socket any more."""
        self._replay = False

    async def live(self) -> None:
        """Hold a place on a socket until the context has ended. Cancelling ends it."""
        ended = Ended(reason=Reason.SOCKET_CLOSED, problem=_LEFT)
        try:
            async with owned_tasks() as self._tasks:
                with self._placing:
                    ended = await self._hold_places()
            if self._placing.cancelled_caught:
                ended = Ended(reason=Reason.CANCELLED)
            elif self._stopped_at is not None and (not self._is_told or _unanswered(ended)):
                ended = msgspec.structs.replace(ended, reason=Reason.CANCELLED)
        except MuxError as error:
            ended = Ended(reason=Reason.FAILED, problem=error.problem)
        finally:
            self.ended = self._counted(ended)
            self._wake()

    def _counted(self, ended: Ended) -> Ended:
        """With usage as counted here, if the service told none, or each of several sockets a part of it."""
        if self._places < 2 and self._is_told and ended.usage is not None:
            return ended
        received = self._ledger.ms(self._ledger.received_bytes) or 0.0
        usage = Usage(
            characters_accepted=self._ledger.characters, audio_generated_ms=received, audio_sent_ms=received
        )
        return msgspec.structs.replace(ended, usage=usage)

    # --- what comes ----------------------------------------------------------------------------------

    def _arrive(self, frame: AudioFrame) -> None:
        """Called by the socket's reader."""
        self._heard_at = anyio.current_time()
        audio, alignment = self._ledger.heard(bytes(frame.audio), frame.alignment)
        if not audio and alignment is None:
            return
        self.arrived.append(Chunk(self._name, audio, alignment))
        self.unread_bytes += len(audio)
        self._wake()
        inner = self.inner
        if inner is not None and self.unread_bytes > inner.link.buffer_bytes:
            inner.link.cut_off(inner.wire_id)
        elif self.closing and not self._is_told and self._ledger.is_all_spoken:
            self._close_now()

    def _flushed(self) -> None:
        self.arrived.append(Flushed(self._name))
        self._wake()

    # --- one place after the other -------------------------------------------------------------------

    async def _hold_places(self) -> Ended:
        fruitless, before = 0, 0
        pool = self._pools.get(self.settings)
        parts: list[str] = []
        while True:
            async with pool.context(self._name, self.settings, keepalive=self._keepalive) as inner:
                inner.inbox.listen(self._arrive, self._flushed)
                await self._go_on(inner, parts)
                ended = self._judged(await self._until_ended(inner))
            if not self._replay or self._stopped_at is not None or not _broke(ended):
                return ended
            fruitless = 0 if self._ledger.received_bytes > before else fruitless + 1
            before = self._ledger.received_bytes
            rest = self._ledger.resume()
            if rest is None or fruitless >= FRUITLESS:
                return ended
            parts = rest
            if self.closing and before and not any(part.strip() for part in parts):
                return Ended(reason=Reason.COMPLETED)  # all but its end had come

    async def _go_on(self, inner: LinkContext, parts: list[str]) -> None:
        """Take a place, and say there what is unspoken."""
        with suppress(MuxError):  # it may break at once; its inbox tells
            for number, part in enumerate(parts):
                if number:
                    inner.flush()
                if part:
                    await inner.send(part)
        self.inner = inner
        self._places += 1
        if self.closing:
            self._close(inner)
        self._wake()

    async def _until_ended(self, inner: LinkContext) -> Ended:
        """Wait for the end at one place; one that stays silent after it was closed is given up, and one that
        does not confirm a cancel."""
        while True:
            now = anyio.current_time()
            patience = now + self._silence_timeout
            if self._stopped_at is not None:
                patience = self._stopped_at + CANCEL_SECONDS
            elif inner.closing:
                patience = max(self._heard_at, inner.said_at) + self._silence_timeout
            if now >= patience:
                inner.link.give_up(inner.wire_id, self._silent())
            self._sleep = anyio.CancelScope(deadline=min(patience, now + LOOK_SECONDS))
            with self._sleep:
                return await inner.inbox.wait_ended()

    def _judged(self, ended: Ended) -> Ended:
        """What an end means: one of a text of which nothing was heard is none, and one that was only not told
        is one."""
        if self._stopped_at is not None:
            return ended
        silent = not self._ledger.received_bytes and self._ledger.has_words_left
        if ended.reason is Reason.COMPLETED and silent:
            return msgspec.structs.replace(ended, reason=Reason.FAILED, problem=_EMPTY)
        given_up = ended.problem is not None and ended.problem.code == "timed_out"
        if given_up and self.closing and self._ledger.received_bytes and self._ledger.is_all_spoken:
            return msgspec.structs.replace(ended, reason=Reason.COMPLETED, problem=None)
        return ended

    # --- its end -------------------------------------------------------------------------------------

    @property
    def _is_told(self) -> bool:
        """Whether the service tells how a context ended, and what it used, and speaks to the end what was
        closed: all but ElevenLabs do."""
        return self._pools.endpoint.dialect != "elevenlabs"

    def _close(self, inner: LinkContext) -> None:
        """Say that this was all. ElevenLabs drops then what was not flushed, and may drop what it has not
        spoken yet: there the end is said when everything has come."""
        if self._is_told or self._ledger.unspoken == "":
            inner.close()
        elif not inner.closing and self._tasks is not None:
            inner.flush()
            self._tasks.start_soon(self._close_when_quiet, inner)

    def _close_now(self) -> None:
        if inner := self.usable:
            inner.close()

    async def _close_when_quiet(self, inner: LinkContext) -> None:
        """Its times may not tell that all was said."""
        while inner.inbox.ended is None and not inner.closing:
            patience = QUIET
            if self._ledger.has_words_left:
                patience = LONG_QUIET if self._ledger.received_bytes else self._silence_timeout
            due = max(self._heard_at, inner.said_at) + patience
            if anyio.current_time() >= due:
                inner.close()
            await anyio.sleep_until(due)

    def _silent(self) -> Problem:
        waited = f"{self._silence_timeout:g} s"
        message = (
            f"Context {self._name!r} was closed, but nothing came for {waited}. Say again what is unspoken."
        )
        return Problem(code="timed_out", message=message, limit=self._silence_timeout)

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None


def _unanswered(ended: Ended) -> bool:
    """Whether nobody was left to say how it ended."""
    silent = ended.problem is not None and ended.problem.code == "timed_out"
    return ended.reason is Reason.SOCKET_CLOSED or silent


def _broke(ended: Ended) -> bool:
    return ended.reason is Reason.SOCKET_CLOSED or (
        ended.problem is not None and ended.problem.code in BREAKS
    )


_EMPTY = Problem(
    code="empty_synthesis",
    message="The service ended the context without any audio for its text. Check that the voice can speak "
    "it, and the account's credits.",
)
_LEFT = Problem(code="closed_early", message="This side has left the session; open another one.")
